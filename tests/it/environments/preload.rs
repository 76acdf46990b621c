//! Libraries that are loaded before libc and replace its functions (ld.so(8), `LD_PRELOAD`): then zcp
//! makes all its system calls through libc, so they see them.

use crate::needs::{Need, trial};
use crate::sandbox::{Sandbox, ZCP, noise};
use libtest_mimic::Trial;
use std::fs;
use std::process::Output;

pub(crate) fn trials() -> Vec<Trial> {
    let as_user = [Need::Root, Need::Program("setpriv")];
    let needs = |program| [as_user.as_slice(), &[Need::Program(program)]].concat();
    vec![
        trial("environments::fakeroot_sees_owners_and_devices", &needs("fakeroot"), fakeroot),
        trial("environments::fakeroot_sees_other_options", &needs("fakeroot"), fakeroot_and_options),
        trial(
            "environments::fakeroot_gets_one_worker",
            &[&*needs("fakeroot"), &[Need::Strace]].concat(),
            one_worker,
        ),
        trial("environments::fakechroot_holds_paths", &needs("fakechroot"), fakechroot),
        trial("environments::eatmydata_eats_syncs", &[Need::Program("eatmydata"), Need::Strace], eatmydata),
    ]
}

/// A directory that an ordinary user may write to, with a zcp that the user may run.
fn for_user() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.mode("", 0o777);
    fs::copy(ZCP, sandbox.path("zcp")).unwrap();
    sandbox
}

/// Runs a script as an ordinary user under a program such as fakeroot.
fn run(sandbox: &Sandbox, within: &str, script: &str) -> Output {
    let user = ["--reuid=65534", "--regid=65534", "--clear-groups", within, "sh", "-ec", script];
    sandbox.command("setpriv").args(user).output().unwrap()
}

const TREE: &str = "
    umask 022; mkdir s s/dir; echo 1 >s/file; echo 2 >s/dir/set-id; ln -s file s/link; ln s/file s/hard
    chown 5:6 s/file; chown 5:6 s/dir/set-id; chmod 4755 s/dir/set-id; chown -h 7:8 s/link; chown 9:10 s/dir
    mknod s/null c 1 3; mknod s/disk b 7 200; mkfifo s/fifo; chown 3:4 s/fifo s/disk; chmod 600 s/disk
";
/// Prints everything but times.
const SHOW: &str = "find t -mindepth 1 -exec stat -c '%n %F %u:%g %a %t:%T %h' {} + | sort";

/// The output of a script in a new directory. No command in it may fail.
fn shown(copy: &str) -> String {
    let sandbox = for_user();
    let output = run(&sandbox, "fakeroot", &format!("{TREE} {copy}; {SHOW}"));
    assert!(output.status.success() && output.stderr.is_empty(), "{copy}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// zcp does the same as cp with a tree whose owners and devices exist only in fakeroot's memory.
fn fakeroot() {
    let expected = shown("cp -a s t");
    assert!(expected.contains("t/null character special file 0:0 644 1:3"), "{expected}");
    assert!(expected.contains("t/dir/set-id regular file 5:6 4755"), "{expected}");
    assert_eq!(shown("./zcp -a s t"), expected);
    assert_eq!(shown("./zcp -a s t; ./zcp -a s/. t"), expected, "a second time");
    assert_eq!(shown("./zcp -a s t; ./zcp -a --remove-destination s/. t"), expected, "in the place of the first");
}

fn fakeroot_and_options() {
    let expected = shown("cp -a s t");
    for options in ["-j1", "-j4", "--atomic", "--verify", "--fsync", "--resume", "--atomic --fsync", "--debug"] {
        let quiet = if options == "--debug" { ">/dev/null" } else { "" };
        assert_eq!(shown(&format!("./zcp -a {options} s/. t {quiet}")), expected, "{options}");
        let again = format!("./zcp -a s t; ./zcp -a {options} s/. t {quiet}");
        assert_eq!(shown(&again), expected, "{options} over a copy");
    }
    assert_eq!(
        shown("./zcp -a --plan=j --parts=2 s t; ./zcp --run=j --part=0; ./zcp --run=j --part=1; ./zcp --finish=j"),
        expected,
        "in parts"
    );
}

/// fakeroot learns late that a thread removed a file, so only one thread may make and remove names.
fn one_worker() {
    for options in ["-a", "-a -j4", "-a -j4 --atomic --fsync"] {
        shown(&format!("strace -f -qq -o threads -e trace=clone,clone3 ./zcp {options} s t; ! grep . threads"));
    }
}

/// Absolute paths stay below the directory that plays the root.
fn fakechroot() {
    let sandbox = for_user();
    sandbox.file("root/a/file", "inside").mode("root", 0o777);
    let script = format!("FAKECHROOT_BASE='{0}' '{0}/../zcp' -a /a /b", sandbox.path("root").display());
    let output = run(&sandbox, "fakechroot", &script);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert_eq!(fs::read(sandbox.path("root/b/file")).unwrap(), b"inside");
}

/// eatmydata suppresses fsync(2) and syncfs(2).
fn eatmydata() {
    let sandbox = Sandbox::new();
    sandbox.file("src/a", noise(1000)).file("b", noise(1000));
    for args in [["-r", "--fsync", "src", "dst"], ["--atomic", "--fsync", "b", "c"]] {
        // eatmydata is a script that must not be traced.
        let script = "exec strace -f -o log -e trace=fsync,fdatasync,sync,syncfs -E LD_PRELOAD=$LD_PRELOAD \"$@\"";
        let output =
            sandbox.command("eatmydata").args(["sh", "-c", script, "sh", ZCP]).args(args).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        let log = fs::read_to_string(sandbox.path("log")).unwrap();
        assert!(!log.contains("sync("), "{log}");
    }
    sandbox.snapshot("src").plain().assert_same(&sandbox.snapshot("dst").plain());
}
