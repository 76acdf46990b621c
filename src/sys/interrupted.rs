//! Retries calls that a signal interrupted (EINTR), up to a limit.
//!
//! Without a limit, a server or a filter that answers EINTR to every call would keep a copy busy for ever.

use super::{Errno, Result};

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

    /// Notes progress.
    pub fn reset(&mut self) {
        self.0 = 0;
    }
}

/// Makes a call and retries it after each interruption.
///
/// # Errors
/// The errno of the call, or EINTR if it was interrupted too often.
pub fn retry_on_intr<T>(mut call: impl FnMut() -> Result<T>) -> Result<T> {
    let mut interruptions = Interruptions::default();
    loop {
        match call() {
            Err(Errno::INTR) if interruptions.may_retry() => {}
            answer => return answer,
        }
    }
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
}
