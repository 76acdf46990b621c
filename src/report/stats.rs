//! What was done, in numbers: plain integers that each worker counts and that are added at the end.
//!
//! Nothing here is derived from the plan or estimated; `table.rs` and `json` only print it.

use super::{Failure, errno};
use crate::transfer::route::{Case, Route};
use crate::transfer::{Account, Call, Strategy};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// The figures of one worker, or of all of them.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Regular files whose content was copied.
    pub files: u64,
    /// Directories that were made or merged into.
    pub directories: u64,
    /// Symbolic links made.
    pub symlinks: u64,
    /// Hard links made, instead of a second copy or by `-l`.
    pub hard_links: u64,
    /// Fifos, sockets and devices made.
    pub special: u64,
    /// Files left alone because of what stands at the destination.
    pub skipped: u64,
    /// Names that patterns left out; what is below a directory that was left out is not counted.
    pub excluded: u64,
    /// Files that an earlier run had completed (`--resume`).
    pub complete: u64,
    /// Files that were read back and found to be the same (`--verify`).
    pub verified: u64,
    /// Those of them of which the page cache may have given some bytes, not the disk.
    pub verified_in_cache: u64,
    /// The lengths of the copied files in bytes.
    pub bytes_logical: u64,
    /// What each strategy did.
    pub account: Account,
    /// The routes in use, and for how many files.
    pub routes: BTreeMap<Case, (Route, u64)>,
}

impl Stats {
    /// Adds another worker's figures.
    #[must_use]
    pub fn merge(mut self, other: Stats) -> Stats {
        self.files += other.files;
        self.directories += other.directories;
        self.symlinks += other.symlinks;
        self.hard_links += other.hard_links;
        self.special += other.special;
        self.skipped += other.skipped;
        self.excluded += other.excluded;
        self.complete += other.complete;
        self.verified += other.verified;
        self.verified_in_cache += other.verified_in_cache;
        self.bytes_logical += other.bytes_logical;
        self.account.merge(&other.account);
        for (case, (route, files)) in other.routes {
            self.routes.entry(case).or_insert((route, 0)).1 += files;
        }
        self
    }
}

/// The figures together with what only the whole run knows.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// All workers' figures.
    pub stats: Stats,
    /// Whether nothing was done in truth: then the figures are of what would have been.
    pub dry_run: bool,
    /// From the start of the walk to the last file.
    pub elapsed: Duration,
    /// How many workers there were.
    pub workers: usize,
    /// The most batches of names that were at work at once.
    pub peak_in_flight: usize,
    /// How many failures were reported.
    pub failed: u64,
    /// The first of them.
    pub failures: Vec<Failure>,
    /// The first warnings.
    pub warnings: Vec<Failure>,
    /// Whether it ended before everything was copied, because that was asked for.
    pub interrupted: bool,
}

impl Summary {
    /// The object of `--stats=json`. Units are bytes, nanoseconds and counts.
    pub fn json(&self) -> Value {
        let stats = &self.stats;
        json!({
            "schema": 2,
            "version": env!("CARGO_PKG_VERSION"),
            "dry_run": self.dry_run,
            "elapsed_ns": u64::try_from(self.elapsed.as_nanos()).unwrap_or(u64::MAX),
            "workers": self.workers,
            "peak_in_flight": self.peak_in_flight,
            "totals": {
                "files": stats.files,
                "directories": stats.directories,
                "symlinks": stats.symlinks,
                "hard_links": stats.hard_links,
                "special": stats.special,
                "skipped": stats.skipped,
                "excluded": stats.excluded,
                "complete": stats.complete,
                "verified": stats.verified,
                "verified_in_cache": stats.verified_in_cache,
                "failed": self.failed,
                "bytes_logical": stats.bytes_logical,
                "bytes_moved": stats.account.bytes_moved(),
                "bytes_holes": stats.account.holes,
                "bytes_shared": stats.account.bytes_shared(),
            },
            "strategies": Strategy::ALL
                .into_iter()
                .filter(|s| stats.account.path(*s).is_used())
                .map(|s| (s.name().to_owned(), self.strategy_json(s)))
                .collect::<serde_json::Map<_, _>>(),
            "routes": stats.routes.iter().map(|(case, (route, files))| route_json(case, route, *files)).collect::<Vec<_>>(),
            "errors": self.failures.iter().map(failure_json).collect::<Vec<_>>(),
        })
    }

    fn strategy_json(&self, strategy: Strategy) -> Value {
        let tally = self.stats.account.path(strategy);
        let calls = Call::ALL.into_iter().zip(tally.calls).filter(|(_, count)| *count > 0);
        let step_downs = tally.step_downs.iter().map(|(reason, count)| {
            let why = errno::explain(strategy, *reason);
            json!({"errno": errno::reason_name(*reason), "count": count, "reason": why})
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

fn route_json(case: &Case, route: &Route, files: u64) -> Value {
    json!({
        "source": case.source.name(),
        "destination": case.destination.name(),
        "same_device": case.same_device,
        "size": case.size.name(),
        "overwritten": case.overwritten,
        "strategies": route.strategies.iter().map(|s| s.name()).collect::<Vec<_>>(),
        "why": route.why,
        "files": files,
    })
}

/// A path that is no UTF-8 is given as an array of bytes, so that nothing of it is lost.
pub fn failure_json(failure: &Failure) -> Value {
    let path = failure.path().map(|path| match path.to_str() {
        Some(text) => json!(text),
        None => json!(path.as_bytes()),
    });
    json!({"operation": failure.operation(), "path": path, "errno": failure.errno_name()})
}
