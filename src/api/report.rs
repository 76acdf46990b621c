//! The report of a copy, and its errors.

use crate::report::stats::Summary;
use crate::report::{Failure, table};
use crate::transfer::{Call, Strategy};
use std::fmt::{Display, Formatter};
use std::time::Duration;

/// The statistics of a copy, counted during the copy. `Display` prints the table of `zcp --stats`.
#[derive(Clone, Debug)]
pub struct Report(Box<Summary>);

/// The figures of one strategy.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StrategyReport {
    /// The strategy.
    pub strategy: Strategy,
    /// The number of files of which it moved bytes. A file that several strategies copied counts for each.
    pub files: u64,
    /// Bytes that it wrote to destinations, or, for a reflink, bytes that are now shared.
    pub bytes: u64,
    /// The time spent in its system calls and, for small files that are copied together, also between the calls; added
    /// over all workers.
    pub time: Duration,
    /// The system calls that it made on the data, by their names in strace(1), with their numbers.
    pub calls: Vec<(&'static str, u64)>,
}

/// Declares methods of [`Report`] that give one figure.
macro_rules! figures {
    ($($(#[$doc:meta])* $name:ident -> $type:ty { $($figure:tt)+ })*) => {
        impl Report {$(
            $(#[$doc])*
            pub fn $name(&self) -> $type {
                self.0.$($figure)+
            }
        )*}
    };
}

figures! {
    /// Returns the number of regular files (and streams) whose content was copied.
    files -> u64 { stats.files }

    /// Returns the number of directories that were made or copied into.
    directories -> u64 { stats.directories }

    /// Returns the number of symbolic links that were made.
    symlinks -> u64 { stats.symlinks }

    /// Returns the number of hard links that were made, instead of a second copy or because links were
    /// requested.
    hard_links -> u64 { stats.hard_links }

    /// Returns the number of fifos, sockets and device nodes that were made.
    special -> u64 { stats.special }

    /// Returns the number of files that were skipped because of the existing destination.
    skipped -> u64 { stats.skipped }

    /// Returns the number of files that an earlier run had completed, skipped by
    /// [`resume`](super::CopyOptions::resume).
    complete -> u64 { stats.complete }

    /// Returns the number of files that were read back and equal their source
    /// ([`verify`](super::CopyOptions::verify)).
    verified -> u64 { stats.verified }

    /// Returns the number of verified files of which some bytes may have come from the page cache, not from the
    /// disk: all files on a tmpfs.
    verified_in_cache -> u64 { stats.verified_in_cache }

    /// Returns the number of names that globs excluded. Names below an excluded directory are not counted.
    excluded -> u64 { stats.excluded }

    /// Returns whether this was a dry run.
    is_dry_run -> bool { dry_run }

    /// Returns the sum of the lengths of the copied files, in bytes: bytes moved, in holes, shared and
    /// kept.
    bytes -> u64 { stats.bytes_logical }

    /// Returns the bytes written by any strategy except reflink.
    bytes_moved -> u64 { stats.account.bytes_moved() }

    /// Returns the bytes in holes that were kept or made.
    bytes_in_holes -> u64 { stats.account.holes }

    /// Returns the bytes that a reflink shares with the source.
    bytes_shared -> u64 { stats.account.bytes_shared() }

    /// Returns the bytes of large files that an earlier run had written and that equal the source, with
    /// [`resume`](super::CopyOptions::resume).
    bytes_kept -> u64 { stats.bytes_kept }

    /// Returns the time from the start of the walk to the last file.
    elapsed -> Duration { elapsed }

    /// Returns the largest number of workers.
    workers -> usize { workers }

    /// Returns the number of failures.
    failed -> u64 { failed }

    /// Returns the object of `zcp --stats=json`, on one line. Later versions may add fields, but will change
    /// none.
    to_json -> String { json().to_string() }
}

impl Report {
    pub(crate) fn new(summary: Summary) -> Report {
        Report(Box::new(summary))
    }

    /// Returns `Ok` if everything was copied.
    pub(super) fn into_result(self) -> Result<Report, Error> {
        match (self.0.interrupted, self.0.failed) {
            (true, _) => Err(Error::Cancelled(self)),
            (false, 0) => Ok(self),
            (false, _) => Err(Error::Incomplete(self)),
        }
    }

    /// Returns the strategies that were used or tried.
    pub fn strategies(&self) -> impl Iterator<Item = StrategyReport> {
        let account = &self.0.stats.account;
        Strategy::ALL.into_iter().filter(|s| account.tally(*s).is_used()).map(|strategy| {
            let tally = account.tally(strategy);
            let calls = Call::ALL.into_iter().map(Call::name).zip(tally.calls).filter(|(_, made)| *made > 0);
            StrategyReport {
                strategy,
                files: tally.files,
                bytes: tally.bytes,
                time: Duration::from_nanos(tally.ns),
                calls: calls.collect(),
            }
        })
    }

    /// Returns the failures, at most the first 1,000. A failure without a message, such as a declined prompt,
    /// is only counted.
    pub fn failures(&self) -> &[Failure] {
        &self.0.failures
    }

    /// Returns the warnings, such as a source that was named twice; at most the first 1,000.
    pub fn warnings(&self) -> &[Failure] {
        &self.0.warnings
    }

    /// Returns the line that the program ends with after several failures, or `None` if there is no need for
    /// one. It is in bytes, because file names need not be UTF-8.
    pub fn outcome(&self) -> Option<Vec<u8>> {
        table::outcome(&self.0)
    }

    /// Returns the first line of the table: files, bytes, time and speed.
    pub fn headline(&self) -> String {
        table::headline(&self.0)
    }

    /// Returns the table with bold headings, for a terminal.
    pub fn to_terminal(&self) -> String {
        table::text(&self.0, true)
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(&table::text(&self.0, false))
    }
}

/// The reason why a copy is incomplete.
///
/// # Examples
/// ```
/// # let dir = tempfile::tempdir()?;
/// # std::env::set_current_dir(dir.path())?;
/// std::fs::write("here", "1")?;
/// std::fs::create_dir("into")?;
/// let error = zcp::copy(["here", "missing"], "into").unwrap_err();
/// assert_eq!(error.to_string(), "cannot stat 'missing': No such file or directory");
/// let zcp::Error::Incomplete(report) = error else { panic!() };
/// assert_eq!(report.files(), 1); // the other one was copied
/// assert_eq!(report.failures()[0].path().unwrap(), "missing");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The options contradict each other or are invalid. Nothing was copied.
    Usage(Failure),
    /// The destination, or another file that was named, cannot be used. Nothing was copied.
    Unusable(Failure),
    /// Something failed. The rest was copied, unless [`CopyOptions::on_failure`](super::CopyOptions::on_failure) ended
    /// the copy.
    Incomplete(Report),
    /// [`Cancel`](super::Cancel), or a signal caught for a [`Console`](crate::Console), stopped the copy. Files copied
    /// before are complete.
    Cancelled(Report),
}

impl Error {
    /// Makes the error of a copy that could not begin.
    pub(super) fn before_copy(failure: Failure) -> Error {
        if failure.is_usage() { Error::Usage(failure) } else { Error::Unusable(failure) }
    }

    /// Returns the report of the copy, unless nothing was copied.
    pub fn report(&self) -> Option<&Report> {
        match self {
            Error::Usage(_) | Error::Unusable(_) => None,
            Error::Incomplete(report) | Error::Cancelled(report) => Some(report),
        }
    }
}

/// The first failure and the number of further failures.
impl Display for Error {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::Usage(failure) | Error::Unusable(failure) => failure.fmt(f),
            Error::Cancelled(_) => f.write_str("the copy was cancelled"),
            Error::Incomplete(report) => match (report.failures().first(), report.failed()) {
                (None, failed) => write!(f, "not everything was copied as asked for (failures: {failed})"),
                (Some(first), 1) => first.fmt(f),
                (Some(first), 2) => write!(f, "{first} (and 1 more failure)"),
                (Some(first), failed) => write!(f, "{first} (and {} more failures)", failed - 1),
            },
        }
    }
}

impl std::error::Error for Error {}
