//! One side of a copy, and what a call on it has to mind: whether it has offsets, and whether it may
//! keep one waiting.

use super::{Call, Tally};
use crate::sys::proc::StopFlag;
use crate::sys::{Errno, Kind, Result, Stat, io};
use rustix::net::{SocketType, sockopt};
use std::cell::Cell;
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
pub(super) struct Endpoint<'a> {
    pub(super) fd: BorrowedFd<'a>,
    pub(super) form: Form,
    /// Whether bytes have offsets; else they are read and written where the descriptor stands. It holds for the
    /// whole copy: some files say only when they are read or written that they have none.
    pub(super) has_offsets: &'a Cell<bool>,
    /// Whether its bytes pass the page cache by.
    pub(super) uncached: bool,
    /// Ends a wait.
    pub(super) stop: &'a StopFlag,
}

impl Endpoint<'_> {
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
            let mut interruptions = std::mem::take(&mut tally.interruptions);
            let answer = tally.call(Call::Poll, || io::poll_a_while(self.fd, write, &mut interruptions));
            tally.interruptions = interruptions;
            if answer? {
                return Ok(());
            }
        }
    }

    /// The same, where a call may have to wait at all.
    pub(super) fn wait_if_needed(&self, write: bool, tally: &mut Tally) -> Result<()> {
        if self.may_block() { self.wait(write, tally) } else { Ok(()) }
    }

    /// Whether bytes have offsets.
    pub(super) fn has_offsets(&self) -> bool {
        self.has_offsets.get()
    }

    /// Whether a byte can be read at an offset: where no bytes may be taken away, but a path has to know whether it
    /// has all. `false` also where the question cannot be answered.
    pub(super) fn ends_at(&self, at: u64, tally: &mut Tally) -> bool {
        loop {
            match tally.call(Call::Pread, || rustix::io::pread(self.fd, &mut [0], at)) {
                Err(Errno::INTR) if tally.interruptions.may_retry() => {}
                answer => return answer == Ok(0),
            }
        }
    }

    /// After `refusal` of a call at the offset `at`: from now on bytes are read and written where the descriptor
    /// stands, if that is at `at` (SEEK_DATA may have moved it).
    ///
    /// # Errors
    /// `refusal`, if the descriptor cannot be said to stand there.
    pub(super) fn give_up_offsets(&self, at: u64, refusal: Errno) -> Result<()> {
        let stands_there = match io::seek_to(self.fd, at) {
            Ok(position) => position == at,
            // It cannot be moved, so nothing has moved it: it is at its beginning.
            Err(Errno::SPIPE | Errno::INVAL) => at == 0,
            Err(errno) => return Err(errno),
        };
        if !stands_there {
            return Err(refusal);
        }
        self.has_offsets.set(false);
        Ok(())
    }

    /// The offset to hand to a call: `None` where the descriptor's own position is meant.
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

impl Offsets {
    pub(super) fn new(source: bool, destination: bool) -> Offsets {
        Offsets { source: Cell::new(source), destination: Cell::new(destination) }
    }
}
