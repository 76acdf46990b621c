//! Waiting for what another machine did to become visible on this one.
//!
//! A network file system keeps what it knew of a name for a while: what a sibling has just made may
//! be missing here (ENOENT), and a handle may be of something that was replaced (ESTALE; nfs(5), "Data
//! and metadata coherence"). So both are asked again, but not for ever: all waiting of a process
//! together is bounded, lest a source with many missing files takes hours.

use super::{Errno, Result};
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How long to wait before each try after the first, in milliseconds.
const WAITS: [u32; 5] = [10, 40, 150, 600, 2000];

/// What is left of the time for waiting; by default none.
#[derive(Debug, Default)]
pub struct StaleRetry {
    left: AtomicU32,
    /// On a local file system, what is missing is missing.
    missing_is_final: bool,
    siblings: bool,
}

impl StaleRetry {
    /// A fresh one. `missing_is_final` says that there is no server, so that what is missing stays so.
    /// Three names in a row that stay missing exhaust it.
    pub fn new(missing_is_final: bool) -> StaleRetry {
        StaleRetry { left: AtomicU32::new(3 * WAITS.iter().sum::<u32>()), missing_is_final, siblings: true }
    }

    /// Calls until the answer is another than ENOENT or ESTALE, or the time is over.
    ///
    /// # Errors
    /// Those of the last call.
    pub fn call<T>(&self, mut call: impl FnMut() -> Result<T>) -> Result<T> {
        self.until(&mut call, |errno| self.may_pass(*errno))
    }

    /// The same for what std opens.
    ///
    /// # Errors
    /// Those of the last call.
    pub fn io<T>(&self, mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        let may_pass = |error: &io::Error| Errno::from_io_error(error).is_some_and(|errno| self.may_pass(errno));
        self.until(&mut call, may_pass)
    }

    /// The same for a whole operation, which may also meet what a sibling has just made (EEXIST).
    /// `reason` tells why it failed.
    ///
    /// # Errors
    /// Those of the last try.
    pub fn operation<T, E>(
        &self,
        mut operation: impl FnMut() -> std::result::Result<T, E>,
        reason: impl Fn(&E) -> Option<Errno>,
    ) -> std::result::Result<T, E> {
        let may_pass = |errno| errno == Errno::EXIST || self.may_pass(errno);
        self.until(&mut operation, |error| reason(error).is_some_and(may_pass))
    }

    /// Whether others are at work on the same tree.
    pub fn expects_siblings(&self) -> bool {
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
