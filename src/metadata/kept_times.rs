//! What becomes of a time in a file system that keeps it to the second only, or cannot keep it at all.
//!
//! A copy has its source's time if it has what its file system makes of that. Where the two are equal nothing is
//! asked. Else, once for each file system, a file is given a time near the one in question, and what is kept of that
//! tells; then it gets its own time again. Never is it given the very time by which it would look complete.

use super::{Handle, times};
use crate::sys::{Stat, Time, at};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

const SECOND: i128 = 1_000_000_000;
/// The units, in nanoseconds, that file systems keep times in: 100 ns (NTFS, SMB), 1 us, 1 ms, 10 ms (exFAT), a second
/// (ext4 with small inodes, SFTP, HFS+), two (FAT).
const UNITS: [i128; 6] = [100, 1_000, 1_000_000, 10_000_000, SECOND, 2 * SECOND];
/// A time from here on may be the last, one up to here the first that a file system knows: FAT begins in 1980, 32 bits
/// end in 2038.
const MAY_BE_FIRST: i64 = 315_705_600;
const MAY_BE_LAST: i64 = i32::MAX as i64 - DAY;
const DAY: i64 = 86_400;

/// What was found out, by device number.
#[derive(Debug, Default)]
pub struct KeptTimes(Mutex<Vec<(u64, KnownTimes)>>);

#[derive(Clone, Copy, Debug, Default)]
struct KnownTimes {
    /// In nanoseconds; 1 if times are kept as they are.
    unit: Option<i128>,
    /// The first time that there is, or the last; of `Some(None)` it is known that the one in question was none.
    first: Option<Option<Time>>,
    last: Option<Option<Time>>,
}

impl KeptTimes {
    /// Whether the time of `copy` is what its file system keeps of `source`. `hold` takes hold of the copy, to try;
    /// without that only what is known already counts.
    pub fn is_kept(&self, source: Time, copy: &Stat, hold: impl FnOnce() -> Option<OwnedFd>) -> bool {
        if source == copy.mtime {
            return true;
        }
        let Some(question) = TimesQuestion::about(source, copy.mtime) else { return false };
        // One at a time: others wait for what this one finds out.
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

    /// A guess for who must not try anything: the copy's other times are as coarse.
    pub fn seems_kept(source: Time, copy: &Stat) -> bool {
        let is_multiple = |unit: i128| [copy.mtime, copy.ctime].iter().all(|time| nanoseconds(*time) % unit == 0);
        source == copy.mtime || UNITS.iter().any(|unit| cut(source, *unit) == copy.mtime && is_multiple(*unit))
    }
}

/// Why two times may be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TimesQuestion {
    Unit,
    First,
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
            // No unit but the right one, and coarser ones, makes of this what is stored.
            TimesQuestion::Unit => Time { sec: copy.mtime.sec | 1, nsec: 987_654_321 },
            TimesQuestion::First => Time { sec: source.sec.saturating_sub(DAY), nsec: 0 },
            TimesQuestion::Last => Time { sec: source.sec.saturating_add(DAY), nsec: 0 },
        };
        // A file of somebody else's says nothing of those that come after it.
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

/// Sets the time of last change, and says what became of it.
fn store(file: &OwnedFd, time: Time) -> Option<Time> {
    times::set_modified(Handle::Path(file.as_fd()), time).ok()?;
    at::fstat(file).ok().map(|stat| stat.mtime)
}

fn nanoseconds(time: Time) -> i128 {
    i128::from(time.sec) * SECOND + i128::from(time.nsec)
}

/// The last multiple of a unit that is not after a time.
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
