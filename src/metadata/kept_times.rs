//! Compares modification times on file systems that round them or bound them.
//!
//! A copy has its source's time if it has the time that its file system stores for it. Equal times need no system
//! call. Otherwise a trial, once for each file system, sets a file to a time near the one in question, reads the
//! stored time, and restores the old one. The trial never sets the source's time itself, by which an incomplete
//! copy would look complete.

use super::{Handle, times};
use crate::sys::{Stat, Time, at};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

const SECOND: i128 = 1_000_000_000;
/// Resolutions of file systems in nanoseconds: 100 ns (NTFS, SMB), 1 us, 1 ms, 10 ms (exFAT), 1 s (ext4 with small
/// inodes, SFTP, HFS+), 2 s (FAT).
const UNITS: [i128; 6] = [100, 1_000, 1_000_000, 10_000_000, SECOND, 2 * SECOND];
/// The latest possible start of a file system's times, and their earliest possible end: FAT begins in 1980, and
/// 32-bit seconds end in 2038.
const MAY_BE_FIRST: i64 = 315_705_600;
const MAY_BE_LAST: i64 = i32::MAX as i64 - DAY;
const DAY: i64 = 86_400;

/// The results of trials, by device number.
#[derive(Debug, Default)]
pub(crate) struct KeptTimes(Mutex<Vec<(u64, KnownTimes)>>);

#[derive(Clone, Copy, Debug, Default)]
struct KnownTimes {
    /// The resolution in nanoseconds; 1 if it is none of [`UNITS`].
    unit: Option<i128>,
    /// The earliest and the latest time that can be stored. `Some(None)` after a trial that found no such bound.
    first: Option<Option<Time>>,
    last: Option<Option<Time>>,
}

impl KeptTimes {
    /// Returns whether the time of `copy` is the one that its file system stores for `source`. `hold` opens the
    /// copy for a trial; if it gives `None`, only earlier trials count.
    pub(crate) fn is_kept(&self, source: Time, copy: &Stat, hold: impl FnOnce() -> Option<OwnedFd>) -> bool {
        if source == copy.mtime {
            return true;
        }
        let Some(question) = TimesQuestion::about(source, copy.mtime) else { return false };
        // The lock is held during the trial, so that other workers wait for its result.
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let index = all.iter().position(|(dev, _)| *dev == copy.dev).unwrap_or_else(|| {
            all.push((copy.dev, KnownTimes::default()));
            all.len() - 1
        });
        let Some((_, known)) = all.get_mut(index) else { return false };
        if !known.answers(question)
            && let Some(file) = hold()
        {
            known.find_out(question, source, copy, &file);
        }
        known.is_kept(source, copy.mtime)
    }

    /// Guesses without a trial, for a dry run: the copy's mtime and ctime have the same resolution.
    pub(crate) fn seems_kept(source: Time, copy: &Stat) -> bool {
        let is_multiple = |unit: i128| [copy.mtime, copy.ctime].iter().all(|time| nanoseconds(*time) % unit == 0);
        source == copy.mtime || UNITS.iter().any(|unit| cut(source, *unit) == copy.mtime && is_multiple(*unit))
    }
}

/// The reason why a copy's time may differ from its source's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TimesQuestion {
    /// It was rounded down.
    Unit,
    /// The source's time is before the earliest that can be stored.
    First,
    /// The source's time is after the latest that can be stored.
    Last,
}

impl TimesQuestion {
    fn about(source: Time, copy: Time) -> Option<TimesQuestion> {
        if UNITS.iter().any(|unit| cut(source, *unit) == copy) {
            return Some(TimesQuestion::Unit);
        }
        match copy.sec {
            ..=MAY_BE_FIRST if source < copy => Some(TimesQuestion::First),
            MAY_BE_LAST.. if source > copy => Some(TimesQuestion::Last),
            _ => None,
        }
    }
}

impl KnownTimes {
    fn answers(&self, question: TimesQuestion) -> bool {
        match question {
            TimesQuestion::Unit => self.unit.is_some(),
            TimesQuestion::First => self.first.is_some(),
            TimesQuestion::Last => self.last.is_some(),
        }
    }

    fn is_kept(&self, source: Time, copy: Time) -> bool {
        let is = |bound: Option<Option<Time>>| bound == Some(Some(copy));
        self.unit.is_some_and(|unit| cut(source, unit) == copy)
            || (source < copy && is(self.first))
            || (source > copy && is(self.last))
    }

    fn find_out(&mut self, question: TimesQuestion, source: Time, copy: &Stat, file: &OwnedFd) {
        let trial = match question {
            // An odd second and these digits give a different stored time for each resolution.
            TimesQuestion::Unit => Time { sec: copy.mtime.sec | 1, nsec: 987_654_321 },
            TimesQuestion::First => Time { sec: source.sec.saturating_sub(DAY), nsec: 0 },
            TimesQuestion::Last => Time { sec: source.sec.saturating_add(DAY), nsec: 0 },
        };
        // If the time of this file cannot be set, as of another user's, the next file is tried.
        let Some(stored) = store(file, trial) else { return };
        if stored != copy.mtime {
            let _ = store(file, copy.mtime);
        }
        let bound = Some(stored).filter(|stored| *stored == copy.mtime);
        match question {
            TimesQuestion::Unit if stored == trial => self.unit = Some(1),
            TimesQuestion::Unit => {
                self.unit = Some(UNITS.into_iter().find(|unit| cut(trial, *unit) == stored).unwrap_or(1))
            }
            TimesQuestion::First => self.first = Some(bound),
            TimesQuestion::Last => self.last = Some(bound),
        }
    }
}

/// Sets the modification time and returns the one that was stored.
fn store(file: &OwnedFd, time: Time) -> Option<Time> {
    times::set_modified(Handle::Path(file.as_fd(), None), time).ok()?;
    at::fstat(file).ok().map(|stat| stat.mtime)
}

fn nanoseconds(time: Time) -> i128 {
    i128::from(time.sec) * SECOND + i128::from(time.nsec)
}

/// Rounds a time down to a multiple of `unit` nanoseconds since the epoch.
fn cut(time: Time, unit: i128) -> Time {
    let whole = nanoseconds(time).div_euclid(unit) * unit;
    let sec = i64::try_from(whole.div_euclid(SECOND)).unwrap_or(time.sec);
    Time { sec, nsec: u32::try_from(whole.rem_euclid(SECOND)).unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(sec: i64, nsec: u32) -> Time {
        Time { sec, nsec }
    }

    #[test]
    fn times_are_cut_towards_the_past() {
        assert_eq!(cut(time(5, 999_999_999), SECOND), time(5, 0));
        assert_eq!(cut(time(5, 1), 2 * SECOND), time(4, 0));
        assert_eq!(cut(time(-1, 500), SECOND), time(-1, 0));
        assert_eq!(cut(time(7, 123_456_789), 100), time(7, 123_456_700));
    }

    #[test]
    fn only_what_a_file_system_may_make_of_a_time_is_asked_about() {
        assert_eq!(TimesQuestion::about(time(5, 3), time(5, 0)), Some(TimesQuestion::Unit));
        assert_eq!(TimesQuestion::about(time(5, 3), time(4, 0)), Some(TimesQuestion::Unit));
        assert_eq!(TimesQuestion::about(time(5, 0), time(3, 0)), None);
        assert_eq!(TimesQuestion::about(time(1 << 31, 3), time(1 << 31, 4)), None);
        assert_eq!(TimesQuestion::about(time(-5_000_000_000, 0), time(-(1 << 31), 0)), Some(TimesQuestion::First));
        assert_eq!(TimesQuestion::about(time(1 << 40, 0), time(15_032_385_535, 0)), Some(TimesQuestion::Last));
        assert_eq!(TimesQuestion::about(time(1_700_000_000, 5), time(1_600_000_000, 0)), None);
    }

    #[test]
    fn what_is_known_answers() {
        let second = KnownTimes { unit: Some(SECOND), ..KnownTimes::default() };
        assert!(second.is_kept(time(5, 3), time(5, 0)) && !second.is_kept(time(5, 3), time(4, 0)));
        let exact = KnownTimes { unit: Some(1), ..KnownTimes::default() };
        assert!(!exact.is_kept(time(5, 3), time(5, 0)));
        let bounded = KnownTimes { last: Some(Some(time(9, 0))), ..KnownTimes::default() };
        assert!(bounded.is_kept(time(10, 0), time(9, 0)) && !bounded.is_kept(time(8, 0), time(9, 0)));
    }
}
