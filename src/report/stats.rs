//! The statistics: plain integers that each worker counts, added up at the end.
//!
//! All figures are counted; none is estimated.

use super::json::bytes;
use super::{Failure, errno};
use crate::sys::Time;
use crate::transfer::route::{Case, Route};
use crate::transfer::{Account, Call, Reason, Strategy, nanoseconds};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::Duration;

#[derive(Clone, Debug, Default)]
pub(crate) struct Stats {
    /// Regular files whose content was copied.
    pub files: u64,
    /// Directories that were made or merged into.
    pub directories: u64,
    pub symlinks: u64,
    /// Hard links that were made, instead of a second copy or by `-l`.
    pub hard_links: u64,
    /// Fifos, sockets and devices that were made.
    pub special: u64,
    /// Files that were skipped because of the existing destination.
    pub skipped: u64,
    /// Names that patterns excluded. Names below an excluded directory are not counted.
    pub excluded: u64,
    /// Files that an earlier run had completed (`--resume`).
    pub complete: u64,
    /// Files that were read back and equal their source (`--verify`).
    pub verified: u64,
    /// The verified files of which some bytes may have come from the page cache, not from the disk.
    pub verified_in_cache: u64,
    /// The lengths of the copied files, in bytes.
    pub bytes_logical: u64,
    /// The bytes of copied files that an earlier run had written, and that were found to be the source's.
    pub bytes_kept: u64,
    pub account: Account,
    /// The routes, each with its number of files.
    pub routes: BTreeMap<Case, (Route, u64)>,
}

impl Stats {
    #[must_use]
    pub(crate) fn merge(mut self, mut other: Stats) -> Stats {
        for ((_, sum), (_, number)) in self.counters().into_iter().zip(other.counters()) {
            *sum += *number;
        }
        self.account.merge(&other.account);
        for (case, (route, files)) in other.routes {
            self.routes.entry(case).or_insert((route, 0)).1 += files;
        }
        self
    }

    /// Returns the number of bytes that are in no file that was copied to its end.
    pub(super) fn unfinished(&self) -> u64 {
        let account = &self.account;
        let all = account.bytes_moved() + account.bytes_shared() + account.holes + self.bytes_kept;
        all.saturating_sub(self.bytes_logical)
    }

    /// Returns the plain numbers, by their names in `--stats=json`.
    pub(super) fn counters(&mut self) -> [(&'static str, &mut u64); 12] {
        [
            ("files", &mut self.files),
            ("directories", &mut self.directories),
            ("symlinks", &mut self.symlinks),
            ("hard_links", &mut self.hard_links),
            ("special", &mut self.special),
            ("skipped", &mut self.skipped),
            ("excluded", &mut self.excluded),
            ("complete", &mut self.complete),
            ("verified", &mut self.verified),
            ("verified_in_cache", &mut self.verified_in_cache),
            ("bytes_logical", &mut self.bytes_logical),
            ("bytes_kept", &mut self.bytes_kept),
        ]
    }
}

/// Files that were not tried because a failure ended the copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    /// The number of files, as far as they were counted.
    pub files: u64,
    pub all_counted: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Summary {
    pub stats: Stats,
    /// Whether this was a dry run. Then the figures are those of the copy that would be made.
    pub dry_run: bool,
    /// The time from the start of the walk to the last file.
    pub elapsed: Duration,
    pub workers: usize,
    /// The largest number of batches that were copied at once.
    pub peak_in_flight: usize,
    pub failed: u64,
    pub started: Option<Time>,
    pub sources: Vec<OsString>,
    pub destination: Option<OsString>,
    pub signal: Option<i32>,
    pub failures: Vec<Failure>,
    pub warnings: Vec<Failure>,
    /// Whether the copy was stopped before everything was copied.
    pub interrupted: bool,
    /// Whether a failure ended it before everything was copied.
    pub gave_up: bool,
    /// Whether any failure was to end it (`--fail-fast`).
    pub fails_fast: bool,
    pub left: Option<Left>,
    /// Entries that had vanished before they could be copied, if that is no failure (`--ignore-vanished`).
    pub vanished: u64,
}

impl Summary {
    pub(super) fn is_complete(&self) -> bool {
        self.failed == 0 && !self.interrupted
    }

    /// Returns the object of `--stats=json`. Units are bytes, nanoseconds and counts.
    pub(crate) fn json(&self) -> Value {
        let stats = &self.stats;
        let mut totals = json!({
            "failed": self.failed,
            "vanished": self.vanished,
            "left": self.left.map(|left| left.files),
            "bytes_moved": stats.account.bytes_moved(),
            "bytes_holes": stats.account.holes,
            "bytes_shared": stats.account.bytes_shared(),
        });
        for (name, number) in stats.clone().counters() {
            totals[name] = json!(*number);
        }
        json!({
            "schema": 2,
            "version": env!("CARGO_PKG_VERSION"),
            "dry_run": self.dry_run,
            "elapsed_ns": nanoseconds(self.elapsed),
            "workers": self.workers,
            "peak_in_flight": self.peak_in_flight,
            "totals": totals,
            "strategies": Strategy::ALL
                .into_iter()
                .filter(|s| stats.account.tally(*s).is_used())
                .map(|s| (s.name().to_owned(), self.strategy_json(s)))
                .collect::<serde_json::Map<_, _>>(),
            "routes": stats.routes.iter().map(|(case, (route, files))| route_json(case, route, *files)).collect::<Vec<_>>(),
            "gave_up": self.gave_up,
            "interrupted": self.interrupted,
            "signal": self.signal,
            "exit_status": self.signal.map_or(i32::from(self.failed > 0), |signal| 128 + signal),
            "started": self.started.map(seconds),
            "sources": self.sources.iter().map(|source| bytes(source)).collect::<Vec<_>>(),
            "destination": self.destination.as_deref().map(bytes),
            "warnings": self.warnings.iter().map(failure_json).collect::<Vec<_>>(),
            "errors": self.failures.iter().map(failure_json).collect::<Vec<_>>(),
        })
    }

    fn strategy_json(&self, strategy: Strategy) -> Value {
        let tally = self.stats.account.tally(strategy);
        let calls = Call::ALL.into_iter().zip(tally.calls).filter(|(_, count)| *count > 0);
        let step_downs = tally.step_downs.iter().map(|(reason, count)| {
            let mut step = step_down_json(strategy, *reason);
            step["count"] = json!(count);
            step
        });
        json!({
            "files": tally.files,
            "bytes": tally.bytes,
            "by_reference": tally.by_reference,
            "ns": tally.ns,
            "mode_switches": 2 * tally.total_calls(),
            "calls": calls.map(|(call, count)| (call.name().to_owned(), json!(count))).collect::<serde_json::Map<_, _>>(),
            "step_downs": step_downs.collect::<Vec<_>>(),
        })
    }
}

pub(super) fn step_down_json(strategy: Strategy, reason: Reason) -> Value {
    let why = errno::explain(strategy, reason);
    json!({"strategy": strategy.name(), "errno": errno::reason_name(reason), "reason": why})
}

fn route_json(case: &Case, route: &Route, files: u64) -> Value {
    json!({
        "source": case.source.name(),
        "destination": case.destination.name(),
        "same_device": case.same_device,
        "size": case.size.name(),
        "min_bytes": case.size.limits().0,
        "max_bytes": case.size.limits().1,
        "overwritten": case.overwritten,
        "strategies": route.strategies.iter().map(|s| s.name()).collect::<Vec<_>>(),
        "why": route.why,
        "files": files,
    })
}

/// Seconds since 1970, with a fraction.
fn seconds(time: Time) -> f64 {
    // A double has 53 bits, which is a precision of a microsecond.
    time.sec as f64 + f64::from(time.nsec) / 1e9
}

/// Returns the object for a failure in `errors` or a warning in `warnings` of `--stats=json`, or the error in a
/// record of `--log`.
pub(crate) fn failure_json(failure: &Failure) -> Value {
    let (source, destination) = failure.names().unzip();
    json!({
        "message": failure.to_string(),
        "operation": failure.operation(),
        "path": failure.path().map(bytes),
        "source": source.map(bytes),
        "destination": destination.map(bytes),
        "offset": failure.offset(),
        "errno": failure.errno_name(),
    })
}
