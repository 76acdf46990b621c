//! Machines without /proc, as in many chroots.

use crate::needs::{Need, mounted, trial};
use crate::sandbox::{LONG_AGO, Sandbox, ZCP, assert_done, noise};
use crate::strace;
use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("surroundings::no_proc", &[Need::Root, Need::Namespaces, Need::Linux(6, 13)], no_proc),
        trial(
            "surroundings::no_proc_for_special_files_and_verify",
            &[Need::Root, Need::Namespaces, Need::Linux(6, 13), Need::Mount("ext4")],
            no_proc_for_special_files_and_verify,
        ),
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
    assert_done(&copy(&["-a", "--preserve=xattr", "src", "insistent"]));
    sandbox.snapshot("src").assert_same(&sandbox.snapshot("insistent"));
}

/// Fifos, sockets and devices get their modes, and what was written is read back, all by other means than /proc.
fn no_proc_for_special_files_and_verify() {
    let sandbox = Sandbox::within(mounted("ext4").unwrap());
    sandbox.file("src/d/file", noise(3_000_000)).file("src/d/small", "small").file("src/set-id", "1");
    sandbox
        .mode("src/set-id", 0o4755)
        .fifo("src/fifo")
        .mode("src/fifo", 0o4620)
        .fifo("src/open")
        .symlink("a", "src/l");
    for (name, kind) in [("null", "c"), ("disk", "b")] {
        sandbox.command("mknod").args([&format!("src/{name}"), kind, "7", "3"]).assert().success();
        sandbox.mode(format!("src/{name}"), 0o640);
    }
    drop(std::os::unix::net::UnixListener::bind(sandbox.path("src/socket")).unwrap());
    sandbox.mode("src/open", 0o666).mode("src/socket", 0o701).xattr("src/d/small", "user.key", "value");
    for name in ["src/null", "src/disk", "src/socket", "src/fifo", "src/open", "src/d", "src"] {
        sandbox.time(name, LONG_AGO);
    }
    let copy = |args: &[&str]| {
        let script = "umount -l /proc && exec \"$0\" \"$@\"";
        sandbox.command("unshare").args(["-m", "sh", "-c", script, ZCP]).args(args).output().unwrap()
    };
    let assert_same = || sandbox.snapshot("src").assert_same(&sandbox.snapshot("dst"));
    for options in [
        &["-a"][..],
        &["-a", "--verify"],
        &["-a", "--atomic"],
        &["-a", "--atomic", "--verify"],
        &["-a", "-j1", "--verify"],
    ] {
        for replaces in [false, true] {
            if replaces {
                sandbox.file("dst/d/file", "old").file("dst/d/small", "old").mode("dst/fifo", 0o600);
            }
            assert_done(&copy(&[options, &["-T", "src", "dst"]].concat()));
            assert_same();
        }
        assert_done(&copy(&["-a", "--resume", "--verify", "-T", "src", "dst"]));
        assert_same();
        std::fs::remove_dir_all(sandbox.path("dst")).unwrap();
    }
    for step in [
        &["-a", "--verify", "--plan=job", "--parts=1", "-T", "src", "dst"][..],
        &["--run=job", "--part=0"],
        &["--finish=job"],
    ] {
        assert_done(&copy(step));
    }
    assert_same();
    // Attributes of a fifo that cannot be set without /proc are reported.
    sandbox.fifo("fifo").xattr("fifo", "trusted.key", "value");
    let output = copy(&["-a", "fifo", "copy"]);
    let words = "zcp: setting attributes for 'copy': Function not implemented\n";
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(1), words));
    // So is an access control list that it has from its directory and that cannot be removed there.
    sandbox.dir("listed").xattr("listed", "system.posix_acl_default", crate::complete::acl());
    let output = copy(&["-a", "src/fifo", "listed/fifo"]);
    let words = "zcp: preserving permissions for 'listed/fifo': Function not implemented\n";
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(1), words));
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
