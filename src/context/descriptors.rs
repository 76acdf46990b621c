//! The descriptors of directories, and the budget of those that are open, because a tree may be deeper than
//! RLIMIT_NOFILE allows.

use crate::report::lock;
use crate::sys::fd_table::{self, InTable};
use crate::sys::{Result, at, proc};
use crate::transfer::small::TOGETHER;
use std::collections::VecDeque;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

/// The most descriptors of one worker: a source, a destination, two ends of a pipe and the two directories of its
/// batch (6); while it enters a directory, two directories and a listing instead of the two files (7). With `--verify`
/// the copy is open twice, and a ring of io_uring(7) reads it (8). One more is open for a moment, such as the directory of
/// a link.
const EACH: usize = 9;
/// Descriptors for unfinished listings, stdio and those inherited from the parent.
const FOR_ALL: usize = 20;
/// The least budget in directories, of two descriptors each.
const LEAST: usize = 2;
/// The number of workers for which descriptors for [`TOGETHER`] files are reserved. There may be more workers than
/// planned while they wait for a disk.
const WAITING: usize = 16;

/// The descriptor of a directory.
#[derive(Debug)]
pub(crate) enum DirFd {
    /// The working directory.
    Cwd,
    /// Any other directory.
    Open(OwnedFd),
    /// A directory that a dry run would make.
    Absent,
}

impl DirFd {
    fn fetch(&self, thread: &fd_table::OtherThread) -> Result<DirFd> {
        Ok(match self {
            DirFd::Open(fd) => DirFd::Open(thread.fetch(fd.as_fd())?),
            DirFd::Cwd => DirFd::Cwd,
            DirFd::Absent => DirFd::Absent,
        })
    }
}

impl AsFd for DirFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            DirFd::Cwd => at::CWD,
            DirFd::Open(fd) => fd.as_fd(),
            DirFd::Absent => at::NOWHERE,
        }
    }
}

/// The two descriptors of a directory that is being copied.
#[derive(Debug)]
pub(crate) struct Fds {
    /// The source.
    pub src: DirFd,
    /// The destination.
    pub dst: DirFd,
}

/// The descriptors of a directory in the table of the thread that opened them. Any thread may hold the value; in another
/// table the descriptors read as closed.
pub(crate) type TableFds = InTable<Fds>;

/// In another table, any use of the descriptors fails with EBADF.
impl Deref for TableFds {
    type Target = Fds;

    fn deref(&self) -> &Fds {
        static NOWHERE: Fds = Fds { src: DirFd::Absent, dst: DirFd::Absent };
        self.get().unwrap_or(&NOWHERE)
    }
}

/// The descriptors of a directory while it is open, in each table that has it open: nearly always one.
#[derive(Debug)]
pub(crate) struct FdSlot(Mutex<Vec<Arc<TableFds>>>);

impl FdSlot {
    /// Makes the slot of an open directory.
    pub(crate) fn new(fds: Fds) -> Arc<FdSlot> {
        Arc::new(FdSlot(Mutex::new(vec![Arc::new(InTable::new(fds))])))
    }

    /// Returns the descriptors in this thread's table, unless they were closed.
    pub(crate) fn get(&self) -> Option<Arc<TableFds>> {
        lock(&self.0).iter().find(|fds| fds.is_here()).cloned()
    }

    /// Returns descriptors in this thread's table, if another thread has the directory open and they can be fetched.
    pub(crate) fn fetch(&self) -> Option<TableFds> {
        let open = lock(&self.0).first().cloned()?;
        let fetch = |fds: &Fds, thread: &fd_table::OtherThread| {
            Ok(Fds { src: fds.src.fetch(thread)?, dst: fds.dst.fetch(thread)? })
        };
        open.fetch(fetch).ok()
    }

    /// Adds the descriptors of a directory that this thread has opened again, and returns them.
    fn add(&self, fds: TableFds) -> Arc<TableFds> {
        let fds = Arc::new(fds);
        lock(&self.0).push(Arc::clone(&fds));
        fds
    }

    /// Closes the descriptors as soon as nobody uses them.
    pub(crate) fn close(&self) {
        drop(self.take());
    }

    fn take(&self) -> Vec<Arc<TableFds>> {
        std::mem::take(&mut *lock(&self.0))
    }
}

/// The open directories and their limit.
#[derive(Debug)]
pub(crate) struct Descriptors {
    most: usize,
    reserved: usize,
    /// The number of workers for which the descriptors suffice.
    pub workers: usize,
    together: usize,
    /// The number of further files that all workers may copy together.
    free: AtomicUsize,
    open: Mutex<VecDeque<Weak<FdSlot>>>,
}

impl Descriptors {
    /// Makes a budget that leaves each of `workers` enough descriptors for its files and its pipe. The number
    /// of workers is reduced if there are not enough.
    pub(crate) fn new(workers: usize) -> Descriptors {
        let limit = proc::descriptor_limit();
        let workers = workers.min(Descriptors::affordable_workers(limit)).max(1);
        let single = FOR_ALL + EACH * workers;
        let files = (limit.saturating_sub(single) / 8).min(TOGETHER * workers.max(WAITING));
        let together = (files / workers).min(TOGETHER);
        let reserved = single + 2 * files;
        let most = (limit.saturating_sub(reserved) / 2).clamp(LEAST, 400);
        let free = AtomicUsize::new(files);
        Descriptors { most, reserved, workers, together, free, open: Mutex::default() }
    }

    /// Returns the number of workers for which `limit` descriptors suffice.
    pub(crate) fn affordable_workers(limit: usize) -> usize {
        limit.saturating_sub(FOR_ALL + 2 * LEAST) / EACH
    }

    /// Returns the number of small files that a worker may copy together.
    pub(crate) fn together(&self) -> usize {
        self.together.max(1)
    }

    /// Reserves descriptors for up to `files` files that are copied together. Returns the number reserved,
    /// which is smaller if there are more workers than planned.
    pub(crate) fn reserve(&self, files: usize) -> usize {
        let reserve = |free: usize| Some(free - free.min(files));
        let free = self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, reserve);
        free.map_or(0, |free| free.min(files))
    }

    /// Gives back the descriptors of [`reserve`](Self::reserve).
    pub(crate) fn release(&self, files: usize) {
        self.free.fetch_add(files, Ordering::Relaxed);
    }

    /// Returns the number of batches that may wait for a worker. Each one keeps two directories open.
    pub(crate) fn batches_ahead(&self) -> usize {
        (proc::descriptor_limit().saturating_sub(64) / 2).max(1)
    }

    /// Adds the descriptors of a directory that was closed, or is open in other threads' tables only.
    pub(crate) fn opened_again(&self, slot: &Arc<FdSlot>, fds: TableFds) -> Arc<TableFds> {
        let fds = slot.add(fds);
        self.opened(slot);
        fds
    }

    /// Returns the most descriptors that a run uses.
    pub(crate) fn highest(&self) -> usize {
        2 * self.most + self.reserved
    }

    /// Adds an opened directory. If there are too many, the one that was opened first is closed as soon as no
    /// worker uses its descriptors.
    pub(crate) fn opened(&self, slot: &Arc<FdSlot>) {
        fd_table::close_dropped();
        // Closed, and perhaps dropped, only after the lock is released.
        let mut closed = Vec::new();
        let mut open = lock(&self.open);
        open.push_back(Arc::downgrade(slot));
        if open.len() > self.most {
            open.retain(|weak| {
                let Some(slot) = weak.upgrade() else { return false };
                let is_open = !lock(&slot.0).is_empty();
                closed.push((slot, Vec::new()));
                is_open
            });
        }
        while open.len() > self.most {
            if let Some(oldest) = open.pop_front().and_then(|weak| weak.upgrade()) {
                let fds = oldest.take();
                closed.push((oldest, fds));
            }
        }
        drop(open);
    }
}
