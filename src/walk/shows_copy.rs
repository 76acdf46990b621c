//! Detects a source directory in which the copy itself appears.
//!
//! If the destination is another view of the source's file system (an overlay mount and its upper directory, a
//! FUSE mount and the directory that it serves, a union and one of its branches), a copy into it grows the
//! source: each new directory appears below a source directory and is copied as well, without end. Unlike with
//! a bind mount, device and inode numbers differ between the views, so they cannot reveal it.
//!
//! An experiment can. If the source directory at path `c` below the operand shows the destination directory at
//! path `r`, then `c` ends in `r`, and an endless copy passes through directories whose path also begins with
//! `r`. The directory that is about to be made at `c` below the destination then appears in the source
//! directory, at the rest of `c` after that `r`. A path that is missing before mkdir and exists afterwards is
//! the copy itself.
//!
//! An ordinary copy does not pay for it. The experiment runs only between two devices, in a source directory
//! that has changed since the run began, and only if one of the two file systems can be such a view.

use super::{Node, Walker};
use crate::batch::Entry;
use crate::sys::at::{self, Follow};
use crate::sys::{Errno, Stat, io};
use crate::transfer::route::FsKind;
use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;

/// The longest repetition to look for within a path, in components. The whole path is always considered.
const LONGEST: usize = 64;

/// Missing paths at which a directory that is about to be made could appear below its own source.
pub(super) struct Suspects(Vec<OsString>);

impl Suspects {
    pub(super) fn have_appeared(&self, source: impl AsFd) -> bool {
        self.0.iter().any(|path| at::stat(&source, path, Follow::No).is_ok())
    }
}

impl Walker<'_, '_> {
    /// Returns the suspects for a directory. Call it just before its copy is made in the node `above`.
    pub(super) fn suspects(
        &self,
        above: &Node,
        entry: &Entry,
        source: (impl AsFd, &Stat),
        dst: impl AsFd,
    ) -> Suspects {
        let (src, stat) = source;
        let is_view = || {
            let is_local = |fd| io::fs_magic(fd).is_ok_and(|magic| FsKind::from_magic(magic).is_local());
            !is_local(src.as_fd()) || !is_local(dst.as_fd())
        };
        // File systems use a clock that lags behind, and some keep whole seconds.
        let has_changed = stat.ctime.sec + 1 >= self.ctx.run.process.start.sec;
        let may_be = !entry.operand
            && !self.ctx.options.dry_run
            && above.dir.dst_dev().is_some_and(|dev| dev != stat.dev)
            && has_changed
            && is_view();
        if !may_be {
            return Suspects(Vec::new());
        }
        let path = path_below_operand(above, &entry.name);
        let is_missing = |path: &OsString| at::stat(&src, path, Follow::No).err() == Some(Errno::NOENT);
        Suspects(repetitions(&path).map(|rest| rest.join(OsStr::new("/"))).filter(is_missing).collect())
    }
}

fn path_below_operand<'p>(above: &'p Node, name: &'p OsStr) -> Vec<&'p OsStr> {
    let dirs = std::iter::successors(Some(&*above.dir), |dir| dir.parent());
    let names = dirs.take(above.depth - above.operand.depth).filter_map(|dir| dir.name());
    let mut path: Vec<&OsStr> = [name].into_iter().chain(names).collect();
    path.reverse();
    path
}

/// Returns the suffixes of which the path is a repetition (the first one may be cut off at its start),
/// including the whole path.
fn repetitions<'p>(path: &'p [&'p OsStr]) -> impl Iterator<Item = &'p [&'p OsStr]> {
    let lengths = (1..path.len().min(LONGEST)).chain([path.len()]);
    lengths.filter(|len| path.iter().zip(&path[*len..]).all(|(a, b)| a == b)).map(|len| &path[path.len() - len..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_repetitions_are_found() {
        let check = |path: &str, expected: &[&str]| {
            let parts: Vec<_> = path.split('/').map(OsStr::new).collect();
            let found: Vec<_> = repetitions(&parts).map(|rest| rest.join(OsStr::new("/"))).collect();
            assert_eq!(found, expected, "{path}");
        };
        check("x", &["x"]);
        check("x/y", &["x/y"]);
        check("x/x", &["x", "x/x"]);
        check("x/y/x/y", &["x/y", "x/y/x/y"]);
        check("x/y/x", &["y/x", "x/y/x"]);
        check("x/x/x", &["x", "x/x", "x/x/x"]);
        check("a/x/x", &["a/x/x"]);
    }
}
