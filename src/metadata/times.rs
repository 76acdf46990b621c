//! Access and modification times, to the nanosecond. The only file that names filetime.

use super::{Doing, Handle, Trouble};
use crate::sys::{Errno, Stat, Time, at};
use filetime::FileTime;
use rustix::fs::{AtFlags, Timespec, Timestamps, utimensat};
use rustix::io::retry_on_intr;
use std::ffi::OsStr;
use std::os::fd::BorrowedFd;

/// Gives a file the times of `stat`.
///
/// # Errors
/// The errno of utimensat(2).
pub fn set(file: Handle<'_>, stat: &Stat) -> Result<(), Trouble> {
    let answer = match file {
        Handle::Open(fd) => match set_open(fd, stat) {
            // An O_PATH descriptor.
            Err(Errno::BADF) => set_by_path(file, stat),
            answer => answer,
        },
        Handle::Pinned(fd) => match set_at(fd, OsStr::new(""), AtFlags::EMPTY_PATH, stat) {
            // Before Linux 5.8.
            Err(Errno::INVAL) => set_by_path(file, stat),
            answer => answer,
        },
        Handle::Entry(dir, name) => match set_by_filetime(file, stat) {
            // The path leads through /proc, which need not be there.
            Err(Errno::NOENT) => set_at(dir, name, AtFlags::SYMLINK_NOFOLLOW, stat),
            answer => answer,
        },
    };
    answer.map_err(|errno| Doing::Times.failed(errno))
}

fn set_at(dir: BorrowedFd<'_>, name: &OsStr, flags: AtFlags, stat: &Stat) -> Result<(), Errno> {
    retry_on_intr(|| utimensat(dir, name, &timestamps(stat), flags))
}

fn set_by_filetime(file: Handle<'_>, stat: &Stat) -> Result<(), Errno> {
    retry_on_intr(|| {
        filetime::set_symlink_file_times(file.path(), file_time(stat.atime), file_time(stat.mtime))
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    })
}

/// By the name in /proc, which is a link to be followed: to the inode and not beyond.
fn set_by_path(file: Handle<'_>, stat: &Stat) -> Result<(), Errno> {
    retry_on_intr(|| utimensat(at::CWD, file.path(), &timestamps(stat), AtFlags::empty()))
}

/// futimens(3), which filetime has for `File` only: the same call on a borrowed descriptor.
fn set_open(fd: BorrowedFd<'_>, stat: &Stat) -> Result<(), Errno> {
    retry_on_intr(|| rustix::fs::futimens(fd, &timestamps(stat)))
}

fn timestamps(stat: &Stat) -> Timestamps {
    Timestamps { last_access: timespec(stat.atime), last_modification: timespec(stat.mtime) }
}

fn file_time(time: Time) -> FileTime {
    FileTime::from_unix_time(time.sec, time.nsec)
}

fn timespec(time: Time) -> Timespec {
    Timespec { tv_sec: time.sec, tv_nsec: time.nsec.into() }
}
