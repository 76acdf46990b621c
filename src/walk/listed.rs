//! `--files-from`: names that are read from a list, one by one, during the copy.
//!
//! Only the listed names are made: a directory without its contents, and the directories that lead to a name.
//! One worker at a time reads the list, and the worker that took some names enters their directory. Each
//! directory is held until the end, because a later name may still change its times. A fingerprint of each name
//! is kept, so that a name that is listed twice is not copied by two workers at once.

use super::supply::{NameGroup, Supply};
use super::{BATCH, Walker, is_excluded, level_below};
use crate::batch::{Batch, Entries, Entry};
use crate::context::{Context, Fds};
use crate::dir::{AttributeScope, Hold};
use crate::error::Operation;
use crate::existing;
use crate::filter::Level;
use crate::options::{NameList, Options};
use crate::report::{Failure, lock};
use crate::sys::Kind;
use crate::sys::at::{self, Follow};
use crate::sys::interrupted::{Bounded, Interruptions};
use crate::sys::io;
use crate::sys::proc::StopFlag;
use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::{Arc, Mutex, OnceLock};

pub(crate) struct List {
    names: Box<dyn Iterator<Item = std::io::Result<Vec<u8>>> + Send>,
    name: OsString,
}

impl List {
    /// Opens the list that the options name. Returns `None` if they name none.
    pub(super) fn open(options: &Options, stop: &StopFlag) -> Option<Result<List, Failure>> {
        let (file, name) = match options.files_from.clone()? {
            NameList::Stdin => (io::duplicate(std::io::stdin().as_fd()), "-".into()),
            NameList::File(name) => (at::open_read(at::CWD, &name, Follow::Yes, true), name),
            NameList::Given(names) => {
                let names = (0..names.len()).map(move |at| Ok(names[at].as_bytes().to_vec()));
                return Some(Ok(List { names: Box::new(names), name: OsString::new() }));
            }
        };
        Some(match file {
            Ok(file) => {
                let file = Bounded(ListFile { file: file.into(), stop: stop.clone() });
                let names = BufReader::with_capacity(64 << 10, file).split(options.name_end);
                Ok(List { names: Box::new(names), name })
            }
            Err(errno) => Err(Failure::new(Operation::OpenSource, &name).errno(errno)),
        })
    }

    /// Returns the components of the next name below the source, or `None` at the end.
    fn next(&mut self) -> Option<Result<Vec<OsString>, Failure>> {
        loop {
            let name = match self.names.next()? {
                Ok(name) => name,
                Err(error) => {
                    self.names = Box::new(std::iter::empty()); // a failing reader would fail for ever
                    return Some(Err(Failure::io(Operation::Read, &self.name, &error)));
                }
            };
            let parts = name.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
            let parts: Vec<_> = parts.map(|part| OsStr::from_bytes(part).to_owned()).collect();
            if parts.iter().any(|part| part == "..") {
                return Some(Err(Failure::new(Operation::LeaveSource, OsString::from_vec(name))));
            }
            if !parts.is_empty() {
                return Some(Ok(parts));
            }
        }
    }
}

/// A list that ends after a stop request: a read that waits for a pipe or a terminal would go on after the signal.
struct ListFile {
    file: File,
    stop: StopFlag,
}

impl Read for ListFile {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let mut interruptions = Interruptions::default();
        while io::poll_a_while(&self.file, false, &mut interruptions) == Ok(false) {
            if self.stop.is_raised() {
                return Ok(0);
            }
        }
        self.file.read(bytes)
    }
}

/// A set of paths, held as fingerprints of 128 bits, whose collisions are too unlikely to matter.
#[derive(Debug, Default)]
pub(crate) struct Fingerprints {
    keys: (RandomState, RandomState),
    set: HashSet<(u64, u64)>,
}

impl Fingerprints {
    fn of(&self, path: &[u8]) -> (u64, u64) {
        (self.keys.0.hash_one(path), self.keys.1.hash_one(path))
    }

    /// Adds a path. Returns false if the set had it already.
    pub(crate) fn insert(&mut self, path: &[u8]) -> bool {
        self.set.insert(self.of(path))
    }

    pub(crate) fn contains(&self, path: &[u8]) -> bool {
        !self.set.is_empty() && self.set.contains(&self.of(path))
    }
}

pub(super) struct Listed {
    list: List,
    directories: Arc<ListedDirectories>,
    seen: Fingerprints,
    /// The first name of the next group, which is in another directory than the current group.
    next: Option<Vec<OsString>>,
}

impl Listed {
    pub(super) fn new(list: List, root: Hold) -> Listed {
        let directories = Arc::new(ListedDirectories { root, known: Mutex::default() });
        Listed { list, directories, seen: Fingerprints::default(), next: None }
    }

    /// Returns the components of the next name that was not listed before.
    fn next_name(&mut self, ctx: &Context) -> Option<Vec<OsString>> {
        if self.next.is_some() {
            return self.next.take();
        }
        while let Some(name) = self.list.next()
            && !ctx.run.stop.is_raised()
        {
            match name {
                Ok(parts) => {
                    let path = parts.join(OsStr::new("/"));
                    if self.seen.insert(path.as_bytes()) {
                        return Some(parts);
                    }
                    ctx.events.warn(Failure::new(Operation::RepeatedFile, path));
                }
                Err(failure) => ctx.events.fail(failure),
            }
        }
        None
    }
}

impl<'c> Supply<'c> for Listed {
    fn next_group(&mut self, ctx: &Context) -> Option<Arc<dyn NameGroup<'c> + 'c>> {
        let mut parent = self.next_name(ctx)?;
        let mut names: Vec<_> = parent.pop().into_iter().collect();
        while names.len() < BATCH
            && let Some(mut parts) = self.next_name(ctx)
        {
            if parts.split_last().map(|(_, leading)| leading) != Some(parent.as_slice()) {
                self.next = Some(parts);
                break;
            }
            names.extend(parts.pop());
        }
        Some(Arc::new(ListedGroup { directories: Arc::clone(&self.directories), parent, names }))
    }
}

struct ListedGroup {
    directories: Arc<ListedDirectories>,
    /// The components of the directory's path below the source.
    parent: Vec<OsString>,
    names: Vec<OsString>,
}

impl<'c> NameGroup<'c> for ListedGroup {
    fn enter(&self, walker: &mut Walker<'_, 'c>) -> Result<Option<Batch>, Failure> {
        let Some(directory) = self.directories.enter(walker, &self.parent)? else { return Ok(None) };
        let fds = directory.dir.fds_or_failure(walker.ctx)?;
        let entries = self.names.iter().filter_map(|name| walker.listed_entry(&directory, &fds, name));
        let entries = Entries::Given(entries.collect());
        Ok(Some(Batch::new(directory.dir, fds, entries)))
    }

    /// Makes only the directory itself.
    fn enter_directory(&self, walker: &mut Walker<'_, 'c>, _: &Batch, entry: &Entry) -> Result<(), Failure> {
        let path = [self.parent.as_slice(), std::slice::from_ref(&entry.name)].concat();
        self.directories.enter(walker, &path).map(drop)
    }
}

#[derive(Clone, Debug)]
struct ListedDirectory {
    dir: Hold,
    level: Option<Arc<Level>>,
}

/// The result of entering a directory once: `None` if it cannot be entered or is excluded.
type EnteredOnce = Arc<OnceLock<Option<ListedDirectory>>>;

#[derive(Debug)]
struct ListedDirectories {
    /// The pair of directories that all names are relative to.
    root: Hold,
    /// Keyed by path below the source.
    known: Mutex<HashMap<OsString, EnteredOnce>>,
}

impl ListedDirectories {
    /// Enters and makes the directory of these components, or returns it if that was done before. Returns
    /// `None` if it is excluded, or if it could not be entered and that was reported. Goes from the top down, and not by
    /// recursion: a list may contain a name of any length.
    fn enter(&self, walker: &mut Walker<'_, '_>, parts: &[OsString]) -> Result<Option<ListedDirectory>, Failure> {
        let mut directory = self.enter_once(OsStr::new(""), || walker.enter_root_of_list(&self.root).map(Some))?;
        let mut path = OsString::new();
        for name in parts {
            let Some(above) = directory else { return Ok(None) };
            path.push("/");
            path.push(name);
            directory = self.enter_once(&path, || walker.enter_listed(&above, name))?;
        }
        Ok(directory)
    }

    /// Enters a directory by `enter`, unless that was done before.
    fn enter_once(
        &self,
        path: &OsStr,
        enter: impl FnOnce() -> Result<Option<ListedDirectory>, Failure>,
    ) -> Result<Option<ListedDirectory>, Failure> {
        let once = Arc::clone(lock(&self.known).entry(path.to_owned()).or_default());
        let mut failure = None;
        // Another worker that needs this directory waits here.
        let entered = once.get_or_init(|| {
            enter().unwrap_or_else(|reason| {
                failure = Some(reason);
                None
            })
        });
        failure.map_or_else(|| Ok(entered.clone()), Err)
    }
}

impl Walker<'_, '_> {
    /// Makes the entry of a name, or returns `None` if patterns exclude it. Without patterns the type is left
    /// to the worker that copies the entry.
    fn listed_entry(&mut self, directory: &ListedDirectory, fds: &Fds, name: &OsStr) -> Option<Entry> {
        let entry = Entry { name: name.to_owned(), new_name: None, hint: None, operand: false };
        let Some(level) = directory.level.as_deref() else { return Some(entry) };
        let follow = existing::follows_source(&self.ctx.options, &entry);
        match at::stat(&fds.src, name, follow) {
            Ok(stat) if is_excluded(&self.ctx.options, Some(level), name, stat.is_dir()) => {
                self.stats.excluded += 1;
                None
            }
            Ok(stat) => Some(Entry { hint: Some(stat.kind()).filter(|kind| *kind != Kind::Unknown), ..entry }),
            // The worker that copies the entry reports the error.
            Err(_) => Some(entry),
        }
    }

    fn enter_root_of_list(&self, root: &Hold) -> Result<ListedDirectory, Failure> {
        let fds = root.fds_or_failure(self.ctx)?;
        let level = level_below(self.ctx, None, OsStr::new(""), &fds.src, &|| root.source_path(OsStr::new("")));
        Ok(ListedDirectory { dir: root.clone(), level })
    }

    fn enter_listed(&mut self, above: &ListedDirectory, name: &OsStr) -> Result<Option<ListedDirectory>, Failure> {
        if is_excluded(&self.ctx.options, above.level.as_deref(), name, true) {
            self.stats.excluded += 1;
            return Ok(None);
        }
        let entry = Entry { name: name.to_owned(), new_name: None, hint: Some(Kind::Directory), operand: false };
        let dir = self.recreate(&above.dir, &entry, AttributeScope::Full)?;
        self.stats.directories += 1;
        let fds = dir.fds_or_failure(self.ctx)?;
        let path = || dir.source_path(OsStr::new(""));
        let level = level_below(self.ctx, above.level.as_ref(), name, &fds.src, &path);
        Ok(Some(ListedDirectory { dir, level }))
    }
}
