//! Inherited descriptors, and names such as `/dev/stdin` that refer to them.
//!
//! Opening such a name creates a new open file (`/proc/self/fd`, proc_pid_fd(5)): this fails for a socket and for
//! another user's file, and loses the position and O_APPEND. Therefore the descriptor itself is duplicated.

use super::at::{self, CWD};
use super::{Errno, Result, raw, start};
use rustix::fs::OFlags;
use std::ffi::{OsStr, OsString};
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

/// Returns the number of the descriptor that `name` refers to. Symbolic links to such a name are followed if
/// `links` is set.
pub fn number(name: &OsStr, links: bool) -> Option<RawFd> {
    let mut name = name.to_owned();
    for _ in 0..at::MOST_LINKS {
        if let Some(number) = number_in(&name) {
            return Some(number);
        }
        name = Some(&name).filter(|_| links).and_then(|name| resolved(name))?;
    }
    None
}

/// Returns the path that a symbolic link leads to, one step.
fn resolved(name: &OsStr) -> Option<OsString> {
    let target = at::read_link(CWD, name).ok()?;
    Some(std::path::Path::new(name).parent()?.join(target).into_os_string())
}

fn number_in(name: &OsStr) -> Option<RawFd> {
    let name = std::str::from_utf8(name.as_bytes()).ok()?;
    let digits = match name {
        "/dev/stdin" => "0",
        "/dev/stdout" => "1",
        "/dev/stderr" => "2",
        _ => ["/dev/fd/", "/proc/self/fd/", "/proc/thread-self/fd/"]
            .iter()
            .find_map(|dir| name.strip_prefix(dir))?,
    };
    // parse() would take a sign as well.
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

/// Duplicates a descriptor; position and flags stay shared with other holders of the open file. `None` if it is not
/// open for writing, or for reading unless `write` is set. EBADF if the number is not open.
pub fn take(number: RawFd, write: bool) -> Result<Option<OwnedFd>> {
    if start::was_closed(number) {
        return Err(Errno::BADF);
    }
    let fd = raw::duplicate(number)?;
    let flags = rustix::fs::fcntl_getfl(&fd)?;
    let access = flags & OFlags::RWMODE;
    let wanted = if write { OFlags::WRONLY } else { OFlags::RDONLY };
    let suits = access == wanted || access == OFlags::RDWR;
    Ok(Some(fd).filter(|_| suits && !flags.contains(OFlags::PATH)))
}

/// Returns whether the descriptor writes at the start of an empty file. ESPIPE for what has no position.
pub fn is_fresh(fd: &OwnedFd) -> Result<bool> {
    let appends = rustix::fs::fcntl_getfl(fd)?.contains(OFlags::APPEND);
    let empty = at::fstat(fd)?.size == 0;
    Ok(!appends && empty && rustix::fs::tell(fd)? == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_descriptors() {
        let number = |name: &str| number(OsStr::new(name), false);
        assert_eq!(number("/dev/stdin"), Some(0));
        assert_eq!(number("/dev/fd/12"), Some(12));
        assert_eq!(number("/proc/self/fd/1"), Some(1));
        for name in ["/dev/fd/", "/dev/fd/+1", "/dev/fd/1/", "/dev/fd/99999999999", "/proc/1/fd/1", "stdout", ""] {
            assert_eq!(number(name), None, "{name}");
        }
    }
}
