//! `--resume` skips what is complete and copies the rest, whenever the earlier run ended.

use crate::needs::{Need, SHM, trial};
use crate::sandbox::{LONG_AGO, Sandbox, assert_done, noise, stats};
use crate::snapshot::Snapshot;
use crate::strace;
use filetime::FileTime;
use libtest_mimic::Trial;
use std::fs;
use std::os::unix::fs::MetadataExt;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial("resume::complete_is_left_alone", &[Need::Strace], complete_is_left_alone),
        trial("resume::size_proves_nothing", &[], size_proves_nothing),
        trial("resume::attributes_are_finished", &[Need::Root], attributes_are_finished),
        trial("resume::killed_before_the_last_attribute", &[Need::Strace], killed_before_the_last_attribute),
        trial("resume::links_are_finished", &[], links_are_finished),
        trial("resume::asks", &[], asks),
        trial("resume::special_files", &[], special_files),
        trial("resume::sweeps_the_dead", &[], sweeps_the_dead),
        trial("resume::spares_the_living", &[Need::Strace], spares_the_living),
        trial("resume::contradictions", &[], contradictions),
    ];
    for (name, options, over) in SETTINGS {
        let needs = [Need::Strace, Need::Root, Need::Shm];
        trials.push(trial(format!("resume::killed_after_each_call::{name}"), &needs, move || {
            killed_after_each_call(options, over);
        }));
    }
    trials
}

const SETTINGS: [(&str, &[&str], bool); 5] = [
    ("plain", &["-r"], false),
    ("owners", &["-r", "--preserve=ownership"], false),
    ("archive", &["-a"], true),
    ("atomic", &["-a", "--atomic"], false),
    ("atomic_over", &["-a", "--atomic"], true),
];

fn tree() -> Sandbox {
    let sandbox = Sandbox::within(SHM);
    sandbox.file("src/a", noise(5000)).file("src/sub/b", noise(70_000)).symlink("a", "src/link").fifo("src/p");
    sandbox.hard_link("src/a", "src/sub/c").mode("src/sub/b", 0o640).xattr("src/sub/b", "user.k", "v");
    sandbox.dir("src/sub").mode("src/sub", 0o555).dir("src");
    for name in ["a", "sub/b"] {
        std::os::unix::fs::chown(sandbox.path("src").join(name), Some(1234), Some(1234)).unwrap();
    }
    sandbox
}

/// The attributes that are right in the end with these options.
pub(crate) fn kept(snapshot: Snapshot, options: &[&str]) -> Snapshot {
    let full = options.contains(&"-a");
    snapshot.without(|node| {
        node.spans.clear();
        if !full {
            node.xattrs.clear();
            node.links = None;
        }
        if options.len() == 1 {
            node.owner = (0, 0);
        }
    })
}

/// The calls that make, change or name files, or directly precede such a call.
const CALLS: [&str; 20] = [
    "openat",
    "mkdirat",
    "splice",
    "sendfile",
    "pwrite64",
    "ftruncate",
    "fchown",
    "fchownat",
    "fchmod",
    "fchmodat",
    "utimensat",
    "fsetxattr",
    "lsetxattr",
    "linkat",
    "unlinkat",
    "renameat",
    "renameat2",
    "symlinkat",
    "mknodat",
    "close",
];

/// zcp is killed after the first call of each kind, then after the second, and so on until it completes. After
/// each kill the next run completes the tree, and changes nothing else.
fn killed_after_each_call(options: &'static [&'static str], over: bool) {
    let sandbox = tree();
    let args = [options, &["-j1", "--resume", "-T", "src", "dst"]].concat();
    let source = kept(sandbox.snapshot("src"), options);
    let mut killed = 0;
    for call in CALLS {
        // strace counts the calls of each name separately.
        for moment in 1.. {
            if over {
                sandbox.file("dst/a", noise(5001)).file("dst/sub/b", "old").symlink("b", "dst/link");
            }
            let inject = format!("inject={call}:signal=KILL:when={moment}");
            let trace = strace::zcp(&sandbox, &["-e", &format!("trace={call}"), "-e", &inject], &args);
            let ended = trace.output.status.code() == Some(0);
            killed += usize::from(!ended);
            assert_done(&sandbox.zcp(&args).output().unwrap());
            let copy = kept(sandbox.snapshot("dst"), options);
            assert!(source == copy, "killed after {call} {moment}:\n{}", source.diff(&copy));
            fs::remove_dir_all(sandbox.path("dst")).unwrap();
            if ended {
                break;
            }
        }
    }
    assert!(killed > 40, "{killed}");
}

/// No file is opened for writing, no data is moved, and no attribute is set.
fn complete_is_left_alone() {
    let sandbox = Sandbox::new();
    sandbox.file("src/a", noise(5000)).file("src/sub/b", noise(300_000)).symlink("a", "src/link");
    sandbox.hard_link("src/a", "src/c").dir("src/sub").dir("src");
    let args = ["-aj1", "--resume", "--stats=json", "-T", "src", "dst"];
    let first = sandbox.zcp(args).output().unwrap();
    assert_done(&first);
    assert_eq!((&stats(&first)["totals"]["files"], &stats(&first)["totals"]["complete"]), (&2.into(), &0.into()));
    let before = ["a", "sub/b", "c"].map(|name| fs::metadata(sandbox.path("dst").join(name)).unwrap());
    let trace = strace::zcp(&sandbox, &["-e", "trace=all"], &args);
    assert_done(&trace.output);
    let totals = &stats(&trace.output)["totals"];
    assert_eq!((&totals["files"], &totals["complete"]), (&0.into(), &4.into()), "{totals}");
    assert_eq!(trace.bytes_moved(), 0);
    let changed =
        |line: &&str| line.contains("O_WRONLY") || line.starts_with("linkat(") || line.contains("unlinkat(");
    let changes: Vec<_> = trace.lines().filter(changed).filter(|line| line.contains("/dst")).collect();
    assert!(changes.is_empty(), "{changes:?}");
    let after = ["a", "sub/b", "c"].map(|name| fs::metadata(sandbox.path("dst").join(name)).unwrap());
    for (before, after) in before.iter().zip(&after) {
        assert_eq!((before.ino(), before.ctime_nsec()), (after.ino(), after.ctime_nsec()));
    }
}

/// A file of the right length is not complete for that reason, even with the right bytes at both ends.
fn size_proves_nothing() {
    let sandbox = Sandbox::new();
    let source = noise(300_000);
    let mut half = source.clone();
    half[100_000..200_000].fill(0);
    sandbox.file("src/f", &source).file("dst/f", &half);
    let now = FileTime::now();
    // Even a difference of a nanosecond counts.
    for time in [now, FileTime::from_unix_time(LONG_AGO.unix_seconds(), LONG_AGO.nanoseconds() + 1)] {
        sandbox.file("dst/f", &half).time("dst/f", time);
        assert_done(&sandbox.zcp(["-r", "--resume", "-T", "src", "dst"]).output().unwrap());
        assert_eq!(fs::read(sandbox.path("dst/f")).unwrap(), source);
    }
    sandbox.file("src/f", noise(299_999));
    assert_done(&sandbox.zcp(["-r", "--resume", "-T", "src", "dst"]).output().unwrap());
    assert_eq!(fs::read(sandbox.path("dst/f")).unwrap(), noise(299_999));
}

/// The content and times of the file are right, but owner and mode are not: the program that copied it set the
/// times first, and was killed right after that.
fn attributes_are_finished() {
    let sandbox = Sandbox::new();
    sandbox.file("src/f", "content").mode("src/f", 0o4751).file("dst/f", "content").mode("dst/f", 0o600);
    sandbox.dir("src").dir("dst");
    std::os::unix::fs::chown(sandbox.path("src/f"), Some(1234), Some(2345)).unwrap();
    sandbox.mode("src/f", 0o4751);
    let output = sandbox.zcp(["-a", "--resume", "--stats=json", "-T", "src", "dst"]).output().unwrap();
    assert_done(&output);
    assert_eq!(stats(&output)["totals"]["complete"], 1);
    sandbox.snapshot("src").assert_same(&sandbox.snapshot("dst"));
}

/// Names of one inode that were copied separately, or not at all, become names of one inode.
fn links_are_finished() {
    for jobs in ["-j1", "-j4"] {
        let sandbox = Sandbox::new();
        sandbox.file("src/a", "content").hard_link("src/a", "src/b").hard_link("src/a", "src/c").dir("src");
        sandbox.file("dst/b", "content").file("dst/c", "half").dir("dst");
        assert_done(&sandbox.zcp(["-a", jobs, "--resume", "-T", "src", "dst"]).output().unwrap());
        sandbox.snapshot("src").assert_same(&sandbox.snapshot("dst"));
    }
}

/// With `-i`, no file that turns out to be incomplete is replaced without a prompt.
fn asks() {
    let sandbox = Sandbox::new();
    sandbox.file("src", "aaaa").file("dst", "bbbb").time("src", LONG_AGO).time("dst", LONG_AGO);
    let output = sandbox.zcp(["-ai", "--resume", "--verify", "-T", "src", "dst"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "zcp: overwrite 'dst'? ");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(fs::read(sandbox.path("dst")).unwrap(), b"bbbb");
}

/// Links and fifos of the wrong kind or target are made again.
fn special_files() {
    let sandbox = Sandbox::new();
    sandbox.symlink("to-a", "src/link").fifo("src/fifo").symlink("same", "src/same").dir("src");
    sandbox.symlink("to-b", "dst/link").file("dst/fifo", "").symlink("same", "dst/same").dir("dst");
    let output = sandbox.zcp(["-a", "--resume", "--stats=json", "-T", "src", "dst"]).output().unwrap();
    assert_done(&output);
    assert_eq!(stats(&output)["totals"]["complete"], 1);
    sandbox.snapshot("src").assert_same(&sandbox.snapshot("dst"));
}

/// The id of a process that has just ended.
fn dead_process() -> u32 {
    let mut child = std::process::Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    child.id()
}

fn sweeps_the_dead() {
    let sandbox = Sandbox::new();
    let dead = dead_process();
    let (left, link) = (format!(".zcp-{dead}-0"), format!(".zcp-{dead}-1"));
    let others = [".zcp-x-1", "zcp-1-1", ".zcp-1-1~"];
    for dir in ["dst", "dst/sub"] {
        sandbox.file(format!("{dir}/{left}"), noise(5000)).symlink("nowhere", format!("{dir}/{link}"));
        for name in others {
            sandbox.file(format!("{dir}/{name}"), "");
        }
    }
    sandbox.file("src/sub/f", "content").file("file", "content");
    let names = |dir: &str| {
        let entries = fs::read_dir(sandbox.path(dir)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    // A run without `--resume` leaves them alone.
    assert_done(&sandbox.zcp(["-r", "-T", "src", "dst"]).output().unwrap());
    assert!(names("dst").contains(&left) && names("dst/sub").contains(&link));
    assert_done(&sandbox.zcp(["-r", "--resume", "-T", "src", "dst"]).output().unwrap());
    for dir in ["dst", "dst/sub"] {
        assert!(!names(dir).contains(&left) && !names(dir).contains(&link), "{:?}", names(dir));
        assert!(others.iter().all(|name| names(dir).contains(&(*name).to_owned())));
    }
    // `--resume` also cleans the directory of a single file.
    for args in [["--resume", "file", "dst"], ["--resume", "file", "dst/other"]] {
        sandbox.file(format!("dst/{left}"), "");
        assert_done(&sandbox.zcp(args).output().unwrap());
        assert!(!names("dst").contains(&left));
    }
}

/// A temporary file that a running program writes is left alone, even if the program runs on another host.
fn spares_the_living() {
    let sandbox = Sandbox::new();
    sandbox.file("src", noise(3 << 20)).file("dst/src", "old").file("other", "other");
    let inject = ["-e", "inject=splice:signal=STOP:when=3"];
    let args = ["--atomic", "--strategy=splice", "src", "dst"];
    let trace = strace::zcp_with_stops(&sandbox, &inject, &args, |_| {
        let there = fs::read_dir(sandbox.path("dst")).unwrap().count();
        assert_done(&sandbox.zcp(["--resume", "--atomic", "other", "dst"]).output().unwrap());
        assert_eq!(fs::read_dir(sandbox.path("dst")).unwrap().count(), there + 1);
    });
    assert_done(&trace.output);
    assert_eq!(fs::read(sandbox.path("dst/src")).unwrap(), noise(3 << 20));
    assert_eq!(fs::read_dir(sandbox.path("dst")).unwrap().count(), 2);
}

/// Options that would keep a half-written file.
fn contradictions() {
    let sandbox = Sandbox::new();
    sandbox.file("src", "new").file("dst", "old");
    for option in ["-n", "-u", "--update=none", "--update=older", "--update=none-fail"] {
        let output = sandbox.zcp([option, "--resume", "src", "dst"]).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.starts_with("zcp: --resume is mutually exclusive with -n, -u and --update\n"), "{errors}");
        assert_eq!(output.status.code(), Some(1));
    }
    assert_done(&sandbox.zcp(["--update=all", "--resume", "src", "dst"]).output().unwrap());
}

/// A file that has its source's times has all other attributes too, even after a run without `--resume` in which
/// owner and mode were right from the start.
fn killed_before_the_last_attribute() {
    let sandbox = Sandbox::new();
    sandbox.file("src/f", "f").mode("src/f", 0o600).xattr("src/f", "user.k", "v").dir("src");
    let kill = ["-e", "inject=fsetxattr:signal=KILL:when=1"];
    let trace = strace::zcp(&sandbox, &kill, &["-a", "-j1", "-T", "src", "dst"]);
    assert!(!trace.output.status.success());
    assert_done(&sandbox.zcp(["-a", "--resume", "-T", "src", "dst"]).output().unwrap());
    sandbox.snapshot("src").assert_same(&sandbox.snapshot("dst"));
}
