//! Walks all names below one source directory, with the stat(2) of each, and makes nothing.
//!
//! Each name is inspected once. The walk keeps the directories above the current one in memory, and the
//! subdirectories that are not entered yet.

use super::directory::Opened;
use super::listing::Listing;
use super::{is_excluded, level_below};
use crate::context::{Context, DirFd};
use crate::dir::{AttributeScope, Dir, Finish, Hold};
use crate::error::{Failure, Operation};
use crate::filter;
use crate::options::Dereference;
use crate::sys::at::{self, Follow};
use crate::sys::dirents::EntryBuffer;
use crate::sys::stat::FileId;
use crate::sys::{Kind, Result, Stat};
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SourceEntry {
    /// Relative to the source; empty for the source itself.
    pub path: OsString,
    /// The attributes of the link or, if links are followed, of its target.
    pub stat: Stat,
}

/// The walk. A directory comes before its contents.
pub(crate) struct SourceWalk<'c> {
    ctx: &'c Arc<Context>,
    root: FileId,
    buffer: EntryBuffer,
    first: Option<Stat>,
    levels: Vec<OpenLevel>,
    path: Vec<u8>,
}

/// A directory above the current name.
#[derive(Debug)]
struct OpenLevel {
    /// Without a destination.
    dir: Hold,
    listing: Option<Listing>,
    subdirectories: VecDeque<OsString>,
    /// The filter's view of the directory, if there are patterns.
    filter: Option<Arc<filter::Level>>,
    parent_len: usize,
}

impl<'c> SourceWalk<'c> {
    /// Starts a walk through an open directory, which messages call `source`.
    pub(crate) fn new(ctx: &'c Arc<Context>, root: OwnedFd, source: OsString) -> Result<SourceWalk<'c>> {
        let stat = at::fstat(&root)?;
        let mut buffer = EntryBuffer::default();
        let listing = Some(Listing::open(root.as_fd(), &mut buffer)?);
        let filter = level_below(ctx, None, OsStr::new(""), &root, &|| source.clone());
        let dir = Dir::roots((DirFd::Open(root), source), (DirFd::Absent, OsString::new()));
        let top = OpenLevel { dir, listing, subdirectories: VecDeque::new(), filter, parent_len: 0 };
        Ok(SourceWalk { ctx, root: stat.id(), buffer, first: Some(stat), levels: vec![top], path: Vec::new() })
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

    /// Descends into a subdirectory of the current directory.
    fn enter(&mut self, name: OsString) -> Option<SourceEntry> {
        let follow = self.follow();
        let above = self.levels.last()?;
        let parent = Arc::clone(&above.dir);
        let opened = parent.fds(self.ctx).and_then(|fds| at::open_dir(&fds.src, &name, follow));
        let (fd, stat) = match opened.and_then(|fd| Ok((at::fstat(&fd)?, fd))) {
            Ok((stat, fd)) => (fd, stat),
            Err(errno) => {
                self.ctx.events.fail(Failure::new(Operation::Access, parent.source_path(&name)).errno(errno));
                return None;
            }
        };
        let is_above = |level: &OpenLevel| level.dir.src_id.unwrap_or(self.root) == stat.id();
        if follow == Follow::Yes && self.levels.iter().any(is_above) {
            self.ctx.events.fail(Failure::new(Operation::CyclicLink, parent.source_path(&name)));
            return None;
        }
        let filter = level_below(self.ctx, above.filter.as_ref(), &name, &fd, &|| parent.source_path(&name));
        let elsewhere = self.ctx.options.one_file_system && stat.dev != self.root.dev;
        let listing = (!elsewhere).then(|| Listing::open(fd.as_fd(), &mut self.buffer)).transpose();
        let listing = listing.unwrap_or_else(|errno| {
            self.ctx.events.fail(Failure::new(Operation::Access, parent.source_path(&name)).errno(errno));
            None
        });
        let path = self.below(&name);
        let parent_len = std::mem::replace(&mut self.path, path.as_bytes().to_vec()).len();
        let finish = Finish { source: stat, made: true, scope: AttributeScope::Nothing, final_mode: None };
        let dir = Opened::absent().enter(self.ctx, &parent, (&name, &name), (fd, follow), finish);
        self.levels.push(OpenLevel { dir, listing, subdirectories: VecDeque::new(), filter, parent_len });
        Some(SourceEntry { path, stat })
    }

    /// Inspects an entry of the current directory. A directory is kept for later.
    fn look(&mut self, name: OsString, hint: Option<Kind>) -> Option<SourceEntry> {
        let level = self.levels.last()?;
        let stat = match hint {
            Some(Kind::Directory) => None,
            _ => match level.dir.fds(self.ctx).and_then(|fds| at::stat(&fds.src, &name, self.follow())) {
                Ok(stat) => Some(stat).filter(|stat| !stat.is_dir()),
                Err(errno) => {
                    let failure = Failure::new(Operation::Stat, level.dir.source_path(&name));
                    self.ctx.events.fail(failure.errno(errno));
                    return None;
                }
            },
        };
        let filter = level.filter.as_deref();
        if filter.is_some() && is_excluded(&self.ctx.options, filter, &name, stat.is_none()) {
            return None;
        }
        match stat {
            Some(stat) => Some(SourceEntry { path: self.below(&name), stat }),
            None => {
                self.levels.last_mut()?.subdirectories.push_back(name);
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
        while !self.ctx.run.stop.is_raised() {
            let level = self.levels.last_mut()?;
            let found = match level.listing.as_mut() {
                Some(listing) => match listing.next().map(|entry| (entry.name.to_owned(), entry.kind)) {
                    Some((name, kind)) => self.look(name, kind),
                    None => {
                        let more = listing.read_on(&mut self.buffer);
                        level.listing.take_if(|_| more != Ok(true));
                        if let Err(errno) = more {
                            let path = level.dir.source_path(OsStr::new(""));
                            self.ctx.events.fail(Failure::new(Operation::Access, path).errno(errno));
                        }
                        None
                    }
                },
                None => match level.subdirectories.pop_front() {
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
