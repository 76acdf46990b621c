//! A tree with all its attributes, down to holes and hard links, in a form that can be compared and printed.

use filetime::FileTime;
use rustix::fs::{SeekFrom, seek};
use std::collections::{BTreeMap, HashMap};
use std::ffi::{CStr, CString};
use std::fmt::{Debug, Formatter, Write};
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A tree, sorted by path.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Snapshot(pub(crate) BTreeMap<PathBuf, Node>);

/// One name of a tree. Fields that do not apply to its type are empty.
#[derive(Clone, PartialEq, Eq, Default)]
pub(crate) struct Node {
    /// File type and permission bits.
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    /// `None` if it lies between the creation of the sandbox and the snapshot: the run set it to the current
    /// time.
    pub(crate) mtime: Option<(i64, u32)>,
    /// The target of a symbolic link.
    pub(crate) target: PathBuf,
    /// The first name of the same inode in the tree, if the inode has several names.
    pub(crate) links: Option<PathBuf>,
    pub(crate) xattrs: BTreeMap<CString, Vec<u8>>,
    pub(crate) rdev: u64,
    /// The ranges that SEEK_DATA and SEEK_HOLE report as data.
    pub(crate) spans: Vec<Range<u64>>,
    /// `None` if the file may not be read.
    pub(crate) bytes: Option<Vec<u8>>,
}

impl Snapshot {
    /// Takes a snapshot of `path`. Times since `born` count as the current time of the run.
    pub(crate) fn take(path: &Path, born: FileTime) -> Snapshot {
        let mut taker = Taker { born, names: HashMap::new(), nodes: BTreeMap::new() };
        taker.take(path, Path::new(""));
        taker.names.retain(|_, names| names.len() > 1);
        for names in taker.names.values() {
            let first = names.iter().min();
            names.iter().for_each(|name| taker.nodes.get_mut(name).unwrap().links = first.cloned());
        }
        Snapshot(taker.nodes)
    }

    /// Clears fields that are not compared, as in `.without(|node| node.mtime = None)`.
    pub(crate) fn without(mut self, forget: impl Fn(&mut Node)) -> Snapshot {
        self.0.values_mut().for_each(forget);
        self
    }

    /// Keeps only type, permissions, link target and bytes, which is what `-r` alone preserves.
    pub(crate) fn plain(self) -> Snapshot {
        self.without(|node| {
            let kept = Node { mode: node.mode, rdev: node.rdev, ..Node::default() };
            let old = std::mem::replace(node, kept);
            (node.target, node.bytes) = (old.target, old.bytes);
        })
    }

    /// One line for each name that differs: `-` for this snapshot, `+` for the other. Empty if they are equal.
    pub(crate) fn diff(&self, other: &Snapshot) -> String {
        let mut text = String::new();
        for path in self.0.keys().chain(other.0.keys().filter(|path| !self.0.contains_key(*path))) {
            let (here, there) = (self.0.get(path), other.0.get(path));
            let sides = [('-', here), ('+', there)].into_iter().filter(|_| here != there);
            for (sign, node) in sides.filter_map(|(sign, node)| Some((sign, node?))) {
                writeln!(text, "{sign} {path:?} {node:?}").unwrap();
            }
        }
        text
    }

    #[track_caller]
    pub(crate) fn assert_same(&self, other: &Snapshot) {
        assert!(self == other, "the trees differ:\n{}", self.diff(other));
    }
}

impl Debug for Snapshot {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|(path, node)| writeln!(f, "{path:?} {node:?}"))
    }
}

impl Debug for Node {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let mut hasher = DefaultHasher::new();
        self.bytes.hash(&mut hasher);
        let (size, hash) = (self.bytes.as_ref().map(Vec::len), hasher.finish());
        write!(f, "{:o} {:?} mtime {:?} size {size:?} #{hash:016x}", self.mode, self.owner, self.mtime)?;
        write!(f, " spans {:?} xattrs {:?} rdev {}", self.spans, self.xattrs, self.rdev)?;
        write!(f, " links {:?} -> {:?}", self.links, self.target)
    }
}

struct Taker {
    born: FileTime,
    names: HashMap<(u64, u64), Vec<PathBuf>>,
    nodes: BTreeMap<PathBuf, Node>,
}

impl Taker {
    fn take(&mut self, path: &Path, name: &Path) {
        let Ok(stat) = path.symlink_metadata() else { return };
        let mtime = FileTime::from_last_modification_time(&stat);
        let is_new = self.born <= mtime && mtime <= FileTime::now();
        let mut node = Node {
            mode: stat.mode(),
            owner: (stat.uid(), stat.gid()),
            mtime: (!is_new).then(|| (mtime.unix_seconds(), mtime.nanoseconds())),
            rdev: stat.rdev(),
            xattrs: xattrs(path),
            ..Node::default()
        };
        if stat.is_symlink() {
            node.target = fs::read_link(path).unwrap();
        } else if stat.is_file() {
            node.bytes = fs::read(path).ok();
            node.spans = File::open(path).map(|file| spans(&file)).unwrap_or_default();
        } else if stat.is_dir() {
            for entry in fs::read_dir(path).into_iter().flatten().map(Result::unwrap) {
                self.take(&entry.path(), &name.join(entry.file_name()));
            }
        }
        if stat.nlink() > 1 && !stat.is_dir() {
            self.names.entry((stat.dev(), stat.ino())).or_default().push(name.into());
        }
        self.nodes.insert(name.into(), node);
    }
}

/// The ranges of a file that its file system reports as data.
pub(crate) fn spans(file: &File) -> Vec<Range<u64>> {
    let next = |at| {
        let start = seek(file, SeekFrom::Data(at)).ok()?;
        Some(start..seek(file, SeekFrom::Hole(start)).ok()?)
    };
    std::iter::successors(next(0), |span: &Range<u64>| next(span.end)).collect()
}

fn xattrs(path: &Path) -> BTreeMap<CString, Vec<u8>> {
    let mut list = vec![0; 64 << 10];
    let len = rustix::fs::llistxattr(path, &mut list[..]).unwrap_or(0);
    let keys = list[..len].split_inclusive(|byte| *byte == 0).map(|key| CStr::from_bytes_with_nul(key).unwrap());
    let value = |key: &CStr| {
        let mut value = vec![0; 64 << 10];
        let len = rustix::fs::lgetxattr(path, key, &mut value[..]).unwrap_or(0);
        value[..len].to_vec()
    };
    keys.map(|key| (key.to_owned(), value(key))).collect()
}
