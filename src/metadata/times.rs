//! Setting access and modification times, in nanoseconds. The crate filetime is used only here.

use super::Handle;
use crate::error::{Failure, Operation};
use crate::sys::at;
use crate::sys::interrupted::{errno_of, retry_on_intr};
use crate::sys::{Errno, Stat, Time};
use filetime::FileTime;
use rustix::fs::{AtFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, utimensat};
use std::ffi::OsStr;
use std::os::fd::BorrowedFd;

pub(crate) fn set(file: Handle<'_>, stat: &Stat) -> Result<(), Failure> {
    let times = Timestamps { last_access: timespec(stat.atime), last_modification: timespec(stat.mtime) };
    let answer = match file {
        Handle::Entry(..) => match set_by_filetime(file, stat) {
            // The path may lead through /proc, which may not be mounted.
            Err(Errno::NOENT) => set_timestamps(file, &times),
            answer => answer,
        },
        _ => set_timestamps(file, &times),
    };
    answer.map_err(cannot_set)
}

/// Sets a modification time by which the file is not taken for an up-to-date copy of `source`: the epoch, or else
/// two days before the source's time. Where the file system can store neither, it is the current time.
pub(crate) fn set_apart(file: Handle<'_>, source: &Stat) -> Result<(), Failure> {
    const DAY: i64 = 86_400;
    for sec in [0, source.mtime.sec.saturating_sub(2 * DAY)] {
        set_modification(file, Timespec { tv_sec: sec, tv_nsec: 0 })?;
        let now = super::stat(file).map_err(cannot_set)?;
        if now.mtime.sec.saturating_add(DAY) <= source.mtime.sec {
            return Ok(());
        }
    }
    set_modification(file, Timespec { tv_sec: 0, tv_nsec: UTIME_NOW })
}

pub(crate) fn set_modified(file: Handle<'_>, time: Time) -> Result<(), Failure> {
    set_modification(file, timespec(time))
}

fn set_modification(file: Handle<'_>, time: Timespec) -> Result<(), Failure> {
    let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    set_timestamps(file, &Timestamps { last_access, last_modification: time }).map_err(cannot_set)
}

fn set_timestamps(file: Handle<'_>, times: &Timestamps) -> Result<(), Errno> {
    let call = |dir: BorrowedFd<'_>, name: &OsStr, flags| retry_on_intr(|| utimensat(dir, name, times, flags));
    // The link in /proc is followed to the inode itself and not beyond.
    let by_path = || call(at::CWD, &file.path(), AtFlags::empty());
    match file {
        Handle::Open(fd) => match retry_on_intr(|| rustix::fs::futimens(fd, times)) {
            // An O_PATH descriptor.
            Err(Errno::BADF) => by_path(),
            answer => answer,
        },
        Handle::Path(fd, _) => match call(fd, OsStr::new(""), AtFlags::EMPTY_PATH) {
            // Before Linux 5.8.
            Err(Errno::INVAL) => by_path(),
            answer => answer,
        },
        Handle::Entry(dir, name) => call(dir, name, AtFlags::SYMLINK_NOFOLLOW),
    }
}

fn set_by_filetime(file: Handle<'_>, stat: &Stat) -> Result<(), Errno> {
    retry_on_intr(|| {
        filetime::set_symlink_file_times(file.path(), file_time(stat.atime), file_time(stat.mtime))
            .map_err(|error| errno_of(&error))
    })
}

fn file_time(time: Time) -> FileTime {
    FileTime::from_unix_time(time.sec, time.nsec)
}

fn timespec(time: Time) -> Timespec {
    Timespec { tv_sec: time.sec, tv_nsec: time.nsec.into() }
}

fn cannot_set(errno: Errno) -> Failure {
    Failure::attribute(Operation::KeepTimes, errno)
}
