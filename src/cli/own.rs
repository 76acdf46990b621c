//! zcp's own options: what each means.
//!
//! cp's options, and how they play together, are in `settle.rs`.

use super::getopt::Given;
use super::settle::Draft;
use super::words::{self, Words};
use super::{Misuse, StatsForm};
use crate::report::quote::plainly_quoted;
use crate::{Strategy, When};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

const STATS: &Words<StatsForm> = &[("text", StatsForm::Text), ("json", StatsForm::Json)];
const PROGRESS: &Words<When> = &[("auto", When::Auto), ("always", When::Always), ("never", When::Never)];

const CACHE: &Words<bool> = &[("keep", false), ("drop", true)];

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
pub(super) fn take(draft: &mut Draft, given: &Given) -> Result<(), Misuse> {
    let value = given.value.as_deref();
    let text = value.unwrap_or_default();
    let options = std::mem::take(&mut draft.options);
    draft.options = match given.option.id {
        "atomic" => options.atomic(true),
        "fsync" => options.fsync(true),
        "jobs" => options.jobs(jobs(text)?),
        "strategy" => options.strategies(strategies(text)?),
        "bwlimit" => options.bandwidth_limit(rate(text)?),
        "cache" => options.drop_cache(words::find("--cache", text, CACHE)?),
        "resume" => options.resume(true),
        "exclude" => options.exclude(utf8(text)?)?,
        "include" => options.include(utf8(text)?)?,
        "exclude-from" => options.exclude_from(text)?,
        "gitignore" => options.gitignore(),
        "dry-run" => options.dry_run(true),
        "progress" => {
            options.progress(words::find("--progress", value.unwrap_or(OsStr::new("always")), PROGRESS)?)
        }
        "verify" => options.verify(true),
        _ => options,
    };
    match given.option.id {
        "dry-run" => draft.dry_run = true,
        "files-from" => draft.files_from = value.map(OsStr::to_owned),
        "null" => draft.name_end = 0,
        "stats" => {
            let form = value.map_or(Ok(StatsForm::Text), |word| words::find("--stats", word, STATS))?;
            draft.statistics.form = Some(form);
        }
        "stats-file" => draft.statistics.file = value.map(OsStr::to_owned),
        _ => {}
    }
    Ok(())
}

fn utf8(glob: &OsStr) -> Result<&str, Misuse> {
    glob.to_str().ok_or_else(|| {
        let glob = plainly_quoted(glob.as_bytes());
        Misuse::new([b"invalid pattern ".as_slice(), &glob, b": not UTF-8"].concat())
    })
}

/// Bytes a second: a number, which may have a fraction, and a unit. K, M, G and KiB, MiB, GiB are powers
/// of 1024, kB, MB, GB of 1000.
fn rate(value: &OsStr) -> Result<u64, Misuse> {
    const UNITS: &[(&str, f64)] = &[
        ("", 1.0),
        ("B", 1.0),
        ("K", 1024.0),
        ("M", 1048576.0),
        ("G", 1073741824.0),
        ("T", 1099511627776.0),
        ("kB", 1e3),
        ("KB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
        ("TB", 1e12),
        ("KiB", 1024.0),
        ("MiB", 1048576.0),
        ("GiB", 1073741824.0),
        ("TiB", 1099511627776.0),
    ];
    let parsed = value.to_str().and_then(|text| {
        let text = text.strip_suffix("/s").unwrap_or(text);
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let factor = UNITS.iter().find(|(name, _)| *name == unit || unit == name.to_lowercase())?.1;
        let rate = number.parse::<f64>().ok()? * factor;
        (1.0..1e18).contains(&rate).then_some(rate as u64)
    });
    parsed.ok_or_else(|| {
        let value = plainly_quoted(value.as_bytes());
        let hint = b" (bytes a second, such as 500K, 20MiB, 1.5GB)".as_slice();
        Misuse::new([b"invalid rate: ".as_slice(), &value, hint].concat())
    })
}

fn jobs(value: &OsStr) -> Result<usize, Misuse> {
    match value.to_str().and_then(|text| text.parse().ok()) {
        Some(jobs @ 1..=1024) => Ok(jobs),
        _ => {
            let value = plainly_quoted(value.as_bytes());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_units() {
        let rate = |text: &str| rate(OsStr::new(text)).ok();
        assert_eq!(rate("1000"), Some(1000));
        assert_eq!(
            (rate("1k"), rate("1K"), rate("1KiB"), rate("1kB")),
            (Some(1024), Some(1024), Some(1024), Some(1000))
        );
        assert_eq!((rate("1.5M"), rate("2mb/s"), rate("1GiB/s")), (Some(1572864), Some(2000000), Some(1 << 30)));
        for wrong in ["", "0", "M", "1X", "-1", "1e9", "1.2.3M", "9999999999T", "1 M"] {
            assert_eq!(rate(wrong), None, "{wrong}");
        }
    }
}
