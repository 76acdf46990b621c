//! `--files-from`: names that are read from a list, one by one, while they are copied.
//!
//! Exactly what the list names is made: a directory without what is in it, and the directories that lead
//! to a name. The list is never held. What is held is each directory that was made or entered, until the
//! end, for only then may it get its times; and a fingerprint of each name, so that a name that is listed
//! twice is not copied by two workers at once.

use super::supply::Supply;
use super::{BATCH, Walker, is_excluded};
use crate::batch::{Batch, Entries, Entry};
use crate::dir::{Extent, Hold};
use crate::existing;
use crate::filter::Level;
use crate::options::{NameList, Options};
use crate::report::Failure;
use crate::sys::at;
use crate::sys::{Errno, Kind};
use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fmt::{Debug, Formatter};
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::Arc;

/// A list of names that is being read.
pub struct List {
    names: Box<dyn Iterator<Item = std::io::Result<Vec<u8>>> + Send>,
    /// For printing.
    name: OsString,
}

impl List {
    /// Opens the list that the options name.
    ///
    /// # Errors
    /// The errno of open(2).
    pub(super) fn open(options: &Options) -> Option<Result<List, Failure>> {
        let end = options.name_end;
        Some(Ok(match options.files_from.clone()? {
            NameList::Stdin => {
                List { names: Box::new(BufReader::new(std::io::stdin()).split(end)), name: "-".into() }
            }
            NameList::File(name) => match std::fs::File::open(&name) {
                Ok(file) => List { names: Box::new(BufReader::with_capacity(64 << 10, file).split(end)), name },
                Err(error) => return Some(Err(failure("cannot open {} for reading", &name, &error))),
            },
            NameList::Given(names) => {
                let names = (0..names.len()).map(move |at| Ok(names[at].as_bytes().to_vec()));
                List { names: Box::new(names), name: OsString::new() }
            }
        }))
    }

    /// The next name, as its components below the source; `None` at the end.
    fn next(&mut self) -> Option<Result<Vec<OsString>, Failure>> {
        loop {
            let name = match self.names.next()? {
                Ok(name) => name,
                Err(error) => {
                    self.names = Box::new(std::iter::empty()); // it would fail for ever
                    return Some(Err(failure("error reading {}", &self.name, &error)));
                }
            };
            let parts = name.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
            let parts: Vec<_> = parts.map(|part| OsStr::from_bytes(part).to_owned()).collect();
            if parts.iter().any(|part| part == "..") {
                return Some(Err(Failure::new("{} leads out of the source", OsString::from_vec(name))));
            }
            if !parts.is_empty() {
                return Some(Ok(parts));
            }
        }
    }
}

impl Debug for List {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "List({:?})", self.name)
    }
}

fn failure(words: &'static str, name: &OsStr, error: &std::io::Error) -> Failure {
    Failure::new(words, name).errno(Errno::from_io_error(error).unwrap_or(Errno::IO))
}

/// A directory that names of the list are in.
#[derive(Clone, Debug)]
struct ListedPlace {
    dir: Hold,
    level: Option<Arc<Level>>,
}

/// What is known while a list is being read.
#[derive(Debug)]
pub(super) struct Listed {
    list: List,
    /// The directories that all names are relative to.
    root: Hold,
    /// By their paths below the source; `None` for one that cannot be entered, or is left out.
    places: HashMap<OsString, Option<ListedPlace>>,
    seen: HashSet<(u64, u64)>,
    keys: (RandomState, RandomState),
    /// A name in another directory than those before it: the first of the next batch.
    pending: Option<(OsString, Entry)>,
}

impl Listed {
    pub(super) fn new(list: List, root: Hold) -> Listed {
        Listed {
            list,
            root,
            places: HashMap::new(),
            seen: HashSet::new(),
            keys: Default::default(),
            pending: None,
        }
    }

    /// Whether the name is new. Two names with one fingerprint of 128 bits will not be met.
    fn is_new(&mut self, path: &OsStr) -> bool {
        self.seen.insert((self.keys.0.hash_one(path), self.keys.1.hash_one(path)))
    }
}

impl Supply for Listed {
    fn next_batch(&mut self, walker: &mut Walker<'_, '_>) -> Option<Batch> {
        walker.next_listed(self)
    }
}

impl Walker<'_, '_> {
    /// The next names of the list that are in one directory.
    fn next_listed(&mut self, listed: &mut Listed) -> Option<Batch> {
        while !self.ctx.stop.is_raised() {
            let mut names = Vec::new();
            let mut parent = OsString::new();
            while names.len() < BATCH
                && let Some((dir, entry)) = listed.pending.take().or_else(|| self.next_name(listed))
            {
                if !names.is_empty() && dir != parent {
                    listed.pending = Some((dir, entry));
                    break;
                }
                parent = dir;
                names.push(entry);
            }
            if names.is_empty() {
                return None;
            }
            let dir = listed.places.get(&parent).cloned().flatten()?.dir;
            match dir.fds(self.ctx) {
                Ok(fds) => return Some(Batch::new(dir, fds, Entries::Given(names))),
                Err(errno) => {
                    let path = dir.source_path(OsStr::new(""));
                    self.ctx.reporter.fail(Failure::new("cannot access {}", path).errno(errno));
                }
            }
        }
        None
    }

    /// The next name that is no directory, and the directory that it is in; directories are made on the way.
    fn next_name(&mut self, listed: &mut Listed) -> Option<(OsString, Entry)> {
        while !self.ctx.stop.is_raised() {
            let answer = listed.list.next()?.and_then(|parts| self.take_name(listed, &parts));
            match answer {
                Ok(Some(found)) => return Some(found),
                Ok(None) => {}
                Err(failure) => self.ctx.reporter.fail(failure),
            }
        }
        None
    }

    fn take_name(
        &mut self,
        listed: &mut Listed,
        parts: &[OsString],
    ) -> Result<Option<(OsString, Entry)>, Failure> {
        let Some((name, leading)) = parts.split_last() else { return Ok(None) };
        let path = joined(parts);
        if !listed.is_new(&path) {
            let words = "warning: source file {} specified more than once";
            self.ctx.reporter.warn(Failure::new(words, path));
            return Ok(None);
        }
        let Some(parent) = self.place(listed, leading)? else { return Ok(None) };
        let mut entry = Entry { name: name.clone(), new_name: None, hint: None, operand: false };
        let cannot_stat = |errno| Failure::new("cannot stat {}", parent.dir.source_path(name)).errno(errno);
        let fds = parent.dir.fds(self.ctx).map_err(cannot_stat)?;
        let follow = existing::follows_source(&self.ctx.options, &entry);
        let stat = at::stat(&fds.src, name, follow).map_err(cannot_stat)?;
        if is_excluded(self.ctx, parent.level.as_deref(), name, stat.is_dir()) {
            self.stats.excluded += 1;
            return Ok(None);
        }
        if stat.is_dir() {
            return self.place(listed, parts).map(|_| None);
        }
        entry.hint = Some(stat.kind()).filter(|kind| *kind != Kind::Unknown);
        Ok(Some((joined(leading), entry)))
    }

    /// The directory of these components, entered and made if that has not been done; `None` if it cannot be
    /// entered, which was said before, or is left out.
    fn place(&mut self, listed: &mut Listed, parts: &[OsString]) -> Result<Option<ListedPlace>, Failure> {
        let path = joined(parts);
        if let Some(known) = listed.places.get(&path) {
            return Ok(known.clone());
        }
        let found = match parts.split_last() {
            None => self.top(&listed.root),
            Some((name, leading)) => match self.place(listed, leading)? {
                None => Ok(None),
                Some(above) => self.enter(&above, name),
            },
        };
        // What failed once is not tried, and not reported, for each name in it.
        listed.places.insert(path, found.as_ref().ok().cloned().flatten());
        found
    }

    fn top(&mut self, root: &Hold) -> Result<Option<ListedPlace>, Failure> {
        let path = || root.source_path(OsStr::new(""));
        let fds = root.fds(self.ctx).map_err(|errno| Failure::new("cannot access {}", path()).errno(errno))?;
        let level = self.level_below(None, OsStr::new(""), &fds.src, &path);
        Ok(Some(ListedPlace { dir: root.clone(), level }))
    }

    fn enter(&mut self, above: &ListedPlace, name: &OsStr) -> Result<Option<ListedPlace>, Failure> {
        if is_excluded(self.ctx, above.level.as_deref(), name, true) {
            self.stats.excluded += 1;
            return Ok(None);
        }
        let entry = Entry { name: name.to_owned(), new_name: None, hint: Some(Kind::Directory), operand: false };
        let dir = self.recreate(&above.dir, &entry, Extent::Full)?;
        self.stats.directories += 1;
        let path = || dir.source_path(OsStr::new(""));
        let fds = dir.fds(self.ctx).map_err(|errno| Failure::new("cannot access {}", path()).errno(errno))?;
        let level = self.level_below(above.level.as_ref(), name, &fds.src, &path);
        Ok(Some(ListedPlace { dir, level }))
    }
}

fn joined(parts: &[OsString]) -> OsString {
    parts.join(OsStr::new("/"))
}
