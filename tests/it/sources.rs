//! Unusual sources: files without a size, files that change during the copy, holes, fifos, and names that are
//! exchanged.

use crate::needs::{Need, trial};
use crate::sandbox::{Sandbox, ZCP, assert_done, noise};
use crate::strace;
use crate::strategies::STRATEGIES;
use libtest_mimic::Trial;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

/// Files that the kernel generates when they are read, with contents that do not change meanwhile. stat(2)
/// reports 0 or a page as their size; kallsyms is longer than any buffer.
const MADE_UP: [&str; 7] = [
    "/proc/version",
    "/proc/filesystems",
    "/proc/kallsyms",
    "/proc/sys/kernel/ostype",
    "/sys/kernel/notes",
    "/sys/kernel/uevent_seqnum",
    "/sys/kernel/mm/transparent_hugepage/enabled",
];

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial("sources::made_up::default", &[], || made_up(None)),
        trial("sources::traces", &[Need::Root, Need::Namespaces], traces),
        trial("sources::maps", &[], maps),
        trial("sources::holes", &[], holes),
        trial("sources::map_refused_into_a_pipe", &[Need::Strace], map_refused_into_a_pipe),
        trial("sources::shrinks_behind_a_torn_step", &[Need::Strace], shrinks_behind_a_torn_step),
        trial("sources::fifo_of_many_parts", &[], fifo_of_many_parts),
        trial("sources::grows_at_each_step", &[Need::Strace], grows_at_each_step),
        trial("sources::shrinks_under_the_map", &[Need::Strace], shrinks_under_the_map),
        trial("sources::replaced_by_a_link", &[Need::Strace], replaced_by_a_link),
    ];
    for strategy in STRATEGIES {
        trials.push(trial(format!("sources::made_up::{strategy}"), &[], move || made_up(Some(strategy))));
    }
    for strategy in STRATEGIES.into_iter().filter(|strategy| *strategy != "reflink").map(Some).chain([None]) {
        let name = strategy.unwrap_or("default");
        for size in [0, 1, 4097, 2_000_000, 2_998_272] {
            let run = move || shrinks(strategy, size);
            trials.push(trial(format!("sources::shrinks::{name}::to_{size}"), &[Need::Strace], run));
        }
        trials.push(trial(format!("sources::shrinks_midway::{name}"), &[Need::Strace], move || {
            shrinks_midway(strategy)
        }));
        trials.push(trial(format!("sources::grows::{name}"), &[Need::Strace], move || grows(strategy)));
    }
    trials
}

fn strategy_option(strategy: Option<&str>) -> String {
    strategy.map_or("--reflink=never".to_owned(), |strategy| format!("--strategy={strategy}"))
}

/// Files of tracefs, of which some have no end that a seek can find, and some refuse reads at an offset.
fn traces() {
    const SCRIPT: &str = "set -e; mount -t tracefs none mnt
        for f in tracing_cpumask available_events current_tracer; do cat mnt/$f >expected/$f; \"$@\" mnt/$f copied; done";
    for options in ["-r", "-a", "-j1", "--atomic", "--resume", "--fsync", "--cache=drop", "--sparse=always"] {
        let sandbox = Sandbox::new();
        sandbox.dir("mnt").dir("expected").dir("copied");
        let args = ["--mount", "sh", "-c", SCRIPT, "sh", ZCP, options];
        let output = sandbox.command("unshare").args(args).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{options}: {output:?}");
        let contents = |dir: &str| sandbox.snapshot(dir).plain().without(|node| node.mode = 0);
        contents("copied").assert_same(&contents("expected"));
    }
}

/// The whole content, or an error and no file. It never has the length that stat(2) reported.
fn made_up(strategy: Option<&str>) {
    let sandbox = Sandbox::new();
    for path in MADE_UP.into_iter().filter(|path| Path::new(path).exists()) {
        let before = fs::read(path).unwrap();
        let output = sandbox.zcp([&strategy_option(strategy), path, "copy"]).output().unwrap();
        let same = before == fs::read(path).unwrap(); // hardware may have been added meanwhile
        if matches!(strategy, None | Some("read_write")) || output.status.success() {
            assert_done(&output);
            let copy = fs::read(sandbox.path("copy")).unwrap();
            assert!(copy == before || !same, "{path}: {} bytes of {}", copy.len(), before.len());
            fs::remove_file(sandbox.path("copy")).unwrap();
        } else {
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(errors.contains(path) && !sandbox.path("copy").exists(), "{errors}");
        }
    }
}

/// A file that is different each time it is opened.
fn maps() {
    let sandbox = Sandbox::new();
    assert_done(&sandbox.zcp(["/proc/self/maps", "/proc/self/status", "."]).output().unwrap());
    let maps = fs::read_to_string(sandbox.path("maps")).unwrap();
    assert!(maps.contains("/zcp\n") && maps.contains("[stack]") && maps.ends_with('\n'), "{maps}");
    let status = fs::read_to_string(sandbox.path("status")).unwrap();
    assert!(status.starts_with("Name:\tzcp\n") && status.ends_with('\n'), "{status}");
}

fn with_source(bytes: &[u8]) -> (Sandbox, String) {
    let sandbox = Sandbox::new();
    let source = sandbox.file("src", bytes).path("src");
    (sandbox, source.to_str().unwrap().to_owned())
}

/// Options for strace to stop zcp when it has asked for the length of its open source. fstat(3) of some libcs
/// calls newfstatat(2), which zcp also calls with the source's name.
fn stop_at_fstat(sandbox: &Sandbox, source: &str, strategy: &str) -> String {
    let options = ["-P", source, "-e", "trace=fstat,newfstatat"];
    let trace = strace::zcp(sandbox, &options, &[strategy, "src", "probe"]);
    assert_done(&trace.output);
    let is_fstat = |line: &str| line.starts_with("fstat(") || line.contains("AT_EMPTY_PATH");
    let mut calls = trace.lines().filter(|line| line.contains("fstat"));
    let number = calls.position(is_fstat).unwrap() + 1;
    format!("inject=fstat,newfstatat:signal=STOP:when={number}")
}

/// The source is shorter than fstat(2) reported when the first byte is read.
fn shrinks(strategy: Option<&str>, size: u64) {
    let before = noise(3_000_000);
    let (sandbox, source) = with_source(&before);
    let stop = stop_at_fstat(&sandbox, &source, &strategy_option(strategy));
    let options = ["-P", &source, "-e", &stop];
    let trace =
        strace::zcp_with_stops(&sandbox, &options, &[&strategy_option(strategy)[..], "src", "dst"], |_| {
            OpenOptions::new().write(true).open(&source).unwrap().set_len(size).unwrap();
        });
    assert_done(&trace.output);
    let copy = fs::read(sandbox.path("dst")).unwrap();
    assert!(copy == before[..size as usize], "{} bytes instead of {size}", copy.len());
}

/// The source is truncated to less than what was copied of it.
fn shrinks_midway(strategy: Option<&str>) {
    let sandbox = Sandbox::new();
    let piece = noise(100_000);
    sandbox.sparse("src", 5 << 20, &[(0, &piece), (1 << 20, &piece), (2 << 20, &piece), (3 << 20, &piece)]);
    let before = fs::read(sandbox.path("src")).unwrap();
    let source = sandbox.path("src");
    // The search for the third piece of data.
    let options = ["-P", source.to_str().unwrap(), "-e", "inject=lseek:signal=STOP:when=5"];
    let trace =
        strace::zcp_with_stops(&sandbox, &options, &[&strategy_option(strategy)[..], "src", "dst"], |_| {
            OpenOptions::new().write(true).open(&source).unwrap().set_len(50_000).unwrap();
        });
    assert_done(&trace.output);
    let copy = fs::read(sandbox.path("dst")).unwrap();
    assert!(copy.len() >= 50_000 && before.starts_with(&copy), "{} bytes", copy.len());
}

fn append(path: &str, bytes: &[u8]) {
    OpenOptions::new().append(true).open(path).unwrap().write_all(bytes).unwrap();
}

/// The source is longer than fstat(2) reported: the old part is copied, and the new part may be.
fn grows(strategy: Option<&str>) {
    for (size, more) in [(100_000, 100_000), (3_000_000, 2_000_000)] {
        let whole = noise(size + more);
        let (sandbox, source) = with_source(&whole[..size]);
        let stop = stop_at_fstat(&sandbox, &source, &strategy_option(strategy));
        let options = ["-P", &source, "-e", &stop];
        let trace =
            strace::zcp_with_stops(&sandbox, &options, &[&strategy_option(strategy)[..], "src", "dst"], |_| {
                append(&source, &whole[size..]);
            });
        assert_done(&trace.output);
        assert_eq!(fs::read(&source).unwrap().len(), size + more, "nobody stopped");
        let copy = fs::read(sandbox.path("dst")).unwrap();
        assert!(copy.len() >= size && whole.starts_with(&copy), "{} bytes of {size}", copy.len());
    }
}

/// The copy ends when the source stops growing, and not before: a large file is copied to its last byte.
fn grows_at_each_step() {
    let whole = noise(6 << 20);
    let (sandbox, source) = with_source(&whole[..2 << 20]);
    let options = ["-P", &source, "-e", "inject=pread64:signal=STOP:when=1..4"];
    let args = ["--strategy=read_write", "src", "dst"];
    let mut stops = 0;
    let trace = strace::zcp_with_stops(&sandbox, &options, &args, |stop| {
        append(&source, &whole[(1 + stop) << 20..(2 + stop) << 20]);
        stops = stop;
    });
    assert_done(&trace.output);
    assert_eq!(stops, 4);
    assert!(fs::read(sandbox.path("dst")).unwrap() == whole);
}

/// Bytes that were moved by reference before the source was truncated do not remain behind the end of the copy.
fn shrinks_behind_a_torn_step() {
    let before = noise(3_000_000);
    for size in [0, 50_000, 1_500_000] {
        let (sandbox, source) = with_source(&before);
        let options = ["-P", &source, "-e", "inject=splice:signal=STOP:when=1"];
        let args = ["--strategy=splice,read_write", "src", "dst"];
        let trace = strace::zcp_with_stops(&sandbox, &options, &args, |_| {
            OpenOptions::new().write(true).open(&source).unwrap().set_len(size).unwrap();
        });
        assert_done(&trace.output);
        let copy = fs::read(sandbox.path("dst")).unwrap();
        assert!(copy == before[..size as usize], "{} bytes instead of {size}", copy.len());
    }
}

/// A file that cannot be mapped, whatever the reason, is copied into a pipe by another strategy.
fn map_refused_into_a_pipe() {
    for errno in ["EIO", "EAGAIN", "ENOMEM", "EOVERFLOW"] {
        let (sandbox, source) = with_source(&noise(300_000));
        let inject = format!("inject=mmap:error={errno}");
        let options = ["-P", &source, "-e", &inject];
        let trace = strace::zcp(&sandbox, &options, &["--strategy=mmap,read_write", "src", "/dev/stdout"]);
        assert!(trace.output.status.success() && trace.output.stdout == noise(300_000), "{errno}");
        assert_eq!(trace.injected(), 1);
    }
}

/// The source is truncated between mmap and the write from the mapping: there is no signal, and no byte that was
/// not in the file.
fn shrinks_under_the_map() {
    for size in [0, 4096, 1 << 20] {
        let before = noise(3_000_000);
        let (sandbox, source) = with_source(&before);
        let options = ["-P", &source, "-e", "inject=mmap:signal=STOP:when=1"];
        let args = ["--strategy=mmap,read_write", "src", "dst"];
        let trace = strace::zcp_with_stops(&sandbox, &options, &args, |_| {
            OpenOptions::new().write(true).open(&source).unwrap().set_len(size).unwrap();
        });
        assert_done(&trace.output);
        assert!(fs::read(sandbox.path("dst")).unwrap() == before[..size as usize], "cut to {size}");
    }
}

/// A name that becomes a symbolic link between listing and opening is not followed.
fn replaced_by_a_link() {
    let sandbox = Sandbox::new();
    sandbox.file("secret", "secret").file("src/a", "a");
    let source = sandbox.path("src");
    let (name, secret) = (source.join("a"), sandbox.path("secret"));
    let options = ["-P", source.to_str().unwrap(), "-e", "inject=getdents64:signal=STOP:when=1"];
    let trace = strace::zcp_with_stops(&sandbox, &options, &["-rj1", "src", "dst"], |_| {
        fs::remove_file(&name).unwrap();
        std::os::unix::fs::symlink(&secret, &name).unwrap();
    });
    assert_done(&trace.output);
    assert_eq!(fs::read_link(sandbox.path("dst/a")).unwrap(), secret);
}

/// A fifo is read until its writers have closed it, however its data is divided.
fn fifo_of_many_parts() {
    let sandbox = Sandbox::new();
    sandbox.fifo("in");
    let path = sandbox.path("in");
    let writer = std::thread::spawn(move || {
        let mut fifo = OpenOptions::new().write(true).open(path).unwrap();
        noise(300_000).chunks(777).for_each(|part| fifo.write_all(part).unwrap());
    });
    assert_done(&sandbox.zcp(["in", "dst"]).output().unwrap());
    writer.join().unwrap();
    assert!(fs::read(sandbox.path("dst")).unwrap() == noise(300_000));
}

/// `--sparse`: holes are kept, made, or filled.
fn holes() {
    let sandbox = Sandbox::new();
    let mut bytes = vec![0; 4 << 20];
    bytes[1 << 20..][..100_000].copy_from_slice(&noise(100_000));
    bytes[3 << 20] = 1;
    sandbox.file("zeros", &bytes).sparse("holes", 4 << 20, &[(1 << 20, &noise(100_000)), (3 << 20, b"\x01")]);
    for (file, option, dense) in [
        ("holes", "--sparse=auto", false),
        ("holes", "--sparse=always", false),
        ("holes", "--sparse=never", true),
        ("zeros", "--reflink=never", true),
        ("zeros", "--sparse=always", false),
        ("zeros", "--sparse=never", true),
    ] {
        assert_done(&sandbox.zcp([option, file, "dst"]).output().unwrap());
        assert!(fs::read(sandbox.path("dst")).unwrap() == bytes, "{file} {option}");
        let data: u64 =
            sandbox.snapshot("dst").0[Path::new("")].spans.iter().map(|span| span.end - span.start).sum();
        let expected = if dense { data == 4 << 20 } else { data < 1 << 20 };
        assert!(expected, "{file} {option}: {data} bytes of data");
        fs::remove_file(sandbox.path("dst")).unwrap();
    }
}
