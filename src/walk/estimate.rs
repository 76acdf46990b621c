//! Counts the files and bytes to copy ahead of time, only for the display of progress.
//!
//! The count goes by path and can be wrong: the tree may change, or a path may be too long. The copy itself never
//! relies on it.

use crate::filter::{Filter, GITIGNORE, Level};
use crate::options::{Dereference, Options};
use crate::path;
use crate::report::progress::Estimate;
use crate::sys::{at, proc};
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use walkdir::{DirEntry, WalkDir};

/// Returns a function that counts everything below `sources`, to run on its own thread.
pub fn estimate(options: &Options, sources: Arc<[OsString]>) -> Estimate {
    if options.files_from.is_some() {
        // A list is read only once, so it cannot be counted ahead.
        return Box::new(|total| total.endless.store(true, Ordering::Relaxed));
    }
    let depth = if options.recursive { usize::MAX } else { 0 };
    let streams = options.read_special;
    let (dereference, stay) = (options.dereference, options.one_file_system);
    let filter = options.filter.clone();
    Box::new(move |total| {
        let follow = (dereference != Dereference::Never, dereference == Dereference::Always);
        let count = |count_one: &dyn Fn(&DirEntry)| {
            for source in sources.iter() {
                let mut trail = Trail { filter: filter.clone(), levels: Vec::new() };
                let is_wanted = move |depth, path: &Path, is_dir| trail.is_wanted(depth, path, is_dir);
                for file in files(source, depth, follow, stay, is_wanted) {
                    if total.cancelled.load(Ordering::Relaxed) {
                        return false;
                    }
                    count_one(&file);
                }
            }
            true
        };
        let add_file = |file: &DirEntry| {
            total.files.fetch_add(1, Ordering::Relaxed);
            if streams && !file.file_type().is_file() && !file.file_type().is_symlink() {
                total.endless.store(true, Ordering::Relaxed);
            }
        };
        // Listing is quick, so the number of files is known early. Reading their sizes takes as long as copying
        // small files.
        if !count(&add_file) {
            return;
        }
        total.named.store(true, Ordering::Relaxed);
        proc::lowest_priority();
        let add_size = |file: &DirEntry| {
            let size =
                file.metadata().ok().filter(std::fs::Metadata::is_file).map_or(0, |metadata| metadata.len());
            total.bytes.fetch_add(size, Ordering::Relaxed);
        };
        if count(&add_size) {
            total.complete.store(true, Ordering::Relaxed);
        }
    })
}

/// Returns all files below a path except directories. Names that `is_wanted` rejects are left out, including the
/// content of rejected directories. `is_wanted` gets the depth of the name.
fn files(
    root: &OsStr,
    depth: usize,
    (follow_root, follow): (bool, bool),
    one_file_system: bool,
    mut is_wanted: impl FnMut(usize, &Path, bool) -> bool,
) -> impl Iterator<Item = DirEntry> {
    let walk = WalkDir::new(root)
        .max_depth(depth)
        .follow_root_links(follow_root)
        .follow_links(follow)
        .same_file_system(one_file_system);
    let wanted = walk
        .into_iter()
        .filter_entry(move |found| is_wanted(found.depth(), found.path(), found.file_type().is_dir()));
    wanted.filter_map(Result::ok).filter(|entry| !entry.file_type().is_dir())
}

/// The filter levels of the directories above the current name.
struct Trail {
    filter: Option<Arc<Filter>>,
    levels: Vec<Arc<Level>>,
}

impl Trail {
    fn is_wanted(&mut self, depth: usize, path: &Path, is_dir: bool) -> bool {
        let Some(filter) = &self.filter else { return true };
        self.levels.truncate(depth);
        let name = path::split(path.as_os_str()).1;
        let above = self.levels.last();
        let excluded = match above {
            Some(level) => filter.excludes(level, name, is_dir),
            None => filter.excludes_operand(name, is_dir),
        };
        if is_dir && !excluded {
            let ignores = filter.gitignore.then(|| read_ignores(path)).flatten();
            let level = filter.level(above, name, ignores.as_deref());
            self.levels.push(level);
        }
        !excluded
    }
}

fn read_ignores(dir: &Path) -> Option<Vec<u8>> {
    at::read_small(at::CWD, dir.join(GITIGNORE).as_os_str()).ok().flatten()
}
