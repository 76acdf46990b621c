//! Retries for changes by another machine that are not visible yet on this one.
//!
//! A network file system caches names for a while: a file that a sibling process has just made on another machine
//! may be missing here (ENOENT), and a handle may refer to a replaced file (ESTALE; nfs(5), "Data and metadata
//! coherence"). Such calls are repeated. The total waiting time of a process is bounded, because otherwise a
//! source with many missing files would take hours.

use super::{Errno, Result};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The waits before the second and later tries, in milliseconds.
const WAITS: [u32; 5] = [10, 40, 150, 600, 2000];

/// The waiting time that is left; by default none.
#[derive(Debug, Default)]
pub(crate) struct StaleRetry {
    /// In milliseconds.
    left: AtomicU32,
    /// On a local file system, ENOENT is not repeated.
    missing_is_final: bool,
    siblings: bool,
}

impl StaleRetry {
    /// Waiting time for three names that stay missing. `missing_is_final`: there is no server, so ENOENT is final.
    pub(crate) fn new(missing_is_final: bool) -> StaleRetry {
        StaleRetry { left: AtomicU32::new(3 * WAITS.iter().sum::<u32>()), missing_is_final, siblings: true }
    }

    /// Repeats a call while it gives ENOENT or ESTALE and time is left.
    pub(crate) fn call<T>(&self, mut call: impl FnMut() -> Result<T>) -> Result<T> {
        self.until(&mut call, |errno| self.may_pass(*errno))
    }

    /// Like [`StaleRetry::call`], for an operation of several calls, which is also repeated on EEXIST: a sibling
    /// may have just made the name. `reason` gives the errno of a failure.
    pub(crate) fn operation<T, E>(
        &self,
        mut operation: impl FnMut() -> std::result::Result<T, E>,
        reason: impl Fn(&E) -> Option<Errno>,
    ) -> std::result::Result<T, E> {
        let may_pass = |errno| errno == Errno::EXIST || self.may_pass(errno);
        self.until(&mut operation, |error| reason(error).is_some_and(may_pass))
    }

    /// Returns whether other processes work on the same tree.
    pub(crate) fn expects_siblings(&self) -> bool {
        self.siblings
    }

    fn may_pass(&self, errno: Errno) -> bool {
        errno == Errno::STALE || (errno == Errno::NOENT && !self.missing_is_final)
    }

    fn until<T, E>(
        &self,
        call: &mut dyn FnMut() -> std::result::Result<T, E>,
        may_pass: impl Fn(&E) -> bool,
    ) -> std::result::Result<T, E> {
        let mut waits = WAITS.into_iter();
        loop {
            match (call(), waits.next()) {
                (Err(error), Some(wait)) if may_pass(&error) && self.spend(wait) => {
                    std::thread::sleep(Duration::from_millis(wait.into()));
                }
                (answer, _) => return answer,
            }
        }
    }

    fn spend(&self, wait: u32) -> bool {
        let spend = |left: u32| left.checked_sub(wait);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_becomes_visible_is_found() {
        let mut answers = [Err(Errno::NOENT), Err(Errno::STALE), Ok(7)].into_iter();
        assert_eq!(StaleRetry::new(false).call(|| answers.next().unwrap_or(Err(Errno::IO))), Ok(7));
    }

    #[test]
    fn other_reasons_are_final() {
        let mut calls = 0;
        let mut fail = |errno| -> Result<()> {
            calls += 1;
            Err(errno)
        };
        assert_eq!(StaleRetry::new(false).call(|| fail(Errno::ACCESS)), Err(Errno::ACCESS));
        assert_eq!(StaleRetry::new(true).call(|| fail(Errno::NOENT)), Err(Errno::NOENT));
        assert_eq!(calls, 2);
    }

    #[test]
    fn it_ends() {
        let stale_retry = StaleRetry { left: AtomicU32::new(55), missing_is_final: false, siblings: true };
        let mut calls = 0;
        let mut missing = || -> Result<()> {
            calls += 1;
            Err(Errno::NOENT)
        };
        assert_eq!(stale_retry.call(&mut missing), Err(Errno::NOENT));
        assert_eq!(stale_retry.call(&mut missing), Err(Errno::NOENT));
        // 10 + 40 ms of the first, nothing that fits for the second.
        assert_eq!(calls, 3 + 1);
    }
}
