//! The current rate of a counter, and the remaining time of a copy, as moving averages.

use std::time::{Duration, Instant};

/// A longer time between two samples means that the copy waited for a prompt, or that the process was stopped.
const GAP: Duration = Duration::from_secs(2);
/// The time after which the rate is known.
const LEAST: Duration = Duration::from_millis(400);

/// The rate of a counter, as an average in which older samples weigh less.
#[derive(Debug)]
pub(crate) struct Speed {
    /// The age at which the weight of a sample is 1/e, in seconds.
    memory: f64,
    last: (Instant, u64),
    observed: Duration,
    /// The weighted sum of the rates per second, and the sum of the weights.
    sum: f64,
    weight: f64,
}

impl Speed {
    /// Starts at `now` with the counter at `count`. `memory` is the age at which a sample has little weight.
    pub(crate) fn new(memory: Duration, now: Instant, count: u64) -> Speed {
        let memory = memory.as_secs_f64();
        Speed { memory, last: (now, count), observed: Duration::ZERO, sum: 0.0, weight: 0.0 }
    }

    pub(crate) fn sample(&mut self, now: Instant, count: u64) {
        let passed = now.saturating_duration_since(self.last.0);
        if passed.is_zero() {
            return;
        }
        let risen = count.saturating_sub(self.last.1);
        self.last = (now, count);
        if passed > GAP {
            return;
        }
        self.observed += passed;
        let seconds = passed.as_secs_f64();
        let fading = (-seconds / self.memory).exp();
        self.sum = self.sum * fading + (1.0 - fading) * risen as f64 / seconds;
        self.weight = self.weight * fading + (1.0 - fading);
    }

    /// Leaves out the time since the last sample.
    pub(crate) fn skip(&mut self, now: Instant) {
        self.last.0 = now;
    }

    /// Returns the rate per second, or `None` while there are too few samples.
    pub(crate) fn per_second(&self) -> Option<f64> {
        (self.observed >= LEAST).then(|| self.sum / self.weight)
    }
}

/// The time that each byte and each file takes. It is fitted to the samples, so a tree of small files does not say that
/// the large ones behind them take no time.
#[derive(Debug)]
pub(crate) struct Costs {
    memory: f64,
    last: (Instant, u64, u64),
    observed: Duration,
    /// Seconds in which nothing was done, which count for what is done next.
    waited: f64,
    /// Sums of products of bytes, files and seconds, each divided by the work of its sample.
    bytes_bytes: f64,
    bytes_files: f64,
    files_files: f64,
    bytes_seconds: f64,
    files_seconds: f64,
}

/// Making a small file takes about as long as moving this many bytes. Without samples that tell the two apart, this
/// is the proportion.
const FILE: f64 = 65_536.0;
/// The weight of that proportion.
const PRIOR: f64 = 0.01;

impl Costs {
    pub(crate) fn new(memory: Duration, now: Instant, (bytes, files): (u64, u64)) -> Costs {
        Costs {
            memory: memory.as_secs_f64(),
            last: (now, bytes, files),
            observed: Duration::ZERO,
            waited: 0.0,
            bytes_bytes: 0.0,
            bytes_files: 0.0,
            files_files: 0.0,
            bytes_seconds: 0.0,
            files_seconds: 0.0,
        }
    }

    pub(crate) fn sample(&mut self, now: Instant, (bytes, files): (u64, u64)) {
        let passed = now.saturating_duration_since(self.last.0);
        if passed.is_zero() {
            return;
        }
        let (more, made) =
            (bytes.saturating_sub(self.last.1) as f64, files.saturating_sub(self.last.2) as f64 * FILE);
        self.last = (now, bytes, files);
        if passed > GAP {
            return;
        }
        self.observed += passed;
        let seconds = passed.as_secs_f64() + self.waited;
        let work = more + made;
        if work == 0.0 {
            self.waited = seconds;
            return;
        }
        self.waited = 0.0;
        let fading = (-seconds / self.memory).exp();
        let sums = [
            (&mut self.bytes_bytes, more * more),
            (&mut self.bytes_files, more * made),
            (&mut self.files_files, made * made),
            (&mut self.bytes_seconds, more * seconds),
            (&mut self.files_seconds, made * seconds),
        ];
        for (sum, product) in sums {
            *sum = *sum * fading + product / work;
        }
    }

    /// Leaves out the time since the last sample.
    pub(crate) fn skip(&mut self, now: Instant) {
        self.last.0 = now;
    }

    /// Returns the time that so many bytes and files take, or `None` while there are too few samples.
    pub(crate) fn time_of(&self, bytes: u64, files: u64) -> Option<Duration> {
        let prior = PRIOR * (self.bytes_bytes + self.files_files);
        if self.observed < LEAST || prior == 0.0 {
            return None;
        }
        // Least squares for seconds = byte * bytes + file * files, in which `byte` and `file` tend to be equal.
        let (of_bytes, of_files) = (self.bytes_bytes + prior, self.files_files + prior);
        let of_both = self.bytes_files - prior;
        let determinant = of_bytes * of_files - of_both * of_both;
        let byte = (self.bytes_seconds * of_files - self.files_seconds * of_both) / determinant;
        let file = (self.files_seconds * of_bytes - self.bytes_seconds * of_both) / determinant;
        let (byte, file) = match (byte < 0.0, file < 0.0) {
            (true, _) => (0.0, self.files_seconds / self.files_files),
            (_, true) => (self.bytes_seconds / self.bytes_bytes, 0.0),
            _ => (byte, file),
        };
        Duration::try_from_secs_f64(byte * bytes as f64 + file * files as f64 * FILE).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes samples of a copy of so many bytes and files each second, and returns the counters at its end.
    fn run(costs: &mut Costs, from: (Instant, u64, u64), seconds: u64, speed: (u64, u64)) -> (Instant, u64, u64) {
        let at = |tick| (at(from.0, tick * 125), from.1 + speed.0 * tick / 8, from.2 + speed.1 * tick / 8);
        for (now, bytes, files) in (1..=8 * seconds).map(at) {
            costs.sample(now, (bytes, files));
        }
        at(8 * seconds)
    }

    fn seconds_of(costs: &Costs, bytes: u64, files: u64) -> f64 {
        costs.time_of(bytes, files).map_or(f64::NAN, |time| time.as_secs_f64())
    }

    #[test]
    fn large_files_behind_small_ones_take_their_time() {
        let start = (Instant::now(), 0, 0);
        let mut costs = Costs::new(Duration::from_secs(10), start.0, (0, 0));
        assert_eq!(costs.time_of(1, 1), None);
        let end = run(&mut costs, start, 5, (30_000_000, 10_000));
        let time = seconds_of(&costs, 300_000_000, 100_000);
        assert!((9.9..10.1).contains(&time), "{time}");
        let end = run(&mut costs, end, 2, (60_000_000, 0));
        let time = seconds_of(&costs, 600_000_000, 5);
        assert!((8.0..11.0).contains(&time), "{time}");
        let _ = run(&mut costs, end, 20, (60_000_000, 0));
        let time = seconds_of(&costs, 600_000_000, 0);
        assert!((9.8..10.2).contains(&time), "{time}");
    }

    #[test]
    fn time_without_progress_counts() {
        let start = Instant::now();
        let mut costs = Costs::new(Duration::from_secs(100), start, (0, 0));
        for tick in 1..=80 {
            costs.sample(at(start, tick * 125), (tick / 8 * 1_000_000, 0));
        }
        let time = seconds_of(&costs, 10_000_000, 0);
        assert!((9.9..10.1).contains(&time), "{time}");
    }

    fn at(start: Instant, milliseconds: u64) -> Instant {
        start + Duration::from_millis(milliseconds)
    }

    #[test]
    fn steady_counter_has_its_rate_from_the_first() {
        let start = Instant::now();
        let mut speed = Speed::new(Duration::from_secs(5), start, 1_000_000);
        assert_eq!(speed.per_second(), None);
        for tick in 1..=80 {
            speed.sample(at(start, tick * 125), 1_000_000 + tick * 125);
            if let Some(rate) = speed.per_second() {
                assert!((999.0..1001.0).contains(&rate), "{tick}: {rate}");
            }
        }
        assert!(speed.per_second().is_some());
    }

    #[test]
    fn waiting_for_an_answer_does_not_slow_it_down() {
        let start = Instant::now();
        let mut speed = Speed::new(Duration::from_secs(5), start, 0);
        for tick in 1..=8 {
            speed.sample(at(start, tick * 125), tick * 125);
        }
        speed.sample(at(start, 3_600_000), 1000);
        assert!(speed.per_second().is_some_and(|rate| rate > 999.0));
    }

    #[test]
    fn old_samples_fade() {
        let start = Instant::now();
        let mut speed = Speed::new(Duration::from_secs(1), start, 0);
        speed.sample(at(start, 1000), 1_000_000);
        for second in 2..=10 {
            speed.sample(at(start, 1000 * second), 1_000_000 + 10 * second);
        }
        assert!(speed.per_second().is_some_and(|rate| rate < 1000.0));
    }
}
