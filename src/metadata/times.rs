//! Access and modification times, to the nanosecond. The only file that names filetime.

use super::{AttributeError, AttributeOperation, Handle};
use crate::sys::at::{self, Follow};
use crate::sys::{Errno, Stat, Time};
use filetime::FileTime;
use rustix::fs::{AtFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, utimensat};
use rustix::io::retry_on_intr;
use std::ffi::OsStr;
use std::os::fd::BorrowedFd;

/// Gives a file the times of `stat`.
///
/// # Errors
/// The errno of utimensat(2).
pub fn set(file: Handle<'_>, stat: &Stat) -> Result<(), AttributeError> {
    let answer = match file {
        Handle::Open(fd) => match set_open(fd, stat) {
            // An O_PATH descriptor.
            Err(Errno::BADF) => set_by_path(file, stat),
            answer => answer,
        },
        Handle::Path(fd) => match set_at(fd, OsStr::new(""), AtFlags::EMPTY_PATH, stat) {
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
    answer.map_err(|errno| AttributeOperation::Times.failed(errno))
}

/// Gives a file a time of last change by which nobody takes it for a copy that is as new as `source`: the epoch, or
/// else long before the source's time; the time of this call where the file system can store neither.
///
/// # Errors
/// The errno of utimensat(2) or fstat(2).
pub fn set_apart(file: Handle<'_>, source: &Stat) -> Result<(), AttributeError> {
    const DAY: i64 = 86_400;
    for sec in [0, source.mtime.sec.saturating_sub(2 * DAY)] {
        set_modification(file, Timespec { tv_sec: sec, tv_nsec: 0 })?;
        let now = stat(file).map_err(|errno| AttributeOperation::Times.failed(errno))?;
        if now.mtime.sec.saturating_add(DAY) <= source.mtime.sec {
            return Ok(());
        }
    }
    set_modification(file, Timespec { tv_sec: 0, tv_nsec: UTIME_NOW })
}

/// Sets the time of last change alone.
///
/// # Errors
/// The errno of utimensat(2).
pub fn set_modified(file: Handle<'_>, time: Time) -> Result<(), AttributeError> {
    set_modification(file, timespec(time))
}

fn stat(file: Handle<'_>) -> Result<Stat, Errno> {
    match file {
        Handle::Open(fd) | Handle::Path(fd) => at::fstat(fd),
        Handle::Entry(dir, name) => at::stat(dir, name, Follow::No),
    }
}

fn set_modification(file: Handle<'_>, time: Timespec) -> Result<(), AttributeError> {
    let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let times = Timestamps { last_access, last_modification: time };
    let call = |dir: BorrowedFd<'_>, name: &OsStr, flags| retry_on_intr(|| utimensat(dir, name, &times, flags));
    let by_path = || call(at::CWD, &file.path(), AtFlags::empty());
    let answer = match file {
        Handle::Open(fd) => match retry_on_intr(|| rustix::fs::futimens(fd, &times)) {
            Err(Errno::BADF) => by_path(),
            answer => answer,
        },
        Handle::Path(fd) => match call(fd, OsStr::new(""), AtFlags::EMPTY_PATH) {
            Err(Errno::INVAL) => by_path(),
            answer => answer,
        },
        Handle::Entry(dir, name) => call(dir, name, AtFlags::SYMLINK_NOFOLLOW),
    };
    answer.map_err(|errno| AttributeOperation::Times.failed(errno))
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
