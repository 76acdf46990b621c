//! The routes: the strategies for a pair of file systems or streams and a size, in order, and the reason.
//!
//! The routes of local file systems and streams were measured (examples/zero_copy.rs, tests/bench); those of servers
//! were not. Correctness does not depend on them: all but those of `--reflink=always` and `--strategy` end with read
//! and write.

use super::Strategy;
use crate::sys::Stat;
use crate::sys::stat::is_on_block_device;

named! {
    /// The kind of a source or destination: a file system whose behaviour is known well enough for a choice, or no
    /// file.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub enum FsKind {
        /// ext2, ext3 and ext4 share a magic number.
        Ext4 = "ext4",
        Xfs = "xfs",
        Btrfs = "btrfs",
        /// tmpfs, also /dev/shm.
        Tmpfs = "tmpfs",
        /// Data on a server: NFS, SMB, 9P.
        Remote = "remote",
        /// Data of a program, which may not support all operations of a disk.
        Fuse = "fuse",
        /// Any other file system, including /proc and /sys: sizes are not trusted.
        Other = "other",
        Pipe = "pipe",
        Socket = "socket",
        Device = "device",
    }
}

/// FUSE_SUPER_MAGIC.
const FUSE: u64 = 0x6573_5546;
const TMPFS: u64 = 0x0102_1994;
const BTRFS: u64 = 0x9123_683E;
const NFS: u64 = 0x6969;
/// File systems with unnamed devices whose syncfs(2) reaches the disk and reports errors: tmpfs, btrfs, NFS, Ceph,
/// ZFS, bcachefs, UBIFS.
const REACHED_BY_SYNCFS: [u64; 7] = [TMPFS, BTRFS, NFS, 0x00C3_6400, 0x2FC1_2FC1, 0xCA45_1A4E, 0x2405_1905];

impl FsKind {
    /// Returns the kind for `f_type` of statfs(2); the numbers are those of linux/magic.h.
    pub fn from_magic(magic: u64) -> FsKind {
        match magic {
            0xEF53 => FsKind::Ext4,
            0x5846_5342 => FsKind::Xfs,
            BTRFS => FsKind::Btrfs,
            TMPFS => FsKind::Tmpfs,
            NFS | 0xFF53_4D42 | 0xFE53_4D42 | 0x517B => FsKind::Remote,
            FUSE => FsKind::Fuse,
            _ => FsKind::Other,
        }
    }

    /// Returns whether the file system is known to be used by this machine alone.
    pub fn is_local(self) -> bool {
        matches!(self, FsKind::Ext4 | FsKind::Xfs | FsKind::Btrfs | FsKind::Tmpfs)
    }

    /// Returns whether syncfs(2) is known to write all data of a file system with this `f_type` and device
    /// number, and to report errors. It does not reach a FUSE server, except for fuseblk and virtiofs, which have
    /// the same `f_type`. CIFS, 9p and overlayfs do not pass on the call, or not its error.
    pub fn is_reached_by_syncfs(magic: u64, dev: u64) -> bool {
        magic != FUSE && (is_on_block_device(dev) || REACHED_BY_SYNCFS.contains(&magic))
    }

    /// Returns whether close(2) of a written file may report an error. On a disk of this machine it does not: the
    /// data is in the page cache, and only a sync reports errors.
    pub fn answers_at_close(self, dev: u64) -> bool {
        !self.is_local() && (matches!(self, FsKind::Remote | FsKind::Fuse) || !is_on_block_device(dev))
    }

    /// Returns whether a file has the same inode number on each machine. With FUSE each mount may have other
    /// numbers.
    pub fn has_lasting_inodes(magic: u64) -> bool {
        magic != FUSE
    }

    /// Returns whether the data of a regular file ends at `st_size`.
    pub fn sizes_are_true(self) -> bool {
        self.is_local()
    }

    /// Returns whether files may share blocks. An unknown file system counts as able to.
    fn may_clone(self) -> bool {
        !matches!(self, FsKind::Ext4 | FsKind::Tmpfs)
    }
}

named! {
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub enum SizeClass {
        /// Up to [`SMALL`] bytes: one call moves the file, and its overhead dominates.
        Small = "up to 64 KiB",
        /// Less than [`LARGE`] bytes.
        Medium = "under 256 KiB",
        /// [`LARGE`] bytes and more: the size of page cache folios dominates.
        Large = "256 KiB and more",
        /// A stream on either side, of any length.
        Any = "any length",
    }
}

/// The most bytes of a file that one call moves. sendfile and copy_file_range work in chunks of this size inside
/// the kernel (one default pipe), so larger files are faster through a pipe of 1 MiB.
pub(crate) const SMALL: u64 = 64 << 10;
/// The least bytes for which preallocation pays on ext4. Two threads, 64 MiB in files of one size, CPU time with
/// and without it: 128 KiB 36 and 38 ms, 256 KiB 22 and 27, 512 KiB 18 and 24. It also pays for a file that is
/// overwritten (256 MiB: 53 ms and 104).
pub(crate) const LARGE: u64 = 256 << 10;

impl SizeClass {
    /// Returns the least and the largest number of bytes of the class, if there is a largest.
    pub fn limits(self) -> (u64, Option<u64>) {
        match self {
            SizeClass::Small => (0, Some(SMALL)),
            SizeClass::Medium => (SMALL + 1, Some(LARGE - 1)),
            SizeClass::Large => (LARGE, None),
            SizeClass::Any => (0, None),
        }
    }

    pub fn of(bytes: u64) -> SizeClass {
        match bytes {
            ..=SMALL => SizeClass::Small,
            LARGE.. => SizeClass::Large,
            _ => SizeClass::Medium,
        }
    }
}

/// Whether blocks may be shared with the source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cloning {
    /// `--reflink=auto`: where the file system supports it.
    #[default]
    Try,
    /// `--reflink=always`: a file whose blocks cannot be shared fails.
    Require,
    /// `--reflink=never`: neither by reflink nor by a copy_file_range that may clone.
    Forbid,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Case {
    pub source: FsKind,
    pub destination: FsKind,
    pub same_device: bool,
    pub size: SizeClass,
    /// Whether the destination existed before and has been truncated.
    pub overwritten: bool,
    /// Whether read and write bypass the page cache (`--cache=drop`).
    pub uncached: bool,
}

impl Case {
    pub fn new(source: FsKind, destination: FsKind, stat: &Stat, destination_dev: u64, overwritten: bool) -> Case {
        let same_device = stat.dev == destination_dev;
        Case { source, destination, same_device, size: SizeClass::of(stat.size), overwritten, uncached: false }
    }

    pub(super) fn small((source, destination): (FsKind, FsKind), same_device: bool) -> Case {
        let (size, overwritten, uncached) = (SizeClass::Small, false, false);
        Case { source, destination, same_device, size, overwritten, uncached }
    }

    pub(super) fn stream(source: FsKind, destination: FsKind) -> Case {
        let (same_device, overwritten, uncached) = (false, false, false);
        Case { source, destination, same_device, size: SizeClass::Any, overwritten, uncached }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub strategies: Vec<Strategy>,
    /// Whether the destination's blocks are allocated before the first byte is written (fallocate(2)).
    pub preallocate: bool,
    /// The reason for this order, as shown to the user.
    pub why: &'static str,
}

/// Returns the route that measured best for the case, followed by the rest of the ladder.
pub(crate) fn default_route(case: Case, cloning: Cloning) -> Route {
    if cloning == Cloning::Require {
        return reflink_only();
    }
    let (first, preallocate, why) = fastest(case, cloning);
    let mut strategies = first.to_vec();
    for strategy in Strategy::ALL {
        let in_place = strategy != Strategy::Reflink && !strategies.contains(&strategy);
        let clones_unasked = strategy == Strategy::CopyFileRange && cloning == Cloning::Forbid && may_clone(case);
        if in_place && !clones_unasked {
            strategies.push(strategy);
        }
    }
    Route { strategies, preallocate, why }
}

fn reflink_only() -> Route {
    Route { strategies: vec![Strategy::Reflink], preallocate: false, why: "--reflink=always asked for it" }
}

/// Returns the route of `--strategy`: exactly the listed strategies.
pub(crate) fn forced_route(strategies: &[Strategy]) -> Route {
    Route { strategies: strategies.to_vec(), preallocate: false, why: "--strategy asked for it" }
}

/// Returns whether the two files may share blocks. Two btrfs subvolumes can, although their `st_dev` differ.
fn may_clone(case: Case) -> bool {
    let both_btrfs = case.source == FsKind::Btrfs && case.destination == FsKind::Btrfs;
    (case.same_device || both_btrfs) && case.destination.may_clone()
}

fn fastest(case: Case, cloning: Cloning) -> (&'static [Strategy], bool, &'static str) {
    use FsKind::{Btrfs, Ext4, Fuse, Remote, Tmpfs, Xfs};
    use Strategy::{CopyFileRange, Reflink, Sendfile, Splice};
    let clone = cloning == Cloning::Try && may_clone(case);
    match (case.source, case.destination, case.size) {
        (Btrfs, Btrfs, _) if clone => (&[Reflink, CopyFileRange], false, "btrfs shares blocks"),
        // 1.0 to 1.1 of the time of sendfile for new files of 1 to 16 KiB, and less once the copy is written to
        // the disk.
        (Xfs, Xfs, SizeClass::Small) if clone => (&[Reflink, Sendfile], false, "xfs shares blocks"),
        (Xfs, Xfs, SizeClass::Medium | SizeClass::Large) if clone => {
            (&[Reflink, Splice], false, "xfs shares blocks")
        }
        (Remote | Fuse, _, _) | (_, Remote | Fuse, _) if clone => {
            (&[Reflink, CopyFileRange], false, "the server may share blocks, or copy by itself")
        }
        (Remote | Fuse, _, _) | (_, Remote | Fuse, _) if cloning != Cloning::Forbid => {
            (&[CopyFileRange], false, "the server may copy by itself")
        }
        (_, _, SizeClass::Small) if clone => (&[Reflink, Sendfile], false, "the file system may share blocks"),
        (_, _, SizeClass::Small) if !case.same_device => {
            (&[Sendfile], false, "one call moves a small file between two file systems")
        }
        (_, _, SizeClass::Small) => (&[Sendfile], false, "one call moves a small file"),
        (Tmpfs, Tmpfs, _) if case.same_device => {
            (&[CopyFileRange], false, "tmpfs copies page by page with every strategy")
        }
        (_, Ext4, SizeClass::Large) => {
            (&[Splice], true, "the blocks are allocated first, and a pipe moves large pieces")
        }
        (_, Ext4, _) => (&[Splice], false, "a pipe fills the page cache in large pieces"),
        _ if clone => (&[Reflink, CopyFileRange], false, "the file system may share blocks"),
        _ if !case.same_device => (&[Splice], false, "between two file systems, a pipe moves the largest pieces"),
        _ => (&[Splice], false, "a pipe moves the largest pieces and copies each byte once"),
    }
}

/// Returns the route for a stream that measured best for the case, followed by the other strategies that
/// support it.
pub(super) fn stream_route(case: Case, cloning: Cloning) -> Route {
    use FsKind::{Device, Pipe, Socket};
    use Strategy::{CopyFileRange, Mmap, ReadWrite, Sendfile, Splice};
    if cloning == Cloning::Require {
        return reflink_only();
    }
    let (strategies, why): (&[Strategy], _) = match (case.source, case.destination) {
        (Device, _) => (&[ReadWrite], "a device may depend on the size of each read"),
        (Pipe, _) | (_, Pipe) if !is_file(case.source) => {
            (&[Splice, ReadWrite], "one call moves references to pages out of a pipe, or into it")
        }
        (Socket, _) => (&[Splice, ReadWrite], "a pipe takes references to pages from the socket"),
        (_, Pipe) => {
            (&[Splice, Sendfile, Mmap, ReadWrite], "one call puts references to the page cache into a pipe")
        }
        (_, Socket) => {
            (&[Sendfile, Splice, Mmap, ReadWrite], "one call hands references to the page cache to a socket")
        }
        // Never from a map: /dev/null does not read it, so an unreadable file would count as copied.
        (_, Device) => (&[Sendfile, Splice, ReadWrite], "one call moves the data"),
        _ => (&[Splice, Sendfile, CopyFileRange, Mmap, ReadWrite], "a pipe of 1 MiB moves the largest pieces"),
    };
    Route { strategies: strategies.to_vec(), preallocate: false, why }
}

fn is_file(kind: FsKind) -> bool {
    !matches!(kind, FsKind::Pipe | FsKind::Socket | FsKind::Device)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [FsKind; 7] =
        [FsKind::Ext4, FsKind::Xfs, FsKind::Btrfs, FsKind::Tmpfs, FsKind::Remote, FsKind::Fuse, FsKind::Other];

    fn all_cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for source in KINDS {
            for destination in KINDS {
                for size in [SizeClass::Small, SizeClass::Medium, SizeClass::Large] {
                    for (same_device, overwritten) in [(true, true), (true, false), (false, true), (false, false)]
                    {
                        cases.push(Case { source, destination, same_device, size, overwritten, uncached: false });
                    }
                }
            }
        }
        cases
    }

    #[test]
    fn every_route_ends_with_read_write_and_repeats_no_strategy() {
        for case in all_cases() {
            for cloning in [Cloning::Try, Cloning::Forbid] {
                let strategies = default_route(case, cloning).strategies;
                assert_eq!(strategies.last(), Some(&Strategy::ReadWrite), "{case:?}");
                assert!(
                    strategies.contains(&Strategy::Mmap) && strategies.contains(&Strategy::Splice),
                    "{case:?}"
                );
                let mut once = strategies.clone();
                once.sort();
                once.dedup();
                assert_eq!(once.len(), strategies.len(), "{case:?}");
            }
        }
    }

    #[test]
    fn never_means_that_nothing_may_share_blocks() {
        for case in all_cases().into_iter().filter(|case| may_clone(*case)) {
            let strategies = default_route(case, Cloning::Forbid).strategies;
            assert!(
                !strategies.contains(&Strategy::Reflink) && !strategies.contains(&Strategy::CopyFileRange),
                "{case:?}"
            );
        }
    }

    #[test]
    fn blocks_are_shared_by_default_whatever_the_size() {
        for case in all_cases() {
            let first = default_route(case, Cloning::Try).strategies.first().copied();
            assert_eq!(first == Some(Strategy::Reflink), may_clone(case), "{case:?}");
        }
    }

    #[test]
    fn always_allows_nothing_else() {
        for case in all_cases() {
            assert_eq!(default_route(case, Cloning::Require).strategies, [Strategy::Reflink]);
        }
    }
}
