//! `--fsync`: when data is on the disk, and which errors are reported.

use crate::needs::{Mounted, Need, trial};
use crate::sandbox::{Sandbox, ZCP, assert_done, noise, stats};
use crate::snapshot::Snapshot;
use crate::strace::{self, Trace};
use filetime::FileTime;
use libtest_mimic::Trial;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial("durable::file", &[Need::Strace], file),
        trial("durable::tree_at_once", &[Need::Strace], tree_at_once),
        trial("durable::before_the_name", &[Need::Strace], before_the_name),
        trial("durable::complete_files_too", &[Need::Strace], complete_files_too),
        trial("durable::finish_of_parts", &[Need::Strace], finish_of_parts),
        trial("durable::errors_by_file", &[Need::Strace], errors_by_file),
        trial("durable::errors_on_the_way", &[Need::Strace], errors_on_the_way),
        trial("durable::waits_are_shared", &[Need::Strace], waits_are_shared),
        trial("durable::device", &[], device),
        trial("durable::drop_box", &[Need::Root, Need::Program("setpriv")], drop_box),
        trial("durable::costs_nothing_unasked", &[Need::Strace], costs_nothing_unasked),
    ];
    for fs in ["ext4", "xfs"] {
        let needs = [Need::Strace, Need::Mount(fs)];
        trials.push(trial(format!("durable::power_cut_after::{fs}"), &needs, move || power_cut_after(fs)));
        trials.push(trial(format!("durable::power_cut_within::{fs}"), &needs, move || power_cut_within(fs)));
    }
    trials
}

/// The positions of the calls that match `wanted` in the trace.
fn positions(trace: &Trace, wanted: impl Fn(&str) -> bool) -> Vec<usize> {
    trace.lines().enumerate().filter(|(_, line)| wanted(line)).map(|(index, _)| index).collect()
}

/// The destination may be written, but not read. Its file system is synced through a file without a name, or, where such
/// files do not exist, the reason is said.
fn drop_box() {
    let sandbox = Sandbox::new();
    sandbox.file("src/a", "text").file("src/b", "more").mode("src/a", 0o644).dir("box").mode("", 0o777);
    let user = ["--reuid=65534", "--regid=65534", "--clear-groups", ZCP];
    let can_be_nameless = {
        let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::TMPFILE;
        rustix::fs::open(sandbox.path("box"), flags, rustix::fs::Mode::RUSR).is_ok()
    };
    for args in [&["src/a"][..], &["--atomic", "src/a"], &["-rp", "src/a", "src/b"], &["-r", "src"]] {
        sandbox.dir("box").mode("box", 0o1733);
        let output = sandbox.command("setpriv").args(user).arg("--fsync").args(args).arg("box/").output().unwrap();
        if can_be_nameless {
            assert_done(&output);
        } else {
            let errors = String::from_utf8_lossy(&output.stderr);
            assert_eq!(errors, "zcp: cannot sync 'box/': Permission denied\n", "{args:?}");
        }
        let name = if args.contains(&"src") { "src/a" } else { "a" };
        let times = ["src/a".into(), format!("box/{name}")].map(|path| fs::metadata(sandbox.path(path)).unwrap());
        assert!(times[1].modified().unwrap() >= times[0].modified().unwrap());
        fs::remove_dir_all(sandbox.path("box")).unwrap();
    }
}

/// The file is synced after its last byte and attribute, then the directory with its name.
fn file() {
    let sandbox = Sandbox::new();
    sandbox.file("src", noise(300_000)).dir("far/dst");
    let destinations = [("far/dst", "far/dst/src", "far/dst"), ("far/dst/other", "far/dst/other", "far/dst")];
    for (destination, file, dir) in destinations.into_iter().chain([("here", "here", "")]) {
        let trace = strace::zcp(&sandbox, &["-e", "trace=all"], &["-p", "--fsync", "src", destination]);
        assert_done(&trace.output);
        let root = sandbox.path("").canonicalize().unwrap();
        let of = |call: &str, path: &str| {
            let path = format!("<{}>", root.join(path).display().to_string().trim_end_matches('/'));
            positions(&trace, |line| line.starts_with(&format!("{call}(")) && line.contains(&path))
        };
        let (file_sync, dir_sync) = (of("fsync", file), of("fsync", dir));
        let last = ["splice", "sendfile", "copy_file_range", "fchmod"].map(|call| of(call, file));
        let last = last.iter().flatten().max().unwrap();
        let times = of("utimensat", file);
        assert!(file_sync.len() == 2 && dir_sync.len() == 1, "{destination}: {file_sync:?} {dir_sync:?}");
        assert!(*last < file_sync[0] && file_sync[1] < dir_sync[0], "{destination}");
        // A file with its source's times looks complete, so the times are set when all else is on the disk.
        assert!(
            file_sync[0] < times[0] && times[0] < file_sync[1] && times.len() == 1,
            "{destination}: {times:?}"
        );
    }
}

/// All files of a tree are synced by one syncfs(2), after the last of them.
fn tree_at_once() {
    let sandbox = Sandbox::new();
    for i in 0..20 {
        sandbox.file(format!("src/{}/f{i}", i % 3), noise(5000));
    }
    let trace = strace::zcp(&sandbox, &["-e", "trace=all"], &["-rj1", "--fsync", "src", "dst"]);
    assert_done(&trace.output);
    let syncs = positions(&trace, |line| line.starts_with("syncfs("));
    let last = positions(&trace, |line| line.starts_with("sendfile(") || line.starts_with("fchmod("));
    assert!(syncs.len() == 1 && last.last() < syncs.first(), "{syncs:?}");
    let file_syncs = positions(&trace, |line| line.starts_with("fsync(") && line.contains("/f"));
    assert!(file_syncs.is_empty());
}

/// With `--atomic`, a file is synced before it gets its name, and the directories after that.
fn before_the_name() {
    let sandbox = Sandbox::new();
    sandbox.file("src/sub/new", noise(5000)).file("src/over", noise(5000)).file("dst/over", "old");
    let trace = strace::zcp(&sandbox, &["-e", "trace=all"], &["-rj1", "--atomic", "--fsync", "-T", "src", "dst"]);
    assert_done(&trace.output);
    let names = positions(&trace, |line| line.starts_with("linkat(") || line.starts_with("renameat("));
    assert_eq!(names.len(), 2);
    for name in &names {
        let line = trace.lines().nth(*name - 1).unwrap();
        assert!(line.starts_with("fsync("), "{line}");
    }
    for dir in ["dst/sub", "dst", ""] {
        let path = sandbox.path(dir).canonicalize().unwrap();
        let path = format!("<{}>)", path.display().to_string().trim_end_matches('/'));
        let syncs = positions(&trace, |line| line.starts_with("fsync(") && line.contains(&path));
        assert_eq!(syncs.len(), 1, "{dir:?}");
        let named = if dir == "dst/sub" { names.iter().min() } else { names.iter().max() };
        assert!(syncs.first() > named, "{dir:?}");
    }
}

/// While files are synced one by one, there are more workers than processors.
fn waits_are_shared() {
    let sandbox = Sandbox::new();
    for i in 0..300 {
        sandbox.file(format!("src/{i}"), "");
    }
    let delay = ["-e", "inject=fsync:delay_enter=20000"];
    let trace = strace::zcp(&sandbox, &delay, &["-r", "--atomic", "--fsync", "--stats=json", "src", "dst"]);
    assert_done(&trace.output);
    let processors = std::thread::available_parallelism().unwrap().get();
    let workers = &stats(&trace.output)["workers"];
    assert!(workers.as_u64().unwrap() > processors as u64, "{workers}");
}

/// A file that a killed run completed may not be on the disk yet.
fn complete_files_too() {
    let sandbox = Sandbox::new();
    sandbox.file("src", noise(5000)).file("dst/src", noise(5000));
    let trace = strace::zcp(&sandbox, &["-e", "trace=all"], &["--resume", "--fsync", "src", "dst"]);
    assert_done(&trace.output);
    let syncs = positions(&trace, |line| line.starts_with("fsync(") && line.contains("dst/src"));
    assert_eq!((syncs.len(), trace.bytes_moved()), (1, 0));
}

/// A copy in parts: `--finish` sets the attributes of directories and syncs each after that. The directory that
/// contains the copy is the last.
fn finish_of_parts() {
    let sandbox = Sandbox::new();
    sandbox.file("src/sub/f", noise(5000));
    assert_done(&sandbox.zcp(["-a", "--fsync", "--plan=job", "--parts=1", "src", "dst"]).output().unwrap());
    assert_done(&sandbox.zcp(["--run=job", "--part=0"]).output().unwrap());
    let trace = strace::zcp(&sandbox, &["-e", "trace=all"], &["--finish=job"]);
    assert_done(&trace.output);
    let mut last = 0;
    for dir in ["dst/sub", "dst", ""] {
        let path = sandbox.path(dir).canonicalize().unwrap();
        let path = format!("<{}>", path.display().to_string().trim_end_matches('/'));
        let of = |call: &str| positions(&trace, |line| line.starts_with(call) && line.contains(&path));
        let syncs = of("fsync(");
        let changes = [of("fchmod("), of("utimensat(")].concat();
        assert!(dir.is_empty() || changes.len() >= 2, "{dir:?}");
        assert!(syncs.len() == 1 && syncs.first() > changes.iter().max() && syncs[0] > last, "{dir:?}: {syncs:?}");
        last = syncs[0];
    }
}

fn errors_by_file() {
    let sandbox = Sandbox::new();
    sandbox.file("src/a", "a").file("src/b", "b");
    let run = |args: &[&str], injects: &[&str]| {
        let _ = fs::remove_dir_all(sandbox.path("dst"));
        let options: Vec<_> = injects.iter().flat_map(|inject| ["-e", inject]).collect();
        let args = [&["-rj1", "--fsync"], args, &["-T", "src", "dst"]].concat();
        let trace = strace::zcp(&sandbox, &options, &args);
        assert_eq!(trace.output.status.code(), Some(1));
        String::from_utf8_lossy(&trace.output.stderr).into_owned()
    };
    let whole = "inject=syncfs:error=EIO";
    let errors = run(&[], &[whole]);
    assert_eq!(errors, "zcp: cannot sync the file system of 'dst': Input/output error\n");
    let errors = run(&[], &[whole, "inject=fsync:error=EIO:when=1"]);
    assert!(
        ["a", "b"].iter().any(|f| errors == format!("zcp: cannot sync 'dst/{f}': Input/output error\n")),
        "{errors}"
    );
    // The failed file gets no name; the other file does.
    let errors = run(&["--atomic"], &["inject=fsync:error=EIO:when=1"]);
    let failed =
        ["a", "b"].into_iter().find(|f| errors == format!("zcp: cannot sync 'dst/{f}': Input/output error\n"));
    let failed = failed.unwrap_or_else(|| panic!("{errors}"));
    assert_eq!(["a", "b"].map(|f| sandbox.path("dst").join(f).exists()), ["a", "b"].map(|f| f != failed));
    // A directory cannot be synced.
    let errors = run(&["--atomic"], &["inject=fsync:error=EIO:when=3"]);
    assert_eq!(errors, "zcp: cannot sync 'dst': Input/output error\n");
}

/// The kernel reports a write error once. An error before the end of the copy must not be lost.
fn errors_on_the_way() {
    let sandbox = Sandbox::new();
    sandbox.file("file", noise(3 << 20)).file("tree/a", noise(700_000)).file("tree/b", noise(700_000));
    let run = |injects: &[&str], args: &[&str]| {
        let options: Vec<_> = injects.iter().flat_map(|inject| ["-e", inject]).collect();
        let trace = strace::zcp(&sandbox, &options, args);
        assert_eq!(trace.output.status.code(), Some(1), "{args:?}");
        let _ = fs::remove_dir_all(sandbox.path("dst"));
        String::from_utf8_lossy(&trace.output.stderr).into_owned()
    };
    for options in [&["--fsync"][..], &["--cache=drop"], &["--fsync", "--cache=drop"], &["--fsync", "--atomic"]] {
        let args = [options, &["--strategy=splice", "file", "dst"]].concat();
        let errors = run(&["inject=fdatasync:error=EIO"], &args);
        assert_eq!(errors, "zcp: error writing 'dst': Input/output error\n");
        let _ = fs::remove_file(sandbox.path("dst"));
    }
    // Small files are flushed together, 64 at a time. The last file is still open then.
    for n in 0..64 {
        sandbox.file(format!("many/{n}"), noise(5_000));
    }
    let args = ["-rj1", "--cache=drop", "--strategy=splice", "many", "dst"];
    let errors = run(&["inject=fdatasync:error=EIO:when=64"], &args);
    assert!(errors.starts_with("zcp: error writing 'dst/") && errors.lines().count() == 1, "{errors}");
    // The files are synced once on the way. No file waits when the times are synced at the end.
    let (first, second) = ("inject=syncfs:error=EIO:when=1", "inject=syncfs:error=EIO:when=2");
    let args = ["-rj1", "--fsync", "tree", "dst"];
    for inject in [first, second] {
        assert_eq!(run(&[inject], &args), "zcp: cannot sync the file system of 'dst': Input/output error\n");
    }
    let errors = run(&[first, "inject=fsync:error=EIO:when=2"], &args);
    assert!(errors.starts_with("zcp: cannot sync 'dst/") && errors.lines().count() == 1, "{errors}");
}

fn device() {
    let sandbox = Sandbox::new();
    sandbox.file("src", "text");
    assert_done(&sandbox.zcp(["--fsync", "src", "/dev/null"]).output().unwrap());
    let output = sandbox.zcp(["--fsync", "src", "/dev/stdout"]).output().unwrap();
    assert_done(&output);
    assert_eq!(output.stdout, b"text");
}

/// A copy without `--fsync` makes no further calls: a small file in a new directory takes six, or four where many are closed
/// by one close_range(2).
fn costs_nothing_unasked() {
    let sandbox = Sandbox::new();
    for i in 0..50 {
        sandbox.file(format!("src/f{i}"), noise(900));
    }
    let trace = strace::zcp(&sandbox, &["-e", "trace=all"], &["-rj1", "src", "dst"]);
    assert_done(&trace.output);
    let of_files =
        |line: &&str| ["/src/f", "/dst/f", "/src>, \"f", "/dst>, \"f"].iter().any(|name| line.contains(name));
    // Not counted: checks of descriptors in a debug build, and calls that are made once.
    let once = |line: &&str| !["fcntl(", "fstatfs("].iter().any(|call| line.starts_with(call));
    let calls = trace.lines().filter(of_files).filter(once).count();
    let together = trace.lines().any(|line| line.starts_with("close_range(") && line.ends_with("= 0"));
    assert_eq!(calls, if together { 4 } else { 6 } * 50);
}

fn source() -> Sandbox {
    let sandbox = Sandbox::new();
    for i in 0..30 {
        sandbox.file(format!("src/d{}/f{i}", i % 4), noise(i * 3000));
    }
    sandbox.file("src/big", noise(5 << 20)).symlink("big", "src/link");
    sandbox
}

/// Files below a directory, with their content.
fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let nodes = Snapshot::take(dir, FileTime::zero()).0.into_iter();
    nodes.filter_map(|(path, node)| Some((path, node.bytes?))).collect()
}

/// After a power cut behind the end of the copy, everything is there.
fn power_cut_after(fs: &'static str) {
    let source = source();
    let disk = Mounted::make(fs).unwrap();
    let all: [&[&str]; 4] = [&[], &["--atomic"], &["-j4", "--verify"], &["--resume"]];
    for (index, options) in all.into_iter().enumerate() {
        let name = format!("copy-{index}");
        let destination = disk.point.join(&name);
        let args = ["-r", "--fsync", "src", destination.to_str().unwrap()];
        assert_done(&source.zcp(options.iter().chain(&args)).output().unwrap());
        let cut = disk.after_power_cut(fs);
        assert!(files(&cut.point.join(name)) == files(&source.path("src")), "{options:?}");
        assert!(cut.point.join(format!("copy-{index}/link")).is_symlink());
        cut.end();
    }
    disk.end();
}

/// With `--atomic`, each name has its complete content at any moment.
fn power_cut_within(fs: &'static str) {
    let source = source();
    let disk = Mounted::make(fs).unwrap();
    let destination = disk.point.join("dst");
    fs::create_dir(&destination).unwrap();
    let old = noise(4 << 20);
    fs::write(destination.join("big"), &old).unwrap();
    rustix::fs::syncfs(File::open(&disk.point).unwrap()).unwrap();
    let args = ["-rj1", "--fsync", "--atomic", "-T", "src", destination.to_str().unwrap()];
    let inject = ["-e", "trace=linkat,renameat", "-e", "inject=linkat,renameat:signal=STOP:when=1+5"];
    let mut seen = 0;
    let trace = strace::zcp_with_stops(&source, &inject, &args, |_| {
        // This writes the journal and thereby all names so far, but no file's content.
        File::create(disk.point.join("other")).unwrap().sync_all().unwrap();
        let cut = disk.after_power_cut(fs);
        for (path, bytes) in files(&cut.point.join("dst")) {
            if path.file_name().unwrap().to_str().unwrap().starts_with(".zcp-") {
                continue;
            }
            let whole = bytes == fs::read(source.path("src").join(&path)).unwrap();
            assert!(whole || (path == Path::new("big") && bytes == old), "{path:?} has {} bytes", bytes.len());
            seen += 1;
        }
        cut.end();
    });
    assert_done(&trace.output);
    assert!(seen > 20, "{seen}");
    disk.end();
}
