//! The account of what each strategy did.
//!
//! It consists of plain integers of one worker, which `merge` adds up at the end. A system call is counted where
//! it is made, whether it succeeds or not, so that the figures agree with strace. Nothing is estimated.

use super::Strategy;
use crate::sys::Errno;
use crate::sys::interrupted::Interruptions;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Returns a time as the statistics have it.
pub(crate) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

named! {
    /// A system call that a strategy makes on the data. Its name is the one in the output of strace(1).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Call {
        Ficlone = "ioctl",
        CopyFileRange = "copy_file_range",
        /// splice(2), into the pipe or out of it.
        Splice = "splice",
        Sendfile = "sendfile",
        Mmap = "mmap",
        Munmap = "munmap",
        Pread = "pread64",
        Pwrite = "pwrite64",
        Preadv2 = "preadv2",
        Pwritev2 = "pwritev2",
        /// read(2), from a file without offsets.
        Read = "read",
        /// write(2), to a file without offsets.
        Write = "write",
        /// ppoll(2), to wait for a peer.
        Poll = "ppoll",
    }
}

impl Call {
    pub fn label(self) -> &'static str {
        if self == Call::Ficlone { "ioctl(FICLONE)" } else { self.name() }
    }
}

/// Why a file left a strategy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    Errno(i32),
    /// The call returned 0, although the file has more bytes.
    EarlyEnd,
    /// The source changed while its pages were being moved.
    Changed,
}

impl From<Errno> for Reason {
    fn from(errno: Errno) -> Self {
        Reason::Errno(errno.raw_os_error())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Files of which the strategy moved bytes. A file that several strategies moved counts for each.
    pub files: u64,
    /// Bytes that the strategy put into destinations (shared, for a reflink).
    pub bytes: u64,
    /// The part of `bytes` that went as references to pages, without a copy by the CPU, into a socket, a pipe or
    /// /dev/null.
    pub by_reference: u64,
    /// Nanoseconds inside the calls and, for small files that are copied together (`small.rs`), also between the calls.
    pub ns: u64,
    pub calls: [u64; Call::ALL.len()],
    /// How often a copy changed to the next strategy, by reason. A strategy that is skipped because of a
    /// remembered refusal is not counted.
    pub step_downs: BTreeMap<Reason, u64>,
    /// Interrupted calls since bytes were last moved.
    pub interruptions: Interruptions,
}

impl Tally {
    /// Makes one system call, timed and counted.
    pub fn call<T>(&mut self, call: Call, make: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let answer = make();
        self.ns += nanoseconds(start.elapsed());
        self.calls[call as usize] += 1;
        answer
    }

    pub fn total_calls(&self) -> u64 {
        self.calls.iter().sum()
    }

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

/// The tallies of all strategies, and the bytes that no strategy had to move.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    tallies: [Tally; Strategy::ALL.len()],
    /// Bytes in holes.
    pub holes: u64,
    /// The latest step-downs, if the names that are copied are logged.
    noted: Option<Vec<(Strategy, Reason)>>,
}

impl Account {
    pub fn tally(&self, strategy: Strategy) -> &Tally {
        &self.tallies[strategy as usize]
    }

    pub fn tally_mut(&mut self, strategy: Strategy) -> &mut Tally {
        &mut self.tallies[strategy as usize]
    }

    pub fn bytes_moved(&self) -> u64 {
        Strategy::ALL.into_iter().filter(|s| *s != Strategy::Reflink).map(|s| self.tally(s).bytes).sum()
    }

    /// Returns the bytes that a reflink made the destination share.
    pub fn bytes_shared(&self) -> u64 {
        self.tally(Strategy::Reflink).bytes
    }

    pub fn note_step_downs(&mut self) {
        self.noted = Some(Vec::new());
    }

    pub(super) fn step_down(&mut self, strategy: Strategy, reason: Reason) {
        *self.tally_mut(strategy).step_downs.entry(reason).or_default() += 1;
        if let Some(noted) = &mut self.noted {
            noted.push((strategy, reason));
        }
    }

    pub fn noted(&self) -> usize {
        self.noted.as_ref().map_or(0, Vec::len)
    }

    /// Takes the step-downs that were noted after the first `before`.
    pub fn take_noted(&mut self, before: usize) -> Vec<(Strategy, Reason)> {
        match &mut self.noted {
            Some(noted) if noted.len() > before => noted.split_off(before),
            _ => Vec::new(),
        }
    }

    pub fn merge(&mut self, other: &Account) {
        for (mine, theirs) in self.tallies.iter_mut().zip(&other.tallies) {
            mine.merge(theirs);
        }
        self.holes += other.holes;
    }
}
