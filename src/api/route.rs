//! Options about how data is moved, and about the load on the machine.

use super::CopyOptions;
use crate::transfer::Strategy;
use crate::transfer::ladder::Sparse;
use crate::transfer::rate_limit::RateLimit;
use crate::transfer::route::Cloning;
use std::sync::Arc;

setters! {
    /// Sets whether blocks are shared with the source (`--reflink`).
    reflink(when: Cloning) { limits.cloning }

    /// Sets how holes are treated (`--sparse`).
    sparse(how: Sparse) { limits.sparse }

    /// Removes the pages that the copy brings into the page cache, so that it does not evict the pages of
    /// other processes (`--cache=drop`).
    drop_cache(yes: bool) { limits.drop_cache }
}

impl CopyOptions {
    /// Moves data only by these strategies, in this order (`--strategy`). A file that they cannot copy is a
    /// failure. By default, the fastest known strategy comes first, and others follow, down to read and write.
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

    /// Sets the number of workers, at least one (`-j`). One worker copies in cp's order, on the calling thread. By
    /// default, there are as many workers as processors, and more while they wait for a disk or a server.
    pub fn jobs(&mut self, workers: usize) -> &mut CopyOptions {
        self.options.jobs = Some(workers.max(1));
        self
    }

    /// Limits the speed of all workers together, in bytes per second (`--bwlimit`); 0 counts as 1. All copies made
    /// with these options and their clones share the limit.
    pub fn bandwidth_limit(&mut self, bytes_per_second: u64) -> &mut CopyOptions {
        self.options.limits.rate_limit = Some(Arc::new(RateLimit::new(bytes_per_second)));
        self
    }
}
