//! Parses the arguments of options: words, lists of words, numbers, rates and sizes.

use super::StatsForm;
use super::UsageError;
use super::command_line::Update;
use super::words::{self, Words};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use zcp::internals::quote::plainly_quoted;
use zcp::{Attribute, BackupControl, Cloning, ProgressForm, Sparse, Strategy, When};

pub(super) const BACKUP: &Words<Option<BackupControl>> = &[
    ("none", None),
    ("off", None),
    ("simple", Some(BackupControl::Simple)),
    ("never", Some(BackupControl::Simple)),
    ("existing", Some(BackupControl::Existing)),
    ("nil", Some(BackupControl::Existing)),
    ("numbered", Some(BackupControl::Numbered)),
    ("t", Some(BackupControl::Numbered)),
];
pub(super) const SPARSE: &Words<Sparse> =
    &[("never", Sparse::Never), ("auto", Sparse::Auto), ("always", Sparse::Always)];
pub(super) const REFLINK: &Words<Cloning> =
    &[("auto", Cloning::Try), ("always", Cloning::Require), ("never", Cloning::Forbid)];
pub(super) const UPDATE: &Words<Update> =
    &[("all", Update::All), ("none", Update::None), ("none-fail", Update::NoneFail), ("older", Update::Older)];
pub(super) const STATS: &Words<StatsForm> = &[("text", StatsForm::Text), ("json", StatsForm::Json)];
pub(super) const PROGRESS: &Words<(When, ProgressForm)> = &[
    ("auto", (When::Auto, ProgressForm::Text)),
    ("always", (When::Always, ProgressForm::Text)),
    ("json", (When::Always, ProgressForm::Json)),
    ("never", (When::Never, ProgressForm::Text)),
];
/// Whether to drop the copied pages from the page cache.
pub(super) const CACHE: &Words<bool> = &[("keep", false), ("drop", true)];
pub(super) const ATTRIBUTES: &Words<Attribute> = &[
    ("mode", Attribute::Mode),
    ("timestamps", Attribute::Timestamps),
    ("ownership", Attribute::Ownership),
    ("links", Attribute::Links),
    ("context", Attribute::Context),
    ("xattr", Attribute::Xattr),
    ("all", Attribute::All),
];
/// No word may be an abbreviation of another.
pub(super) const STRATEGIES: &Words<Strategy> = &{
    let mut words = [("", Strategy::Reflink); Strategy::ALL.len()];
    let mut at = 0;
    while at < words.len() {
        words[at] = (Strategy::ALL[at].name(), Strategy::ALL[at]);
        at += 1;
    }
    words
};

/// The attributes of `-p`, and of `--preserve` without a list.
pub(super) const USUAL_ATTRIBUTES: [Attribute; 3] = [Attribute::Mode, Attribute::Ownership, Attribute::Timestamps];

pub(super) fn attributes(what: &str, list: &OsStr) -> Result<Vec<Attribute>, UsageError> {
    list.as_bytes()
        .split(|b| *b == b',')
        .map(|word| words::find(what, OsStr::from_bytes(word), ATTRIBUTES))
        .collect()
}

/// Parses a list of strategies and drops repeated ones.
pub(super) fn strategies(list: &OsStr) -> Result<Vec<Strategy>, UsageError> {
    let mut found: Vec<Strategy> = Vec::new();
    for word in list.as_bytes().split(|b| *b == b',') {
        let strategy = words::find("--strategy", OsStr::from_bytes(word), STRATEGIES)?;
        if !found.contains(&strategy) {
            found.push(strategy);
        }
    }
    Ok(found)
}

/// Parses a number of bytes, at least one: a number, possibly with a fraction, and a unit. K, M, G and KiB, MiB, GiB
/// are powers of 1024; kB, MB, GB are powers of 1000.
pub(super) fn bytes(text: &str) -> Option<u64> {
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
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor = UNITS.iter().find(|(name, _)| *name == unit || unit == name.to_lowercase())?.1;
    let bytes = number.parse::<f64>().ok()? * factor;
    (1.0..1e18).contains(&bytes).then_some(bytes as u64)
}

/// Parses a rate in bytes per second.
pub(super) fn rate(value: &OsStr) -> Result<u64, UsageError> {
    let parsed = value.to_str().and_then(|text| bytes(text.strip_suffix("/s").unwrap_or(text)));
    parsed.ok_or_else(|| {
        let value = plainly_quoted(value.as_bytes());
        let hint = b" (bytes a second, such as 500K, 20MiB, 1.5GB)".as_slice();
        UsageError::new([b"invalid rate: ".as_slice(), &value, hint].concat())
    })
}

pub(super) fn jobs(value: &OsStr) -> Result<usize, UsageError> {
    match value.to_str().and_then(|text| text.parse().ok()) {
        Some(jobs @ 1..=1024) => Ok(jobs),
        _ => {
            let value = plainly_quoted(value.as_bytes());
            Err(UsageError::new([b"invalid number of jobs: ".as_slice(), &value, b" (1 to 1024)"].concat()))
        }
    }
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
