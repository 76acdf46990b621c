//! Shares a list of files out to parts, even in bytes and in files at once. Pure: no I/O.
//!
//! The list is cut, in the order of the walk, into bundles that are small against a part. The bundles
//! are sorted by how many bytes they have for each file, and each goes to the part that has least so
//! far. A part's load is the sum of its share of all bytes and its share of all files.
//!
//! **The bound.** Whichever way a tree is skewed, no part has more bytes than the mean by more than the
//! heaviest bundle, and no more files than the mean by more than twice that. Why: at any time the loads
//! of two parts differ by at most one bundle (the least loaded is always next). The bytes of a part are
//! the sum of its bundles' loads, each times the bundle's fraction of bytes, which only falls along the
//! list; summed by parts (Abel), the bytes of two parts differ by no more than their loads ever did.
//! Files are load less bytes, so both differences may add up.
//!
//! Only bundles are kept in memory: a fixed number for each part, however many files there are.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

/// Batches for each part: one is at most a thirty-second of a part, unless a single item is more.
const BUNDLES: u128 = 64;

/// Bytes and names, of one item or of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Weight {
    pub(super) bytes: u64,
    pub(super) files: u64,
}

impl Weight {
    pub(super) fn add(&mut self, other: Weight) {
        self.bytes += other.bytes;
        self.files += other.files;
    }
}

/// A stretch of the list, and how much it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bundle {
    /// Where it is in the list.
    pub(super) at: Range<u64>,
    pub(super) size: Weight,
    /// If it is a piece of one large file: which piece of how many.
    pub(super) piece: Option<(u64, u64)>,
}

/// What loads are measured by: all bytes, all files, and how many parts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    total: Weight,
    parts: u64,
}

impl Scale {
    pub(super) fn new(total: Weight, parts: u64) -> Scale {
        Scale { total: Weight { bytes: total.bytes.max(1), files: total.files.max(1) }, parts: parts.max(1) }
    }

    /// Share of the bytes and share of the files, added, in units of 1 / (all bytes * all files).
    /// Exact: 2^64 bytes times 2^40 files fit.
    fn load(&self, size: Weight) -> u128 {
        let Weight { bytes, files } = self.total;
        u128::from(size.bytes) * u128::from(files) + u128::from(size.files) * u128::from(bytes)
    }

    /// The load of all is 2: one for the bytes, one for the files.
    fn smallest_unit(&self) -> u128 {
        2 * u128::from(self.total.bytes) * u128::from(self.total.files) / u128::from(self.parts) / BUNDLES
    }

    /// By how much of the mean the largest part may be above it, in bytes; in files, by twice that.
    pub(super) fn bound(&self, bundles: &[Bundle]) -> f64 {
        let heaviest = bundles.iter().map(|bundle| self.load(bundle.size)).max().unwrap_or(0);
        let all = u128::from(self.total.bytes) * u128::from(self.total.files);
        heaviest as f64 / all as f64 * self.parts as f64
    }
}

/// Cuts the list into bundles while it is read.
#[derive(Debug)]
pub(super) struct Batcher {
    scale: Scale,
    bundles: Vec<Bundle>,
    open: Option<Bundle>,
}

impl Batcher {
    pub(super) fn new(scale: Scale) -> Batcher {
        Batcher { scale, bundles: Vec::new(), open: None }
    }

    /// The next item of the list, which is not to be cut.
    pub(super) fn item(&mut self, at: Range<u64>, size: Weight) {
        let fits =
            |open: &Bundle| self.scale.load(open.size) + self.scale.load(size) <= self.scale.smallest_unit();
        match &mut self.open {
            Some(open) if fits(open) => {
                open.at.end = at.end;
                open.size.add(size);
            }
            _ => {
                self.close();
                self.open = Some(Bundle { at, size, piece: None });
            }
        }
    }

    /// The next item is one large file, to be cut into `pieces` of about the same size.
    pub(super) fn pieces(&mut self, at: Range<u64>, whole: Weight, pieces: u64) {
        self.close();
        let pieces = pieces.min(whole.bytes.max(1)); // none is empty, or it would have no ratio
        for piece in 0..pieces {
            // Its names are counted where it starts, and so is what does not divide.
            let rest = if piece == 0 { whole.bytes % pieces } else { 0 };
            let size =
                Weight { bytes: whole.bytes / pieces + rest, files: if piece == 0 { whole.files } else { 0 } };
            self.bundles.push(Bundle { at: at.clone(), size, piece: Some((piece, pieces)) });
        }
    }

    fn close(&mut self) {
        self.bundles.extend(self.open.take());
    }

    pub(super) fn finish(mut self) -> Vec<Bundle> {
        self.close();
        self.bundles
    }
}

/// Gives each bundle a part, from 0. The answer is in the order of `bundles`.
pub(super) fn deal(scale: Scale, bundles: &[Bundle]) -> Vec<u64> {
    let mut order: Vec<usize> = (0..bundles.len()).collect();
    // More bytes for each file first: a/b > c/d is a*d > c*b.
    order.sort_by(|a, b| {
        let (a, b) = (bundles[*a].size, bundles[*b].size);
        let cross = |x: Weight, y: Weight| u128::from(x.bytes) * u128::from(y.files);
        cross(b, a).cmp(&cross(a, b))
    });
    let mut loads: BinaryHeap<Reverse<(u128, u64)>> = (0..scale.parts).map(|part| Reverse((0, part))).collect();
    let mut parts = vec![0; bundles.len()];
    for bundle in order {
        if let Some(Reverse((load, part))) = loads.pop() {
            parts[bundle] = part;
            loads.push(Reverse((load + scale.load(bundles[bundle].size), part)));
        }
    }
    parts
}
