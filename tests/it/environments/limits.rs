//! Limits of the process (setrlimit(2)) lead to fewer workers and smaller buffers, not to a failure.

use crate::needs::{ControlGroup, Need, trial};
use crate::sandbox::{Sandbox, ZCP, assert_done, noise};
use libtest_mimic::Trial;
use std::fs;
use std::process::Output;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("environments::limited_address_space", &[], address_space),
        trial("environments::limited_descriptors", &[], descriptors),
        trial("environments::too_little_address_space_is_an_error", &[], too_little_address_space),
        trial(
            "environments::limited_processes_of_a_user",
            &[Need::Root, Need::Program("setpriv"), Need::Program("prlimit")],
            processes_of_a_user,
        ),
        trial("environments::limited_processes_of_a_group", &[Need::ProcessGroup], processes_of_a_group),
        trial("environments::limited_file_size", &[], file_size),
        trial("environments::limited_file_size_of_a_job", &[], file_size_of_a_job),
        trial("environments::stack_size_of_the_environment", &[], stack_size),
    ]
}

/// Runs zcp after an `ulimit` or another command of the shell.
#[track_caller]
fn copy_within(sandbox: &Sandbox, limit: &str, args: &[&str]) {
    let script = format!("{limit} && exec \"$0\" \"$@\"");
    assert_done(&sandbox.command("sh").args(["-c", &script, ZCP]).args(args).output().unwrap());
    sandbox.snapshot("src").plain().assert_same(&sandbox.snapshot("dst").plain());
    fs::remove_dir_all(sandbox.path("dst")).unwrap();
}

fn tree() -> Sandbox {
    let sandbox = Sandbox::new();
    for n in 0..20 {
        sandbox.file(format!("src/{n}/file"), noise(1000)).file(format!("src/{n}/a/b/file"), noise(300_000));
    }
    sandbox
}

fn address_space() {
    let sandbox = tree();
    for kib in [60_000, 100_000, 150_000, 200_000] {
        for option in ["-j8", "-j200", "--strategy=mmap", "--strategy=read_write"] {
            let limit = format!("ulimit -v {kib}");
            copy_within(&sandbox, &limit, &["-r", option, "src", "dst"]);
            copy_within(&sandbox, &limit, &["-r", "--verify", option, "src", "dst"]);
        }
    }
}

fn descriptors() {
    let sandbox = tree();
    let small = Sandbox::new();
    for n in 0..16 {
        small.file(format!("src/{n}/file"), "1");
    }
    for most in 16..=64 {
        for sandbox in [&sandbox, &small] {
            copy_within(sandbox, &format!("ulimit -n {most}"), &["-r", "src", "dst"]);
        }
    }
}

fn stack_size() {
    let sandbox = tree();
    copy_within(&sandbox, "export RUST_MIN_STACK=1", &["-r", "-j4", "--verify", "src", "dst"]);
}

/// Runs zcp after a command of the shell that sets limits.
fn run_within(sandbox: &Sandbox, limit: &str, args: &[&str]) -> Output {
    let script = format!("{limit} && exec \"$0\" \"$@\"");
    sandbox.command("sh").args(["-c", &script, ZCP]).args(args).output().unwrap()
}

/// The loader, or zcp, says what is missing. A run with exit status 0 is complete. A limit within which the
/// kernel cannot even load the program tells nothing about zcp.
fn too_little_address_space() {
    let sandbox = tree();
    for kib in (7_000..16_000).step_by(1_000).chain([20_000, 30_000, 50_000]) {
        let limit = format!("ulimit -v {kib}");
        if run_within(&sandbox, &limit, &["--version"]).status.code().is_none() {
            continue;
        }
        for options in [&["-r"][..], &["-a", "--atomic", "-j8"], &["-a", "--verify"], &["-a", "--resume", "-j1"]] {
            let args = [options, &["-T", "src", "dst"]].concat();
            let output = run_within(&sandbox, &limit, &args);
            let words = String::from_utf8_lossy(&output.stderr);
            assert!(!words.contains("panicked") && output.status.code().is_some(), "{kib} KiB: {output:?}");
            match output.status.success() {
                true => sandbox.snapshot("src").plain().assert_same(&sandbox.snapshot("dst").plain()),
                false => assert!(!words.is_empty(), "{kib} KiB: {output:?}"),
            }
            let _ = fs::remove_dir_all(sandbox.path("dst"));
        }
    }
}

/// Runs copies and a job, each within a limit on threads. A single thread does all the work.
#[track_caller]
fn copies_with_few_threads(sandbox: &Sandbox, run: impl Fn(&[&str]) -> Output, count: u64) {
    for options in [&["-a", "-j8"][..], &["-a", "-j8", "--atomic"], &["-a", "--progress=always"], &["-r"]] {
        let output = run(&[options, &["-T", "src", "dst"]].concat());
        assert!(output.status.success(), "{count} processes, {options:?}: {output:?}");
        sandbox.snapshot("src").plain().assert_same(&sandbox.snapshot("dst").plain());
        fs::remove_dir_all(sandbox.path("dst")).unwrap();
    }
    let plan = ["-a", "-j8", "--plan=job", "--parts=1", "--split-over=1M", "-T", "src", "dst"];
    for step in [&plan[..], &["--run=job", "--part=0", "-j8"], &["--finish=job"]] {
        assert_done(&run(step));
    }
    sandbox.snapshot("src").plain().assert_same(&sandbox.snapshot("dst").plain());
    fs::remove_dir_all(sandbox.path("dst")).unwrap();
    fs::remove_dir_all(sandbox.path("job")).unwrap();
}

/// RLIMIT_NPROC counts the processes and threads of a user. No other process has this user id.
fn processes_of_a_user() {
    let sandbox = tree();
    sandbox.file("src/large", noise(9 << 20)).mode("", 0o777);
    fs::copy(ZCP, sandbox.path("zcp")).unwrap();
    let user = ["--reuid=54321", "--regid=54321", "--clear-groups", "prlimit"];
    for count in 1..=6 {
        let limit = format!("--nproc={count}");
        let run = |args: &[&str]| {
            sandbox.command("setpriv").args(user).args([&limit, "./zcp"]).args(args).output().unwrap()
        };
        copies_with_few_threads(&sandbox, run, count);
    }
}

fn processes_of_a_group() {
    let sandbox = tree();
    sandbox.file("src/large", noise(9 << 20));
    for count in 1..=6 {
        let group = ControlGroup::of_processes(count).unwrap();
        let limit = format!("echo $$ >{}", group.join().display());
        copies_with_few_threads(&sandbox, |args| run_within(&sandbox, &limit, args), count);
    }
}

/// RLIMIT_FSIZE: the file that is too large is named, all others are copied, and without the limit --resume completes the
/// tree.
fn file_size() {
    let sandbox = tree();
    sandbox.file("src/large", noise(3 << 20)).sparse("src/sparse", 4 << 20, &[(3 << 20, &[1; 5000])]);
    let copies = [
        &["-a"][..],
        &["-a", "-j1"],
        &["-a", "--atomic"],
        &["-a", "--fsync"],
        &["-a", "--verify"],
        &["-a", "--cache=drop"],
        &["-a", "--sparse=always"],
        &["-a", "--strategy=copy_file_range"],
        &["-a", "--strategy=sendfile"],
        &["-a", "--strategy=splice"],
        &["-a", "--strategy=mmap"],
        &["-a", "--strategy=read_write"],
    ];
    for options in copies {
        // In blocks of 512 bytes: one megabyte.
        let output = run_within(&sandbox, "ulimit -f 2048", &[options, &["-T", "src", "dst"]].concat());
        let words = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{options:?}: {output:?}");
        // A line follows that counts what was copied.
        let failures: Vec<_> = words.lines().filter(|line| !line.starts_with("zcp: copied ")).collect();
        let named =
            |name: &str| failures.iter().any(|line| line.contains(name) && line.ends_with(": File too large"));
        assert!(named("dst/large'") && named("dst/sparse'") && failures.len() == 2, "{options:?}: {words}");
        assert_eq!(fs::read(sandbox.path("dst/7/a/b/file")).unwrap(), noise(300_000), "{options:?}");
        assert_done(&sandbox.zcp([options, &["--resume", "-T", "src", "dst"]].concat()).output().unwrap());
        let [source, copy] = ["src", "dst"].map(|name| sandbox.snapshot(name).without(|node| node.spans.clear()));
        source.assert_same(&copy);
        fs::remove_dir_all(sandbox.path("dst")).unwrap();
    }
}

/// A job whose ranges do not fit completes when its parts are run again without the limit.
fn file_size_of_a_job() {
    let sandbox = tree();
    sandbox.file("src/large", noise(9 << 20));
    assert_done(
        &sandbox.zcp(["-a", "--plan=job", "--parts=2", "--split-over=1M", "-T", "src", "dst"]).output().unwrap(),
    );
    let failed = ["0", "1"].map(|part| {
        let output = run_within(&sandbox, "ulimit -f 4096", &["--run=job", &format!("--part={part}")]);
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() || words.contains("File too large"), "{output:?}");
        !output.status.success()
    });
    assert!(failed.contains(&true));
    assert_eq!(sandbox.zcp(["--finish=job"]).output().unwrap().status.code(), Some(1));
    for step in [&["--run=job", "--part=0"][..], &["--run=job", "--part=1"], &["--finish=job"]] {
        assert_done(&sandbox.zcp(step).output().unwrap());
    }
    sandbox.snapshot("src").plain().assert_same(&sandbox.snapshot("dst").plain());
}
