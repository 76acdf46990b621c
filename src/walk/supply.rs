//! Where the workers' parcels come from: a walk, or whatever else hands out names.

use super::Walk;
use crate::job::Parcel;
use crate::report::Stats;

/// A source of parcels.
pub trait Supply: Send {
    /// The next parcel, or `None` at the end (also after a signal).
    fn next_parcel(&mut self) -> Option<Parcel>;
    /// What was done while looking for them: the directories.
    fn take_stats(&mut self) -> Stats;
}

impl Supply for Walk<'_> {
    fn next_parcel(&mut self) -> Option<Parcel> {
        Walk::next_parcel(self)
    }

    fn take_stats(&mut self) -> Stats {
        Walk::take_stats(self)
    }
}
