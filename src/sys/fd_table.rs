//! The tables of descriptors of threads.
//!
//! The threads of a process share one table and pay for it: opening and closing take its lock, and every other call
//! counts a reference to the open file. [`separate`] gives a thread a table of its own, which starts as a copy of the
//! shared one. From then on, the numbers that one thread gets mean nothing, or other files, to the others. So what
//! several threads can reach is wrapped in [`InTable`], which remembers the table, hides its descriptors from other
//! threads, and is closed by the thread that opened it. Other threads get descriptors of their own for the same open
//! files by [`InTable::fetch`].
//!
//! A thread that is started by a thread with its own table shares that table, and must not use an [`InTable`]. Values that
//! were dropped after their thread's last [`close_dropped`] are closed when the thread ends.

use super::{Errno, Result, raw};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::cell::Cell;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

/// The table that descriptors were opened in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    /// The shared table, before thread N got a table of its own. The tables of thread N and of later threads began as
    /// copies, so they have these descriptors too.
    Shared(u32),
    /// The one of a thread that left it: the number of the thread here and in the system (gettid(2)).
    Own(u32, Pid),
}

/// The number of the next thread that gets a table of its own.
static NEXT: AtomicU32 = AtomicU32::new(0);

thread_local! {
    static OWN: Cell<Option<(u32, Pid)>> = const { Cell::new(None) };
}

/// Values that other threads dropped, with the tables of their descriptors.
static DROPPED_ELSEWHERE: Mutex<Vec<(Table, Box<dyn Send>)>> = Mutex::new(Vec::new());
static ANY_DROPPED: AtomicBool = AtomicBool::new(false);

/// Gives this thread a table of descriptors of its own (unshare(2), CLONE_FILES), if the system allows it.
pub(crate) fn separate() {
    if OWN.get().is_none() {
        // Before the copy is made: a descriptor that another thread opens from now on may be missing in it.
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        if raw::leave_descriptor_table().is_ok() {
            OWN.set(Some((number, rustix::thread::gettid())));
        }
    }
}

/// Returns whether a thread can fetch descriptors from the table of another one.
pub(crate) fn can_fetch() -> bool {
    let fetch = |thread: OtherThread| thread.fetch(thread.0.as_fd());
    OtherThread::of(rustix::thread::gettid()).and_then(fetch).is_ok()
}

/// A thread whose descriptors are fetched.
pub(crate) struct OtherThread(OwnedFd);

impl OtherThread {
    /// # Errors
    /// EINVAL before Linux 6.9; EMFILE.
    fn of(thread: Pid) -> Result<OtherThread> {
        /// PIDFD_THREAD of pidfd_open(2), which rustix does not name: the thread, not its process.
        const THREAD: PidfdFlags = PidfdFlags::from_bits_retain(nix::libc::O_EXCL.cast_unsigned());
        pidfd_open(thread, THREAD).map(OtherThread)
    }

    /// Returns a new descriptor of this thread for an open file of the other one (pidfd_getfd(2)).
    ///
    /// # Errors
    /// EPERM where a filter of seccomp(2) forbids the call; EMFILE.
    pub(crate) fn fetch(&self, descriptor: BorrowedFd<'_>) -> Result<OwnedFd> {
        pidfd_getfd(&self.0, descriptor.as_raw_fd(), PidfdGetfdFlags::empty())
    }
}

/// Keeps a value until the thread that opened its descriptors can drop it.
fn drop_later(table: Table, value: Box<dyn Send>) {
    DROPPED_ELSEWHERE.lock().unwrap_or_else(PoisonError::into_inner).push((table, value));
    ANY_DROPPED.store(true, Ordering::Release);
}

/// Closes descriptors of this thread's table that other threads dropped.
pub(crate) fn close_dropped() {
    if ANY_DROPPED.load(Ordering::Acquire) {
        let mut dropped = DROPPED_ELSEWHERE.lock().unwrap_or_else(PoisonError::into_inner);
        let (mine, others) =
            std::mem::take(&mut *dropped).into_iter().partition::<Vec<_>, _>(|(table, _)| table.is_current());
        ANY_DROPPED.store(!others.is_empty(), Ordering::Release);
        *dropped = others;
        drop(dropped);
        drop(mine);
    }
}

impl Table {
    /// Returns the table of this thread.
    pub(crate) fn current() -> Table {
        OWN.get().map_or_else(
            || Table::Shared(NEXT.load(Ordering::SeqCst)),
            |(number, thread)| Table::Own(number, thread),
        )
    }

    fn is_current(self) -> bool {
        match (self, OWN.get()) {
            (Table::Shared(_), own) => own.is_none(),
            (Table::Own(number, _), own) => own.is_some_and(|(own, _)| own == number),
        }
    }

    /// Returns whether this thread can use descriptors that were opened in the table.
    pub(crate) fn is_here(self) -> bool {
        match (self, OWN.get()) {
            (Table::Shared(next), Some((own, _))) => next <= own,
            _ => self.is_current(),
        }
    }
}

/// A value with descriptors of one table. Threads with another table cannot see it, and leave it to its own thread when
/// they drop it.
#[derive(Debug)]
pub(crate) struct InTable<T: Send + 'static> {
    table: Table,
    value: Option<T>,
}

impl<T: Send> InTable<T> {
    /// Wraps a value whose descriptors this thread has opened.
    pub(crate) fn new(value: T) -> InTable<T> {
        InTable { table: Table::current(), value: Some(value) }
    }

    /// Returns whether the descriptors are in this thread's table.
    pub(crate) fn is_here(&self) -> bool {
        self.table.is_here()
    }

    /// Makes this thread's own value from one of another thread, which must not have ended.
    ///
    /// # Errors
    /// Those of `fetch` and pidfd_open(2).
    pub(crate) fn fetch(&self, fetch: impl FnOnce(&T, &OtherThread) -> Result<T>) -> Result<InTable<T>> {
        let thread = match self.table {
            // The first thread of the process never leaves the shared table.
            Table::Shared(_) => rustix::process::getpid(),
            Table::Own(_, thread) => thread,
        };
        let value = self.value.as_ref().ok_or(Errno::BADF)?;
        Ok(InTable::new(fetch(value, &OtherThread::of(thread)?)?))
    }

    /// Returns the value, if its descriptors are in this thread's table.
    pub(crate) fn get(&self) -> Option<&T> {
        self.value.as_ref().filter(|_| self.is_here())
    }
}

impl<T: Send> Drop for InTable<T> {
    fn drop(&mut self) {
        if !self.table.is_current()
            && let Some(value) = self.value.take()
        {
            drop_later(self.table, Box::new(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::FdFlags;
    use std::os::fd::RawFd;
    use std::path::PathBuf;

    /// Held by tests that close dropped descriptors in the table that all tests share.
    static SHARED_TABLE: Mutex<()> = Mutex::new(());

    /// Opens a pipe, whose inode number no later one gets.
    fn open() -> InTable<OwnedFd> {
        InTable::new(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap().0)
    }

    fn is_open(file: &InTable<OwnedFd>) -> bool {
        file.get().is_some_and(|file| rustix::io::fcntl_getfd(file) == Ok(FdFlags::CLOEXEC))
    }

    /// The number of a descriptor, and the open file behind it.
    #[derive(PartialEq)]
    struct Number(RawFd, PathBuf);

    impl Number {
        fn of(file: &InTable<OwnedFd>) -> Number {
            Number::now(file.value.as_ref().unwrap().as_raw_fd()).unwrap()
        }

        fn now(number: RawFd) -> Option<Number> {
            std::fs::read_link(format!("/proc/thread-self/fd/{number}")).ok().map(|file| Number(number, file))
        }

        fn is_open(&self) -> bool {
            Number::now(self.0).as_ref() == Some(self)
        }
    }

    /// Runs `work` on a thread with its own table.
    fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                separate();
                assert!(OWN.get().is_some(), "unshare(2) is forbidden");
                work()
            });
            thread.join().unwrap()
        })
    }

    #[test]
    fn a_new_table_has_the_descriptors_of_before_and_none_of_after() {
        let before = open();
        let (later, done) = std::sync::mpsc::channel::<InTable<OwnedFd>>();
        let (started, starts) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let before = &before;
            scope.spawn(move || {
                separate();
                assert!(is_open(before));
                started.send(()).unwrap();
                let after = done.recv().unwrap();
                assert!(after.get().is_none());
            });
            starts.recv().unwrap();
            later.send(open()).unwrap();
        });
        assert!(is_open(&before));
    }

    #[test]
    fn other_threads_leave_a_descriptor_to_its_own() {
        let _shared = SHARED_TABLE.lock();
        let (here, there) = std::sync::mpsc::channel::<InTable<OwnedFd>>();
        let (dropped, is_dropped) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let file = there.recv().unwrap();
                assert!(!file.is_here() && file.get().is_none());
                drop(file);
                close_dropped();
                dropped.send(()).unwrap();
            });
            apart(move || {
                let file = open();
                let number = Number::of(&file);
                assert!(is_open(&file));
                here.send(file).unwrap();
                is_dropped.recv().unwrap();
                assert!(number.is_open());
                close_dropped();
                assert!(!number.is_open());
            });
        });
    }

    #[test]
    fn a_thread_apart_does_not_close_descriptors_of_the_others() {
        let _shared = SHARED_TABLE.lock();
        let file = open();
        let number = Number::of(&file);
        apart(move || {
            assert!(is_open(&file));
            drop(file);
            close_dropped();
        });
        assert!(number.is_open());
        close_dropped();
        assert!(!number.is_open());
    }
}
