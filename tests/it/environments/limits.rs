//! Limits of the process (setrlimit(2)) lead to fewer workers and smaller buffers, not to a failure.

use crate::needs::trial;
use crate::sandbox::{Sandbox, ZCP, assert_done, noise};
use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("environments::limited_address_space", &[], address_space),
        trial("environments::limited_descriptors", &[], descriptors),
        trial("environments::stack_size_of_the_environment", &[], stack_size),
    ]
}

/// Runs zcp after an `ulimit` or another command of the shell.
#[track_caller]
fn copy_within(sandbox: &Sandbox, limit: &str, args: &[&str]) {
    let script = format!("{limit} && exec \"$0\" \"$@\"");
    assert_done(&sandbox.command("sh").args(["-c", &script, ZCP]).args(args).output().unwrap());
    sandbox.snapshot("src").plain().assert_same(&sandbox.snapshot("dst").plain());
    std::fs::remove_dir_all(sandbox.path("dst")).unwrap();
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
