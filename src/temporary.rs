//! Temporary names: what something is called until it is complete.
//!
//! There is one scheme for all of them, `.zcp-PID-N` in the directory of the final name, so that
//! whatever a run that was killed left behind can be found. A regular file is locked (flock(2)) as
//! long as it has such a name: of one that nobody holds, the program is dead.

use crate::backup;
use crate::sys::at::{self, Follow};
use crate::sys::{Errno, Result, io, proc};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Makes something under a new temporary name beside `name`, and gives that name.
///
/// # Errors
/// Those of `make`, which is called again with another name after EEXIST.
pub fn make<T>(name: &OsStr, mut make: impl FnMut(&OsStr) -> Result<T>) -> Result<(OsString, T)> {
    static SERIAL: AtomicU64 = AtomicU64::new(0);
    let (parent, _) = backup::split(name);
    for _ in 0..backup::TRIES {
        let serial = first_serial() + SERIAL.fetch_add(1, Ordering::Relaxed);
        let mut temporary = OsString::from(parent);
        temporary.push(format!(".zcp-{}-{serial}", std::process::id()));
        match make(&temporary) {
            Err(Errno::EXIST) => {}
            answer => return answer.map(|made| (temporary, made)),
        }
    }
    Err(Errno::EXIST)
}

/// The number in the first temporary name of this process: nobody can guess it, and so take the names first.
pub fn first_serial() -> u64 {
    static FIRST: OnceLock<u64> = OnceLock::new();
    // Without the highest bits, so that no process gets to the end of the numbers.
    *FIRST.get_or_init(|| u64::try_from(proc::random() >> 66).unwrap_or(0))
}

/// The number of the process that made a temporary name, and that of the name; `None` if it is not one.
pub fn maker(name: &OsStr) -> Option<(u32, u64)> {
    let (process, serial) = name.to_str()?.strip_prefix(".zcp-")?.split_once('-')?;
    Some((process.parse().ok()?, serial.parse().ok()?))
}

/// Whether a temporary name was made by this process, whose first one has this number.
pub fn is_made_by(name: &OsStr, process: u32, first_serial: u64) -> bool {
    const MOST: u64 = 1 << 40;
    let is_in_range = |serial: u64| serial.checked_sub(first_serial).is_some_and(|count| count < MOST);
    maker(name).is_some_and(|(maker, serial)| maker == process && is_in_range(serial))
}

/// Creates a regular file under a new temporary name beside `name`, locked and open for writing.
///
/// # Errors
/// Those of open(2).
pub fn create(dir: BorrowedFd<'_>, name: &OsStr, mode: u32) -> Result<(OsString, OwnedFd)> {
    make(name, |temporary| {
        let fd = at::create(dir, temporary, mode, true)?;
        match io::lock(&fd) {
            // Who sweeps held it before we did, and by now it has no name any more.
            Ok(()) if has_lost_its_name(&fd, dir, temporary) => Err(Errno::EXIST),
            Err(Errno::WOULDBLOCK) => {
                let _ = at::unlink(dir, temporary);
                Err(Errno::EXIST)
            }
            // Nobody can sweep by locks here.
            _ => Ok(fd),
        }
    })
}

/// Whether a new file has been removed. A link count of 0 alone does not say so: some file systems count none.
fn has_lost_its_name(fd: &OwnedFd, dir: BorrowedFd<'_>, name: &OsStr) -> bool {
    match at::fstat(fd) {
        Ok(stat) if stat.nlink == 0 => !at::stat(dir, name, Follow::No).is_ok_and(|now| now.id() == stat.id()),
        _ => false,
    }
}

/// Puts something new under a name that is taken, so that the name is never missing.
///
/// # Errors
/// Those of `make` and of rename(2).
pub fn replace(dir: BorrowedFd<'_>, name: &OsStr, mut make_it: impl FnMut(&OsStr) -> Result<()>) -> Result<()> {
    for _ in 0..backup::TRIES {
        let (temporary, ()) = make(name, &mut make_it)?;
        let renamed = at::rename(dir, &temporary, dir, name);
        // Where both are names of one inode already, rename(2) leaves both.
        let removed = at::unlink(dir, &temporary);
        // On another machine, somebody may have taken the temporary name for a left-over.
        if renamed != Err(Errno::NOENT) || removed != Err(Errno::NOENT) {
            return renamed;
        }
    }
    Err(Errno::NOENT)
}

/// Removes what runs that are dead left under temporary names in a directory, and gives those names,
/// each with what came of it. Whatever cannot be shown to be left over stays.
pub fn sweep(dir: impl AsFd, directory: &OsStr) -> Vec<(OsString, Result<()>)> {
    let Ok(names) = at::names(&dir, directory) else { return Vec::new() };
    let mut ours = names.into_iter().filter_map(|name| Some((maker(&name)?.0, name))).peekable();
    if ours.peek().is_none() {
        return Vec::new();
    }
    let Ok(dir) = at::open_dir(&dir, directory, Follow::Yes) else { return Vec::new() };
    ours.filter_map(|(process, name)| remove_if_dead(&dir, &name, process).map(|done| (name, done))).collect()
}

fn remove_if_dead(dir: &OwnedFd, name: &OsStr, process: u32) -> Option<Result<()>> {
    let stat = at::stat(dir, name, Follow::No).ok().filter(|stat| !stat.is_dir())?;
    let mut held = None;
    // A further name of a file, a symbolic link or a special file has its temporary name between two calls only,
    // and cannot be locked.
    if (!stat.is_regular() || stat.nlink > 1) && proc::is_alive(process) {
        return None;
    }
    if stat.is_regular() {
        // The lock is held until the name is gone, so that nobody starts to use it.
        let fd = held.insert(at::open_write(dir, name, Follow::No, false).ok()?);
        let still = at::fstat(&*fd).is_ok_and(|now| at::is_still(&*fd, &now, &stat));
        if !still || io::lock(&*fd).is_err() {
            return None;
        }
    }
    match at::unlink(dir, name) {
        // Another sweeper's, or another user's.
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
