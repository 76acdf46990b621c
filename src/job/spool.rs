//! The spool: one file with the names of a plan, in the order of the walk, until they are assigned to parts.
//!
//! All names of an inode stand together, because one part must have them all, to make them hard links of one copy.
//! A record is a line `KIND SIZE MTIME WEIGHT COUNT`, and COUNT names that end in NUL. Memory holds only inodes with
//! names that have not been seen yet: about 150 bytes each, plus the names.

use super::facts::{Facts, Line};
use crate::error::{Failure, Operation};
use crate::sys::Stat;
use crate::sys::interrupted::Bounded;
use crate::sys::stat::FileId;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// All names of an inode in the source: for nearly all files, a single one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) facts: Facts,
    /// Bytes to copy, once for all names, as far as the allocated blocks tell.
    pub(super) weight: u64,
    pub(super) names: Vec<OsString>,
}

impl Group {
    pub(super) fn of(stat: &Stat, path: OsString) -> Group {
        let allocated = stat.blocks.saturating_mul(512);
        let weight = if stat.is_regular() { stat.size.min(allocated) } else { 0 };
        Group { facts: Facts::of(stat), weight, names: vec![path] }
    }
}

/// The inodes with names that have not been seen yet.
#[derive(Debug, Default)]
pub(super) struct Inodes(HashMap<FileId, Group>);

impl Inodes {
    /// Adds a name of an inode that has up to `names` of them. Returns the group when it is complete.
    pub(super) fn add(&mut self, stat: &Stat, path: OsString, names: u64) -> Option<Group> {
        match self.0.entry(stat.id()) {
            Entry::Vacant(slot) if names > 1 => {
                slot.insert(Group::of(stat, path));
                None
            }
            Entry::Vacant(_) => Some(Group::of(stat, path)),
            Entry::Occupied(mut slot) => {
                slot.get_mut().names.push(path);
                (slot.get().names.len() as u64 >= names).then(|| slot.remove())
            }
        }
    }

    /// Returns the groups with further names outside the source. Sorted, so that a repeated plan gives the same
    /// result.
    pub(super) fn rest(self) -> Vec<Group> {
        let mut groups: Vec<Group> = self.0.into_values().collect();
        groups.sort_by(|a, b| a.names.cmp(&b.names));
        groups
    }
}

pub(super) struct SpoolWriter {
    path: PathBuf,
    file: BufWriter<Bounded<File>>,
}

impl SpoolWriter {
    pub(super) fn new(path: PathBuf, file: Bounded<File>) -> SpoolWriter {
        SpoolWriter { file: BufWriter::with_capacity(1 << 18, file), path }
    }

    pub(super) fn push(&mut self, Group { facts, weight, names }: &Group) -> Result<(), Failure> {
        let mut write = || {
            writeln!(self.file, "{facts} {weight} {}", names.len())?;
            names.iter().try_for_each(|name| {
                self.file.write_all(name.as_bytes())?;
                self.file.write_all(b"\0")
            })
        };
        write().map_err(|error| Failure::io(Operation::Write, &self.path, &error))
    }

    /// Ends writing and begins to read the same file.
    pub(super) fn finish(self) -> Result<SpoolReader, Failure> {
        let file =
            self.file.into_inner().map_err(|error| Failure::io(Operation::Write, &self.path, error.error()))?;
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
    pub(super) fn seek(&mut self, at: u64) -> Result<(), Failure> {
        self.file.seek(SeekFrom::Start(at)).map_err(|error| Failure::io(Operation::Read, &self.path, &error))?;
        self.at = at;
        Ok(())
    }

    /// Returns the next group with its position in the spool, or `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(Group, Range<u64>)>, Failure> {
        let start = self.at;
        let head = self.read_until(b'\n').map_err(|error| Failure::io(Operation::Read, &self.path, &error))?;
        if self.at == start {
            return Ok(None);
        }
        let damaged = || Failure::new(Operation::Damaged, &self.path);
        let (facts, weight, count) = head.as_deref().and_then(parse_head).ok_or_else(damaged)?;
        let mut names = Vec::new();
        for _ in 0..count {
            let name = self.read_until(0).map_err(|error| Failure::io(Operation::Read, &self.path, &error))?;
            names.push(OsString::from_vec(name.ok_or_else(|| Failure::new(Operation::Damaged, &self.path))?));
        }
        Ok(Some((Group { facts, weight, names }, start..self.at)))
    }

    /// Returns the bytes up to `end`, or `None` if the file ends before it.
    fn read_until(&mut self, end: u8) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        self.at += self.file.read_until(end, &mut bytes)? as u64;
        Ok((bytes.pop() == Some(end)).then_some(bytes))
    }
}

fn parse_head(line: &[u8]) -> Option<(Facts, u64, u64)> {
    let text = std::str::from_utf8(line).ok()?;
    let (facts, count) = text.rsplit_once(' ')?;
    let (facts, weight) = facts.rsplit_once(' ')?;
    let facts = Facts::parse(&mut facts.split_ascii_whitespace())?;
    Some((facts, weight.parse().ok()?, count.parse().ok()?))
}
