//! Descriptors that the process was started with, and the names that they have.
//!
//! Opening such a name makes a new open file where it works at all (`/proc/self/fd`, proc_pid_fd(5)):
//! it does not for a socket, it fails for what belongs to another user, and it forgets the position
//! and O_APPEND. So the descriptor itself is taken.

use super::at::{self, CWD};
use super::{Errno, Result, start};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use rustix::fs::OFlags;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType, recvmsg,
    socketpair,
};
use std::ffi::{OsStr, OsString};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

/// The number of the descriptor that a name means. Symbolic links to such a name are looked through
/// if `links` says so.
pub fn number(name: &OsStr, links: bool) -> Option<RawFd> {
    let mut name = name.to_owned();
    // As many links as path_resolution(7) allows.
    for _ in 0..40 {
        if let Some(number) = number_in(&name) {
            return Some(number);
        }
        name = Some(&name).filter(|_| links).and_then(|name| resolved(name))?;
    }
    None
}

/// Where a symbolic link leads, one step.
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

/// The descriptor of a number, duplicated: position and flags stay shared with whoever else has it. `None`
/// where it is not open for what is wanted.
///
/// # Errors
/// EBADF where there is none.
pub fn take(number: RawFd, write: bool) -> Result<Option<OwnedFd>> {
    if start::was_closed(number) {
        return Err(Errno::BADF);
    }
    let fd = duplicate(number)?;
    let flags = rustix::fs::fcntl_getfl(&fd)?;
    let access = flags & OFlags::RWMODE;
    let wanted = if write { OFlags::WRONLY } else { OFlags::RDONLY };
    let suits = access == wanted || access == OFlags::RDWR;
    Ok(Some(fd).filter(|_| suits && !flags.contains(OFlags::PATH)))
}

/// dup(2) of a number, without taking the number's word that it is a descriptor: it is sent through a
/// socket to ourselves, where the kernel looks it up (unix(7), `SCM_RIGHTS`).
fn duplicate(number: RawFd) -> Result<OwnedFd> {
    let (out, back) = socketpair(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    let (byte, rights) = ([IoSlice::new(b".")], [ControlMessage::ScmRights(&[number])]);
    sendmsg::<()>(out.as_raw_fd(), &byte, &rights, MsgFlags::empty(), None)
        .map_err(|errno| Errno::from_raw_os_error(errno as i32))?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    recvmsg(&back, &mut [IoSliceMut::new(&mut [0])], &mut rights, RecvFlags::CMSG_CLOEXEC)?;
    let mut messages = rights.drain();
    let received = messages.find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    received.ok_or(Errno::BADF)
}

/// Whether what is written to the descriptor begins an empty file.
///
/// # Errors
/// Those of fcntl(2), fstat(2) and lseek(2): ESPIPE for what has no position.
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
