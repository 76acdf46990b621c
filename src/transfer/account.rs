//! What each path did, counted while it happened.
//!
//! Plain integers that belong to one worker; `merge` adds them up at the end. A system call is
//! counted where it is made, whether it succeeded or not, so that the figures can be held against
//! strace line by line. Nothing is estimated here.

use super::Strategy;
use crate::sys::Errno;
use crate::sys::interrupted::Interruptions;
use std::collections::BTreeMap;
use std::time::Instant;

/// A system call that a strategy makes on the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// ioctl(FICLONE).
    Ficlone,
    /// copy_file_range(2).
    CopyFileRange,
    /// splice(2), into the pipe or out of it.
    Splice,
    /// sendfile(2).
    Sendfile,
    /// mmap(2).
    Mmap,
    /// munmap(2).
    Munmap,
    /// pread64(2).
    Pread,
    /// pwrite64(2).
    Pwrite,
    /// preadv2(2) with RWF_DONTCACHE.
    Preadv2,
    /// pwritev2(2) with RWF_DONTCACHE.
    Pwritev2,
    /// read(2), on what has no offsets.
    Read,
    /// write(2), on what has no offsets.
    Write,
    /// ppoll(2), to wait for whoever is at the other end.
    Poll,
}

impl Call {
    /// All of them; the order is that of the enum.
    pub const ALL: [Call; 13] = [
        Call::Ficlone,
        Call::CopyFileRange,
        Call::Splice,
        Call::Sendfile,
        Call::Mmap,
        Call::Munmap,
        Call::Pread,
        Call::Pwrite,
        Call::Preadv2,
        Call::Pwritev2,
        Call::Read,
        Call::Write,
        Call::Poll,
    ];

    /// The name that strace prints: the key in the JSON.
    pub fn name(self) -> &'static str {
        match self {
            Call::Ficlone => "ioctl",
            Call::CopyFileRange => "copy_file_range",
            Call::Splice => "splice",
            Call::Sendfile => "sendfile",
            Call::Mmap => "mmap",
            Call::Munmap => "munmap",
            Call::Pread => "pread64",
            Call::Pwrite => "pwrite64",
            Call::Preadv2 => "preadv2",
            Call::Pwritev2 => "pwritev2",
            Call::Read => "read",
            Call::Write => "write",
            Call::Poll => "ppoll",
        }
    }

    /// The name for people, who want to know which ioctl.
    pub fn label(self) -> &'static str {
        if self == Call::Ficlone { "ioctl(FICLONE)" } else { self.name() }
    }
}

/// Why a file left a strategy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The kernel refused with this errno (its number).
    Errno(i32),
    /// The call gave 0 although `read` still gets bytes there.
    EarlyEnd,
    /// The source was changed while its pages were on their way.
    Changed,
}

impl From<Errno> for Reason {
    fn from(errno: Errno) -> Self {
        Reason::Errno(errno.raw_os_error())
    }
}

/// The figures of one path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Files that had bytes moved by this path. A file that changed paths counts on each.
    pub files: u64,
    /// Bytes that this path put into destinations (shared, for a reflink).
    pub bytes: u64,
    /// Those of them that went as references to pages, without a copy by the CPU: into a socket, a pipe
    /// or /dev/null.
    pub by_reference: u64,
    /// Nanoseconds inside the calls.
    pub ns: u64,
    /// Calls made, indexed by [`Call`].
    pub calls: [u64; Call::ALL.len()],
    /// Files that left the path, by reason. A refusal that was remembered and so not met again is
    /// not counted again.
    pub step_downs: BTreeMap<Reason, u64>,
    /// Interrupted calls since bytes were last moved.
    pub interruptions: Interruptions,
}

impl Tally {
    /// Makes one system call, timed and counted.
    pub fn call<T>(&mut self, call: Call, make: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let answer = make();
        self.ns += u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.calls[call as usize] += 1;
        answer
    }

    /// All system calls of the path.
    pub fn total_calls(&self) -> u64 {
        self.calls.iter().sum()
    }

    /// Whether the path was used or tried at all.
    pub fn is_used(&self) -> bool {
        self.files > 0 || self.total_calls() > 0
    }

    fn merge(&mut self, other: &Tally) {
        self.files += other.files;
        self.bytes += other.bytes;
        self.by_reference += other.by_reference;
        self.ns += other.ns;
        for (mine, theirs) in self.calls.iter_mut().zip(other.calls) {
            *mine += theirs;
        }
        for (reason, count) in &other.step_downs {
            *self.step_downs.entry(*reason).or_default() += count;
        }
    }
}

/// The tallies of all paths, and the bytes that no path had to move.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    paths: [Tally; Strategy::ALL.len()],
    /// Bytes of holes that were kept as holes.
    pub holes: u64,
}

impl Account {
    /// The tally of one path.
    pub fn path(&self, strategy: Strategy) -> &Tally {
        &self.paths[strategy as usize]
    }

    /// The same, to be added to.
    pub fn path_mut(&mut self, strategy: Strategy) -> &mut Tally {
        &mut self.paths[strategy as usize]
    }

    /// Bytes moved by all paths but reflink.
    pub fn bytes_moved(&self) -> u64 {
        Strategy::ALL.into_iter().filter(|s| *s != Strategy::Reflink).map(|s| self.path(s).bytes).sum()
    }

    /// Bytes that a reflink made the destination share.
    pub fn bytes_shared(&self) -> u64 {
        self.path(Strategy::Reflink).bytes
    }

    /// Adds another worker's figures.
    pub fn merge(&mut self, other: &Account) {
        for (mine, theirs) in self.paths.iter_mut().zip(&other.paths) {
            mine.merge(theirs);
        }
        self.holes += other.holes;
    }
}
