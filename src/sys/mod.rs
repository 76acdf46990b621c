//! Thin wrappers for the system calls that the crate uses.
//!
//! A function wraps one call, retries EINTR where the call may be repeated, and returns the kernel's answer.
//! Interpreting the answer is up to the callers.

pub mod at;
pub mod dirents;
pub mod files;
pub mod inherited;
pub mod interrupted;
pub mod io;
pub mod memory;
pub mod proc;
pub mod raw;
pub mod selinux;
pub mod stale;
pub mod start;
pub mod stat;

pub use rustix::io::Errno;
pub use stat::{Kind, Stat, Time};

/// The result of a system call.
pub type Result<T> = std::result::Result<T, Errno>;
