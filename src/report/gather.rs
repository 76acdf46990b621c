//! Statistics read back from their JSON, to be added to others: those of the parts of a job.
//!
//! Routes are left where they are: why each was taken is in words, for people.

use super::errno;
use super::stats::{Stats, Summary};
use crate::transfer::{Account, Call, Strategy, Tally};
use serde_json::Value;
use std::time::Duration;

/// The summary that a `--stats=json` object tells of; what is missing counts as 0. Failures are not
/// rebuilt: their words are in the object.
pub fn summary(value: &Value) -> Summary {
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let total = |name: &str| number(&value["totals"][name]);
    let mut account = Account::default();
    account.holes = total("bytes_holes");
    for strategy in Strategy::ALL {
        *account.path_mut(strategy) = tally(&value["strategies"][strategy.name()]);
    }
    let stats = Stats {
        files: total("files"),
        directories: total("directories"),
        symlinks: total("symlinks"),
        hard_links: total("hard_links"),
        special: total("special"),
        skipped: total("skipped"),
        excluded: total("excluded"),
        complete: total("complete"),
        verified: total("verified"),
        verified_in_cache: total("verified_in_cache"),
        bytes_logical: total("bytes_logical"),
        account,
        ..Stats::default()
    };
    let count = |name: &str| usize::try_from(number(&value[name])).unwrap_or(usize::MAX);
    Summary {
        stats,
        elapsed: Duration::from_nanos(number(&value["elapsed_ns"])),
        workers: count("workers"),
        peak_in_flight: count("peak_in_flight"),
        failed: total("failed"),
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
    use crate::transfer::Reason;

    #[test]
    fn what_was_written_is_read() {
        let mut account = Account::default();
        account.holes = 5;
        let step_downs = [(Reason::EarlyEnd, 1), (Reason::Changed, 3), (Errno::XDEV.into(), 2)].into();
        let mut tally = Tally { files: 2, bytes: 6, by_reference: 4, ns: 17, step_downs, ..Tally::default() };
        tally.calls[Call::Splice as usize] = 4;
        *account.path_mut(Strategy::Splice) = tally;
        // Each field by name: one that is added has to be read back, too.
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
            account,
            routes: Default::default(),
        };
        let elapsed = Duration::from_nanos(99);
        let before = Summary { stats, elapsed, workers: 2, failed: 1, ..Summary::default() };
        let after = summary(&before.json());
        assert_eq!(after.json(), before.json());
    }
}
