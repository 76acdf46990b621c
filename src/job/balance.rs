//! Divides a list of files among parts, evenly in bytes and in files. Pure: no I/O.
//!
//! The list is cut, in the order of the walk, into bundles that are small compared with a part. The bundles
//! are sorted by bytes per file, and each goes to the part with the least load so far. A part's load is its
//! share of all bytes plus its share of all files.
//!
//! **The bound.** However skewed a tree is, no part exceeds the mean number of bytes by more than the
//! heaviest bundle, and no part exceeds the mean number of files by more than twice that. Proof: the loads of
//! two parts never differ by more than one bundle, because the least loaded part is always next. The bytes of
//! a part are the sum of its bundles' loads, each times the bundle's fraction of bytes, and this fraction
//! only falls along the sorted list. By Abel's summation by parts, the bytes of two parts therefore never
//! differ by more than their loads ever did. Files are load minus bytes, so both differences may add up.
//!
//! Only bundles are kept in memory: a fixed number for each part, however many files there are.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

/// Bundles per part. A bundle has at most a 64th of a part's load, so at most a 32nd of its bytes or files, unless a
/// single item or range is more.
const BUNDLES: u128 = 64;

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

/// A stretch of the list and its size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bundle {
    /// The position in the list.
    pub(super) at: Range<u64>,
    pub(super) size: Weight,
    /// For a range of a large file: its index and the number of ranges.
    pub(super) range: Option<(u64, u64)>,
}

/// The totals that loads are measured against.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    total: Weight,
    parts: u64,
}

impl Scale {
    pub(super) fn new(total: Weight, parts: u64) -> Scale {
        Scale { total: Weight { bytes: total.bytes.max(1), files: total.files.max(1) }, parts: parts.max(1) }
    }

    /// Returns the share of the bytes plus the share of the files, in units of 1 / (all bytes * all files).
    /// Exact: 2^64 bytes times 2^40 files fit.
    fn load(&self, size: Weight) -> u128 {
        let Weight { bytes, files } = self.total;
        u128::from(size.bytes) * u128::from(files) + u128::from(size.files) * u128::from(bytes)
    }

    /// Returns the most load of a bundle. The total load is 2: one for the bytes, one for the files.
    fn most_in_bundle(&self) -> u128 {
        2 * u128::from(self.total.bytes) * u128::from(self.total.files) / u128::from(self.parts) / BUNDLES
    }

    /// Returns the bound on how far the largest part exceeds the mean in bytes, as a fraction of the mean.
    /// Twice as much in files.
    pub(super) fn bound(&self, bundles: &[Bundle]) -> f64 {
        let heaviest = bundles.iter().map(|bundle| self.load(bundle.size)).max().unwrap_or(0);
        let all = u128::from(self.total.bytes) * u128::from(self.total.files);
        heaviest as f64 / all as f64 * self.parts as f64
    }
}

/// Cuts the list into bundles as it is read.
#[derive(Debug)]
pub(super) struct Bundler {
    scale: Scale,
    bundles: Vec<Bundle>,
    open: Option<Bundle>,
}

impl Bundler {
    pub(super) fn new(scale: Scale) -> Bundler {
        Bundler { scale, bundles: Vec::new(), open: None }
    }

    /// Adds the next item of the list, which stays whole.
    pub(super) fn item(&mut self, at: Range<u64>, size: Weight) {
        let fits =
            |open: &Bundle| self.scale.load(open.size) + self.scale.load(size) <= self.scale.most_in_bundle();
        match &mut self.open {
            Some(open) if fits(open) => {
                open.at.end = at.end;
                open.size.add(size);
            }
            _ => {
                self.close();
                self.open = Some(Bundle { at, size, range: None });
            }
        }
    }

    /// Adds the next item, one large file, cut into `count` ranges of about the same size.
    pub(super) fn ranges(&mut self, at: Range<u64>, whole: Weight, count: u64) {
        self.close();
        let count = count.min(whole.bytes.max(1)); // an empty bundle would have no bytes per file
        for range in 0..count {
            // The first range counts the names and the remainder of the division.
            let (rest, files) = if range == 0 { (whole.bytes % count, whole.files) } else { (0, 0) };
            let size = Weight { bytes: whole.bytes / count + rest, files };
            self.bundles.push(Bundle { at: at.clone(), size, range: Some((range, count)) });
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

/// Assigns each bundle to a part. Parts count from 0; the result is in the order of `bundles`.
pub(super) fn assign(scale: Scale, bundles: &[Bundle]) -> Vec<u64> {
    let mut order: Vec<usize> = (0..bundles.len()).collect();
    // Most bytes per file first. a/b > c/d is a*d > c*b.
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
