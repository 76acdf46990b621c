//! A pair of directories, source and destination, while their entries are copied.
//!
//! Dropping the last [`Hold`] of a directory gives the destination its owner, mode and times, and then releases
//! the parent, in a loop. An `Arc<Dir>` alone only remembers the directory. The descriptors are a cache with a
//! budget, because a tree may be deeper than RLIMIT_NOFILE allows: an unused directory may be closed. It is opened
//! again by its name in its parent and verified by device and inode.

mod finish;
mod hold;

pub(crate) use finish::{AttributeScope, Finish};
pub(crate) use hold::Hold;

use crate::context::{Context, DestinationName, DirFd, FdSlot, Fds, Syncable, TableFds, sync_names};
use crate::error::{Failure, Operation};
use crate::path::without_slashes;
use crate::sys::at::{self, Follow};
use crate::sys::fd_table::InTable;
use crate::sys::stat::FileId;
use crate::sys::{Errno, Result, io};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// The position of a `Dir` in its parent.
#[derive(Debug)]
pub(crate) struct Place {
    /// The directory above.
    pub parent: Arc<Dir>,
    /// The name of the source in it.
    pub name: OsString,
    /// The name of the destination in it.
    pub new_name: OsString,
    /// Whether the source was reached through a symbolic link.
    pub follow_source: Follow,
    /// Whether the destination was reached through a symbolic link.
    pub follow_destination: Follow,
}

/// A directory being copied.
#[derive(Debug)]
pub(crate) struct Dir {
    /// The context for finishing. The root, which is never finished, has none.
    ctx: Weak<Context>,
    place: Option<Place>,
    /// The path of the source root, for messages. Empty if operands are relative to the working directory.
    source_root: OsString,
    /// The path of the destination root, for messages.
    root: OsString,
    fds: Arc<FdSlot>,
    /// The identity of the source; `None` for a root.
    pub src_id: Option<FileId>,
    /// The identity of the destination; `None` for the working directory, and for one that a dry run would make.
    pub dst_id: Option<FileId>,
    /// Whether only this run can have put entries into the destination.
    pub fresh: bool,
    finish: Option<Finish>,
    /// Whether the destination is synced with its whole file system (`--fsync`).
    synced_with_others: bool,
    /// Whether an operand that the directory leads to failed: then it gets no attributes, except the default mode with
    /// `--no-preserve=mode`.
    abandoned: AtomicBool,
    holds: AtomicUsize,
}

impl Dir {
    /// Makes the root of the operands: source names are relative to the working directory, destination names to
    /// `destination`, whose path in messages is `root`.
    pub(crate) fn operands(destination: DirFd, root: OsString) -> Hold {
        Dir::roots((DirFd::Cwd, OsString::new()), (destination, root))
    }

    /// Makes a root: the two directories to which names are relative, with their paths for messages.
    pub(crate) fn roots((source, source_root): (DirFd, OsString), (destination, root): (DirFd, OsString)) -> Hold {
        let fresh = matches!(destination, DirFd::Absent);
        let dst_id = match &destination {
            DirFd::Cwd | DirFd::Absent => None,
            DirFd::Open(fd) => at::fstat(fd).ok().map(|stat| stat.id()),
        };
        Hold::new(&Arc::new(Dir {
            ctx: Weak::new(),
            place: None,
            synced_with_others: false,
            source_root: without_slashes(&source_root).to_owned(),
            root: without_slashes(&root).to_owned(),
            fds: FdSlot::new(Fds { src: source, dst: destination }),
            src_id: None,
            dst_id,
            fresh,
            finish: None,
            abandoned: AtomicBool::new(false),
            holds: AtomicUsize::new(0),
        }))
    }

    /// Makes a directory in another one, which it holds.
    pub(crate) fn below(
        ctx: &Arc<Context>,
        place: Place,
        fds: Fds,
        dst_id: Option<FileId>,
        finish: Finish,
    ) -> Hold {
        Hold::keep(&place.parent);
        let path = || place.parent.destination_path(&place.new_name);
        let synced_with_others = dst_id.is_some_and(|id| watch_file_system(ctx, id.dev, &fds.dst, path));
        let dir = Arc::new(Dir {
            ctx: Arc::downgrade(ctx),
            place: Some(place),
            synced_with_others,
            source_root: OsString::new(),
            root: OsString::new(),
            fds: FdSlot::new(fds),
            src_id: Some(finish.source.id()),
            dst_id,
            fresh: finish.made,
            finish: Some(finish),
            abandoned: AtomicBool::new(false),
            holds: AtomicUsize::new(0),
        });
        let dir = Hold::new(&dir);
        ctx.run.descriptors.opened(&dir.fds);
        dir
    }

    /// Returns the type of the destination's file system (`f_type` of statfs(2)); `None` while it is closed.
    pub(crate) fn destination_magic(&self) -> Option<u64> {
        match &self.fds.get()?.dst {
            DirFd::Cwd => at::fs_magic(OsStr::new(".")).ok(),
            open => io::fs_magic(open).ok(),
        }
    }

    /// Returns the device number of the destination.
    pub(crate) fn dst_dev(&self) -> Option<u64> {
        self.dst_id.map(|id| id.dev)
    }

    /// Returns whether the directory only leads to an operand (`--parents`).
    pub(crate) fn is_leading(&self) -> bool {
        self.finish.is_some_and(|finish| finish.scope != AttributeScope::Full)
    }

    /// Returns the parent directory.
    pub(crate) fn parent(&self) -> Option<&Arc<Dir>> {
        self.place.as_ref().map(|place| &place.parent)
    }

    /// Returns the name of the source in its parent.
    pub(crate) fn name(&self) -> Option<&OsStr> {
        self.place.as_ref().map(|place| &*place.name)
    }

    /// Returns the path of a source entry, for messages.
    pub(crate) fn source_path(&self, name: &OsStr) -> OsString {
        self.path(name, |place| &place.name, &self.top().source_root)
    }

    /// Returns the path of a destination entry, for messages.
    pub(crate) fn destination_path(&self, name: &OsStr) -> OsString {
        self.path(name, |place| &place.new_name, &self.top().root)
    }

    /// Returns the path of the destination itself, for messages.
    pub(crate) fn destination_directory(&self) -> OsString {
        let path = self.destination_path(OsStr::new(""));
        if path.is_empty() { ".".into() } else { path }
    }

    /// Returns the identity of a name in the destination, for comparison.
    pub(crate) fn destination_name(&self, name: &OsStr) -> DestinationName {
        let name = without_slashes(name);
        let path = if self.dst_id.is_some() { name.to_owned() } else { self.destination_path(name) };
        DestinationName { directory: self.dst_id, path }
    }

    fn top(&self) -> &Dir {
        let mut top = self;
        while let Some(place) = &top.place {
            top = &place.parent;
        }
        top
    }

    fn path(&self, name: &OsStr, part: impl Fn(&Place) -> &OsString, root: &OsStr) -> OsString {
        let mut parts = vec![name];
        let mut dir = self;
        while let Some(place) = &dir.place {
            parts.push(part(place));
            dir = &place.parent;
        }
        parts.push(root);
        let mut path = OsString::new();
        for part in parts.into_iter().rev().filter(|part| !part.is_empty()) {
            if !path.is_empty() && !path.as_bytes().ends_with(b"/") {
                path.push("/");
            }
            path.push(part);
        }
        path
    }

    /// Returns the descriptors, opened again if they were closed.
    ///
    /// # Errors
    /// ENOENT if the name refers to another directory by now; those of open(2).
    pub(crate) fn fds(&self, ctx: &Context) -> Result<Arc<TableFds>> {
        let mut closed = Vec::new();
        let mut dir: &Dir = self;
        let mut fds = loop {
            match (dir.open_fds(ctx), &dir.place) {
                (Some(fds), _) => break fds,
                (None, Some(place)) => {
                    closed.push(dir);
                    dir = &place.parent;
                }
                (None, None) => return Err(Errno::BADF),
            }
        };
        for dir in closed.into_iter().rev() {
            fds = ctx.run.descriptors.opened_again(&dir.fds, InTable::new(dir.reopen(&fds)?));
        }
        Ok(fds)
    }

    /// Returns the descriptors, as [`Dir::fds`] does. Retries while the change of another machine may not be visible yet.
    /// The failure names the source.
    ///
    /// # Errors
    /// Those of [`Dir::fds`].
    pub(crate) fn fds_or_failure(&self, ctx: &Context) -> std::result::Result<Arc<TableFds>, Failure> {
        let cannot = |errno| Failure::new(Operation::Access, self.source_path(OsStr::new(""))).errno(errno);
        ctx.run.stale_retry.call(|| self.fds(ctx)).map_err(cannot)
    }

    /// Returns the descriptors if this worker, or another one, has the directory open.
    fn open_fds(&self, ctx: &Context) -> Option<Arc<TableFds>> {
        let fetch = || self.fds.fetch().map(|fds| ctx.run.descriptors.opened_again(&self.fds, fds));
        self.fds.get().or_else(fetch)
    }

    fn reopen(&self, parent: &Fds) -> Result<Fds> {
        let Some(place) = &self.place else { return Err(Errno::BADF) };
        let src = at::open_dir(&parent.src, &place.name, place.follow_source)?;
        let is = |fd: &OwnedFd, id| at::fstat(fd).map(|stat| Some(stat.id()) == id);
        if !is(&src, self.src_id)? {
            return Err(Errno::NOENT);
        }
        if self.dst_id.is_none() {
            return Ok(Fds { src: DirFd::Open(src), dst: DirFd::Absent });
        }
        let dst = at::open_dir(&parent.dst, &place.new_name, place.follow_destination)?;
        let same = is(&dst, self.dst_id)?;
        if same { Ok(Fds { src: DirFd::Open(src), dst: DirFd::Open(dst) }) } else { Err(Errno::NOENT) }
    }

    /// Opens this directory again, if it was closed, by `..` of the directory `below`. In a deep tree that is one
    /// step, where from the root it would be one for each level. If it fails, [`Dir::fds`] opens the directory
    /// from the root.
    fn reopen_from(&self, ctx: &Context, below: &Fds) {
        if self.place.is_none() || self.open_fds(ctx).is_some() {
            return;
        }
        let up = |fd: &DirFd, id| {
            let fd = at::open_dir(fd, OsStr::new(".."), Follow::No).ok()?;
            at::fstat(&fd).is_ok_and(|stat| Some(stat.id()) == id).then_some(DirFd::Open(fd))
        };
        if let (Some(src), Some(dst)) = (up(&below.src, self.src_id), up(&below.dst, self.dst_id)) {
            ctx.run.descriptors.opened_again(&self.fds, InTable::new(Fds { src, dst }));
        }
    }

    /// Marks this directory and those above as leading to an operand that failed: they get no attributes, except the
    /// default mode with `--no-preserve=mode`.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
        let mut above = self.parent();
        while let Some(dir) = above {
            dir.abandoned.store(true, Ordering::Relaxed);
            above = dir.parent();
        }
    }

    /// Watches the file system of new entries, so that it can be synced as a whole (`--fsync`). Returns false if each
    /// file has to be synced by itself.
    pub(crate) fn watch_file_system(&self, ctx: &Context, destination: impl AsFd) -> bool {
        match (&self.place, self.dst_dev()) {
            (None, Some(dev)) => watch_file_system(ctx, dev, destination, || self.destination_directory()),
            (None, None) => false,
            (Some(_), _) => self.synced_with_others && !ctx.run.synced_file_systems.is_refused(),
        }
    }

    fn finish(self: &Arc<Dir>, ctx: &Context) {
        if ctx.run.stop.is_raised() {
            return; // its entries may be incomplete
        }
        if let (Some(fds), Some(place)) = (self.fds.get(), &self.place) {
            place.parent.reopen_from(ctx, &fds);
        }
        if let (Some(finish), Some(place)) = (&self.finish, &self.place)
            && finish.is_needed(ctx)
        {
            match self.fds(ctx) {
                Ok(fds) => {
                    // A leading directory is named by a part of its operand's path, which ends in a slash.
                    let shown = |path: OsString| {
                        if self.is_leading() { without_slashes(&path).to_owned() } else { path }
                    };
                    let source = || shown(place.parent.source_path(&place.name));
                    let destination = || shown(place.parent.destination_path(&place.new_name));
                    let apply = match self.abandoned.load(Ordering::Relaxed) {
                        true => Finish::apply_to_abandoned,
                        false => Finish::apply,
                    };
                    apply(finish, ctx, &fds, (&source, &destination));
                }
                Err(errno) => {
                    let path = place.parent.destination_path(&place.new_name);
                    ctx.events.fail(Failure::new(Operation::Access, path).errno(errno));
                }
            }
        }
        if ctx.options.fsync && self.place.is_some() {
            match self.synced_with_others && ctx.run.syncs_whole && !ctx.run.synced_file_systems.is_refused() {
                true => ctx.run.synced_file_systems.note_finished(Arc::<Dir>::clone(self)),
                false => self.sync(ctx),
            }
        }
        if self.place.is_some() {
            self.fds.close();
        }
    }
}

impl Syncable for Dir {
    fn sync(&self, ctx: &Context) {
        if let Err(errno) = self.fds(ctx).and_then(|fds| sync_names(&fds.dst)) {
            ctx.events.fail(Failure::new(Operation::Sync, self.destination_directory()).errno(errno));
        }
    }
}

/// Watches the file system of a directory with a path. Returns false if it cannot be opened for syncfs(2), so that each
/// file and directory has to be synced by itself.
fn watch_file_system(ctx: &Context, dev: u64, dir: impl AsFd, path: impl FnOnce() -> OsString) -> bool {
    ctx.run.syncs_whole && ctx.run.synced_file_systems.add(dev, dir, path).unwrap_or(false)
}

/// Drops a chain of thousands of parents without recursion.
impl Drop for Dir {
    fn drop(&mut self) {
        let mut parent = self.place.take().map(|place| place.parent);
        while let Some(mut dir) = parent.take().and_then(Arc::into_inner) {
            parent = dir.place.take().map(|place| place.parent);
        }
    }
}
