//! How bytes travel, and what is left to others meanwhile.

use super::CopyOptions;
use crate::transfer::Strategy;
use crate::transfer::ladder::Sparse;
use crate::transfer::rate_limit::RateLimit;
use crate::transfer::route::Cloning;
use std::sync::Arc;

impl CopyOptions {
    /// Whether blocks are shared with the source (`--reflink`).
    pub fn reflink(&mut self, when: Cloning) -> &mut CopyOptions {
        self.options.limits.cloning = when;
        self
    }

    /// How holes are treated (`--sparse`).
    pub fn sparse(&mut self, how: Sparse) -> &mut CopyOptions {
        self.options.limits.sparse = how;
        self
    }

    /// Moves data only by these strategies, in this order; a file that they cannot copy is a failure
    /// (`--strategy`). By default the fastest known strategy comes first and all the others stand behind it.
    ///
    /// # Examples
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # std::env::set_current_dir(dir.path())?;
    /// # std::fs::write("big.iso", "...")?;
    /// use zcp::Strategy::{ReadWrite, Splice};
    /// let report = zcp::CopyOptions::new().strategies([Splice, ReadWrite]).copy(["big.iso"], "copy.iso")?;
    /// let used = report.strategies().next().unwrap();
    /// assert_eq!((used.strategy, used.bytes), (Splice, 3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn strategies(&mut self, strategies: impl IntoIterator<Item = Strategy>) -> &mut CopyOptions {
        self.options.limits.forced = Some(strategies.into_iter().collect());
        self
    }

    /// Copies with so many workers, at least one; 1 copies in cp's order, on the calling thread (`-j`).
    /// By default there are as many as processors, and more while they wait for a disk or a server.
    pub fn jobs(&mut self, workers: usize) -> &mut CopyOptions {
        self.options.jobs = Some(workers.max(1));
        self
    }

    /// Moves at most so many bytes a second, by all workers together (`--bwlimit`). Each copy that is made
    /// with these options, and with clones of them, counts.
    pub fn bandwidth_limit(&mut self, bytes_per_second: u64) -> &mut CopyOptions {
        self.options.limits.rate_limit = Some(Arc::new(RateLimit::new(bytes_per_second)));
        self
    }

    /// Gives pages back that the copy brings into the page cache, so that it does not push out what others
    /// work with (`--cache=drop`).
    pub fn drop_cache(&mut self, yes: bool) -> &mut CopyOptions {
        self.options.limits.drop_cache = yes;
        self
    }
}
