//! The lists of a job folder: `LIST.names` holds relative paths that end in NUL, `LIST.facts` a line for each
//! of them in the same order.
//!
//! Both are read and written as streams, so a long list needs no memory.

use super::facts::Line;
use super::private::PrivateDir;
use crate::error::{Failure, Operation};
use crate::sys::Errno;
use crate::sys::interrupted::Bounded;
use crate::sys::stale::StaleRetry;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::marker::PhantomData;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// The root, in a list of paths below it.
pub(super) const ROOT: &str = ".";

pub(super) struct ListWriter {
    list: PathBuf,
    names: BufWriter<Bounded<File>>,
    facts: BufWriter<Bounded<File>>,
}

impl ListWriter {
    pub(super) fn create(dir: &PrivateDir, list: &str) -> Result<ListWriter, Failure> {
        let create = |extension| dir.create(&format!("{list}.{extension}")).map(BufWriter::new);
        Ok(ListWriter { names: create("names")?, facts: create("facts")?, list: dir.path_of(list) })
    }

    pub(super) fn push(&mut self, path: &OsStr, facts: &impl Line) -> Result<(), Failure> {
        let name = self.names.write_all(path.as_bytes()).and_then(|()| self.names.write_all(b"\0"));
        name.and_then(|()| writeln!(self.facts, "{facts}"))
            .map_err(|error| Failure::io(Operation::Write, &self.list, &error))
    }

    pub(super) fn finish(mut self) -> Result<(), Failure> {
        let flushed = self.names.flush().and_then(|()| self.facts.flush());
        flushed.map_err(|error| Failure::io(Operation::Write, &self.list, &error))
    }
}

/// Reads a list. Nothing follows an error.
pub(super) struct ListReader<L> {
    list: PathBuf,
    names: BufReader<Bounded<File>>,
    facts: BufReader<Bounded<File>>,
    ended: bool,
    line: PhantomData<L>,
}

impl<L: Line> ListReader<L> {
    pub(super) fn open(dir: &PrivateDir, list: &str, stale_retry: &StaleRetry) -> Result<ListReader<L>, Failure> {
        let open = |extension| {
            let name = format!("{list}.{extension}");
            let missing = || Failure::new(Operation::OpenSource, dir.path_of(&name)).errno(Errno::NOENT);
            dir.read(&name, stale_retry)?.map(BufReader::new).ok_or_else(missing)
        };
        let (names, facts) = (open("names")?, open("facts")?);
        Ok(ListReader { names, facts, list: dir.path_of(list), ended: false, line: PhantomData })
    }

    fn read(&mut self) -> Result<Option<(OsString, L)>, Failure> {
        let (mut name, mut line) = (Vec::new(), String::new());
        let answer = self.names.read_until(0, &mut name).and_then(|_| self.facts.read_line(&mut line));
        answer.map_err(|error| Failure::io(Operation::Read, &self.list, &error))?;
        if name.is_empty() && line.is_empty() {
            return Ok(None);
        }
        let whole = name.pop() == Some(0) && line.ends_with('\n');
        let mut words = line.split_ascii_whitespace();
        match L::parse(&mut words).filter(|_| whole && words.next().is_none()) {
            Some(facts) => Ok(Some((OsString::from_vec(name), facts))),
            None => Err(Failure::new(Operation::Damaged, &self.list)),
        }
    }
}

impl<L: Line> Iterator for ListReader<L> {
    type Item = Result<(OsString, L), Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let read = self.read().transpose();
        self.ended = !matches!(read, Some(Ok(_)));
        read
    }
}
