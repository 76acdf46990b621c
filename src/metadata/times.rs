//! Access and modification times, to the nanosecond. The only file that names filetime.

use super::{Doing, Handle, Trouble};
use crate::sys::{Errno, Stat, Time};
use filetime::FileTime;
use rustix::fs::{AtFlags, Timespec, Timestamps, utimensat};
use rustix::io::retry_on_intr;
use std::os::fd::BorrowedFd;

/// Gives a file the times of `stat`.
///
/// # Errors
/// The errno of utimensat(2).
pub fn set(file: Handle<'_>, stat: &Stat) -> Result<(), Trouble> {
    let answer = match file {
        Handle::Open(fd) => match set_open(fd, stat) {
            Err(Errno::BADF) => {
                filetime::set_file_times(file.path(), file_time(stat.atime), file_time(stat.mtime))
                    .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
            }
            answer => answer,
        },
        Handle::Entry(dir, name) => {
            let times = Timestamps { last_access: timespec(stat.atime), last_modification: timespec(stat.mtime) };
            retry_on_intr(|| utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW))
        }
    };
    answer.map_err(|errno| Doing::Times.failed(errno))
}

/// futimens(3), which filetime has for `File` only: the same call on a borrowed descriptor.
fn set_open(fd: BorrowedFd<'_>, stat: &Stat) -> Result<(), Errno> {
    let times = Timestamps { last_access: timespec(stat.atime), last_modification: timespec(stat.mtime) };
    retry_on_intr(|| rustix::fs::futimens(fd, &times))
}

fn file_time(time: Time) -> FileTime {
    FileTime::from_unix_time(time.sec, time.nsec)
}

fn timespec(time: Time) -> Timespec {
    Timespec { tv_sec: time.sec, tv_nsec: time.nsec.into() }
}
