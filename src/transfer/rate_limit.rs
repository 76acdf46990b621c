//! `--bwlimit`: a limit on the bytes that all workers together move in a second.
//!
//! After moving bytes, a worker sleeps until the limit allows more. The rate is not divided among the workers;
//! small calls keep it even. A reflink or a hole moves no bytes and does not count.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Unused time up to this is made up for, because a sleep is never exact.
const CREDIT: Duration = Duration::from_millis(100);
/// The longest sleep between two checks of the stop flag.
const LONGEST_SLEEP: Duration = Duration::from_millis(50);
/// The least number of calls a second.
const STEPS: u64 = 20;

#[derive(Debug)]
pub struct RateLimit {
    /// Bytes a second.
    rate: u64,
    /// The time from which the bytes moved so far are within the rate.
    within_rate_at: Mutex<Option<Instant>>,
}

impl RateLimit {
    /// Makes a limit of `rate` bytes a second, at least one.
    pub fn new(rate: u64) -> RateLimit {
        RateLimit { rate: rate.max(1), within_rate_at: Mutex::default() }
    }

    /// Returns the most bytes for one call, so that the rate stays even.
    pub(super) fn step(&self) -> u64 {
        (self.rate / STEPS).max(4096)
    }

    /// Sleeps until `bytes` more are within the rate, or `is_stopped` says to stop.
    pub(super) fn throttle(&self, bytes: u64, is_stopped: impl Fn() -> bool) {
        let until = self.add(bytes, Instant::now());
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            if is_stopped() {
                break;
            }
            std::thread::sleep(left.min(LONGEST_SLEEP));
        }
    }

    /// Adds `bytes`. Returns the time from which all bytes so far are within the rate.
    fn add(&self, bytes: u64, now: Instant) -> Instant {
        let cost = Duration::from_secs_f64(bytes as f64 / self.rate as f64);
        let mut within_rate_at = self.within_rate_at.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = now.checked_sub(CREDIT).unwrap_or(now);
        // Time before the first byte does not count as unused.
        let start = within_rate_at.map_or(now, |last| last.max(oldest));
        let until = start + cost;
        *within_rate_at = Some(until);
        until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_all_workers_add_up() {
        let limit = RateLimit::new(1000);
        let now = Instant::now();
        assert_eq!(limit.add(500, now), now + Duration::from_millis(500));
        assert_eq!(limit.add(250, now), now + Duration::from_millis(750));
        // Late by less than the credit, which is made up for.
        let late = now + Duration::from_millis(800);
        assert_eq!(limit.add(1000, late), now + Duration::from_millis(1750));
        // Idle for longer: only the credit is made up for.
        let idle = now + Duration::from_secs(60);
        assert_eq!(limit.add(1000, idle), idle + Duration::from_millis(900));
    }

    #[test]
    fn a_step_is_a_small_part_of_a_second() {
        assert_eq!(RateLimit::new(20 << 20).step(), 1 << 20);
        assert_eq!(RateLimit::new(0).step(), 4096);
    }

    #[test]
    fn a_stop_ends_the_sleep() {
        RateLimit::new(1).throttle(1 << 40, || true);
    }
}
