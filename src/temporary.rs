//! Temporary names of incomplete files.
//!
//! All of them are `.zcp-PID-N`, in the directory of the final name, so that the files of a killed run can be
//! found. A regular file of a copy is locked (flock(2)) while it has such a name; the file of `--stats-file` is not. If
//! nobody holds the lock of a copy's file, the program is dead.

use crate::backup;
use crate::context::Context;
use crate::dir::Dir;
use crate::error::{Failure, Operation};
use crate::path;
use crate::sys::at::{self, Follow};
use crate::sys::{Errno, Result, io, proc};
use std::ffi::{OsStr, OsString};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Makes something under a new temporary name beside `name`, and returns that name. `make` is called again with
/// another name after EEXIST.
pub(crate) fn make<T>(name: &OsStr, mut make: impl FnMut(&OsStr) -> Result<T>) -> Result<(OsString, T)> {
    static SERIAL: AtomicU64 = AtomicU64::new(0);
    for _ in 0..backup::TRIES {
        let serial = first_serial() + SERIAL.fetch_add(1, Ordering::Relaxed);
        let temporary = path::beside(name, OsStr::new(&format!(".zcp-{}-{serial}", std::process::id())));
        match make(&temporary) {
            Err(Errno::EXIST) => {}
            answer => return answer.map(|made| (temporary, made)),
        }
    }
    Err(Errno::EXIST)
}

/// Returns the serial number in the first temporary name of this process. It is random, so no other process can
/// take the names first.
pub(crate) fn first_serial() -> u64 {
    static FIRST: OnceLock<u64> = OnceLock::new();
    // Without the highest bits, so that no process exhausts the numbers.
    *FIRST.get_or_init(|| u64::try_from(proc::random() >> 66).unwrap_or(0))
}

/// Returns the process and the serial number in a temporary name, or `None` if it is not one.
pub(crate) fn maker(name: &OsStr) -> Option<(u32, u64)> {
    let (process, serial) = name.to_str()?.strip_prefix(".zcp-")?.split_once('-')?;
    Some((process.parse().ok()?, serial.parse().ok()?))
}

pub(crate) fn is_made_by(name: &OsStr, process: u32, first_serial: u64) -> bool {
    const MOST: u64 = 1 << 40;
    let is_in_range = |serial: u64| serial.checked_sub(first_serial).is_some_and(|count| count < MOST);
    maker(name).is_some_and(|(maker, serial)| maker == process && is_in_range(serial))
}

/// Creates a regular file under a new temporary name beside `name`, locked and open for writing.
pub(crate) fn create(dir: BorrowedFd<'_>, name: &OsStr, mode: u32) -> Result<(OsString, OwnedFd)> {
    make(name, |temporary| {
        let fd = at::create(dir, temporary, mode, true)?;
        match io::lock(&fd) {
            // A sweep in another process locked the file first and has removed its name.
            Ok(()) if has_lost_its_name(&fd, dir, temporary) => Err(Errno::EXIST),
            Err(Errno::WOULDBLOCK) => {
                let _ = at::unlink(dir, temporary);
                Err(Errno::EXIST)
            }
            // Without locks on this file system, no process can sweep the file.
            _ => Ok(fd),
        }
    })
}

/// Returns whether a new file has been removed. A link count of 0 is no proof: some file systems do not count
/// links.
fn has_lost_its_name(fd: &OwnedFd, dir: BorrowedFd<'_>, name: &OsStr) -> bool {
    match at::fstat(fd) {
        Ok(stat) if stat.nlink == 0 => !at::stat(dir, name, Follow::No).is_ok_and(|now| now.id() == stat.id()),
        _ => false,
    }
}

/// Replaces an existing name atomically with something that `make_it` makes.
pub fn replace(dir: BorrowedFd<'_>, name: &OsStr, mut make_it: impl FnMut(&OsStr) -> Result<()>) -> Result<()> {
    for _ in 0..backup::TRIES {
        let (temporary, ()) = make(name, &mut make_it)?;
        let renamed = at::rename(dir, &temporary, dir, name);
        // If both names belong to one inode, rename(2) leaves both.
        let removed = at::unlink(dir, &temporary);
        // A sweep on another machine may have removed the temporary name.
        if renamed != Err(Errno::NOENT) || removed != Err(Errno::NOENT) {
            return renamed;
        }
    }
    Err(Errno::NOENT)
}

/// Removes the temporary files of dead processes from a directory before files are copied into it (`--resume`). A file
/// stays unless it is certainly left over.
pub(crate) fn sweep(ctx: &Context, dir: &Dir, directory: &OsStr) {
    let Ok(fds) = dir.fds(ctx) else { return };
    let Ok(names) = at::names(&fds.dst, directory) else { return };
    let mut ours = names.into_iter().filter_map(|name| Some((maker(&name)?.0, name))).peekable();
    if ours.peek().is_none() {
        return;
    }
    let Ok(open) = at::open_dir(&fds.dst, directory, Follow::Yes) else { return };
    for (process, name) in ours {
        let Some(done) = remove_if_dead(&open, &name, process) else { continue };
        let path = if directory == "." { name } else { Path::new(directory).join(name).into() };
        let path = dir.destination_path(&path);
        if let Err(errno) = done {
            ctx.events.fail(Failure::new(Operation::Remove, path).errno(errno));
        } else {
            ctx.events.removed(|| path);
        }
    }
}

fn remove_if_dead(dir: &OwnedFd, name: &OsStr, process: u32) -> Option<Result<()>> {
    let stat = at::stat(dir, name, Follow::No).ok().filter(|stat| !stat.is_dir())?;
    let mut held = None;
    // A new hard link, symbolic link or special file cannot be locked. It has its temporary name between two
    // calls only.
    if (!stat.is_regular() || stat.nlink > 1) && proc::is_alive(process) {
        return None;
    }
    if stat.is_regular() {
        // Hold the lock until the name is gone, so that no other process begins to use the file.
        let fd = held.insert(at::open_write(dir, name, Follow::No, false).ok()?);
        let still = at::fstat(&*fd).is_ok_and(|now| at::is_still(&*fd, &now, &stat));
        if !still || io::lock(&*fd).is_err() {
            return None;
        }
    }
    match at::unlink(dir, name) {
        // The file belongs to another user, or another sweep removed it.
        Err(Errno::NOENT | Errno::PERM | Errno::ACCESS) => None,
        done => Some(done),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_always_taken_are_an_error() {
        let mut tried = 0;
        let answer = make(OsStr::new("d/f"), |name| -> Result<()> {
            tried += 1;
            assert!(name.to_str().is_some_and(|name| name.starts_with("d/.zcp-")));
            Err(Errno::EXIST)
        });
        assert_eq!((answer.err(), tried), (Some(Errno::EXIST), backup::TRIES));
    }

    #[test]
    fn names_of_another_process_of_the_same_number_are_not_ours() {
        let is_ours = |serial: u64| is_made_by(OsStr::new(&format!(".zcp-12-{serial}")), 12, 1 << 50);
        assert!(is_ours(1 << 50) && is_ours((1 << 50) + 77));
        assert!(!is_ours((1 << 50) - 1) && !is_ours(1 << 51) && !is_ours(0));
        assert!(!is_made_by(OsStr::new(".zcp-13-77"), 12, 77));
    }

    #[test]
    fn only_our_names_are_ours() {
        let process = |name: &str| maker(OsStr::new(name));
        assert_eq!(process(".zcp-12-0"), Some((12, 0)));
        for other in
            [".zcp-12", ".zcp-12-", ".zcp--1", "zcp-12-0", ".zcp-12-0~", ".zcp-x-1", ".zcp-1-2-3", ".zcp-job-12"]
        {
            assert_eq!(process(other), None, "{other}");
        }
    }
}
