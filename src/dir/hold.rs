//! A guard that delays the finishing of a directory.

use super::Dir;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Delays the finishing of a directory while there is work to do in it.
#[derive(Debug)]
pub(crate) struct Hold(Arc<Dir>);

impl Hold {
    /// Holds a directory: a new one, or one that another hold keeps during this call.
    pub(crate) fn new(dir: &Arc<Dir>) -> Hold {
        Hold::keep(dir);
        Hold(Arc::clone(dir))
    }

    /// Adds a hold, which [`release`] ends.
    pub(super) fn keep(dir: &Dir) {
        dir.holds.fetch_add(1, Ordering::Relaxed);
    }
}

impl Clone for Hold {
    fn clone(&self) -> Hold {
        Hold::new(&self.0)
    }
}

impl Deref for Hold {
    type Target = Arc<Dir>;

    fn deref(&self) -> &Arc<Dir> {
        &self.0
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        release(&self.0);
    }
}

/// Ends a hold. The last one finishes the directory and releases its parent, in a loop, because a tree may be
/// deeper than the stack allows.
fn release(dir: &Arc<Dir>) {
    let mut dir = dir;
    while dir.holds.fetch_sub(1, Ordering::AcqRel) == 1
        && let (Some(ctx), Some(place)) = (dir.ctx.upgrade(), &dir.place)
    {
        dir.finish(&ctx);
        dir = &place.parent;
    }
}
