//! How many bytes to ask one call for, so that nobody who asks for the end waits long.
//!
//! A call that moves data cannot be interrupted by a signal that is caught: copy_file_range and
//! sendfile go on until they have moved what they were asked for. On a fast disk 64 MiB take no time,
//! on a slow one they take seconds; so what to ask for follows from how long the last call took.

use std::time::Duration;

/// How long a call is to take at most: half the time after which a user feels ignored.
const WANTED: Duration = Duration::from_millis(50);
/// The first call, when nothing is known: 100 ms on a disk of 10 MB/s.
const FIRST: u64 = 1 << 20;
/// Nothing is gained by fewer bytes: the kernel itself works in pieces of this size.
const LEAST: u64 = 64 << 10;
/// Nor by more.
const MOST: u64 = 64 << 20;
/// A call that was fast says little of one that is much longer.
const GROWTH: u64 = 4;

/// The stride of one file's copy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stride {
    bytes: u64,
}

impl Default for Stride {
    fn default() -> Stride {
        Stride { bytes: FIRST }
    }
}

impl Stride {
    /// The most bytes for the next call.
    pub(super) fn bytes(self) -> u64 {
        self.bytes
    }

    /// Learns from a step that moved `bytes` in `ns` nanoseconds.
    pub(super) fn learn(&mut self, bytes: u64, ns: u64) {
        let wanted = u128::from(bytes) * WANTED.as_nanos() / u128::from(ns.max(1));
        let wanted = u64::try_from(wanted).unwrap_or(MOST);
        // A step that moved less than it was asked for says nothing of a longer one.
        let most = if bytes < self.bytes { self.bytes } else { self.bytes * GROWTH };
        self.bytes = wanted.min(most).clamp(LEAST, MOST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_fast_disk_is_soon_asked_for_much() {
        let mut stride = Stride::default();
        let steps = std::iter::repeat_with(|| {
            let bytes = stride.bytes();
            stride.learn(bytes, bytes / 1000); // 1 TB/s
            bytes >> 20
        });
        assert_eq!(steps.take(5).collect::<Vec<_>>(), [1, 4, 16, 64, 64]);
    }

    #[test]
    fn a_slow_disk_is_asked_for_no_more_than_it_does_in_time() {
        for rate in [500_000, 5_000_000, 50_000_000_u64] {
            let mut stride = Stride::default();
            for _ in 0..20 {
                let bytes = stride.bytes();
                stride.learn(bytes, bytes * 1_000_000_000 / rate);
            }
            let time = stride.bytes() * 1000 / rate;
            assert!(time <= 50 || stride.bytes() == LEAST, "{rate} B/s: {time} ms");
        }
    }

    #[test]
    fn one_that_stalls_is_asked_for_less_at_once() {
        let mut stride = Stride { bytes: MOST };
        stride.learn(MOST, 2000 * MS);
        assert_eq!(stride.bytes(), MOST / 40);
        stride.learn(1, 1);
        assert_eq!(stride.bytes(), MOST / 40);
    }
}
