//! Where batches come from if not from a tree: a list of names, or a part of a job.

use super::Walker;
use crate::batch::Batch;

/// A source of batches. One worker at a time asks it.
pub trait Supply: Send {
    /// The next batch, or `None` at the end (also after a signal).
    fn next_batch(&mut self, walker: &mut Walker<'_, '_>) -> Option<Batch>;
}
