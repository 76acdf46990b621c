//! The sizes of a call, of a load of the pipe, and of a flush to the disk, each adapted to the time that the last
//! ones took.
//!
//! `Ladder::most_bytes` takes the least of the limits in force.

use super::nanoseconds;
use std::time::Duration;

// A caught signal does not interrupt a call that moves data: copy_file_range and sendfile continue until they have
// moved the requested bytes. 64 MiB take milliseconds on a fast disk and seconds on a slow one, so the time of the
// last call determines the size of the next.

/// The time that a call should take at most: half the delay after which a user who pressed Ctrl-C feels ignored.
const CALL_TIME: Duration = Duration::from_millis(50);
/// The bytes of a file's first call: 100 ms on a disk of 10 MB/s.
const FIRST_CALL: u64 = 1 << 20;
/// The least bytes of a call. Less gains nothing, because the kernel works in chunks of this size.
const LEAST_CALL: u64 = 64 << 10;
/// The most bytes of a call. More gains nothing.
const MOST_CALL: u64 = 64 << 20;
/// The most by which the size grows from call to call: a short call says little about a much longer one.
const CALL_GROWTH: u64 = 4;

/// The bytes to request from one system call, so that a signal is handled soon. One for each file.
#[derive(Clone, Copy, Debug)]
pub(super) struct CallSize {
    bytes: u64,
}

impl Default for CallSize {
    fn default() -> CallSize {
        CallSize { bytes: FIRST_CALL }
    }
}

impl CallSize {
    pub(super) fn bytes(self) -> u64 {
        self.bytes
    }

    /// Learns from a call that moved `bytes` in `ns` nanoseconds.
    pub(super) fn learn(&mut self, bytes: u64, ns: u64) {
        let wanted = u128::from(bytes) * CALL_TIME.as_nanos() / u128::from(ns.max(1));
        let wanted = u64::try_from(wanted).unwrap_or(MOST_CALL);
        // A call that moved less than requested says nothing about a larger one.
        let most = if bytes < self.bytes { self.bytes } else { self.bytes * CALL_GROWTH };
        self.bytes = wanted.min(most).clamp(LEAST_CALL, MOST_CALL);
    }
}

// The bytes that leave the pipe at once become one folio in the destination's page cache. Larger folios are faster
// by a sixth where free memory is available. In a virtual machine that returns free memory to its host (free page
// reporting), large folios get such memory, and a copy takes two to ten times as long. Only the time of a copy
// tells the two kinds of machines apart.

/// Smaller files use small loads, because they end before anything is learnt. Of 7 copies of a tree of 600 MiB
/// by whole pipes, alternating with other programs, three took 426 to 2152 ms; of 7 by small loads none took
/// more than 291. Where memory is available, small loads cost a twelfth.
const HUGE_FILE: u64 = 16 << 20;
/// The bytes of a small load: its folios fit into memory too fragmented to have been returned to the host.
const SMALL_LOAD: u64 = 128 << 10;
/// The bytes of a trial of each load.
const LOAD_TRIAL: u64 = 2 << 20;
/// The bytes after which both loads are tried again.
const LOAD_WINDOW: u64 = 64 << 20;

/// The bytes to put into the pipe of splice at once: a small load or a whole pipe, whichever is faster on this
/// machine at the moment. One for each worker, because the knowledge applies to later files.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PipeLoad {
    /// Bytes since the last trial of small loads began.
    moved: u64,
    /// The rates of the last small loads and of the last whole pipes.
    rates: [Rate; 2],
}

#[derive(Clone, Copy, Debug, Default)]
struct Rate {
    bytes: u64,
    ns: u64,
}

impl PipeLoad {
    /// Returns the most bytes for the next load, in a file of `size` bytes.
    pub(super) fn bytes(&self, size: u64) -> u64 {
        if size >= HUGE_FILE && self.is_whole() { u64::MAX } else { SMALL_LOAD }
    }

    /// Learns from a load of `bytes`, of a file of `size` bytes, that took `ns` nanoseconds.
    pub(super) fn learn(&mut self, size: u64, bytes: u64, ns: u64) {
        if size < HUGE_FILE {
            return;
        }
        let rate = &mut self.rates[usize::from(self.is_whole())];
        if rate.bytes >= LOAD_TRIAL {
            // Older loads count less, because the free memory may be used up at any time.
            (rate.bytes, rate.ns) = (rate.bytes / 2, rate.ns / 2);
        }
        (rate.bytes, rate.ns) = (rate.bytes + bytes, rate.ns + ns);
        self.moved += bytes;
        if self.moved >= LOAD_WINDOW {
            *self = PipeLoad::default();
        }
    }

    fn is_whole(&self) -> bool {
        match self.moved / LOAD_TRIAL {
            0 => false,
            1 => true,
            _ => self.whole_pays(),
        }
    }

    /// Returns whether whole pipes take at most 1.5 times as long. They are either somewhat faster or much
    /// slower; differences in between are chance.
    fn whole_pays(&self) -> bool {
        let [small, whole] = self.rates;
        let product = |ns: u64, bytes: u64| u128::from(ns) * u128::from(bytes);
        product(whole.ns, small.bytes) * 2 <= product(small.ns, whole.bytes) * 3
    }
}

// A signal does not interrupt fsync(2) and syncfs(2), which take as long as the disk needs for all unwritten data.
// Besides the data, a flush costs a commit of the journal. Where a commit is slow (a hard disk, or one that other
// programs use), many flushes take several times as long as few. So two sizes are tried, to tell the time of the
// data from the time of the commit.

/// The time that a flush should take. Together with a call of the copy, that is less than a fifth of a second.
const FLUSH_TIME: Duration = Duration::from_millis(100);
/// A flush is made longer, up to [`LONGEST_FLUSH`], until the commit takes at most one part in this many.
const COMMIT_SHARE: u64 = 4;
const LONGEST_FLUSH: Duration = Duration::from_millis(400);
/// The bytes of the two trial flushes.
const FLUSH_TRIALS: [u64; 2] = [1 << 20, 4 << 20];
/// The number of flushes after which both are tried again, because other programs may use the disk by then.
const FLUSH_WINDOW: usize = 32;
const LEAST_FLUSH: u64 = 1 << 20;
const MOST_FLUSH: u64 = 256 << 20;

/// The bytes to flush to the disk at once, so that a signal is handled soon.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlushSize {
    bytes: u64,
    /// The size that would have been right for the last flush.
    last: u64,
    /// The number of flushes begun. The next ones are numbered while one is running.
    begun: usize,
    /// Bytes and nanoseconds of the two trial flushes.
    tried: [(u64, u64); 2],
}

impl Default for FlushSize {
    fn default() -> FlushSize {
        FlushSize { bytes: FLUSH_TRIALS[1], last: u64::MAX, begun: 0, tried: [(0, 0); 2] }
    }
}

impl FlushSize {
    /// Returns the bytes after which a flush is due.
    pub(crate) fn bytes(&self) -> u64 {
        FLUSH_TRIALS.get(self.begun % FLUSH_WINDOW).copied().unwrap_or(self.bytes)
    }

    pub(crate) fn begin(&mut self) -> usize {
        self.begun += 1;
        self.begun - 1
    }

    /// Learns from a flush of `bytes` that took `ns` nanoseconds.
    pub(crate) fn learn(&mut self, number: usize, bytes: u64, ns: u64) {
        if let Some(trial) = self.tried.get_mut(number % FLUSH_WINDOW) {
            *trial = (bytes, ns);
            if number > 1 {
                return; // larger flushes tell more about the size
            }
        }
        let time =
            self.commit().saturating_mul(COMMIT_SHARE).clamp(nanoseconds(FLUSH_TIME), nanoseconds(LONGEST_FLUSH));
        let wanted = u128::from(bytes) * u128::from(time) / u128::from(ns.max(1));
        let wanted = u64::try_from(wanted).unwrap_or(MOST_FLUSH);
        // A disk may accept some data at once and delay the next: the slower of two flushes counts.
        let slower = wanted.min(std::mem::replace(&mut self.last, wanted));
        self.bytes = slower.min(self.bytes.max(bytes) * 2).clamp(LEAST_FLUSH, MOST_FLUSH);
    }

    /// Returns the nanoseconds of a flush without data.
    fn commit(&self) -> u64 {
        let [(few, short), (many, long)] = self.tried.map(|(bytes, ns)| (u128::from(bytes), u128::from(ns)));
        let answer = (short * many).saturating_sub(long * few) / many.saturating_sub(few).max(1);
        u64::try_from(answer).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_fast_disk_is_soon_asked_for_much() {
        let mut size = CallSize::default();
        let steps = std::iter::repeat_with(|| {
            let bytes = size.bytes();
            size.learn(bytes, bytes / 1000); // 1 TB/s
            bytes >> 20
        });
        assert_eq!(steps.take(5).collect::<Vec<_>>(), [1, 4, 16, 64, 64]);
    }

    #[test]
    fn a_slow_disk_is_asked_for_no_more_than_it_does_in_time() {
        for rate in [500_000, 5_000_000, 50_000_000_u64] {
            let mut size = CallSize::default();
            for _ in 0..20 {
                let bytes = size.bytes();
                size.learn(bytes, bytes * 1_000_000_000 / rate);
            }
            let time = size.bytes() * 1000 / rate;
            assert!(time <= 50 || size.bytes() == LEAST_CALL, "{rate} B/s: {time} ms");
        }
    }

    #[test]
    fn one_that_stalls_is_asked_for_less_at_once() {
        let mut size = CallSize { bytes: MOST_CALL };
        size.learn(MOST_CALL, 2000 * MS);
        assert_eq!(size.bytes(), MOST_CALL / 40);
        size.learn(1, 1);
        assert_eq!(size.bytes(), MOST_CALL / 40);
    }

    /// Returns the number of whole pipes among 256 MiB, if a MiB takes this long in small loads and in whole
    /// pipes.
    fn share(small_ns: u64, whole_ns: u64) -> u64 {
        share_while(small_ns, |_| whole_ns)
    }

    fn share_while(small_ns: u64, whole_ns: impl Fn(u64) -> u64) -> u64 {
        let size = 256 << 20;
        let (mut load, mut at, mut whole) = (PipeLoad::default(), 0, 0);
        while at < size {
            let bytes = load.bytes(size).min(1 << 20);
            let (is_whole, ns) = if bytes > SMALL_LOAD { (1, whole_ns(at)) } else { (0, small_ns / 8) };
            load.learn(size, bytes, ns);
            (at, whole) = (at + bytes, whole + is_whole);
        }
        whole
    }

    #[test]
    fn whole_pipes_unless_they_are_far_slower() {
        assert_eq!(share(400_000, 340_000), 4 * 62);
        assert_eq!(share(400_000, 500_000), 4 * 62);
        assert_eq!(share(400_000, 900_000), 4 * 2);
        assert_eq!(share(0, 0), 4 * 62);
    }

    #[test]
    fn memory_that_is_used_up_is_soon_noticed() {
        let used_up = |at: u64| if at < 32 << 20 { 340_000 } else { 2_000_000 };
        assert!(share_while(400_000, used_up) < 30 + 2 + 3 * 2);
    }

    #[test]
    fn small_files_use_small_loads_and_teach_nothing() {
        let mut load = PipeLoad::default();
        for _ in 0..1000 {
            assert_eq!(load.bytes(HUGE_FILE - 1), SMALL_LOAD);
            load.learn(HUGE_FILE - 1, SMALL_LOAD, 1);
        }
        assert_eq!(load.bytes(HUGE_FILE), SMALL_LOAD);
    }

    /// Returns the milliseconds of each of 200 flushes, and their bytes, on a disk that takes `commit`
    /// milliseconds for a commit and writes `rate` bytes a millisecond.
    fn flushes(commit: u64, rate: u64) -> (Vec<u64>, u64) {
        let (mut size, mut all) = (FlushSize::default(), 0);
        let times = (0..200).map(|_| {
            let bytes = size.bytes();
            let ns = commit * MS + bytes * MS / rate;
            let number = size.begin();
            size.learn(number, bytes, ns);
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
            assert!(long <= 200 / FLUSH_WINDOW + 1 && times.iter().all(|ms| *ms < 220), "{rate}: {times:?}");
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
        let mut size = FlushSize::default();
        let mut flush = |commit: u64| {
            let bytes = size.bytes();
            let number = size.begin();
            size.learn(number, bytes, commit * MS + bytes * MS / 200_000);
            bytes
        };
        assert!((0..100).all(|_| flush(1) > 0));
        assert!((0..2 * FLUSH_WINDOW).all(|_| flush(80) > 0));
        assert!((0..5).map(|_| flush(80)).max() > Some(40 << 20));
        assert!((0..2 * FLUSH_WINDOW).all(|_| flush(1) > 0));
        assert!((0..5).map(|_| flush(1)).max() < Some(24 << 20));
    }
}
