//! `--resume` inside large files: only bytes that equal the source's are kept.

use crate::needs::{Need, trial};
use crate::sandbox::{LONG_AGO, Sandbox, assert_done, noise, stats};
use crate::strace;
use libtest_mimic::Trial;
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

/// Files from 256 MiB on are continued.
const SIZE: u64 = 257 << 20;
const MIB: u64 = 1 << 20;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("continued::after_kill", &[Need::Strace], after_kill),
        trial("continued::after_a_signal", &[Need::Strace], after_a_signal),
        trial("continued::wrong_starts", &[], wrong_starts),
        trial("continued::holes", &[], holes),
        trial("continued::small_and_atomic", &[], small_and_atomic),
    ]
}

/// A large file of which no two MiB are the same.
fn large(sandbox: &Sandbox) {
    let mut block = noise(1 << 20);
    let mut file = fs::File::create(sandbox.path("src")).unwrap();
    for number in 0..SIZE / MIB {
        block[..8].copy_from_slice(&number.to_le_bytes());
        file.write_all(&block).unwrap();
    }
    drop(file);
    sandbox.time("src", LONG_AGO);
}

fn is_same(a: impl AsRef<Path>, b: impl AsRef<Path>) -> bool {
    let (mut a, mut b) = (fs::File::open(a).unwrap(), fs::File::open(b).unwrap());
    let (mut ours, mut theirs) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        let len = a.read(&mut ours).unwrap();
        let other = &mut theirs[..len.max(1)];
        match len {
            0 => return b.read(other).unwrap() == 0,
            _ if b.read_exact(other).is_err() || ours[..len] != *other => return false,
            _ => {}
        }
    }
}

/// Finishes the copy, and returns how many bytes of it were kept.
fn finish(sandbox: &Sandbox, options: &[&str]) -> u64 {
    let args = [options, &["--resume", "--stats=json", "src", "dst"]].concat();
    let output = sandbox.zcp(&args).output().unwrap();
    assert_done(&output);
    assert!(is_same(sandbox.path("src"), sandbox.path("dst")));
    let times = |name: &str| fs::metadata(sandbox.path(name)).unwrap().modified().unwrap();
    assert_eq!(times("src"), times("dst"));
    let totals = &stats(&output)["totals"];
    let sum = |keys: &[&str]| keys.iter().map(|key| totals[*key].as_u64().unwrap()).sum::<u64>();
    assert_eq!(sum(&["bytes_logical"]), sum(&["bytes_kept", "bytes_moved", "bytes_holes", "bytes_shared"]));
    sum(&["bytes_kept"])
}

/// Ends a first run by a signal in its 100th write.
fn begin(sandbox: &Sandbox, signal: &str) -> std::process::Output {
    let inject = format!("inject=pwrite64:signal={signal}:when=100");
    let args = ["--resume", "--reflink=never", "--strategy=read_write", "src", "dst"];
    strace::zcp(sandbox, &["-e", &inject], &args).output
}

fn after_kill() {
    let sandbox = Sandbox::new();
    large(&sandbox);
    assert_eq!(begin(&sandbox, "KILL").status.signal(), Some(9));
    let there = fs::metadata(sandbox.path("dst")).unwrap().len();
    let kept = finish(&sandbox, &["--reflink=never"]);
    assert!(kept > MIB && kept <= there, "{kept} of {there}");
    // The copy is complete now.
    assert_eq!(finish(&sandbox, &["--reflink=never"]), 0);
}

/// The file stays, does not look complete, and is continued.
fn after_a_signal() {
    let sandbox = Sandbox::new();
    large(&sandbox);
    let output = begin(&sandbox, "TERM");
    assert_eq!(output.status.signal(), Some(15));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("zcp: warning: 'dst' is incomplete; --resume continues it\n"), "{said}");
    assert!(finish(&sandbox, &["--reflink=never", "--verify"]) > MIB);
}

/// An existing file is kept up to the first difference, whatever its length and its time.
fn wrong_starts() {
    let sandbox = Sandbox::new();
    large(&sandbox);
    for (difference, length) in
        [(Some(0), SIZE), (Some(50 * MIB + 5000), SIZE), (None, 99 * MIB + 7), (None, SIZE + 12_345), (None, 1)]
    {
        fs::copy(sandbox.path("src"), sandbox.path("dst")).unwrap();
        let file = OpenOptions::new().write(true).open(sandbox.path("dst")).unwrap();
        file.set_len(length).unwrap();
        if let Some(at) = difference {
            file.write_all_at(b"wrong", at).unwrap();
        }
        drop(file);
        let inode = fs::metadata(sandbox.path("dst")).unwrap().ino();
        let kept = finish(&sandbox, &["--reflink=never"]);
        assert_eq!(kept, difference.unwrap_or(length.min(SIZE)) / 4096 * 4096);
        assert_eq!(fs::metadata(sandbox.path("dst")).unwrap().ino(), inode);
    }
}

/// Holes stay holes behind the start, and what was there is no data in them.
fn holes() {
    let sandbox = Sandbox::new();
    let pieces: [(u64, &[u8]); 3] = [(0, &noise(70_000)), (100 * MIB, &noise(50_000)), (250 * MIB, b"end")];
    sandbox.sparse("src", SIZE, &pieces).time("src", LONG_AGO);
    sandbox.sparse("dst", SIZE, &pieces[..2]);
    let file = OpenOptions::new().write(true).open(sandbox.path("dst")).unwrap();
    file.write_all_at(&noise(3 << 20), 200 * MIB).unwrap();
    drop(file);
    assert_eq!(finish(&sandbox, &["--reflink=never"]), 200 * MIB);
    assert!(fs::metadata(sandbox.path("dst")).unwrap().blocks() * 512 < 2 * MIB);
}

/// Smaller files are copied again, and so are files that replace others in one step.
fn small_and_atomic() {
    let sandbox = Sandbox::new();
    sandbox.file("src", noise(3 << 20)).time("src", LONG_AGO).file("dst", noise(2 << 20));
    assert_eq!(finish(&sandbox, &["--reflink=never"]), 0);
    sandbox.sparse("src", SIZE, &[(0, &noise(70_000))]).time("src", LONG_AGO).file("dst", noise(70_000));
    assert_eq!(finish(&sandbox, &["--reflink=never", "--atomic"]), 0);
}
