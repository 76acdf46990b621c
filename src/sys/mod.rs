//! The room next to the kernel: thin names for the system calls that the rest of the house uses.
//!
//! Nothing here decides anything. A function wraps one call, retries EINTR where the call may be
//! repeated, and hands back the kernel's answer. What an answer means belongs to the rooms above.

pub mod at;
pub mod dirents;
pub mod inherited;
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

/// What a system call gave: a value, or the errno of its refusal.
pub type Result<T> = std::result::Result<T, Errno>;
