//! How many bytes may wait for one flush, so that nobody who asks for the end waits long for it.
//!
//! fsync(2) and syncfs(2) cannot be interrupted, and take as long as the disk does for all that is not written
//! yet. Beside the bytes a flush costs a commit of the journal; where that takes long, on a disk with
//! heads or one that others use, a copy of many flushes would take several times as long as one of few.
//! So it is tried out with two sizes which part of the time goes with the bytes.

use std::time::Duration;

/// How long a flush is to take: with a step of the copy, less than a fifth of a second.
const TIME: Duration = Duration::from_millis(100);
/// The commit is to take no more than this part of the time, even if that is longer then,
const SHARE: u64 = 4;
/// but for this bound.
const LONGEST: Duration = Duration::from_millis(400);
/// The two sizes that are tried out.
const TRIALS: [u64; 2] = [1 << 20, 4 << 20];
/// Flushes after which they are tried again: others may use the disk by then.
const WINDOW: usize = 32;
/// The fewest bytes for a flush,
const LEAST: u64 = 1 << 20;
/// and the most.
const MOST: u64 = 256 << 20;

/// How many bytes the next flush is to be given.
#[derive(Clone, Copy, Debug)]
pub struct Portion {
    bytes: u64,
    /// How many would have been right for the last flush.
    last: u64,
    /// Flushes that began: one may be under way while bytes wait for the next.
    begun: usize,
    /// Bytes and nanoseconds of the two that were tried.
    tried: [(u64, u64); 2],
}

impl Default for Portion {
    fn default() -> Portion {
        Portion { bytes: TRIALS[1], last: u64::MAX, begun: 0, tried: [(0, 0); 2] }
    }
}

impl Portion {
    /// The bytes after which there is to be a flush.
    pub fn bytes(&self) -> u64 {
        TRIALS.get(self.begun % WINDOW).copied().unwrap_or(self.bytes)
    }

    /// A flush begins. Gives its number.
    pub fn begin(&mut self) -> usize {
        self.begun += 1;
        self.begun - 1
    }

    /// Learns from the flush of that number, of `bytes`, that took `ns` nanoseconds.
    pub fn learn(&mut self, number: usize, bytes: u64, ns: u64) {
        if let Some(trial) = self.tried.get_mut(number % WINDOW) {
            *trial = (bytes, ns);
            if number > 1 {
                return; // enough is known of larger ones
            }
        }
        let time = self.commit().saturating_mul(SHARE).clamp(nanoseconds(TIME), nanoseconds(LONGEST));
        let wanted = u128::from(bytes) * u128::from(time) / u128::from(ns.max(1));
        let wanted = u64::try_from(wanted).unwrap_or(MOST);
        // A disk takes some bytes in no time, and waits with the next: the slower of two flushes counts.
        let slower = wanted.min(std::mem::replace(&mut self.last, wanted));
        self.bytes = slower.min(self.bytes.max(bytes) * 2).clamp(LEAST, MOST);
    }

    /// Nanoseconds that a flush takes whatever there is to write.
    fn commit(&self) -> u64 {
        let [(few, short), (many, long)] = self.tried.map(|(bytes, ns)| (u128::from(bytes), u128::from(ns)));
        let answer = (short * many).saturating_sub(long * few) / many.saturating_sub(few).max(1);
        u64::try_from(answer).unwrap_or(u64::MAX)
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Milliseconds of each of 200 flushes and all their bytes, on a disk that takes `commit` milliseconds for each
    /// and does `rate` bytes a millisecond.
    fn flushes(commit: u64, rate: u64) -> (Vec<u64>, u64) {
        let (mut portion, mut all) = (Portion::default(), 0);
        let times = (0..200).map(|_| {
            let bytes = portion.bytes();
            let ns = commit * MS + bytes * MS / rate;
            let number = portion.begin();
            portion.learn(number, bytes, ns);
            all += bytes;
            ns / MS
        });
        (times.collect(), all)
    }

    #[test]
    fn a_slow_disk_is_never_waited_for_long() {
        for (commit, rate) in [(0, 20_000), (5, 50_000), (10, 100_000), (1, 1_000_000)] {
            let (times, _) = flushes(commit, rate);
            let long = times.iter().filter(|ms| **ms > 110).count();
            assert!(long <= 200 / WINDOW + 1 && times.iter().all(|ms| *ms < 220), "{rate}: {times:?}");
        }
    }

    #[test]
    fn commits_that_take_long_are_few() {
        for (commit, rate) in [(30, 100_000), (80, 200_000), (3, 1_500_000), (30, 400_000)] {
            let (times, bytes) = flushes(commit, rate);
            let without = bytes / rate;
            let with = times.iter().sum::<u64>();
            assert!(with < without * 7 / 5, "{commit} {rate}: {with} {without}");
            assert!(times.iter().all(|ms| *ms < 420));
        }
    }

    #[test]
    fn what_changes_is_noticed() {
        let mut portion = Portion::default();
        let mut flush = |commit: u64| {
            let bytes = portion.bytes();
            let number = portion.begin();
            portion.learn(number, bytes, commit * MS + bytes * MS / 200_000);
            bytes
        };
        assert!((0..100).all(|_| flush(1) > 0));
        assert!((0..2 * WINDOW).all(|_| flush(80) > 0));
        assert!((0..5).map(|_| flush(80)).max() > Some(40 << 20));
        assert!((0..2 * WINDOW).all(|_| flush(1) > 0));
        assert!((0..5).map(|_| flush(1)).max() < Some(24 << 20));
    }
}
