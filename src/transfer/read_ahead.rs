//! Reads pieces of copies from the disk before they are compared, many at the same time.
//!
//! A piece that is not there, because the kernel does not permit io_uring(7) or because reading it failed, is read again
//! by the caller, who reports the reason.

use super::small::TOGETHER;
use crate::sys::memory;
use crate::sys::raw::{ReadRing, RingRead};
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};

/// The most bytes of a piece.
pub(super) const PIECE: usize = 512 << 10;
/// The most pieces of a large file that are read at the same time. An interruption waits for them.
const OF_LARGE: usize = 4;

/// The bytes of all reads that the process has begun.
static BYTES: AtomicU64 = AtomicU64::new(0);

/// Returns the bytes of all reads that the process has begun. More workers would not read them sooner.
pub(crate) fn bytes() -> u64 {
    BYTES.load(Ordering::Relaxed)
}

/// The pieces that one worker reads ahead.
#[derive(Default)]
pub(super) struct ReadAhead {
    ring: Option<ReadRing>,
    is_refused: bool,
}

impl ReadAhead {
    /// Begins to read small files: pairs of an open file and the bytes to read. Each has the slot of its place.
    pub(super) fn begin_files(&mut self, files: &[Option<(BorrowedFd<'_>, usize)>]) {
        (0..TOGETHER).for_each(|slot| _ = self.take(slot)); // of other files
        let read = |(slot, file): (usize, &Option<_>)| file.map(|(fd, len)| RingRead { slot, fd, at: 0, len });
        self.begin(&files.iter().take(TOGETHER).enumerate().filter_map(read).collect::<Vec<_>>());
    }

    /// Begins to read a piece of a large file.
    pub(super) fn begin_piece(&mut self, fd: BorrowedFd<'_>, at: u64, len: usize) {
        self.begin(&[RingRead { slot: slot_at(at), fd, at, len }]);
    }

    fn begin(&mut self, reads: &[RingRead<'_>]) {
        if self.ring.is_none() && !self.is_refused {
            let slots = (TOGETHER + OF_LARGE) as u32;
            self.ring = if memory::is_limited() { None } else { ReadRing::new(slots, PIECE).ok() };
            self.is_refused = self.ring.is_none();
        }
        if let Some(ring) = &mut self.ring {
            BYTES.fetch_add(reads.iter().map(|read| read.len as u64).sum(), Ordering::Relaxed);
            ring.begin(reads);
        }
    }

    /// Returns the bytes of a slot; `None` if they have to be read now. Small files have the slots below [`TOGETHER`].
    pub(super) fn take(&mut self, slot: usize) -> Option<&[u8]> {
        self.ring.as_mut()?.take(slot)
    }

    /// Returns the bytes of the last piece that began at an offset; `None` if they have to be read now.
    pub(super) fn take_piece(&mut self, at: u64) -> Option<&[u8]> {
        self.take(slot_at(at))
    }

    /// Returns the end of the pieces of a large file to read ahead while the one at an offset is compared.
    pub(super) fn end(at: u64) -> u64 {
        at.saturating_add((OF_LARGE * PIECE) as u64)
    }
}

fn slot_at(at: u64) -> usize {
    TOGETHER + (at / PIECE as u64 % OF_LARGE as u64) as usize
}
