//! kill -9 at random moments. With `--atomic` each name has a complete file at any moment; with `--resume` the
//! next run completes the tree, even if runs are killed repeatedly.
//!
//! `ZCP_KILLS` sets how often each trial kills.

use crate::needs::{Need, SHM, mounted, trial};
use crate::resume::kept;
use crate::sandbox::{Sandbox, ZCP, assert_done, noise};
use crate::snapshot::Snapshot;
use filetime::FileTime;
use libtest_mimic::Trial;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A copy that is killed and then finished.
#[derive(Clone, Copy)]
struct Setting {
    name: &'static str,
    /// Options of the runs that are killed. The last run has `--resume` in any case.
    first: &'static [&'static str],
    options: &'static [&'static str],
    /// Whether other files exist at the destination.
    over: bool,
    place: Place,
    tree: fn(&Sandbox),
}

#[derive(Clone, Copy)]
enum Place {
    Memory,
    Disk(&'static str),
}

const SETTING: Setting =
    Setting { name: "", first: &["--resume"], options: &["-r"], over: false, place: Place::Memory, tree: small };

const SETTINGS: [Setting; 12] = [
    Setting { name: "atomic", first: &["--atomic", "--resume"], ..SETTING },
    Setting { name: "atomic_over", first: &["--atomic", "--resume"], over: true, ..SETTING },
    Setting { name: "default", first: &[], ..SETTING },
    Setting { name: "resumed", ..SETTING },
    Setting { name: "resumed_over", over: true, ..SETTING },
    Setting { name: "archive", options: &["-a"], ..SETTING },
    Setting { name: "archive_atomic", first: &["--atomic", "--resume"], options: &["-a"], over: true, ..SETTING },
    Setting { name: "workers", options: &["-a", "-j4"], over: true, ..SETTING },
    Setting { name: "disk", options: &["-a"], over: true, place: Place::Disk("ext4"), ..SETTING },
    Setting { name: "large", tree: large, ..SETTING },
    Setting { name: "large_by_read_write", options: &["-r", "--strategy=read_write"], tree: large, ..SETTING },
    Setting { name: "large_by_mmap", options: &["-a", "--strategy=mmap"], over: true, tree: large, ..SETTING },
];

pub(crate) fn trials() -> Vec<Trial> {
    let add = |setting: &'static Setting| {
        let place = match setting.place {
            Place::Memory => Need::Shm,
            Place::Disk(fs) => Need::Mount(fs),
        };
        trial(format!("kills::{}", setting.name), &[Need::Root, place], move || kill_and_resume(setting))
    };
    SETTINGS.iter().map(add).collect()
}

/// Files of many sizes below `new`, and different files of the same names below `old`.
fn small(sandbox: &Sandbox) {
    let sizes = [0, 1, 700, 4096, 5000, 65_537, 300_000];
    for i in 0..120 {
        let (path, size) = (format!("d{}/f{i}", i % 7), sizes[i % sizes.len()]);
        sandbox.file(format!("new/{path}"), noise(size + i));
        // The files have the same length, so a length proves nothing.
        sandbox.file(format!("old/{path}"), &noise(size + i + 100)[100..]);
        sandbox.time(format!("old/{path}"), FileTime::from_unix_time(1_000_000_007, 0));
    }
    sandbox.hard_link("new/d1/f1", "new/d2/link").symlink("f1", "new/d1/link").fifo("new/d3/fifo");
    // Without `-p`, an overwritten file keeps its mode.
    sandbox.mode("old/d2/f2", 0o640).mode("new/d2/f2", 0o640).xattr("new/d2/f2", "user.k", "v");
    for i in 0..7 {
        sandbox.dir(format!("new/d{i}"));
    }
    sandbox.dir("new");
}

/// Two files that take a while to copy, one of them with holes.
fn large(sandbox: &Sandbox) {
    let bytes = noise(1 << 20);
    sandbox.file("new/dense", bytes.repeat(24)).file("old/dense", noise((1 << 20) + 5).repeat(20));
    let pieces: Vec<_> = (0..12).map(|i| (i << 21, &bytes[..800_000])).collect();
    sandbox.sparse("new/holes", 30 << 20, &pieces).dir("new");
}

/// Numbers that look random, for the moments of kills.
struct Random(u64);

impl Random {
    fn below_one(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / f64::from(u32::MAX >> 1)
    }
}

fn kill_and_resume(setting: &Setting) {
    let kills = std::env::var("ZCP_KILLS").map_or(8, |text| text.parse().unwrap());
    let sandbox = match setting.place {
        Place::Memory => Sandbox::within(SHM),
        Place::Disk(fs) => Sandbox::within(mounted(fs).unwrap()),
    };
    (setting.tree)(&sandbox);
    let wanted = kept(sandbox.snapshot("new"), setting.options);
    let before = if setting.over { Some(sandbox.snapshot("old")) } else { None };
    let args = |extra: &[&'static str]| [setting.options, extra, &["-T", "new", "dst"]].concat();
    let (mut longest, mut random, mut killed) = (Duration::from_millis(40), Random(1), 0);
    while killed < kills {
        let _ = fs::remove_dir_all(sandbox.path("dst"));
        if setting.over {
            assert_done(&sandbox.command("cp").args(["-a", "old", "dst"]).output().unwrap());
        }
        for attempt in 0..1 + (random.below_one() * 4.0) as u32 {
            let moment = longest.mul_f64(random.below_one());
            if kill_after(&sandbox, &args(if attempt < 2 { setting.first } else { &["--resume"] }), moment) {
                killed += 1;
                longest = longest.mul_f64(1.02);
            } else if attempt == 0 {
                longest = moment.max(Duration::from_micros(500)); // it had ended before
            }
            if attempt < 2 && setting.first.contains(&"--atomic") {
                assert_whole(&sandbox.snapshot("dst"), &wanted, before.as_ref());
            }
        }
        assert_done(&sandbox.zcp(args(&["--resume"])).output().unwrap());
        // This also compares names, so no temporary name may be left.
        let copy = kept(sandbox.snapshot("dst"), setting.options);
        assert!(wanted == copy, "after {killed} kills:\n{}", wanted.diff(&copy));
    }
}

/// Checks that each name has the complete new file or the complete old one.
fn assert_whole(now: &Snapshot, new: &Snapshot, old: Option<&Snapshot>) {
    for (path, node) in &now.0 {
        let Some(bytes) = &node.bytes else { continue };
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".zcp-")) {
            continue;
        }
        let is = |tree: &Snapshot| tree.0.get(path).is_some_and(|node| node.bytes.as_ref() == Some(bytes));
        assert!(is(new) || old.is_some_and(is), "{path:?} has {} bytes", bytes.len());
    }
}

/// Starts zcp and kills it after `moment`. Returns false if it had ended by itself.
fn kill_after(sandbox: &Sandbox, args: &[&str], moment: Duration) -> bool {
    let start = Instant::now();
    let mut child =
        Command::new(ZCP).args(args).current_dir(sandbox.path("")).stdin(Stdio::null()).spawn().unwrap();
    std::thread::sleep(moment.saturating_sub(start.elapsed()));
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert!(status.success() || status.signal() == Some(9), "{status:?}");
    !status.success()
}
