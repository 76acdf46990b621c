//! A pair of directories, source and destination, while their entries are copied.
//!
//! A [`Hold`] keeps a directory from being finished. Dropping the last one gives the destination its
//! owner, mode and times, and then releases the parent, in a loop. An `Arc<Dir>` alone only remembers
//! where the directory is. Descriptors are a cache with a budget: a tree may be deeper than the process
//! may have files open, so a directory that is not in use may be closed and is found again, by its name
//! from its parent, and recognised by device and inode.

mod descriptors;
mod finish;
mod hold;
mod watched;

pub use descriptors::Descriptors;
pub use finish::{Extent, Finish};
pub use hold::Hold;
pub use watched::Watched;

use crate::context::Context;
use crate::report::failure::Failure;
use crate::report::lock;
use crate::sys::at::{self, Follow};
use crate::sys::stat::FileId;
use crate::sys::{Errno, Result, io};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

/// An open directory, or the working directory.
#[derive(Debug)]
pub enum Base {
    /// Where the process was started.
    Cwd,
    /// Any other.
    Open(OwnedFd),
    /// A directory that a dry run did not make.
    Absent,
}

impl AsFd for Base {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Base::Cwd => at::CWD,
            Base::Open(fd) => fd.as_fd(),
            Base::Absent => at::NOWHERE,
        }
    }
}

/// The two descriptors of a `Dir`.
#[derive(Debug)]
pub struct Fds {
    /// To read from.
    pub src: Base,
    /// To write to.
    pub dst: Base,
}

/// Where a `Dir` stands in its parent.
#[derive(Debug)]
pub struct Place {
    /// The directory above.
    pub parent: Arc<Dir>,
    /// The name of the source in it.
    pub name: OsString,
    /// The name of the destination in it.
    pub new_name: OsString,
    /// Whether the source was reached through a symbolic link.
    pub follow_source: Follow,
    /// Whether the destination was.
    pub follow_destination: Follow,
}

/// The name without trailing slashes; `/` stays.
pub fn without_slashes(name: &OsStr) -> &OsStr {
    let bytes = name.as_bytes();
    let end = bytes.iter().rposition(|b| *b != b'/').map_or(bytes.len().min(1), |last| last + 1);
    OsStr::from_bytes(&bytes[..end])
}

/// A name at the destination: two paths that lead to one name of one directory are equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DestinationName {
    /// `None` where the directory is not known; then the path says which one it is.
    directory: Option<FileId>,
    path: OsString,
}

/// A directory being copied.
#[derive(Debug)]
pub struct Dir {
    /// The context that finishing it needs. The root, which is never finished, has none.
    ctx: Weak<Context>,
    place: Option<Place>,
    /// The path of the source root, for messages: empty where operands are relative to the working directory.
    source_root: OsString,
    /// The path of the destination root, for messages.
    root: OsString,
    fds: Mutex<Option<Arc<Fds>>>,
    src_id: Option<FileId>,
    /// The destination's identity; `None` for the working directory, and in a dry run for one that is
    /// not there.
    dst_id: Option<FileId>,
    /// The device that the destination is on.
    pub dst_dev: Option<u64>,
    /// Whether nothing can be in the destination yet that this run did not put there.
    pub fresh: bool,
    finish: Option<Finish>,
    /// Whether the destination is written to the disk by a sync of its whole file system (`--fsync`).
    synced_with_others: bool,
    /// Whether it is to be left as it is, after a failure.
    abandoned: AtomicBool,
    /// How many holds there are.
    holds: AtomicUsize,
}

impl Dir {
    /// The directory that the operands are in: names are relative to the working directory on one
    /// side, and to `destination` (shown as `root`) on the other.
    pub fn operands(destination: Base, root: OsString) -> Hold {
        Dir::roots((Base::Cwd, OsString::new()), (destination, root))
    }

    /// The two directories that names on either side are relative to, and how they are shown.
    pub fn roots((source, source_root): (Base, OsString), (destination, root): (Base, OsString)) -> Hold {
        let fresh = matches!(destination, Base::Absent);
        let dst_id = match &destination {
            Base::Cwd | Base::Absent => None,
            Base::Open(fd) => at::fstat(fd).ok().map(|stat| stat.id()),
        };
        Hold::new(&Arc::new(Dir {
            ctx: Weak::new(),
            place: None,
            synced_with_others: false,
            source_root: without_slashes(&source_root).to_owned(),
            root: without_slashes(&root).to_owned(),
            fds: Mutex::new(Some(Arc::new(Fds { src: source, dst: destination }))),
            src_id: None,
            dst_id,
            dst_dev: dst_id.map(|id| id.dev),
            fresh,
            finish: None,
            abandoned: AtomicBool::new(false),
            holds: AtomicUsize::new(0),
        }))
    }

    /// A directory below another, whose parent it holds.
    pub fn below(ctx: &Arc<Context>, place: Place, fds: Fds, dst_id: Option<FileId>, finish: Finish) -> Hold {
        Hold::keep(&place.parent);
        let synced_with_others = dst_id.is_some_and(|id| is_synced_with_others(ctx, id.dev, &fds.dst));
        let dir = Arc::new(Dir {
            ctx: Arc::downgrade(ctx),
            place: Some(place),
            synced_with_others,
            source_root: OsString::new(),
            root: OsString::new(),
            fds: Mutex::new(Some(Arc::new(fds))),
            src_id: Some(finish.source.id()),
            dst_id,
            dst_dev: dst_id.map(|id| id.dev),
            fresh: finish.made,
            finish: Some(finish),
            abandoned: AtomicBool::new(false),
            holds: AtomicUsize::new(0),
        });
        let dir = Hold::new(&dir);
        ctx.descriptors.opened(&dir);
        dir
    }

    /// Which file system the destination is on (`f_type` of statfs(2)), while it is open.
    pub fn destination_magic(&self) -> Option<u64> {
        match lock(&self.fds).as_ref().map(|fds| io::fs_magic(&fds.dst)) {
            Some(Ok(magic)) => Some(magic),
            _ => None,
        }
    }

    /// The source's identity; the working directory has none here.
    pub fn source_id(&self) -> Option<FileId> {
        self.src_id
    }

    /// The destination's identity; `None` for the working directory, and in a dry run for one that is not there.
    pub fn destination_id(&self) -> Option<FileId> {
        self.dst_id
    }

    /// Whether it only leads to an operand.
    pub fn is_leading(&self) -> bool {
        self.finish.is_some_and(|finish| finish.extent != Extent::Full)
    }

    /// The directory above.
    pub fn parent(&self) -> Option<&Arc<Dir>> {
        self.place.as_ref().map(|place| &place.parent)
    }

    /// Its name in the source directory above.
    pub fn name(&self) -> Option<&OsStr> {
        self.place.as_ref().map(|place| &*place.name)
    }

    /// The path of a source entry, for printing.
    pub fn source_path(&self, name: &OsStr) -> OsString {
        self.path(name, |place| &place.name, &self.top().source_root)
    }

    /// The path of a destination entry, for printing.
    pub fn destination_path(&self, name: &OsStr) -> OsString {
        self.path(name, |place| &place.new_name, &self.top().root)
    }

    /// A name in the destination, to be compared with others.
    pub fn destination_name(&self, name: &OsStr) -> DestinationName {
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

    /// The open descriptors, found again if they were closed.
    ///
    /// # Errors
    /// ENOENT where another directory stands under the name by now, or what open(2) says.
    pub fn fds(self: &Arc<Dir>, ctx: &Context) -> Result<Arc<Fds>> {
        let mut closed = Vec::new();
        let mut dir = self;
        let mut fds = loop {
            match (&*lock(&dir.fds), &dir.place) {
                (Some(fds), _) => break Arc::clone(fds),
                (None, Some(place)) => {
                    closed.push(dir);
                    dir = &place.parent;
                }
                (None, None) => return Err(Errno::BADF),
            }
        };
        for dir in closed.into_iter().rev() {
            fds = Arc::new(dir.reopen(&fds)?);
            *lock(&dir.fds) = Some(Arc::clone(&fds));
            ctx.descriptors.opened(dir);
        }
        Ok(fds)
    }

    fn reopen(&self, parent: &Fds) -> Result<Fds> {
        let Some(place) = &self.place else { return Err(Errno::BADF) };
        let src = at::open_dir(&parent.src, &place.name, place.follow_source)?;
        let is = |fd: &OwnedFd, id| at::fstat(fd).map(|stat| Some(stat.id()) == id);
        if !is(&src, self.src_id)? {
            return Err(Errno::NOENT);
        }
        if self.dst_id.is_none() {
            return Ok(Fds { src: Base::Open(src), dst: Base::Absent });
        }
        let dst = at::open_dir(&parent.dst, &place.new_name, place.follow_destination)?;
        let same = is(&dst, self.dst_id)?;
        if same { Ok(Fds { src: Base::Open(src), dst: Base::Open(dst) }) } else { Err(Errno::NOENT) }
    }

    /// Opens a directory that had to be closed again, by `..` from one that is below it: on the way up a
    /// deep tree that is one step, where from the top it would be as many as the tree is deep. What is
    /// not found there is looked for from the top, when it is wanted.
    fn reopen_from(self: &Arc<Dir>, ctx: &Context, below: &Fds) {
        if self.place.is_none() || lock(&self.fds).is_some() {
            return;
        }
        let up = |fd: &Base, id| {
            let fd = at::open_dir(fd, OsStr::new(".."), Follow::No).ok()?;
            at::fstat(&fd).is_ok_and(|stat| Some(stat.id()) == id).then_some(Base::Open(fd))
        };
        if let (Some(src), Some(dst)) = (up(&below.src, self.src_id), up(&below.dst, self.dst_id)) {
            *lock(&self.fds) = Some(Arc::new(Fds { src, dst }));
            ctx.descriptors.opened(self);
        }
    }

    /// The way to an operand ends here: neither this directory nor those above get attributes.
    pub fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
        let mut above = self.parent();
        while let Some(dir) = above {
            dir.abandoned.store(true, Ordering::Relaxed);
            above = dir.parent();
        }
    }

    /// Whether what is made in it is written to the disk with all else on its file system; else each file has to be
    /// synced by itself (`--fsync`).
    pub fn is_synced_with_others(&self, ctx: &Context, destination: impl AsFd) -> bool {
        match (&self.place, self.dst_dev) {
            (None, Some(dev)) => is_synced_with_others(ctx, dev, destination),
            (None, None) => false,
            (Some(_), _) => self.synced_with_others && !ctx.watched.is_refused(),
        }
    }

    fn finish(self: &Arc<Dir>, ctx: &Context) {
        if ctx.stop.is_raised() {
            return; // not all that belongs into it is there
        }
        let open = lock(&self.fds).clone();
        if let (Some(fds), Some(place)) = (open, &self.place) {
            place.parent.reopen_from(ctx, &fds);
        }
        if let (Some(finish), Some(place)) = (&self.finish, &self.place)
            && finish.is_needed(ctx)
        {
            match self.fds(ctx) {
                Ok(fds) => {
                    let source = || place.parent.source_path(&place.name);
                    let destination = || place.parent.destination_path(&place.new_name);
                    let apply = match self.abandoned.load(Ordering::Relaxed) {
                        true => Finish::apply_to_abandoned,
                        false => Finish::apply,
                    };
                    apply(finish, ctx, &fds, (&source, &destination));
                }
                Err(errno) => {
                    let path = place.parent.destination_path(&place.new_name);
                    ctx.reporter.fail(Failure::new("cannot access {}", path).errno(errno));
                }
            }
        }
        if ctx.options.fsync && self.place.is_some() {
            match self.synced_with_others && ctx.syncs_whole && !ctx.watched.is_refused() {
                true => ctx.watched.note_finished(self),
                false => self.sync(ctx),
            }
        }
        if self.place.is_some() {
            *lock(&self.fds) = None;
        }
    }
}

impl Dir {
    /// fsync(2) of the destination: the names in it are on the disk.
    pub fn sync(self: &Arc<Dir>, ctx: &Context) {
        if let Err(errno) = self.fds(ctx).and_then(|fds| io::sync(&fds.dst))
            && errno != Errno::INVAL
        {
            // EINVAL is what file systems say that have nothing to write for a directory.
            ctx.reporter.fail(Failure::new("cannot sync {}", self.destination_path(OsStr::new(""))).errno(errno));
        }
    }
}

/// Whether what is written to this file system is synced with all else there. Where its root cannot be opened for
/// that, each file and directory is synced by itself, as well.
fn is_synced_with_others(ctx: &Context, dev: u64, dir: impl AsFd) -> bool {
    ctx.syncs_whole && ctx.watched.add(dev, dir).unwrap_or(false)
}

/// A chain of thousands of parents must not be dropped by recursion.
impl Drop for Dir {
    fn drop(&mut self) {
        let mut parent = self.place.take().map(|place| place.parent);
        while let Some(mut dir) = parent.take().and_then(Arc::into_inner) {
            parent = dir.place.take().map(|place| place.parent);
        }
    }
}
