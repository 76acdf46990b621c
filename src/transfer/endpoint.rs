//! One side of a copy: the form of the file, whether it has offsets, and whether a call on it may block.

use super::{Call, Tally};
use crate::sys::proc::StopFlag;
use crate::sys::{Errno, Kind, Result, Stat, io};
use rustix::net::{SocketType, sockopt};
use std::cell::Cell;
use std::os::fd::BorrowedFd;

/// The kind of a file, as far as the system calls differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A regular file or a block device: in the page cache, without a peer to wait for.
    File,
    /// A pipe or a fifo: holds references to pages.
    Pipe,
    Socket,
    /// A socket that keeps messages apart (SOCK_SEQPACKET, SOCK_DGRAM): a read that is too short loses the rest of
    /// a message.
    Messages,
    /// /dev/null, which never blocks.
    Null,
    /// A terminal or another character device.
    Device,
}

impl Form {
    pub(super) fn of(stat: &Stat) -> Form {
        match stat.kind() {
            Kind::Fifo => Form::Pipe,
            Kind::Socket => Form::Socket,
            Kind::CharacterDevice if stat.is_null_device() => Form::Null,
            Kind::CharacterDevice => Form::Device,
            _ => Form::File,
        }
    }

    /// Returns the form of an open file; distinguishes the types of sockets.
    pub(super) fn of_open(stat: &Stat, fd: BorrowedFd<'_>) -> Form {
        match Form::of(stat) {
            Form::Socket if sockopt::socket_type(fd).is_ok_and(|kind| kind != SocketType::STREAM) => {
                Form::Messages
            }
            form => form,
        }
    }
}

/// One side of a copy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Endpoint<'a> {
    pub(super) fd: BorrowedFd<'a>,
    pub(super) form: Form,
    /// Whether calls use explicit offsets; otherwise they use the descriptor's position. Shared by all steps of a
    /// copy, because some files reveal only when they are read or written that they have no offsets.
    pub(super) has_offsets: &'a Cell<bool>,
    /// Whether read and write bypass the page cache.
    pub(super) uncached: bool,
    pub(super) stop: &'a StopFlag,
}

impl Endpoint<'_> {
    pub(super) fn may_block(&self) -> bool {
        !matches!(self.form, Form::File | Form::Null)
    }

    /// Waits until the file is readable or writable. This is also done for a blocking descriptor: a signal that
    /// requests a stop ends poll(2), but the kernel may restart a blocked read or write (signal(7)). O_NONBLOCK
    /// cannot be set, because other processes share the open file. EINTR if a stop was requested.
    pub(super) fn wait(&self, write: bool, tally: &mut Tally) -> Result<()> {
        loop {
            if self.stop.is_raised() {
                return Err(Errno::INTR);
            }
            let mut interruptions = std::mem::take(&mut tally.interruptions);
            let answer = tally.call(Call::Poll, || io::poll_a_while(self.fd, write, &mut interruptions));
            tally.interruptions = interruptions;
            if answer? {
                return Ok(());
            }
        }
    }

    pub(super) fn wait_if_needed(&self, write: bool, tally: &mut Tally) -> Result<()> {
        if self.may_block() { self.wait(write, tally) } else { Ok(()) }
    }

    pub(super) fn has_offsets(&self) -> bool {
        self.has_offsets.get()
    }

    /// Returns whether the file ends at `at`: pread of one byte returns 0. False after an error.
    pub(super) fn ends_at(&self, at: u64, tally: &mut Tally) -> bool {
        loop {
            match tally.call(Call::Pread, || rustix::io::pread(self.fd, &mut [0], at)) {
                Err(Errno::INTR) if tally.interruptions.may_retry() => {}
                answer => return answer == Ok(0),
            }
        }
    }

    /// After `refusal` of a call at offset `at`: makes later calls use the descriptor's position, if that is `at` or
    /// can be set to it (SEEK_DATA may have moved it). Fails with `refusal` if the position is not known to be `at`.
    pub(super) fn give_up_offsets(&self, at: u64, refusal: Errno) -> Result<()> {
        let stands_there = match io::seek_to(self.fd, at) {
            Ok(position) => position == at,
            // The position cannot be set, so it is still at the beginning.
            Err(Errno::SPIPE | Errno::INVAL) => at == 0,
            Err(errno) => return Err(errno),
        };
        if !stands_there {
            return Err(refusal);
        }
        self.has_offsets.set(false);
        Ok(())
    }

    /// Returns the offset to pass to a call; `None` means the descriptor's position.
    pub(super) fn offset<'o>(&self, at: &'o mut u64) -> Option<&'o mut u64> {
        self.has_offsets().then_some(at)
    }
}

/// Whether the two sides of a copy have offsets.
#[derive(Debug)]
pub(super) struct Offsets {
    pub(super) source: Cell<bool>,
    pub(super) destination: Cell<bool>,
}
