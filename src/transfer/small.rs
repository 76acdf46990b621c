//! Moves small files of known size, each by one call, when many of them are copied together.
//!
//! The strategy is chosen once for all of them, and they are timed together. A file that its call did not move whole
//! is handed to the copy loop together with the answer of the call, so nothing is tried twice.

use super::copy_loop::CopyLoop;
use super::ladder::{FilePart, Ladder, Limits, Outcome, Transfer};
use super::route::Case;
use super::strategies::{length, refuse_or_fail, step_of};
use super::{Account, Call, Step, Strategy, nanoseconds};
use crate::error::Failure;
use crate::sys::io::{ioctl_ficlone, sendfile};
use rustix::fs::copy_file_range;
use std::os::fd::BorrowedFd;
use std::time::Instant;

/// The most small files, of two descriptors each, that a worker copies together. Relative time for 20,000 files
/// of 1 to 8 KiB on tmpfs, by this number: 1: 1.02, 4: 0.90, 8: 0.89, 16: 0.89, 32: 0.84, 64: 0.88.
pub(crate) const TOGETHER: usize = 32;

/// The call that moves small files between two devices, and the time since the last reading of the clock.
pub struct SmallFileCall {
    strategy: Strategy,
    route: usize,
    pair: (u64, u64),
    since: Instant,
}

impl SmallFileCall {
    /// Adds the time since the last reading to that of the strategy.
    fn read_clock(&mut self, account: &mut Account) {
        let now = Instant::now();
        account.tally_mut(self.strategy).ns += nanoseconds(now - self.since);
        self.since = now;
    }
}

impl Ladder {
    /// Starts to copy small new files from one device to another; each side is an open file with its device number.
    /// `None` if no single call moves them, or their sizes cannot be trusted.
    pub fn small_files(
        &mut self,
        source: (u64, BorrowedFd<'_>),
        destination: (u64, BorrowedFd<'_>),
    ) -> Option<SmallFileCall> {
        let pair = (source.0, destination.0);
        let kinds = (self.file_system(source.0, source.1), self.file_system(destination.0, destination.1));
        let limits = &self.limits;
        if !kinds.0.sizes_are_true() || limits.fsync || limits.drop_cache || limits.rate_limit.is_some() {
            return None;
        }
        let route = self.route_index(Case::small(kinds, pair.0 == pair.1), Limits::route);
        let strategy = self.first_strategy(route, pair)?;
        let is_one_call = matches!(strategy, Strategy::Reflink | Strategy::CopyFileRange | Strategy::Sendfile);
        is_one_call.then(|| SmallFileCall { strategy, route, pair, since: Instant::now() })
    }

    /// Copies one small file.
    #[inline]
    pub fn copy_small(
        &mut self,
        small: &mut SmallFileCall,
        t: &Transfer<'_>,
        account: &mut Account,
    ) -> Result<Outcome, Failure> {
        if self.first_strategy(small.route, small.pair) != Some(small.strategy) {
            return self.copy(t, account); // the kernel has refused it meanwhile
        }
        self.check_stop()?;
        self.count_file(small.route);
        let size = t.stat.size;
        if size == 0 {
            return Ok(Outcome::default());
        }
        let (call, step) = move_whole(small.strategy, t);
        let tally = account.tally_mut(small.strategy);
        tally.calls[call as usize] += 1;
        if step != Step::Moved(size) {
            small.read_clock(account);
            let route = self.route_at(small.route);
            let outcome =
                CopyLoop::new(self, t, &route, account, true).after(small.strategy, step).run(FilePart::Whole);
            small.since = Instant::now();
            return outcome;
        }
        tally.bytes += size;
        tally.files += 1;
        tally.interruptions.reset();
        if small.strategy != Strategy::Reflink {
            self.meter.add(size);
        }
        Ok(Outcome { size, ..Outcome::default() })
    }

    pub fn end_small_files(&self, small: &mut SmallFileCall, account: &mut Account) {
        small.read_clock(account);
    }
}

/// Makes the call that should move all bytes of a file into an empty one.
#[inline(always)]
fn move_whole(strategy: Strategy, t: &Transfer<'_>) -> (Call, Step) {
    let size = t.stat.size;
    match strategy {
        Strategy::Reflink => {
            let answer = ioctl_ficlone(t.dst, t.src);
            (
                Call::Ficlone,
                answer.map_or_else(|errno| refuse_or_fail(errno, Failure::copying), |()| Step::Moved(size)),
            )
        }
        Strategy::CopyFileRange => {
            let answer = copy_file_range(t.src, Some(&mut 0), t.dst, Some(&mut 0), length(size));
            (Call::CopyFileRange, step_of(answer))
        }
        _ => (Call::Sendfile, step_of(sendfile(t.dst, t.src, Some(&mut 0), length(size)))),
    }
}
