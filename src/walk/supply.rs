//! Sources of names other than a tree: a list of names, or a part of a job.

use super::Walker;
use crate::batch::{Batch, Entry};
use crate::context::Context;
use crate::report::Failure;
use std::sync::Arc;

/// A source of names. One worker at a time reads it, without entering directories.
pub(crate) trait Supply<'c>: Send {
    /// Returns the next group of names, or `None` at the end. Reports failures.
    fn next_group(&mut self, ctx: &Context) -> Option<Arc<dyn NameGroup<'c> + 'c>>;
}

/// Names in one directory. The worker that took them enters it.
pub(crate) trait NameGroup<'c>: Send + Sync {
    /// Enters the directory, making it if it is missing. Returns `None` if it is excluded.
    fn enter(&self, walker: &mut Walker<'_, 'c>) -> Result<Option<Batch>, Failure>;

    /// Enters an entry of the batch that turned out to be a directory. A group without directories fails with a
    /// message that the file was replaced.
    fn enter_directory(&self, _: &mut Walker<'_, 'c>, batch: &Batch, entry: &Entry) -> Result<(), Failure> {
        Err(Failure::replaced(batch.dir.source_path(&entry.name)))
    }
}
