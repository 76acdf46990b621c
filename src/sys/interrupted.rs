//! Retries calls that a signal interrupted (EINTR), up to a limit.
//!
//! Without a limit, a server or a filter that answers EINTR to every call would keep a copy busy for ever.

use super::{Errno, Result};
use std::io::{self, Read, Seek, SeekFrom, Write};

/// The most retries in a row. Signals alone do not interrupt one call that often.
const MOST: u32 = 5_000;

/// Interruptions of one operation since it last made progress.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interruptions(u32);

impl Interruptions {
    /// Returns whether to retry after one more interruption. If not, the result is EINTR.
    pub fn may_retry(&mut self) -> bool {
        self.0 = self.0.saturating_add(1);
        self.0 <= MOST
    }

    pub fn reset(&mut self) {
        self.0 = 0;
    }
}

/// Makes a call and retries it after each interruption. Fails with EINTR if it was interrupted too often.
#[inline(always)]
pub(crate) fn retry_on_intr<T>(mut call: impl FnMut() -> Result<T>) -> Result<T> {
    let mut interruptions = Interruptions::default();
    loop {
        match call() {
            Err(Errno::INTR) if interruptions.may_retry() => {}
            answer => return answer,
        }
    }
}

/// Wraps a reader or writer for std's loops (`read_until`, `write_all`), which retry interrupted calls without
/// end. After too many interruptions, it returns an error of another kind.
#[derive(Debug)]
pub struct Bounded<T>(pub T);

fn bounded<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let mut interruptions = Interruptions::default();
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                if !interruptions.may_retry() {
                    return Err(io::Error::other(Errno::INTR));
                }
            }
            answer => return answer,
        }
    }
}

impl<T: Read> Read for Bounded<T> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        bounded(|| self.0.read(bytes))
    }
}

impl<T: Write> Write for Bounded<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        bounded(|| self.0.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        bounded(|| self.0.flush())
    }
}

impl<T: Seek> Seek for Bounded<T> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

/// Returns the errno of an error of std, or EIO if it has none.
pub fn errno_of(error: &io::Error) -> Errno {
    let within = || error.get_ref()?.downcast_ref().copied();
    Errno::from_io_error(error).or_else(within).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_made_again_after_a_signal() {
        let mut calls = 0;
        let answer = retry_on_intr(|| {
            calls += 1;
            if calls < 5 { Err(Errno::INTR) } else { Ok(calls) }
        });
        assert_eq!(answer, Ok(5));
    }

    #[test]
    fn lasting_interruptions_are_an_error() {
        let mut calls = 0;
        let answer: Result<()> = retry_on_intr(|| {
            calls += 1;
            Err(Errno::INTR)
        });
        assert_eq!((answer, calls), (Err(Errno::INTR), MOST + 1));
    }

    #[test]
    fn loops_of_std_end() {
        struct Interrupted;
        impl Read for Interrupted {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(Errno::INTR.into())
            }
        }
        let error = Bounded(Interrupted).read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(errno_of(&error), Errno::INTR);
    }
}
