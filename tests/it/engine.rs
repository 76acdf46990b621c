//! Deep trees, wide trees and many workers: memory does not grow with the tree, and the result does not depend
//! on the number of workers.

use crate::needs::{Need, SHM, mounted, trial};
use crate::sandbox::{Sandbox, ZCP, assert_done, noise, stats};
use crate::{smoke, strace};
use libtest_mimic::Trial;
use rustix::fs::{CWD, Mode, OFlags, RawMode, mkdirat, openat};
use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

/// The name of each level. A path of 500 levels is longer than PATH_MAX.
const LEVEL: &str = "directory";

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for limit in [64, 1024] {
        for jobs in [1, 8] {
            // With so few descriptors, zcp opens the directories on the way again and again, which takes longer.
            let levels = if limit == 64 { 1500 } else { 5000 };
            trials.push(trial(format!("engine::deep::n{limit}-j{jobs}"), &[], move || deep(levels, limit, jobs)));
            let run = move || wide(20_000, limit, jobs);
            trials.push(trial(format!("engine::wide::n{limit}-j{jobs}"), &[], run));
        }
    }
    for jobs in [1, 2, 8] {
        trials.push(trial(format!("engine::back_pressure-j{jobs}"), &[], move || back_pressure(jobs)));
        trials.push(trial(format!("engine::memory-j{jobs}"), &[], move || memory(jobs)));
    }
    trials.push(trial("engine::memory_flat", &[], || memory_flat(2)));
    trials.push(trial("engine::order_of_cp", &[Need::Program("cp")], order_of_cp));
    trials.push(trial("engine::one_worker_needs_no_pool", &[Need::Strace], one_worker_needs_no_pool));
    let needs = [Need::Strace, Need::Mount("btrfs")];
    trials.push(trial("engine::a_clone_needs_no_thread", &needs, a_clone_needs_no_thread));
    let needs = [Need::Strace, Need::Mount("btrfs"), Need::Mount("xfs")];
    trials.push(trial("engine::workers_that_clone", &needs, workers_that_clone));
    trials.push(trial("engine::no_worker_without_names", &[Need::Mount("ext4")], no_worker_without_names));
    trials.push(trial("engine::workers_agree", &[], workers_agree));
    trials.push(trial("engine::workers_have_their_own_descriptors", &[Need::Strace], own_descriptors));
    trials.push(trial("engine::workers_share_descriptors_if_they_must", &[Need::Strace], shared_descriptors));
    trials.push(trial("engine::a_fifo_delays_no_other_file", &[], a_fifo_delays_no_other_file));
    trials.push(trial("engine::link_to_the_copy", &[], link_to_the_copy));
    // Run it with `cargo test -- --ignored wide_200000`.
    trials.push(trial("engine::wide_200000", &[], || wide(200_000, 1024, 8)).with_ignored_flag(true));
    trials
}

/// A sandbox for trees of many names, in memory if possible, so that no journal of a disk slows it down.
fn roomy() -> Sandbox {
    if Path::new(SHM).is_dir() { Sandbox::within(SHM) } else { Sandbox::new() }
}

/// While one worker waits for the disk in the last file, the others do not become more. With limited memory, nothing is
/// read ahead, so that it waits for each read.
fn no_worker_without_names() {
    let sandbox = Sandbox::within(mounted("ext4").unwrap());
    sandbox.file("src/large", noise(64 << 20)).file("src/small", noise(100));
    let script = "ulimit -v 4000000 && exec \"$0\" -r --verify --stats=json src dst";
    let output = sandbox.command("sh").args(["-c", script, ZCP]).output().unwrap();
    assert_done(&output);
    let at_start = 2 * std::thread::available_parallelism().unwrap().get() as u64;
    assert!(stats(&output)["workers"].as_u64().unwrap() <= at_start, "{}", stats(&output));
}

/// Runs zcp with at most `limit` open files.
fn limited(sandbox: &Sandbox, limit: usize, args: &[&str]) -> Output {
    let script = format!("ulimit -n {limit} && exec \"$0\" \"$@\"");
    sandbox.command("sh").args(["-c", &script, ZCP]).args(args).output().unwrap()
}

fn open(dir: &OwnedFd, name: &str, flags: OFlags) -> OwnedFd {
    openat(dir, name, flags | OFlags::CLOEXEC, Mode::from_raw_mode(0o644)).unwrap()
}

/// Descends from the directory `name`, level by level, and passes each level to `at`.
fn descend(sandbox: &Sandbox, name: &str, levels: usize, mut at: impl FnMut(usize, &OwnedFd)) {
    let mut dir = openat(CWD, sandbox.path(name), OFlags::DIRECTORY, Mode::empty()).unwrap();
    for level in 0..levels {
        at(level, &dir);
        dir = open(&dir, LEVEL, OFlags::DIRECTORY | OFlags::NOFOLLOW);
    }
    at(levels, &dir);
}

fn content(level: usize) -> String {
    format!("level {level}\n")
}

fn deep(levels: usize, limit: usize, jobs: usize) {
    let sandbox = roomy();
    sandbox.dir("src");
    descend(&sandbox, "src", levels, |level, dir| {
        let mut file = fs::File::from(open(dir, "file", OFlags::CREATE | OFlags::WRONLY));
        file.write_all(content(level).as_bytes()).unwrap();
        mkdirat(dir, LEVEL, Mode::from_raw_mode(0o750 as RawMode)).unwrap();
    });
    let output = limited(&sandbox, limit, &["-a", "-j", &jobs.to_string(), "--stats=json", "src", "dst"]);
    assert_done(&output);
    let totals = &stats(&output)["totals"];
    assert_eq!((&totals["files"], &totals["directories"]), (&(levels + 1).into(), &(levels + 2).into()));
    descend(&sandbox, "dst", levels, |level, dir| {
        let mut text = String::new();
        fs::File::from(open(dir, "file", OFlags::RDONLY)).read_to_string(&mut text).unwrap();
        assert_eq!(text, content(level));
        let mode = rustix::fs::fstat(dir).unwrap().st_mode & 0o777;
        assert_eq!(mode, if level == 0 { 0o755 } else { 0o750 }, "at level {level}");
    });
    // The sandbox's own removal would need a descriptor for each level.
    sandbox.command("rm").args(["-rf", "src", "dst"]).assert().success();
}

fn wide(files: usize, limit: usize, jobs: usize) {
    let sandbox = roomy();
    sandbox.dir("src");
    let path = |tree: &str, index: usize| sandbox.path(tree).join(format!("file-{index}"));
    for index in 0..files {
        fs::write(path("src", index), index.to_string()).unwrap();
    }
    let output = limited(&sandbox, limit, &["-r", "-j", &jobs.to_string(), "--stats=json", "src", "dst"]);
    assert_done(&output);
    assert_eq!(stats(&output)["totals"]["files"], files);
    assert_eq!(fs::read_dir(sandbox.path("dst")).unwrap().count(), files);
    for index in 0..files {
        assert_eq!(fs::read_to_string(path("dst", index)).unwrap(), index.to_string());
    }
}

/// Directories with ten files each.
fn bushy(directories: usize) -> Sandbox {
    let sandbox = roomy();
    for directory in 0..directories {
        let path = sandbox.path(format!("src/{}/{directory}", directory % 7));
        fs::create_dir_all(&path).unwrap();
        for file in 0..10 {
            fs::write(path.join(format!("a file with a longer name {file}")), "x").unwrap();
        }
    }
    sandbox
}

fn back_pressure(jobs: usize) {
    let sandbox = bushy(300);
    let output = sandbox.zcp(["-r", "-j", &jobs.to_string(), "--stats=json", "src", "dst"]).output().unwrap();
    assert_done(&output);
    let stats = stats(&output);
    assert_eq!(stats["workers"], jobs);
    let peak = stats["peak_in_flight"].as_u64().unwrap();
    assert!((1..=jobs as u64).contains(&peak), "{peak} batches in flight by {jobs} workers");
    sandbox.snapshot("src").plain().assert_same(&sandbox.snapshot("dst").plain());
}

/// The peak of zcp's memory in KiB. zcp reads it itself while it copies the tree: many directories have a link
/// to /proc/self/status.
fn peak_memory(directories: usize, jobs: usize) -> u64 {
    let sandbox = bushy(directories);
    let links: Vec<_> =
        (0..directories).step_by(20).map(|index| format!("{}/{index}/status", index % 7)).collect();
    peak_memory_of(&sandbox, &links, jobs)
}

/// The peak of zcp's memory in KiB, as read through these links.
fn peak_memory_of(sandbox: &Sandbox, links: &[String], jobs: usize) -> u64 {
    for link in links {
        sandbox.symlink("/proc/self/status", format!("src/{link}"));
    }
    assert_done(&sandbox.zcp(["-rL", "-j", &jobs.to_string(), "src", "dst"]).output().unwrap());
    let peak = |link: &String| -> u64 {
        let status = fs::read_to_string(sandbox.path("dst").join(link)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim();
        line.strip_suffix(" kB").unwrap().parse().unwrap()
    };
    links.iter().map(peak).max().unwrap()
}

/// A tree with twenty times the names: to keep them in memory would take more than 3 MiB.
fn memory(jobs: usize) {
    let (small, large) = (peak_memory(200, jobs), peak_memory(4000, jobs));
    assert!(large < small + 1536, "{small} KiB for 200 directories, {large} KiB for 4000");
}

/// One directory of many subdirectories: to keep all their names in memory would take more than 8 MiB.
fn memory_flat(jobs: usize) {
    let peak = |directories: usize| {
        let sandbox = roomy();
        let name = |index: usize| format!("{index:0200}");
        for index in 0..directories {
            sandbox.dir(format!("src/{}", name(index)));
        }
        let links: Vec<_> = (0..directories).step_by(100).map(|index| format!("{}/status", name(index))).collect();
        peak_memory_of(&sandbox, &links, jobs)
    };
    let (small, large) = (peak(500), peak(40_000));
    assert!(large < small + 5120, "{small} KiB for 500 directories, {large} KiB for 40000");
}

fn order_of_cp() {
    let sandbox = smoke::mixed("src");
    for index in (0..200).rev() {
        let name = format!("src/{}/{}/{index}", index % 5, index * 7 % 3);
        if index % 11 == 0 {
            sandbox.dir(&name)
        } else {
            sandbox.file(&name, "x")
        };
    }
    sandbox.file("one", "1").file("two", "2").dir("into");
    let args = ["-rv", "one", "src", "two", "into"];
    let cp = sandbox.command("cp").args(args).output().unwrap();
    fs::rename(sandbox.path("into"), sandbox.path("by cp")).unwrap();
    sandbox.dir("into");
    let zcp = sandbox.zcp(["-j1"].into_iter().chain(args)).output().unwrap();
    assert_done(&zcp);
    assert_eq!(String::from_utf8_lossy(&zcp.stdout), String::from_utf8_lossy(&cp.stdout));
    assert!(cp.stdout.len() > 5000);
}

fn one_worker_needs_no_pool() {
    let sandbox = smoke::mixed("src");
    let [one, four] = [["-rj1", "src", "dst"], ["-rj4", "src", "dst4"]].map(|args| {
        let trace = strace::zcp(&sandbox, &["-e", "trace=execve,pidfd_open"], &args);
        assert_done(&trace.output);
        // Only several workers have tables of descriptors to fetch from.
        assert_eq!(trace.lines().any(|line| line.contains("pidfd_open(")), args[0] == "-rj4");
        trace.threads()
    });
    // The second thread draws the progress bar.
    assert!(one <= 2 && four == one + 4, "{one} threads with -j1, {four} with -j4");
}

/// A clone is one call, however long the file is, so a thread for the progress bar would have nothing to show.
fn a_clone_needs_no_thread() {
    let sandbox = Sandbox::within(mounted("btrfs").unwrap());
    sandbox.file("src", noise(32 << 20));
    let [auto, read] =
        [["src", "a"].as_slice(), &["--strategy=read_write", "--bwlimit=160M", "src", "b"]].map(|args| {
            let trace = strace::zcp(&sandbox, &["-e", "trace=execve"], args);
            assert_done(&trace.output);
            trace.threads()
        });
    // A copy of 0.2 s is worth a second thread.
    assert_eq!((auto, read), (1, 2));
}

/// On btrfs, workers that clone would wait for each other, so there is one. A few clones need no second worker anywhere.
fn workers_that_clone() {
    let processors = std::thread::available_parallelism().unwrap().get();
    for (kind, cloning) in [("btrfs", 1), ("xfs", processors)] {
        let sandbox = Sandbox::within(mounted(kind).unwrap());
        for index in 0..300 {
            sandbox.file(format!("src/{}/{index}", index % 40), noise(index * 10));
        }
        for index in 0..8 {
            sandbox.file(format!("few/{index}"), noise(2 << 20));
        }
        let few = strace::zcp(&sandbox, &["-e", "trace=execve"], &["-rT", "few", "few-copy"]);
        assert_done(&few.output);
        assert_eq!(few.threads(), 1, "{kind}: a clone is one call, so few of them need no second worker");
        for (cloning, workers) in [("auto", cloning), ("never", processors)] {
            let option = format!("--reflink={cloning}");
            let copied = sandbox.zcp(["-aT", "--stats=json", &option, "src", cloning]).output().unwrap();
            assert_eq!(stats(&copied)["workers"], workers, "{kind} {option}");
            sandbox.snapshot("src").assert_same(&sandbox.snapshot(cloning));
        }
    }
}

/// Makes a tree in which workers have to help each other, and to enter directories that others have found.
fn shared_work() -> Sandbox {
    let sandbox = smoke::mixed("src");
    for index in 0..3000 {
        let dir =
            if index < 2000 { "wide".to_owned() } else { format!("{}/{}/{}", index % 3, index % 7, index % 31) };
        sandbox.file(format!("src/{dir}/{index}"), noise(index * 3));
    }
    sandbox
}

/// Copies a tree with several workers under strace. Returns the number of threads that left the shared table of
/// descriptors.
fn apart(sandbox: &Sandbox, options: &[&str], args: &[&str]) -> usize {
    let trace = strace::zcp(
        sandbox,
        &[&["-e", "trace=unshare,pidfd_open,pidfd_getfd"], options].concat(),
        &[args, &["src", "dst"]].concat(),
    );
    assert_done(&trace.output);
    sandbox.snapshot("src").assert_same(&sandbox.snapshot("dst"));
    fs::remove_dir_all(sandbox.path("dst")).unwrap();
    trace.threads_with("unshare(CLONE_FILES)")
}

/// Each of several workers opens files in a table of descriptors of its own.
fn own_descriptors() {
    let sandbox = shared_work();
    for (jobs, count) in [("-aj1", 0), ("-aj2", 2), ("-aj8", 8)] {
        assert_eq!(apart(&sandbox, &[], &[jobs]), count, "{jobs}");
    }
}

/// Descriptors are shared where a filter of seccomp(2) forbids unshare(2), as in containers, where a preloaded library
/// may share them, and where workers sync each other's files.
fn shared_descriptors() {
    let sandbox = shared_work();
    assert_eq!(apart(&sandbox, &["-e", "inject=unshare:error=EPERM"], &["-aj4"]), 4);
    assert_eq!(apart(&sandbox, &["-E", "LD_PRELOAD=libc.so.6"], &["-aj4"]), 0);
    assert_eq!(apart(&sandbox, &[], &["-aj4", "--fsync"]), 0);
    // Before Linux 6.9, and where a filter forbids it, a worker cannot get the descriptors of another one.
    assert_eq!(apart(&sandbox, &["-e", "inject=pidfd_open:error=EINVAL"], &["-aj4"]), 0);
    assert_eq!(apart(&sandbox, &["-e", "inject=pidfd_getfd:error=EPERM"], &["-aj4"]), 0);
}

/// While a worker waits for the writer of a fifo, others copy the rest of its directory, although that worker has begun
/// to list it.
fn a_fifo_delays_no_other_file() {
    const FILES: usize = 5000;
    const LONGEST: Duration = Duration::from_secs(60);
    let sandbox = Sandbox::new();
    let long = "n".repeat(200);
    for index in 0..FILES {
        sandbox.file(format!("src/{index}{long}"), "");
    }
    sandbox.fifo("src/fifo");
    let args = ["-rT", "--copy-contents", "-j2", "src", "dst"];
    let zcp = std::process::Command::new(ZCP).args(args).current_dir(sandbox.path("")).spawn().unwrap();
    let mut fifo = fs::File::options().write(true).open(sandbox.path("src/fifo")).unwrap();
    let start = Instant::now();
    let count = || fs::read_dir(sandbox.path("dst")).map_or(0, Iterator::count);
    while count() < FILES && start.elapsed() < LONGEST {
        std::thread::yield_now();
    }
    let copied = count();
    fifo.write_all(b"1").unwrap();
    drop(fifo);
    assert_done(&zcp.wait_with_output().unwrap());
    assert_eq!(copied, FILES);
    assert_eq!(fs::read(sandbox.path("dst/fifo")).unwrap(), b"1");
}

/// The result does not depend on which worker copies a file, or which comes first to a hard link.
fn workers_agree() {
    let sandbox = smoke::mixed("src");
    for index in 0..600 {
        let name = format!("src/{}/{index}", index % 13);
        match index % 4 {
            0 => sandbox.file(&name, noise(index * 37)),
            1 => sandbox.hard_link(format!("src/{}/{}", (index - 1) % 13, index - 1), &name),
            2 => sandbox.symlink(format!("{index}"), &name),
            _ => sandbox.dir(&name).mode(&name, 0o710),
        };
    }
    let source = sandbox.snapshot("src");
    for jobs in ["-j1", "-j2", "-j8"] {
        assert_done(&sandbox.zcp(["-a", jobs, "src", jobs.trim_start_matches('-')]).output().unwrap());
        source.assert_same(&sandbox.snapshot(jobs.trim_start_matches('-')));
    }
}

/// A followed link into the directory that is being filled must not be copied into itself without end.
fn link_to_the_copy() {
    for options in ["-rL", "-rLb", "-rLj4"] {
        for into in ["dst", "dst/sub"] {
            let sandbox = Sandbox::new();
            sandbox.file("src/sub/file", "1").symlink(sandbox.path(into), "src/sub/link");
            let output = sandbox.command_as(ZCP, "cp").args([options, "src", "dst"]).output().unwrap();
            let words = "cp: cannot copy a directory, 'src', into itself, 'dst'\n";
            assert_eq!(String::from_utf8_lossy(&output.stderr), words, "{options} {into}");
            assert_eq!(output.status.code(), Some(1), "{options} {into}");
            assert!(sandbox.path("dst/sub/file").exists(), "{options} {into}");
        }
    }
}
