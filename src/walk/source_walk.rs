//! Walks all names below one source directory, with the stat(2) of each, and makes nothing.
//!
//! Each name is inspected once. The walk keeps the directories above the current one in memory, and the
//! subdirectories that are not entered yet. Only the innermost directories stay open.

use super::listing::Listing;
use super::{is_excluded, level_below};
use crate::context::Context;
use crate::dir::without_slashes;
use crate::error::{Failure, Operation};
use crate::filter;
use crate::options::Dereference;
use crate::sys::at::{self, Follow};
use crate::sys::dirents::EntryBuffer;
use crate::sys::stat::FileId;
use crate::sys::{Errno, Kind, Result, Stat};
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::Arc;

/// The most directories that are kept open.
const OPEN: usize = 64;

/// A name below the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceEntry {
    /// Relative to the source; empty for the source itself.
    pub path: OsString,
    /// The attributes of the link or, if links are followed, of its target.
    pub stat: Stat,
}

/// The walk. A directory comes before its contents.
#[derive(Debug)]
pub struct SourceWalk<'c> {
    ctx: &'c Context,
    /// The source as it was typed, for messages.
    source: OsString,
    root: OwnedFd,
    root_dev: u64,
    buf: EntryBuffer,
    first: Option<Stat>,
    levels: Vec<OpenLevel>,
    path: Vec<u8>,
}

/// A directory above the current name.
#[derive(Debug)]
struct OpenLevel {
    name: OsString,
    id: FileId,
    /// `None` for the root, and for a directory that was closed to save descriptors.
    fd: Option<OwnedFd>,
    listing: Option<Listing>,
    later: VecDeque<OsString>,
    /// The filter's view of the directory, if there are patterns.
    filter: Option<Arc<filter::Level>>,
    /// The length of the path of its parent.
    parent_len: usize,
}

impl<'c> SourceWalk<'c> {
    /// Starts a walk through an open directory, which messages call `source`.
    ///
    /// # Errors
    /// The errno of fstat(2), or of reading the directory.
    pub fn new(ctx: &'c Context, root: OwnedFd, source: OsString) -> Result<SourceWalk<'c>> {
        let stat = at::fstat(&root)?;
        let mut buf = EntryBuffer::default();
        let listing = Some(Listing::open(root.as_fd(), &mut buf)?);
        let filter = level_below(ctx, None, OsStr::new(""), &root, &|| source.clone());
        let top = OpenLevel {
            filter,
            name: OsString::new(),
            id: stat.id(),
            fd: None,
            listing,
            later: VecDeque::new(),
            parent_len: 0,
        };
        let root_dev = stat.dev;
        Ok(SourceWalk { ctx, source, root, root_dev, buf, first: Some(stat), levels: vec![top], path: Vec::new() })
    }

    fn follow(&self) -> Follow {
        Follow::from(self.ctx.options.dereference == Dereference::Always)
    }

    /// Returns the path of an entry of the current directory, relative to the source.
    fn below(&self, name: &OsStr) -> OsString {
        let mut path = self.path.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.as_bytes());
        OsString::from_vec(path)
    }

    fn fail(&self, operation: Operation, name: &OsStr, errno: Option<Errno>) {
        let mut path = self.source.clone();
        let below = self.below(name);
        if !below.is_empty() {
            path.push("/");
            path.push(without_slashes(&below));
        }
        let failure = Failure::new(operation, path);
        self.ctx.reporter.fail(match errno {
            Some(errno) => failure.errno(errno),
            None => failure,
        });
    }

    /// Returns the descriptor of the current directory, which is reopened if necessary.
    fn current_dir(&mut self) -> Result<BorrowedFd<'_>> {
        let top = self.levels.len() - 1;
        let open = self.levels.iter().rposition(|level| level.fd.is_some()).unwrap_or(0);
        for at in open + 1..=top {
            let (above, level) = (&self.levels[at - 1], &self.levels[at]);
            let parent = above.fd.as_ref().unwrap_or(&self.root);
            let fd = at::open_dir(parent, &level.name, self.follow())?;
            if at::fstat(&fd)?.id() != level.id {
                return Err(Errno::NOENT); // another directory has the name now
            }
            self.levels[at].fd = Some(fd);
            self.close_above(at);
        }
        Ok(self.levels[top].fd.as_ref().unwrap_or(&self.root).as_fd())
    }

    fn close_above(&mut self, at: usize) {
        if let Some(far) = at.checked_sub(OPEN) {
            self.levels[far].fd = None;
        }
    }

    /// Descends into a subdirectory of the current directory.
    fn enter(&mut self, name: OsString) -> Option<SourceEntry> {
        let follow = self.follow();
        let opened = self.current_dir().and_then(|dir| at::open_dir(dir, &name, follow));
        let (fd, stat) = match opened.and_then(|fd| Ok((at::fstat(&fd)?, fd))) {
            Ok((stat, fd)) => (fd, stat),
            Err(errno) => {
                self.fail(Operation::Access, &name, Some(errno));
                return None;
            }
        };
        if follow == Follow::Yes && self.levels.iter().any(|level| level.id == stat.id()) {
            self.fail(Operation::CyclicLink, &name, None);
            return None;
        }
        let path = self.below(&name);
        let above = self.levels.last().and_then(|level| level.filter.clone());
        let printed = || [self.source.as_os_str(), path.as_os_str()].join(OsStr::new("/"));
        let filter = level_below(self.ctx, above.as_ref(), &name, &fd, &printed);
        let elsewhere = self.ctx.options.one_file_system && stat.dev != self.root_dev;
        let listing = (!elsewhere).then(|| Listing::open(fd.as_fd(), &mut self.buf)).transpose();
        let listing = listing.unwrap_or_else(|errno| {
            self.fail(Operation::Access, &name, Some(errno));
            None
        });
        let parent_len = self.path.len();
        self.path = path.as_bytes().to_vec();
        self.levels.push(OpenLevel {
            filter,
            name,
            id: stat.id(),
            fd: Some(fd),
            listing,
            later: VecDeque::new(),
            parent_len,
        });
        self.close_above(self.levels.len() - 1);
        Some(SourceEntry { path, stat })
    }

    /// Inspects an entry of the current directory. A directory is kept for later.
    fn look(&mut self, name: OsString, hint: Option<Kind>) -> Option<SourceEntry> {
        let follow = self.follow();
        let stat = match hint {
            Some(Kind::Directory) => None,
            _ => match self.current_dir().and_then(|dir| at::stat(dir, &name, follow)) {
                Ok(stat) => Some(stat).filter(|stat| !stat.is_dir()),
                Err(errno) => {
                    self.fail(Operation::Stat, &name, Some(errno));
                    return None;
                }
            },
        };
        let level = self.levels.last().and_then(|level| level.filter.as_deref());
        if level.is_some() && is_excluded(self.ctx, level, &name, stat.is_none()) {
            return None;
        }
        match stat {
            Some(stat) => Some(SourceEntry { path: self.below(&name), stat }),
            None => {
                self.levels.last_mut()?.later.push_back(name);
                None
            }
        }
    }
}

impl Iterator for SourceWalk<'_> {
    type Item = SourceEntry;

    fn next(&mut self) -> Option<SourceEntry> {
        if let Some(stat) = self.first.take() {
            return Some(SourceEntry { path: OsString::new(), stat });
        }
        while !self.ctx.stop.is_raised() {
            let level = self.levels.last_mut()?;
            let found = match level.listing.as_mut() {
                Some(listing) => match listing.next().map(|entry| (entry.name.to_owned(), entry.kind)) {
                    Some((name, kind)) => self.look(name, kind),
                    None => {
                        let more = listing.read_on(&mut self.buf);
                        level.listing.take_if(|_| more != Ok(true));
                        if let Err(errno) = more {
                            self.fail(Operation::Access, OsStr::new(""), Some(errno));
                        }
                        None
                    }
                },
                None => match level.later.pop_front() {
                    Some(name) => self.enter(name),
                    None => {
                        self.path.truncate(level.parent_len);
                        self.levels.pop();
                        None
                    }
                },
            };
            if found.is_some() {
                return found;
            }
        }
        None
    }
}
