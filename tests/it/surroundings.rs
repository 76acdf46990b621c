//! Machines without /proc, as in many a chroot.

use crate::needs::{Need, trial};
use crate::sandbox::{Sandbox, ZCP, assert_done, noise};
use crate::strace;
use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("surroundings::no_proc", &[Need::Root, Need::Namespaces], no_proc),
        trial("surroundings::no_auxiliary_vector", &[Need::Strace], no_auxiliary_vector),
    ]
}

/// Trees with symbolic links keep all that cp keeps there. If attributes of a link are asked for explicitly,
/// their loss is reported.
fn no_proc() {
    let sandbox = Sandbox::new();
    sandbox.file("src/d/file", noise(100_000)).xattr("src/d/file", "user.key", "value").mode("src/d/file", 0o640);
    sandbox.symlink("file", "src/d/link").symlink("nowhere", "src/dangling").hard_link("src/d/file", "src/hard");
    sandbox.dir("src/d").dir("src");
    let copy = |args: &[&str]| {
        let script = "umount -l /proc && exec \"$0\" \"$@\"";
        sandbox.command("unshare").args(["-m", "sh", "-c", script, ZCP]).args(args).output().unwrap()
    };
    assert_done(&copy(&["-a", "src", "dst"]));
    sandbox.snapshot("src").assert_same(&sandbox.snapshot("dst"));
    let insistent = copy(&["-a", "--preserve=xattr", "src", "insistent"]);
    let words = "zcp: listing attributes of 'src/dangling': Function not implemented";
    assert!(String::from_utf8_lossy(&insistent.stderr).contains(words), "{insistent:?}");
    assert_eq!(insistent.status.code(), Some(1));
}

/// zcp takes the auxiliary vector from libc, which has it from the start. rustix would read it from /proc
/// itself, and abort where valgrind or an old kernel without /proc provides a different one or none.
fn no_auxiliary_vector() {
    let sandbox = Sandbox::new();
    sandbox.file("a", "1");
    let options = ["-e", "trace=prctl,openat"];
    let trace = strace::zcp(&sandbox, &options, &["--strategy=mmap", "a", "b"]);
    assert_done(&trace.output);
    let reads = |line: &&str| line.contains("AUXV") || line.contains("0x41555856") || line.contains("auxv");
    assert_eq!(trace.lines().find(reads), None);
    assert!(trace.lines().any(|line| line.starts_with("openat")));
}
