//! A copy in parts under real schedulers, on simulated machines, with steps that are killed at any moment or run
//! twice at the same time.
//!
//! Slurm and MPI are too large for every run; each has a script in tests/engines.

use crate::jobs::{make_tree, make_tree_as_root};
use crate::needs::{Need, trial};
use crate::sandbox::{Sandbox, ZCP, assert_done};
use crate::snapshot::Snapshot;
use libtest_mimic::Trial;
use std::process::Output;

pub(crate) fn trials() -> Vec<Trial> {
    let root = Need::Root;
    let (parallel, strace) = (Need::Program("parallel"), Need::Strace);
    vec![
        trial(
            "jobs::gnu_parallel",
            &[root, Need::Namespaces, parallel, strace, Need::Program("setfacl")],
            gnu_parallel,
        ),
        trial("jobs::machines", &[root, Need::Namespaces], machines),
        trial("jobs::killed_plans", &[strace], killed_plans),
        trial("jobs::killed_runs", &[strace], killed_runs),
        trial("jobs::killed_finishes", &[strace], killed_finishes),
        trial("jobs::twins", &[], twins),
        trial("jobs::killed_twins", &[strace], killed_twins),
        trial("jobs::stale_handles", &[strace], stale_handles),
    ]
}

fn sandbox() -> (Sandbox, Snapshot) {
    let sandbox = Sandbox::new();
    make_tree(&sandbox);
    sandbox.command("cp").args(["-a", "src", "cp"]).assert().success();
    let expected = sandbox.snapshot("cp");
    (sandbox, expected)
}

const PLAN: [&str; 6] = ["-a", "--plan=job", "--parts=3", "--split-over=1M", "src", "dst"];

fn output(sandbox: &Sandbox, args: &[&str]) -> Output {
    sandbox.zcp(args).output().unwrap()
}

fn part(at: u64) -> [String; 2] {
    ["--run=job".to_owned(), format!("--part={at}")]
}

fn run(sandbox: &Sandbox, at: u64) {
    assert_done(&sandbox.zcp(part(at)).output().unwrap());
}

fn finish(sandbox: &Sandbox) {
    assert_done(&output(sandbox, &["--finish=job"]));
}

/// Runs zcp and kills it at its `at`th call on files. Returns false if zcp makes fewer calls.
fn killed_at(sandbox: &Sandbox, args: &[impl AsRef<str>], at: usize) -> bool {
    let mut strace = sandbox.command("strace");
    let calls = "%file,ftruncate,fchmod,fchown,write,close";
    strace.args(["-f", "-o", "/dev/null", "-e", &format!("inject={calls}:signal=SIGKILL:when={at}"), ZCP]);
    strace.args(args.iter().map(AsRef::as_ref));
    !strace.output().unwrap().status.success()
}

/// The numbers of calls at which to kill: close together at first, then further apart, without end.
fn moments() -> impl Iterator<Item = usize> {
    std::iter::successors(Some(3), |at| Some(at + at / 5 + 7))
}

/// Seven parts run at the same time, each on its own simulated machine. Two are killed in the middle, and GNU
/// parallel starts them again.
fn gnu_parallel() {
    let sandbox = Sandbox::new();
    make_tree(&sandbox);
    make_tree_as_root(&sandbox);
    sandbox.command("cp").args(["-a", "src", "cp"]).assert().success();
    assert_done(&output(&sandbox, &["-a", "--plan=job", "--parts=7", "--split-over=1M", "src", "dst"]));
    let script = format!(
        "hostname machine-$PARALLEL_SEQ
        case $PARALLEL_SEQ in 3|6) if mkdir tried-$PARALLEL_SEQ; then
            exec strace -f -o /dev/null -e inject=%file:signal=KILL:when=60 {ZCP} --run=job -j1
        fi;; esac
        exec {ZCP} --run=job --part=auto"
    );
    sandbox.file("part", script);
    let mut parallel = sandbox.command("parallel");
    let seven = ["1", "2", "3", "4", "5", "6", "7"];
    parallel.args(["--will-cite", "-j4", "-n0", "--retries=2", "unshare -mnu sh part", ":::"]).args(seven);
    let output = parallel.env("HOME", sandbox.path("home")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(sandbox.path("tried-3").exists() && sandbox.path("tried-6").exists());
    finish(&sandbox);
    sandbox.snapshot("dst").assert_same(&sandbox.snapshot("cp"));
}

/// Machines that see the same files through mounts of their own, with different device numbers.
fn machines() {
    let (sandbox, expected) = sandbox();
    let here = sandbox.path("");
    let here = here.display();
    let on_machine = |name: &str, args: &str| {
        let script = format!("hostname {name} && mount --bind {here} {here} && cd {here} && exec {ZCP} {args}");
        sandbox.command("unshare").args(["-mnu", "sh", "-c", &script]).output().unwrap()
    };
    assert_done(&on_machine("head", &PLAN.join(" ")));
    for at in 0..3 {
        assert_done(&on_machine(&format!("node{at}"), &format!("--run=job --part={at}")));
        let result = std::fs::read_to_string(sandbox.path(format!("job/results/{at}.json"))).unwrap();
        assert!(result.contains(&format!("\"host\":\"node{at}\"")), "{result}");
    }
    assert_done(&on_machine("head", "--finish=job"));
    sandbox.snapshot("dst").assert_same(&expected);
}

fn killed_plans() {
    let (sandbox, expected) = sandbox();
    let mut kills = 0;
    for at in moments() {
        if !killed_at(&sandbox, &PLAN, at) {
            break;
        }
        kills += 1;
    }
    assert!(kills > 5, "only {kills} kills");
    assert_done(&output(&sandbox, &PLAN));
    (0..3).for_each(|at| run(&sandbox, at));
    finish(&sandbox);
    sandbox.snapshot("dst").assert_same(&expected);
}

fn killed_runs() {
    let (sandbox, expected) = sandbox();
    assert_done(&output(&sandbox, &PLAN));
    let mut kills = 0;
    for at in 0..3 {
        for moment in moments() {
            if !killed_at(&sandbox, &part(at), moment) {
                break;
            }
            kills += 1;
        }
    }
    assert!(kills > 10, "only {kills} kills");
    finish(&sandbox);
    sandbox.snapshot("dst").assert_same(&expected);
}

fn killed_finishes() {
    let (sandbox, expected) = sandbox();
    assert_done(&output(&sandbox, &PLAN));
    (0..3).for_each(|at| run(&sandbox, at));
    let mut kills = 0;
    for moment in moments() {
        if !killed_at(&sandbox, &["--finish=job"], moment) {
            break;
        }
        kills += 1;
    }
    assert!(kills > 5, "only {kills} kills");
    finish(&sandbox);
    sandbox.snapshot("dst").assert_same(&expected);
}

/// Two processes run each part at the same time.
fn twins() {
    for _ in 0..4 {
        let (sandbox, expected) = sandbox();
        assert_done(&output(&sandbox, &PLAN));
        std::thread::scope(|scope| {
            for at in [0, 0, 1, 1, 2, 2] {
                let sandbox = &sandbox;
                scope.spawn(move || run(sandbox, at));
            }
        });
        finish(&sandbox);
        sandbox.snapshot("dst").assert_same(&expected);
    }
}

/// Two processes run each part, and one of them is killed while the other continues.
fn killed_twins() {
    let (sandbox, expected) = sandbox();
    assert_done(&output(&sandbox, &PLAN));
    for moment in [20, 45, 80, 120, 170] {
        std::thread::scope(|scope| {
            let sandbox = &sandbox;
            for at in 0..3 {
                scope.spawn(move || run(sandbox, at));
                scope.spawn(move || killed_at(sandbox, &part(at), moment));
            }
        });
        for at in 0..3 {
            std::fs::remove_file(sandbox.path(format!("job/results/{at}.json"))).unwrap();
        }
    }
    (0..3).for_each(|at| run(&sandbox, at));
    finish(&sandbox);
    sandbox.snapshot("dst").assert_same(&expected);
}

/// ESTALE of a network file system, because something was replaced behind its cache: once, at any call.
fn stale_handles() {
    let (sandbox, expected) = sandbox();
    assert_done(&output(&sandbox, &PLAN));
    for moment in (15..100).step_by(5) {
        let mut strace = sandbox.command("strace");
        let inject = format!("inject=openat,newfstatat,mkdirat,linkat:error=ESTALE:when={moment}");
        strace.args(["-f", "-o", "/dev/null", "-e", &inject, ZCP]).args(part(moment as u64 % 3));
        assert_done(&strace.output().unwrap());
        std::fs::remove_file(sandbox.path(format!("job/results/{}.json", moment % 3))).unwrap();
    }
    (0..3).for_each(|at| run(&sandbox, at));
    finish(&sandbox);
    sandbox.snapshot("dst").assert_same(&expected);
}
