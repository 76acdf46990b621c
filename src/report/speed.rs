//! The current rate of a counter, as a moving average.

use std::time::{Duration, Instant};

/// A longer time between two samples means that the copy waited for a prompt, or that the process was stopped.
const GAP: Duration = Duration::from_secs(2);
/// The time after which the rate is known.
const LEAST: Duration = Duration::from_millis(400);

/// The rate of a counter, as an average in which older samples weigh less.
#[derive(Debug)]
pub struct Speed {
    /// The age at which the weight of a sample is 1/e, in seconds.
    memory: f64,
    last: (Instant, u64),
    watched: Duration,
    /// The weighted sum of the rates per second, and the sum of the weights.
    sum: f64,
    weight: f64,
}

impl Speed {
    /// Starts at `now` with the counter at `count`. `memory` is the age at which a sample has little weight.
    pub fn new(memory: Duration, now: Instant, count: u64) -> Speed {
        let memory = memory.as_secs_f64();
        Speed { memory, last: (now, count), watched: Duration::ZERO, sum: 0.0, weight: 0.0 }
    }

    /// Takes a sample.
    pub fn sample(&mut self, now: Instant, count: u64) {
        let passed = now.saturating_duration_since(self.last.0);
        if passed.is_zero() {
            return;
        }
        let risen = count.saturating_sub(self.last.1);
        self.last = (now, count);
        if passed > GAP {
            return;
        }
        self.watched += passed;
        let seconds = passed.as_secs_f64();
        let fading = (-seconds / self.memory).exp();
        self.sum = self.sum * fading + (1.0 - fading) * risen as f64 / seconds;
        self.weight = self.weight * fading + (1.0 - fading);
    }

    /// Returns the rate per second, or `None` while there are too few samples.
    pub fn per_second(&self) -> Option<f64> {
        (self.watched >= LEAST).then(|| self.sum / self.weight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
