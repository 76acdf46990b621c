//! The spool: one file with the names of a plan, in the order of the walk, until they are assigned to parts.
//!
//! A record is `KIND SIZE MTIME WEIGHT NAMES PATH` and a NUL. NAMES is the number of records, from this one
//! on, that name one inode and must stay together; it is 0 for all but the first of them.

use super::facts::{Facts, Line};
use super::lists::failed;
use crate::report::Failure;
use crate::sys::interrupted::Bounded;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SpoolRecord {
    pub(super) facts: Facts,
    /// Bytes to copy, as far as the allocated blocks tell.
    pub(super) weight: u64,
    pub(super) names: u64,
    pub(super) path: OsString,
    /// The position in the spool.
    pub(super) at: Range<u64>,
}

pub(super) struct SpoolWriter {
    path: PathBuf,
    file: BufWriter<Bounded<File>>,
}

impl SpoolWriter {
    pub(super) fn new(path: PathBuf, file: Bounded<File>) -> SpoolWriter {
        SpoolWriter { file: BufWriter::with_capacity(1 << 18, file), path }
    }

    pub(super) fn push(&mut self, facts: &Facts, weight: u64, names: u64, path: &OsStr) -> Result<(), Failure> {
        let head = write!(self.file, "{facts} {weight} {names} ");
        head.and_then(|()| self.file.write_all(path.as_bytes()))
            .and_then(|()| self.file.write_all(b"\0"))
            .map_err(|error| failed("error writing {}", &self.path, &error))
    }

    /// Ends writing and begins to read the same file.
    pub(super) fn finish(self) -> Result<SpoolReader, Failure> {
        let file =
            self.file.into_inner().map_err(|error| failed("error writing {}", &self.path, error.error()))?;
        let mut reader = SpoolReader { path: self.path, file: BufReader::with_capacity(1 << 18, file), at: 0 };
        reader.seek(0)?;
        Ok(reader)
    }
}

pub(super) struct SpoolReader {
    path: PathBuf,
    file: BufReader<Bounded<File>>,
    at: u64,
}

impl SpoolReader {
    /// Continues at `at`, the start of a record.
    pub(super) fn seek(&mut self, at: u64) -> Result<(), Failure> {
        self.file.seek(SeekFrom::Start(at)).map_err(|error| failed("error reading {}", &self.path, &error))?;
        self.at = at;
        Ok(())
    }

    /// Returns the next record, or `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<SpoolRecord>, Failure> {
        let mut bytes = Vec::new();
        let read = self.file.read_until(0, &mut bytes);
        let read = read.map_err(|error| failed("error reading {}", &self.path, &error))?;
        if read == 0 {
            return Ok(None);
        }
        let start = self.at;
        self.at += u64::try_from(read).unwrap_or(0);
        let record = parse(&bytes, start..self.at);
        record.map(Some).ok_or_else(|| Failure::new("{} is damaged", &self.path))
    }
}

fn parse(bytes: &[u8], at: Range<u64>) -> Option<SpoolRecord> {
    let mut words = bytes.strip_suffix(b"\0")?.splitn(6, |byte| *byte == b' ');
    let mut word = || std::str::from_utf8(words.next()?).ok();
    let facts = [word()?, word()?, word()?].join(" ");
    let facts = Facts::parse(&mut facts.split_ascii_whitespace())?;
    let weight = word()?.parse().ok()?;
    let names = word()?.parse().ok()?;
    let path = OsString::from_vec(words.next()?.to_vec());
    Some(SpoolRecord { facts, weight, names, path, at })
}
