//! `--bwlimit`: so many bytes a second and no more, by all workers together.
//!
//! Each worker pays for what it has moved, and sleeps until that is paid off. Nobody is promised a share;
//! small steps make it smooth. What moves no bytes (a reflink, a hole) costs nothing.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time that was not used, up to this, may be caught up with: a sleep is never exact.
const CREDIT: Duration = Duration::from_millis(100);
/// The longest sleep without a look whether to stop.
const NAP: Duration = Duration::from_millis(50);
/// How many steps a second there should be.
const STEPS: u64 = 20;

/// A rate that several workers keep together.
#[derive(Debug)]
pub struct Pace {
    /// Bytes a second.
    rate: u64,
    /// When all that has been moved so far is paid off.
    paid: Mutex<Option<Instant>>,
}

impl Pace {
    /// A pace of `rate` bytes a second, at least one.
    pub fn new(rate: u64) -> Pace {
        Pace { rate: rate.max(1), paid: Mutex::default() }
    }

    /// The most bytes to move at once, for the pace to be even.
    pub(super) fn step(&self) -> u64 {
        (self.rate / STEPS).max(4096)
    }

    /// Pays for `bytes`, unless it is to stop.
    pub(super) fn pay(&self, bytes: u64, is_stopped: impl Fn() -> bool) {
        let until = self.book(bytes, Instant::now());
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            if is_stopped() {
                break;
            }
            std::thread::sleep(left.min(NAP));
        }
    }

    /// Puts `bytes` on the bill, and says when that is paid off.
    fn book(&self, bytes: u64, now: Instant) -> Instant {
        let cost = Duration::from_secs_f64(bytes as f64 / self.rate as f64);
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = now.checked_sub(CREDIT).unwrap_or(now);
        // The first byte has no past to catch up with.
        let start = paid.map_or(now, |paid| paid.max(oldest));
        let until = start + cost;
        *paid = Some(until);
        until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payments_add_up_whoever_makes_them() {
        let pace = Pace::new(1000);
        let now = Instant::now();
        assert_eq!(pace.book(500, now), now + Duration::from_millis(500));
        assert_eq!(pace.book(250, now), now + Duration::from_millis(750));
        // Late by less than the credit: the average is kept.
        let late = now + Duration::from_millis(800);
        assert_eq!(pace.book(1000, late), now + Duration::from_millis(1750));
        // Idle for long: no burst makes up for it.
        let idle = now + Duration::from_secs(60);
        assert_eq!(pace.book(1000, idle), idle + Duration::from_millis(900));
    }

    #[test]
    fn a_step_is_a_small_part_of_a_second() {
        assert_eq!(Pace::new(20 << 20).step(), 1 << 20);
        assert_eq!(Pace::new(0).step(), 4096);
    }

    #[test]
    fn who_is_to_stop_does_not_pay() {
        Pace::new(1).pay(1 << 40, || true);
    }
}
