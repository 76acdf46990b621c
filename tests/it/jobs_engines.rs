//! A copy in parts under real engines, on what stands in for several machines, and what becomes of it
//! when steps are killed at any moment or done twice at once.
//!
//! Slurm and MPI are too large for every run: tests/engines has a script for each.

use crate::jobs::{plant, plant_as_root};
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
    plant(&sandbox);
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

/// Runs zcp and kills it at its `at`th call that has to do with files; false if there were not so many.
fn killed_at(sandbox: &Sandbox, args: &[impl AsRef<str>], at: usize) -> bool {
    let mut strace = sandbox.command("strace");
    let calls = "%file,ftruncate,fchmod,fchown,write,close";
    strace.args(["-f", "-o", "/dev/null", "-e", &format!("inject={calls}:signal=SIGKILL:when={at}"), ZCP]);
    strace.args(args.iter().map(AsRef::as_ref));
    !strace.output().unwrap().status.success()
}

/// Points for a kill: close together at first, then further apart, until there are no more.
fn moments() -> impl Iterator<Item = usize> {
    std::iter::successors(Some(3), |at| Some(at + at / 5 + 7))
}

/// Seven parts at once, two of which are killed in the middle and started again by the engine, each on
/// its own "machine".
fn gnu_parallel() {
    let sandbox = Sandbox::new();
    plant(&sandbox);
    plant_as_root(&sandbox);
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

/// Machines that see the same files through mounts of their own, with other device numbers.
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

/// Each part by two processes at once.
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

/// The like, and one of the two is killed while the other works on.
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

/// A network file system's way to say that something was replaced behind a cache: once, at any call.
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
