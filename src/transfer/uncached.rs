//! `--cache=drop` by the kernel: RWF_DONTCACHE of preadv2(2) and pwritev2(2), from Linux 6.14.
//!
//! The kernel drops the pages of such a read once they have been read, and starts writeback of the pages of such a
//! write at once and drops them afterwards. Pages that were cached before stay (FGP_DONTCACHE in
//! include/linux/pagemap.h). The file system must support it (FOP_DONTCACHE: ext4, xfs and others), and only read
//! and write have the flag. For small files this is faster than dropping pages afterwards, because nothing waits
//! for the disk. For large files it is slower, because splice copies each byte only once (`tests/bench/cache`).
//! `evict.rs` handles those, and all files where the flag is not supported.

use super::account::{Call, Tally};
use super::ladder::Transfer;
use super::route::FsKind;
use super::{Route, Strategy};
use crate::sys::interrupted::retry_on_intr;
use crate::sys::{Result, io};
use rustix::io::ReadWriteFlags;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::BorrowedFd;

/// `RWF_DONTCACHE` of linux/fs.h.
const DONTCACHE: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x80);

pub(super) fn read(fd: BorrowedFd<'_>, room: &mut [u8], at: u64, tally: &mut Tally) -> Result<usize> {
    tally.call(Call::Preadv2, || rustix::io::preadv2(fd, &mut [IoSliceMut::new(room)], at, DONTCACHE))
}

pub(super) fn write(fd: BorrowedFd<'_>, bytes: &[u8], at: u64, tally: &mut Tally) -> Result<usize> {
    tally.call(Call::Pwritev2, || rustix::io::pwritev2(fd, &[IoSlice::new(bytes)], at, DONTCACHE))
}

/// The sides of a copy that bypass the page cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sides {
    pub(super) source: bool,
    pub(super) destination: bool,
}

impl Sides {
    pub(super) fn any(self) -> bool {
        self.source || self.destination
    }
}

#[derive(Debug, Default)]
pub(super) struct TriedPairs(Vec<((u64, u64), Sides)>);

impl TriedPairs {
    /// Returns the sides that bypass the page cache: all that are on a disk, or none. A trial with the first byte of the
    /// first non-empty file decides; the destination is empty before and after the trial.
    pub(super) fn sides(&mut self, t: &Transfer<'_>, kinds: [FsKind; 2], tally: &mut Tally) -> Sides {
        let pair = (t.stat.dev, t.dst_dev);
        if let Some((_, sides)) = self.0.iter().find(|(known, _)| *known == pair) {
            return *sides;
        }
        if t.stat.size == 0 {
            return Sides::default();
        }
        // A tmpfs exists only in the page cache.
        let [source, destination] = kinds.map(|kind| kind != FsKind::Tmpfs);
        let wanted = Sides { source, destination };
        let may_be = kinds.into_iter().all(FsKind::is_local);
        let can = may_be && retry_on_intr(|| try_first_byte(t, wanted, tally)).is_ok();
        let sides = if can { wanted } else { Sides::default() };
        self.0.push((pair, sides));
        sides
    }
}

fn try_first_byte(t: &Transfer<'_>, wanted: Sides, tally: &mut Tally) -> Result<()> {
    let mut byte = [0];
    if wanted.source {
        read(t.src, &mut byte, 0, tally)?;
    }
    if wanted.destination {
        write(t.dst, &byte, 0, tally)?;
        io::truncate(t.dst, 0)?;
    }
    Ok(())
}

/// Moves read/write to the front of a route, after reflink.
pub(super) fn route(mut route: Route) -> Route {
    let others = route.strategies.len();
    route.strategies.retain(|strategy| *strategy != Strategy::ReadWrite);
    if route.strategies.len() < others {
        let at = usize::from(route.strategies.first() == Some(&Strategy::Reflink));
        route.strategies.insert(at, Strategy::ReadWrite);
        route.why = "--cache=drop: read and write can pass the page cache by";
    }
    route
}
