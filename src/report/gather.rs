//! Reads the statistics of a job's parts back from JSON, so that `--finish` can add them up.
//!
//! Routes are not read, because their reasons are text for people.

use super::errno;
use super::stats::{Stats, Summary};
use crate::transfer::{Call, Strategy, Tally};
use serde_json::Value;
use std::time::Duration;

/// Returns the summary in an object of `--stats=json`. Missing numbers count as 0. Failures are not read.
pub(crate) fn summary(value: &Value) -> Summary {
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let total = |name: &str| number(&value["totals"][name]);
    let mut stats = Stats::default();
    stats.account.holes = total("bytes_holes");
    for (name, counter) in stats.counters() {
        *counter = total(name);
    }
    for strategy in Strategy::ALL {
        *stats.account.tally_mut(strategy) = tally(&value["strategies"][strategy.name()]);
    }
    let count = |name: &str| usize::try_from(number(&value[name])).unwrap_or(usize::MAX);
    Summary {
        stats,
        elapsed: Duration::from_nanos(number(&value["elapsed_ns"])),
        workers: count("workers"),
        peak_in_flight: count("peak_in_flight"),
        failed: total("failed"),
        vanished: total("vanished"),
        ..Summary::default()
    }
}

fn tally(value: &Value) -> Tally {
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let mut tally = Tally {
        files: number(&value["files"]),
        bytes: number(&value["bytes"]),
        by_reference: number(&value["by_reference"]),
        ns: number(&value["ns"]),
        ..Tally::default()
    };
    for call in Call::ALL {
        tally.calls[call as usize] = number(&value["calls"][call.name()]);
    }
    for step in value["step_downs"].as_array().into_iter().flatten() {
        if let Some(reason) = step["errno"].as_str().and_then(errno::reason) {
            tally.step_downs.insert(reason, number(&step["count"]));
        }
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::Errno;
    use crate::transfer::{Account, Reason};

    #[test]
    fn what_was_written_is_read() {
        let mut account = Account::default();
        account.holes = 5;
        let step_downs = [(Reason::EarlyEnd, 1), (Reason::Changed, 3), (Errno::XDEV.into(), 2)].into();
        let mut tally = Tally { files: 2, bytes: 6, by_reference: 4, ns: 17, step_downs, ..Tally::default() };
        tally.calls[Call::Splice as usize] = 4;
        *account.tally_mut(Strategy::Splice) = tally;
        // Without `..Default::default()`, so that a new field cannot be forgotten here.
        let stats = Stats {
            files: 3,
            directories: 2,
            symlinks: 7,
            hard_links: 13,
            special: 19,
            skipped: 23,
            excluded: 29,
            complete: 31,
            verified: 37,
            verified_in_cache: 3,
            bytes_logical: 11,
            bytes_kept: 12,
            account,
            routes: Default::default(),
        };
        let elapsed = Duration::from_nanos(99);
        let before = Summary { stats, elapsed, workers: 2, failed: 1, vanished: 6, ..Summary::default() };
        let after = summary(&before.json());
        assert_eq!(after.json(), before.json());
    }
}
