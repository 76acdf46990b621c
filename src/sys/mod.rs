//! Thin wrappers for the system calls that the crate uses.
//!
//! A function wraps one call, retries EINTR where the call may be repeated, and returns the kernel's answer.
//! Interpreting the answer is up to the callers.

pub(crate) mod at;
pub(crate) mod dirents;
pub(crate) mod fd_table;
pub mod files;
pub mod inherited;
pub(crate) mod interrupted;
pub(crate) mod io;
pub(crate) mod memory;
pub(crate) mod proc;
pub(crate) mod raw;
pub(crate) mod selinux;
pub(crate) mod stale;
pub(crate) mod start;
pub(crate) mod stat;

pub use rustix::io::Errno;
pub(crate) use stat::{Kind, Stat, Time};

pub(crate) type Result<T> = std::result::Result<T, Errno>;
