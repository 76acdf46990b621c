//! One side of a copy, and what a call on it has to mind: whether it has offsets, and whether it may
//! keep one waiting.

use super::{Call, Fault, Side, Tally};
use crate::sys::proc::StopFlag;
use crate::sys::{Errno, Kind, Result, Stat, io};
use rustix::net::{SocketType, sockopt};
use std::os::fd::BorrowedFd;

/// What kind of thing holds the bytes, as far as the calls differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A regular file or a block device: pages of the page cache, never a wait for a peer.
    File,
    /// A pipe or a fifo: holds references to pages.
    Pipe,
    /// A socket through which bytes flow.
    Socket,
    /// A socket that keeps messages apart (SOCK_SEQPACKET, SOCK_DGRAM): what a call does not take of one
    /// is lost.
    Messages,
    /// /dev/null: takes anything at once.
    Null,
    /// A terminal or another character device.
    Device,
}

impl Form {
    pub(super) fn of(stat: &Stat) -> Form {
        match stat.kind() {
            Kind::Fifo => Form::Pipe,
            Kind::Socket => Form::Socket,
            Kind::CharDevice if stat.is_null_device() => Form::Null,
            Kind::CharDevice => Form::Device,
            _ => Form::File,
        }
    }

    /// The same of an open file, which tells sockets apart.
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
pub(super) struct End<'a> {
    pub(super) fd: BorrowedFd<'a>,
    pub(super) form: Form,
    /// Whether bytes have offsets; else they are read and written where the descriptor stands.
    pub(super) seekable: bool,
    /// Whether its bytes pass the page cache by.
    pub(super) uncached: bool,
    /// Ends a wait.
    pub(super) stop: &'a StopFlag,
}

impl End<'_> {
    /// Whether a call may have to wait for whoever is at the other end.
    pub(super) fn may_block(&self) -> bool {
        !matches!(self.form, Form::File | Form::Null)
    }

    /// Waits until there is something to read, or room to write. A descriptor that blocks is waited
    /// for as well: a wait in poll(2) ends when a signal asks for the end, one inside the call may be
    /// restarted by the kernel (signal(7)), and the descriptor's flags belong to others too.
    ///
    /// # Errors
    /// EINTR when a signal asked for the end; those of poll(2).
    pub(super) fn wait(&self, write: bool, tally: &mut Tally) -> Result<()> {
        loop {
            if self.stop.is_raised() {
                return Err(Errno::INTR);
            }
            if tally.call(Call::Poll, || io::poll_a_while(self.fd, write))? {
                return Ok(());
            }
        }
    }

    /// The same, where a call may have to wait at all.
    pub(super) fn wait_if_needed(&self, write: bool, tally: &mut Tally) -> Result<()> {
        if self.may_block() { self.wait(write, tally) } else { Ok(()) }
    }

    /// Whether the file ends at an offset: only `read` knows that, whatever other calls gave.
    pub(super) fn is_at_end(&self, at: u64, tally: &mut Tally) -> std::result::Result<bool, Fault> {
        let mut byte = [0];
        loop {
            match tally.call(Call::Pread, || rustix::io::pread(self.fd, &mut byte, at)) {
                Ok(n) => return Ok(n == 0),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Fault::at(Side::Source, errno)),
            }
        }
    }

    /// From now on bytes are read and written where the descriptor stands. If it stands anywhere (SEEK_DATA may
    /// have moved it), that has to be at `at`.
    ///
    /// # Errors
    /// Those of lseek(2), but for ESPIPE: what has no offsets has no position either.
    pub(super) fn give_up_offsets(&mut self, at: u64) -> Result<()> {
        self.seekable = false;
        match io::seek_to(self.fd, at) {
            Ok(_) | Err(Errno::SPIPE) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// The offset to hand to a call: `None` where the descriptor's own position is meant.
    pub(super) fn offset<'o>(&self, at: &'o mut u64) -> Option<&'o mut u64> {
        self.seekable.then_some(at)
    }
}
