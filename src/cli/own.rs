//! zcp's own options: what each means.
//!
//! cp's options, and how they play together, are in `settle.rs`.

use super::Misuse;
use super::getopt::Given;
use super::words::{self, Words};
use crate::options::{Options, StatsForm, When};
use crate::transfer::Strategy;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

const STATS: &Words<StatsForm> = &[("text", StatsForm::Text), ("json", StatsForm::Json)];
const PROGRESS: &Words<When> = &[("auto", When::Auto), ("always", When::Always), ("never", When::Never)];

/// Words of `--strategy`; none of them may be shortened into another.
const STRATEGIES: &Words<Strategy> = &[
    ("reflink", Strategy::Reflink),
    ("copy_file_range", Strategy::CopyFileRange),
    ("splice", Strategy::Splice),
    ("sendfile", Strategy::Sendfile),
    ("mmap", Strategy::Mmap),
    ("read_write", Strategy::ReadWrite),
];

/// Takes one option; those that are not zcp's own are passed over.
pub(super) fn take(options: &mut Options, given: &Given) -> Result<(), Misuse> {
    let value = given.value.as_deref();
    let text = value.unwrap_or_default();
    match given.id.as_str() {
        "atomic" => options.atomic = true,
        "jobs" => options.jobs = Some(jobs(text)?),
        "strategy" => options.limits.forced = Some(strategies(text)?),
        "stats" => {
            options.stats = Some(value.map_or(Ok(StatsForm::Text), |word| words::find("--stats", word, STATS))?);
        }
        "stats-file" => options.stats_file = value.map(OsStr::to_owned),
        "progress" => {
            options.progress = words::find("--progress", value.unwrap_or(OsStr::new("always")), PROGRESS)?;
        }
        _ => {}
    }
    Ok(())
}

fn jobs(value: &OsStr) -> Result<usize, Misuse> {
    match value.to_str().and_then(|text| text.parse().ok()) {
        Some(jobs @ 1..=1024) => Ok(jobs),
        _ => {
            let value = crate::report::quote::plainly_quoted(value.as_bytes());
            Err(Misuse::new([b"invalid number of jobs: ".as_slice(), &value].concat()))
        }
    }
}

fn strategies(list: &OsStr) -> Result<Vec<Strategy>, Misuse> {
    let mut found: Vec<Strategy> = Vec::new();
    for word in list.as_bytes().split(|b| *b == b',') {
        let strategy = words::find("--strategy", OsStr::from_bytes(word), STRATEGIES)?;
        if !found.contains(&strategy) {
            found.push(strategy);
        }
    }
    Ok(found)
}
