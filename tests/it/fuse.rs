//! A source on a file system that reports wrong sizes, fails midway or returns few bytes at a time: the file
//! consists of what read(2) returns until it returns nothing, whatever stat(2) reports.

mod refusals;
mod server;

use crate::law;
use crate::needs::{Need, trial};
use crate::sandbox::{Sandbox, assert_done, noise};
use crate::strategies::STRATEGIES;
use fuser::{
    BackgroundSession, FileAttr, FileType, Filesystem, MountOption, ReplyAttr, ReplyData, ReplyDirectory,
    ReplyEntry, ReplyLseek, ReplyOpen, Request,
};
use libtest_mimic::Trial;
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, UNIX_EPOCH};

/// The kernel caches no attributes.
const TTL: Duration = Duration::ZERO;

pub(crate) fn trials() -> Vec<Trial> {
    let needs = [Need::Fuse];
    let mut trials =
        vec![trial("fuse::tree", &needs, tree), trial("fuse::directory_fails", &needs, directory_fails)];
    trials.push(trial("fuse::each_byte_once", &needs, each_byte_once));
    for strategy in STRATEGIES.into_iter().filter(|strategy| *strategy != "reflink").map(Some).chain([None]) {
        let name = strategy.unwrap_or("default");
        trials.push(trial(format!("fuse::lies::{name}"), &needs, move || lies(strategy)));
        trials.push(trial(format!("fuse::denied::{name}"), &needs, move || denied(strategy)));
        trials.push(trial(format!("fuse::without_offsets::{name}"), &needs, move || without_offsets(strategy)));
        trials.push(trial(format!("fuse::fails_midway::{name}"), &needs, move || fails_midway(strategy)));
    }
    trials.extend(refusals::trials());
    trials
}

/// A file of [`Liar`].
#[derive(Clone)]
struct Lie {
    name: &'static str,
    bytes: Vec<u8>,
    /// The size that stat(2) reports.
    size: u64,
    /// The blocks of 512 bytes that stat(2) reports. Fewer than the size needs look like holes.
    blocks: u64,
    /// The offset from which on reading fails.
    fails_from: Option<u64>,
    /// The most bytes that one read returns.
    at_most: usize,
    /// The offset from which on it reports only a hole. `None`: it does not support SEEK_DATA.
    hole_from: Option<u64>,
    /// The end of the hole that it reports at the start of the file.
    hole_to: u64,
    /// Whether pread(2) and lseek(2) fail with ESPIPE.
    without_offsets: bool,
    /// Reads of fewer bytes are refused.
    shortest_read: u32,
    /// If set, each byte is returned only once, whatever the offset; the number of bytes that have been
    /// returned.
    given: Option<usize>,
}

impl Lie {
    fn new(name: &'static str, len: usize) -> Lie {
        let size = len as u64;
        let blocks = size.div_ceil(512);
        let (fails_from, at_most, hole_from, hole_to) = (None, usize::MAX, None, 0);
        let (without_offsets, shortest_read, given) = (false, 0, None);
        let bytes = noise(len);
        Lie {
            name,
            bytes,
            size,
            blocks,
            fails_from,
            at_most,
            hole_from,
            hole_to,
            without_offsets,
            shortest_read,
            given,
        }
    }

    /// Writes zeros, which have blocks, from `from` to `to`.
    fn with_zeros(mut self, from: usize, to: usize) -> Lie {
        self.bytes[from..to].fill(0);
        self
    }
}

/// A directory of these files. Direct I/O keeps the page cache out of the way.
struct Liar {
    files: Vec<Lie>,
    listing_fails: bool,
}

impl Liar {
    fn mount(self, sandbox: &Sandbox) -> BackgroundSession {
        sandbox.dir("lies");
        let options = [MountOption::RO, MountOption::FSName("lies".into())];
        fuser::spawn_mount2(self, sandbox.path("lies"), &options).unwrap()
    }

    fn file(&self, id: u64) -> Option<&Lie> {
        self.files.get(usize::try_from(id).ok()?.checked_sub(2)?)
    }

    fn attributes(&self, id: u64) -> Option<FileAttr> {
        let file = self.file(id);
        if file.is_none() && id != 1 {
            return None;
        }
        Some(FileAttr {
            ino: id,
            size: file.map_or(0, |file| file.size),
            blocks: file.map_or(0, |file| file.blocks),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if file.is_some() { FileType::RegularFile } else { FileType::Directory },
            perm: if file.is_some() { 0o644 } else { 0o755 },
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }
}

impl Filesystem for Liar {
    fn lookup(&mut self, _: &Request<'_>, _: u64, name: &OsStr, reply: ReplyEntry) {
        let id = self.files.iter().position(|file| name == file.name).map(|index| index as u64 + 2);
        match id.and_then(|id| self.attributes(id)) {
            Some(attributes) => reply.entry(&TTL, &attributes, 0),
            None => reply.error(Errno::NOENT.raw_os_error()),
        }
    }

    fn getattr(&mut self, _: &Request<'_>, id: u64, _: Option<u64>, reply: ReplyAttr) {
        match self.attributes(id) {
            Some(attributes) => reply.attr(&TTL, &attributes),
            None => reply.error(Errno::NOENT.raw_os_error()),
        }
    }

    fn open(&mut self, _: &Request<'_>, id: u64, _: i32, reply: ReplyOpen) {
        let without_offsets = self.file(id).unwrap().without_offsets;
        let more = if without_offsets { fuser::consts::FOPEN_NONSEEKABLE } else { 0 };
        reply.opened(0, fuser::consts::FOPEN_DIRECT_IO | more);
    }

    fn read(
        &mut self,
        _: &Request<'_>,
        id: u64,
        _: u64,
        offset: i64,
        size: u32,
        _: i32,
        _: Option<u64>,
        reply: ReplyData,
    ) {
        let file = &mut self.files[usize::try_from(id).unwrap() - 2];
        if size < file.shortest_read {
            return reply.error(Errno::INVAL.raw_os_error());
        }
        let start = file.given.unwrap_or(usize::try_from(offset).unwrap()).min(file.bytes.len());
        let mut end = (start + (size as usize).min(file.at_most)).min(file.bytes.len());
        if let Some(from) = file.fails_from.map(|from| usize::try_from(from).unwrap()) {
            if start >= from {
                return reply.error(Errno::IO.raw_os_error());
            }
            end = end.min(from);
        }
        file.given = file.given.map(|_| end);
        reply.data(&file.bytes[start..end]);
    }

    fn lseek(&mut self, _: &Request<'_>, id: u64, _: u64, offset: i64, whence: i32, reply: ReplyLseek) {
        let file = self.file(id).unwrap();
        let offset = u64::try_from(offset).unwrap();
        let Some(end) = file.hole_from else { return reply.error(Errno::NOSYS.raw_os_error()) };
        let answer = match whence {
            nix::libc::SEEK_DATA => Some(offset.max(file.hole_to)).filter(|data| *data < end),
            _ if offset < file.hole_to => Some(offset),
            _ => Some(offset.max(end)),
        };
        match answer {
            Some(at) => reply.offset(i64::try_from(at).unwrap()),
            None => reply.error(Errno::NXIO.raw_os_error()),
        }
    }

    fn readdir(&mut self, _: &Request<'_>, _: u64, _: u64, offset: i64, mut reply: ReplyDirectory) {
        let start = usize::try_from(offset).unwrap();
        if self.listing_fails && start > 0 {
            return reply.error(Errno::IO.raw_os_error());
        }
        let most = if self.listing_fails { self.files.len() / 2 } else { usize::MAX };
        for (index, file) in self.files.iter().enumerate().skip(start).take(most) {
            if reply.add(index as u64 + 2, index as i64 + 1, FileType::RegularFile, file.name) {
                break;
            }
        }
        reply.ok();
    }
}

fn all_lies() -> Vec<Lie> {
    let large = 3_000_000;
    vec![
        Lie::new("honest", large),
        Lie { size: 0, blocks: 0, ..Lie::new("zero", large) },
        Lie { size: 10, ..Lie::new("too-small", 100_000) },
        Lie { size: 100_000, ..Lie::new("too-small-large", large) },
        Lie { size: 1 << 20, blocks: 8, ..Lie::new("too-small-with-holes", large) },
        Lie { size: 4096, blocks: 0, ..Lie::new("too-large", 23) },
        Lie { size: 9_000_000, ..Lie::new("too-large-large", large) },
        Lie { size: 1 << 40, blocks: 0, ..Lie::new("huge", 1000) },
        Lie { at_most: 777, ..Lie::new("dribs", 300_000) },
        Lie { size: 0, blocks: 0, at_most: 1, ..Lie::new("bytes", 900) },
        Lie { size: 0, blocks: 0, shortest_read: 2, ..Lie::new("no-short-reads", 100_000) },
        Lie::new("empty", 0),
    ]
}

fn strategy_option(strategy: Option<&str>) -> String {
    // read_write follows each strategy, because not every call works with direct I/O.
    strategy.map_or("--reflink=auto".into(), |strategy| format!("--strategy={strategy},read_write"))
}

fn lies(strategy: Option<&'static str>) {
    let sandbox = Sandbox::new();
    let _mount = Liar { files: all_lies(), listing_fails: false }.mount(&sandbox);
    for jobs in ["-j1", "-j4"] {
        assert_done(
            &sandbox.zcp(["-r", jobs, &strategy_option(strategy), "-T", "lies", "copy"]).output().unwrap(),
        );
        for file in all_lies() {
            let copy = fs::read(sandbox.path("copy").join(file.name)).unwrap();
            assert!(copy == file.bytes, "{}: {} bytes instead of {}", file.name, copy.len(), file.bytes.len());
        }
        fs::remove_dir_all(sandbox.path("copy")).unwrap();
    }
    // Copies each file alone, and turns zeros into holes.
    for file in all_lies() {
        let name = format!("lies/{}", file.name);
        assert_done(&sandbox.zcp(["--sparse=always", &name, "copy"]).output().unwrap());
        assert!(fs::read(sandbox.path("copy")).unwrap() == file.bytes, "{name}");
        fs::remove_file(sandbox.path("copy")).unwrap();
    }
}

/// The read that looks for the end of a file counts as part of the copy: some files return each byte only once.
fn each_byte_once() {
    let sandbox = Sandbox::new();
    let names = ["into-file", "into-pipe", "zeros"];
    let files = names.map(|name| Lie { size: 0, blocks: 0, given: Some(0), ..Lie::new(name, 300_000) });
    let _mount = Liar { files: files.to_vec(), listing_fails: false }.mount(&sandbox);
    let mapped = "--strategy=mmap,read_write";
    assert_done(&sandbox.zcp([mapped, "lies/into-file", "copy"]).output().unwrap());
    assert!(fs::read(sandbox.path("copy")).unwrap() == files[0].bytes);
    let output = sandbox.zcp([mapped, "lies/into-pipe", "/dev/stdout"]).output().unwrap();
    assert!(output.status.success() && output.stdout == files[1].bytes);
    assert_done(&sandbox.zcp(["--sparse=always", "lies/zeros", "copy"]).output().unwrap());
    assert!(fs::read(sandbox.path("copy")).unwrap() == files[2].bytes);
}

/// Files whose pread(2) and lseek(2) fail with ESPIPE are read from their current position to their end, into a
/// file and into a pipe.
fn without_offsets(strategy: Option<&'static str>) {
    let sandbox = Sandbox::new();
    let lie = |name, len| Lie { without_offsets: true, ..Lie::new(name, len) };
    let files = [
        lie("honest", 300_000),
        Lie { size: 0, blocks: 0, ..lie("without-size", 300_000) },
        Lie { size: 0, blocks: 0, at_most: 777, ..lie("dribs", 100_000) },
        Lie { size: 4096, blocks: 0, ..lie("too-small", 300_000) },
        Lie { size: 900_000, blocks: 0, ..lie("too-large", 100_000) },
        Lie { size: 0, blocks: 0, ..lie("zeros", 300_000).with_zeros(100_000, 200_000) },
        Lie { blocks: 0, ..lie("zeros-at-end", 300_000).with_zeros(100_000, 300_000) },
        Lie { size: 0, blocks: 0, ..lie("empty", 0) },
    ];
    let _mount = Liar { files: files.to_vec(), listing_fails: false }.mount(&sandbox);
    for option in [&strategy_option(strategy), "--sparse=always", "--sparse=never", "--cache=drop"] {
        assert_done(&sandbox.zcp(["-r", option, "-T", "lies", "copy"]).output().unwrap());
        for file in &files {
            let copy = fs::read(sandbox.path("copy").join(file.name)).unwrap();
            assert!(copy == file.bytes, "{} with {option}: {} bytes", file.name, copy.len());
            let name = format!("lies/{}", file.name);
            let output = sandbox.zcp([option, &name, "/dev/stdout"]).output().unwrap();
            assert!(output.status.success() && output.stdout == file.bytes, "{name} with {option}, into a pipe");
        }
        fs::remove_dir_all(sandbox.path("copy")).unwrap();
    }
}

/// Data that the file system reports as a hole is copied if the block count contradicts the hole. True holes
/// remain holes.
fn denied(strategy: Option<&'static str>) {
    let sandbox = Sandbox::new();
    let large = 3_000_000;
    let fewer = large as u64 / 512 - 8;
    let denying =
        |name, from, to| Lie { blocks: fewer, hole_from: Some(from), hole_to: to, ..Lie::new(name, large) };
    let files = [
        denying("all", 0, 0),
        denying("tail", 1 << 20, 0),
        denying("head", large as u64, 1 << 20),
        Lie { blocks: 0, ..denying("without-blocks", 0, 0) },
        Lie { size: 1 << 20, ..denying("beyond-size", 4096, 0) },
        // The holes of these files are true, although the last one has blocks that were never written.
        Lie { blocks: 2048, ..denying("honest", 1 << 20, 0) }.with_zeros(1 << 20, large),
        Lie { blocks: 2048, ..denying("allocated", 0, 0) }.with_zeros(0, large),
    ];
    let _mount = Liar { files: files.to_vec(), listing_fails: false }.mount(&sandbox);
    for options in [&["-r", &strategy_option(strategy)][..], &["-r", &strategy_option(strategy), "--verify"]] {
        assert_done(&sandbox.zcp(options).args(["-T", "lies", "copy"]).output().unwrap());
        for file in &files {
            let copy = sandbox.path("copy").join(file.name);
            assert!(fs::read(&copy).unwrap() == file.bytes, "{} with {options:?}", file.name);
            let data = file.bytes.iter().filter(|byte| **byte != 0).count() as u64;
            let allocated = copy.metadata().unwrap().blocks() * 512;
            assert!(allocated < data + (512 << 10), "{}: {allocated} bytes for {data}", file.name);
        }
        fs::remove_dir_all(sandbox.path("copy")).unwrap();
    }
}

/// These files as one tree, compared with cp's copy of it.
fn tree() {
    let sandbox = Sandbox::new();
    let _mount = Liar { files: all_lies(), listing_fails: false }.mount(&sandbox);
    assert_done(
        &sandbox
            .command("sh")
            .args(["-c", "mkdir read; cd lies; for f in *; do dd status=none if=$f of=../read/$f bs=64k; done"])
            .output()
            .unwrap(),
    );
    assert_done(&sandbox.zcp(["-r", "-T", "lies", "copy"]).output().unwrap());
    sandbox.snapshot("read").plain().assert_same(&sandbox.snapshot("copy").plain());
}

fn fails_midway(strategy: Option<&'static str>) {
    let sandbox = Sandbox::new();
    let files = vec![
        Lie::new("good", 200_000),
        Lie { fails_from: Some(0), ..Lie::new("at-once", 200_000) },
        Lie { fails_from: Some(1_500_000), ..Lie::new("midway", 3_000_000) },
        Lie { fails_from: Some(4096), ..Lie::new("early", 50_000) },
        Lie { fails_from: Some(999), size: 0, blocks: 0, ..Lie::new("without-size", 50_000) },
        Lie { fails_from: Some(100_000), blocks: 8, ..Lie::new("with-holes", 300_000) },
        Lie::new("also-good", 5),
    ];
    let bad = files.iter().filter(|file| file.fails_from.is_some()).count();
    let _mount = Liar { files: files.clone(), listing_fails: false }.mount(&sandbox);
    let output = sandbox.zcp(["-r", &strategy_option(strategy), "-T", "lies", "copy"]).output().unwrap();
    law::assert_kept(&sandbox, "lies", "copy", &output);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(errors.matches(": Input/output error\n").count(), bad, "{errors}");
    for good in ["good", "also-good"] {
        assert!(!errors.contains(&format!("/{good}'")), "{errors}");
    }
}

/// The listing fails after half of the names.
fn directory_fails() {
    let sandbox = Sandbox::new();
    let _mount = Liar { files: all_lies(), listing_fails: true }.mount(&sandbox);
    for jobs in ["-j1", "-j4"] {
        let output = sandbox.zcp(["-r", jobs, "-T", "lies", "copy"]).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*errors), (Some(1), "zcp: cannot access 'lies': Input/output error\n"));
        let _ = fs::remove_dir_all(sandbox.path("copy"));
    }
}
