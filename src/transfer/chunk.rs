//! How many bytes one call is asked for, one load of the pipe holds, and one flush to the disk takes.
//!
//! Each of the three learns from the time that the last ones took. `Ladder::most_bytes` takes the least of the limits
//! that are in force.

use std::time::Duration;

// A call that moves data cannot be interrupted by a caught signal: copy_file_range and sendfile go on until they
// have moved the bytes that they were asked for. 64 MiB take milliseconds on a fast disk and seconds on a slow one,
// so the next call's size follows from the time that the last one took.

/// The longest that a call should take: half the time after which a user who pressed Ctrl-C feels ignored.
const CALL_TIME: Duration = Duration::from_millis(50);
/// Bytes of a file's first call: 100 ms on a disk of 10 MB/s.
const FIRST_CALL: u64 = 1 << 20;
/// Fewer bytes gain nothing: the kernel itself works in chunks of this size.
const LEAST_CALL: u64 = 64 << 10;
/// More bytes gain nothing either.
const MOST_CALL: u64 = 64 << 20;
/// How much larger the next call may be: a short call says little about a much longer one.
const CALL_GROWTH: u64 = 4;

/// How many bytes one system call is asked for, so that a signal is answered soon. One for each file.
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
    /// The most bytes for the next call.
    pub(super) fn bytes(self) -> u64 {
        self.bytes
    }

    /// Learns from a call that moved `bytes` in `ns` nanoseconds.
    pub(super) fn learn(&mut self, bytes: u64, ns: u64) {
        let wanted = u128::from(bytes) * CALL_TIME.as_nanos() / u128::from(ns.max(1));
        let wanted = u64::try_from(wanted).unwrap_or(MOST_CALL);
        // A call that moved less than it was asked for says nothing about a larger one.
        let most = if bytes < self.bytes { self.bytes } else { self.bytes * CALL_GROWTH };
        self.bytes = wanted.min(most).clamp(LEAST_CALL, MOST_CALL);
    }
}

// The page cache of the destination takes what comes out of the pipe at once as one folio. Larger folios are faster
// by a sixth where free memory is at hand. In virtual machines that give free memory back to their host (free page
// reporting) it is the large folios that get such memory, and then a copy takes two to ten times as long. Only the
// time that a copy takes tells which of the two a machine does.

/// Smaller files use small loads: they are over before anything is learnt. Of 7 copies of a tree of 600 MiB by whole
/// pipes, in turn with other programs, three took 426 to 2152 ms; of 7 by small loads none took more than 291. Where
/// memory is at hand small loads cost a twelfth.
const HUGE_FILE: u64 = 16 << 20;
/// Bytes of a small load: its folios fit into memory that was never whole enough to be given back.
const SMALL_LOAD: u64 = 128 << 10;
/// Bytes by which each of the two loads is tried.
const LOAD_TRIAL: u64 = 2 << 20;
/// Bytes after which both are tried again.
const LOAD_WINDOW: u64 = 64 << 20;

/// How many bytes go into the pipe of splice at once: a small load or a whole pipe, whichever the machine's memory
/// takes faster at the moment. One for each worker: what it learnt outlives a file.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PipeLoad {
    /// Bytes since the trial of small loads began.
    moved: u64,
    /// Rates of the last small loads and of the last whole pipes.
    rates: [Rate; 2],
}

#[derive(Clone, Copy, Debug, Default)]
struct Rate {
    bytes: u64,
    ns: u64,
}

impl PipeLoad {
    /// The most bytes for the next load, in a file of `size` bytes.
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
            // Older loads count less: the memory at hand may be used up at any time.
            (rate.bytes, rate.ns) = (rate.bytes / 2, rate.ns / 2);
        }
        (rate.bytes, rate.ns) = (rate.bytes + bytes, rate.ns + ns);
        self.moved += bytes;
        if self.moved >= LOAD_WINDOW {
            *self = PipeLoad::default();
        }
    }

    /// Whether the next load is a whole pipe.
    fn is_whole(&self) -> bool {
        match self.moved / LOAD_TRIAL {
            0 => false,
            1 => true,
            _ => self.whole_pays(),
        }
    }

    /// Whether whole pipes are not much slower. They are either somewhat faster or slower by far; between the two
    /// lies chance.
    fn whole_pays(&self) -> bool {
        let [small, whole] = self.rates;
        let product = |ns: u64, bytes: u64| u128::from(ns) * u128::from(bytes);
        product(whole.ns, small.bytes) * 2 <= product(small.ns, whole.bytes) * 3
    }
}

// fsync(2) and syncfs(2) cannot be interrupted, and take as long as the disk does for everything that is not written
// yet. Besides the bytes, a flush costs a commit of the journal. Where a commit takes long (a disk with heads, or one
// that others use), many flushes would take several times as long as few; so two sizes are tried to tell the time of
// the bytes from the time of the commit.

/// How long a flush should take: together with a call of the copy, less than a fifth of a second.
const FLUSH_TIME: Duration = Duration::from_millis(100);
/// The commit should take at most one part in this many of a flush, even if the flush then takes longer,
const COMMIT_SHARE: u64 = 4;
/// up to this time.
const LONGEST_FLUSH: Duration = Duration::from_millis(400);
/// Bytes of the two flushes that are tried.
const FLUSH_TRIALS: [u64; 2] = [1 << 20, 4 << 20];
/// Flushes after which both are tried again, since others may use the disk by then.
const FLUSH_WINDOW: usize = 32;
/// The fewest bytes of a flush.
const LEAST_FLUSH: u64 = 1 << 20;
/// The most bytes of a flush.
const MOST_FLUSH: u64 = 256 << 20;

/// How many bytes may wait for one flush to the disk, so that a signal is answered soon.
#[derive(Clone, Copy, Debug)]
pub struct FlushSize {
    bytes: u64,
    /// The size that would have been right for the last flush.
    last: u64,
    /// Flushes that began: one may be under way while bytes wait for the next.
    begun: usize,
    /// Bytes and nanoseconds of the two that were tried.
    tried: [(u64, u64); 2],
}

impl Default for FlushSize {
    fn default() -> FlushSize {
        FlushSize { bytes: FLUSH_TRIALS[1], last: u64::MAX, begun: 0, tried: [(0, 0); 2] }
    }
}

impl FlushSize {
    /// The bytes after which a flush is due.
    pub fn bytes(&self) -> u64 {
        FLUSH_TRIALS.get(self.begun % FLUSH_WINDOW).copied().unwrap_or(self.bytes)
    }

    /// Notes that a flush begins, and gives its number.
    pub fn begin(&mut self) -> usize {
        self.begun += 1;
        self.begun - 1
    }

    /// Learns from the flush of that number, of `bytes`, that took `ns` nanoseconds.
    pub fn learn(&mut self, number: usize, bytes: u64, ns: u64) {
        if let Some(trial) = self.tried.get_mut(number % FLUSH_WINDOW) {
            *trial = (bytes, ns);
            if number > 1 {
                return; // larger flushes have told enough
            }
        }
        let time =
            self.commit().saturating_mul(COMMIT_SHARE).clamp(nanoseconds(FLUSH_TIME), nanoseconds(LONGEST_FLUSH));
        let wanted = u128::from(bytes) * u128::from(time) / u128::from(ns.max(1));
        let wanted = u64::try_from(wanted).unwrap_or(MOST_FLUSH);
        // A disk may take some bytes at once and wait with the next: the slower of two flushes counts.
        let slower = wanted.min(std::mem::replace(&mut self.last, wanted));
        self.bytes = slower.min(self.bytes.max(bytes) * 2).clamp(LEAST_FLUSH, MOST_FLUSH);
    }

    /// Nanoseconds that a flush takes however few bytes there are.
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

    /// How many of 256 MiB go by whole pipes, if a MiB takes so long in small loads and in whole pipes.
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

    /// Milliseconds of each of 200 flushes and all their bytes, on a disk that takes `commit` milliseconds for each
    /// and does `rate` bytes a millisecond.
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
