//! Where names come from if not from a tree: a list of names, or a part of a job.

use super::Walker;
use crate::batch::{Batch, Entry};
use crate::context::Context;
use crate::report::Failure;
use std::sync::Arc;

/// A source of names. One worker at a time reads it, and enters no directory meanwhile.
pub trait Supply<'c>: Send {
    /// The next group of names, or `None` at the end. Failures are reported.
    fn next_group(&mut self, ctx: &Context) -> Option<Arc<dyn NameGroup<'c> + 'c>>;
}

/// Names in one directory, which the worker that took them enters.
pub trait NameGroup<'c>: Send + Sync {
    /// Enters the directory, and makes it where it is missing; `None` if nothing is to be copied there. Failures are
    /// reported.
    fn enter(&self, walker: &mut Walker<'_, 'c>) -> Option<Batch>;

    /// A worker has found that an entry of the batch is a directory.
    ///
    /// # Errors
    /// A group that names no directories calls it replaced.
    fn enter_directory(&self, _: &mut Walker<'_, 'c>, batch: &Batch, entry: &Entry) -> Result<(), Failure> {
        let words = "skipping file {}, as it was replaced while being copied";
        Err(Failure::new(words, batch.dir.source_path(&entry.name)))
    }
}
