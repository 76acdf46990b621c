//! Counts ahead how much there is to copy, for the progress bar and for nothing else.
//!
//! It goes by paths and may be wrong about a tree that changes, or too long for a path; the copy
//! itself never relies on it.

use super::listing;
use crate::options::{Dereference, Options};
use crate::report::progress::Total;
use std::ffi::OsString;
use std::sync::atomic::Ordering;

/// A count of all that is below `sources`, to be run on a thread of its own.
pub fn scout(options: &Options, sources: Vec<OsString>) -> Box<dyn FnOnce(&Total) + Send> {
    let depth = if options.recursive { usize::MAX } else { 0 };
    let streams = options.read_special;
    let (dereference, stay) = (options.dereference, options.one_file_system);
    Box::new(move |total| {
        for source in sources {
            let follow_root = dereference != Dereference::Never;
            let sizes = listing::sizes(&source, depth, follow_root, dereference == Dereference::Always, stay);
            for size in sizes {
                if total.cancelled.load(Ordering::Relaxed) {
                    return;
                }
                match size {
                    Some(size) => drop(total.bytes.fetch_add(size, Ordering::Relaxed)),
                    None if streams => total.endless.store(true, Ordering::Relaxed),
                    None => {}
                }
                total.files.fetch_add(1, Ordering::Relaxed);
            }
        }
        total.complete.store(true, Ordering::Relaxed);
    })
}
