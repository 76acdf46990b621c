//! Counts ahead how much there is to copy, for the progress bar and for nothing else. The only file
//! that names walkdir.
//!
//! It goes by paths and may be wrong about a tree that changes, or too long for a path; the copy
//! itself never relies on it.

use crate::options::{Dereference, Options};
use crate::report::progress::Total;
use std::ffi::{OsStr, OsString};
use std::sync::atomic::Ordering;
use walkdir::WalkDir;

/// A count of all that is below `sources`, to be run on a thread of its own.
pub fn scout(options: &Options, sources: Vec<OsString>) -> Box<dyn FnOnce(&Total) + Send> {
    let depth = if options.recursive { usize::MAX } else { 0 };
    let streams = options.read_special;
    let (dereference, stay) = (options.dereference, options.one_file_system);
    Box::new(move |total| {
        for source in sources {
            let follow_root = dereference != Dereference::Never;
            let sizes = sizes(&source, depth, follow_root, dereference == Dereference::Always, stay);
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

/// The sizes of all files below a path but directories; `None` for what is a stream or a device.
fn sizes(
    root: &OsStr,
    depth: usize,
    follow_root: bool,
    follow: bool,
    one_file_system: bool,
) -> impl Iterator<Item = Option<u64>> {
    let walk = WalkDir::new(root)
        .max_depth(depth)
        .follow_root_links(follow_root)
        .follow_links(follow)
        .same_file_system(one_file_system);
    let files = walk.into_iter().filter_map(Result::ok).filter(|entry| !entry.file_type().is_dir());
    files.map(|entry| match entry.file_type() {
        kind if kind.is_file() => Some(entry.metadata().map_or(0, |metadata| metadata.len())),
        kind if kind.is_symlink() => Some(0),
        _ => None,
    })
}
