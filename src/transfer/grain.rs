//! How many bytes go into the pipe at a time, which the page cache takes as one folio: whichever size the
//! machine's memory takes faster just now.
//!
//! Larger folios are faster by a sixth where free memory is at hand. In virtual machines that give free memory
//! back to their host (free page reporting) it is the large folios that get such memory, and
//! then a copy takes two to ten times as long as by pieces. Nothing but the time it takes tells which it is.

/// Files of fewer bytes go by pieces: they are over before anything is learned. Of 7 copies of a tree of 600 MiB
/// by whole pipes, in turn with other programs, three took 426 to 2152 ms, of 7 by pieces none more than 291;
/// where memory is at hand pieces cost a twelfth.
const HUGE: u64 = 16 << 20;
/// A piece: its folios come out of memory that was never whole enough to be given back.
const PIECE: u64 = 128 << 10;
/// Bytes by which each of the two sizes is tried.
const TRIAL: u64 = 2 << 20;
/// Bytes after which both are tried again.
const WINDOW: u64 = 64 << 20;

/// What is known of the two sizes; it outlives the file.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Grain {
    /// Bytes since the trial of pieces began.
    moved: u64,
    /// Of the last steps by pieces and by whole pipes.
    rates: [Rate; 2],
}

#[derive(Clone, Copy, Debug, Default)]
struct Rate {
    bytes: u64,
    ns: u64,
}

impl Grain {
    /// The most bytes for the next step in a file of `size` bytes.
    pub(super) fn bytes(&self, size: u64) -> u64 {
        if size >= HUGE && self.is_whole() { u64::MAX } else { PIECE }
    }

    /// Learns from a step that moved `bytes` of a file of `size` bytes in `ns` nanoseconds.
    pub(super) fn learn(&mut self, size: u64, bytes: u64, ns: u64) {
        if size < HUGE {
            return;
        }
        let rate = &mut self.rates[usize::from(self.is_whole())];
        if rate.bytes >= TRIAL {
            // What is longer ago counts less: the memory at hand may be used up at any time.
            (rate.bytes, rate.ns) = (rate.bytes / 2, rate.ns / 2);
        }
        (rate.bytes, rate.ns) = (rate.bytes + bytes, rate.ns + ns);
        self.moved += bytes;
        if self.moved >= WINDOW {
            *self = Grain::default();
        }
    }

    /// Whether the next step is by a whole pipe.
    fn is_whole(&self) -> bool {
        match self.moved / TRIAL {
            0 => false,
            1 => true,
            _ => self.whole_pays(),
        }
    }

    /// Whether whole pipes are not much slower: in between is chance, for they are either somewhat faster
    /// or slower by far.
    fn whole_pays(&self) -> bool {
        let [pieces, whole] = self.rates;
        let product = |ns: u64, bytes: u64| u128::from(ns) * u128::from(bytes);
        product(whole.ns, pieces.bytes) * 2 <= product(pieces.ns, whole.bytes) * 3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of 256 MiB go by whole pipes, if a MiB takes so long by pieces and by whole pipes.
    fn share(pieces_ns: u64, whole_ns: u64) -> u64 {
        share_while(pieces_ns, |_| whole_ns)
    }

    fn share_while(pieces_ns: u64, whole_ns: impl Fn(u64) -> u64) -> u64 {
        let size = 256 << 20;
        let (mut grain, mut at, mut whole) = (Grain::default(), 0, 0);
        while at < size {
            let bytes = grain.bytes(size).min(1 << 20);
            let (is_whole, ns) = if bytes > PIECE { (1, whole_ns(at)) } else { (0, pieces_ns / 8) };
            grain.learn(size, bytes, ns);
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
    fn small_files_go_by_pieces_and_teach_nothing() {
        let mut grain = Grain::default();
        for _ in 0..1000 {
            assert_eq!(grain.bytes(HUGE - 1), PIECE);
            grain.learn(HUGE - 1, PIECE, 1);
        }
        assert_eq!(grain.bytes(HUGE), PIECE);
    }
}
