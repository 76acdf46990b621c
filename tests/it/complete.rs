//! A copy that failed never looks complete to a later run, and one that is complete is not copied again.

use crate::environments::store::{Manners, Store};
use crate::needs::{Need, SHM, trial};
use crate::sandbox::{LONG_AGO, Sandbox, assert_done, noise, stats};
use crate::snapshot::Snapshot;
use crate::strace;
use libtest_mimic::Trial;
use rustix::io::Errno;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;

pub(crate) fn trials() -> Vec<Trial> {
    let fuse = [Need::Fuse, Need::Root];
    vec![
        trial("complete::not_if_a_call_failed", &[Need::Strace, Need::Root, Need::Shm], call_failed),
        trial("complete::not_if_close_failed_on_a_server", &fuse, server_close_failed),
        trial("complete::not_if_fsync_failed_on_a_server", &fuse, server_fsync_failed),
        trial("complete::not_if_an_attribute_was_refused_by_a_server", &fuse, server_attribute_failed),
        trial("complete::not_if_syncfs_failed", &[Need::Strace], syncfs_failed),
        trial("complete::not_if_the_disk_was_full", &[Need::Root, Need::Program("mkfs.ext4")], thin_disk),
        trial("complete::each_is_synced_where_syncfs_does_not_reach", &fuse, server_is_synced),
        trial("complete::each_is_synced_where_syncfs_is_refused", &[Need::Strace], syncfs_refused),
        trial("complete::ordinary_copies_pay_nothing_for_it", &[Need::Strace], pays_nothing),
    ]
}

/// The content and attributes of a copy, but not when something was done.
fn kept(sandbox: &Sandbox, name: &str) -> Snapshot {
    sandbox.snapshot(name).without(|node| node.spans.clear())
}

/// Each call that may fail when all bytes are written. What comes next tells by times alone, and makes it right.
fn call_failed() {
    let faults = [
        ("fchown", "EIO", &["-a"][..]),
        ("fsetxattr", "ENOSPC", &["-a"]),
        ("fsetxattr", "E2BIG", &["-a"]),
        ("fchmod", "EIO", &["-a"]),
        ("fsync", "EIO", &["-a", "--fsync"]),
        ("close", "EIO", &["-a"]),
        ("close", "ENOSPC", &["-a", "--fsync"]),
    ];
    for (call, errno, options) in faults {
        for again in [&["-a", "--resume"][..], &["-au"]] {
            let sandbox = Sandbox::within(SHM);
            sandbox.file("src", noise(5000)).mode("src", 0o640).xattr("src", "user.k", "v");
            std::os::unix::fs::chown(sandbox.path("src"), Some(1234), Some(1234)).unwrap();
            let path = sandbox.path("dst");
            let inject = format!("inject={call}:error={errno}:when=1");
            let first = [again, options, &["src", "dst"]].concat();
            let trace = strace::zcp(&sandbox, &["-P", path.to_str().unwrap(), "-e", &inject], &first);
            assert_eq!(trace.output.status.code(), Some(1), "{call} {again:?}");
            assert_ne!(fs::metadata(&path).unwrap().mtime(), LONG_AGO.unix_seconds(), "{call} {again:?}");
            assert_done(&sandbox.zcp(again.iter().chain(&["src", "dst"])).output().unwrap());
            kept(&sandbox, "src").assert_same(&kept(&sandbox, "dst"));
        }
    }
}

/// What was written is lost, and only close(2) says so.
fn server_close_failed() {
    for options in [&["-a", "--resume"][..], &["-au"], &["-a", "--resume", "--atomic"], &["-ru"]] {
        let sandbox = Sandbox::new();
        sandbox.file("src/bad", noise(50_000)).file("src/good", noise(50_000)).dir("src");
        let store = Store::mount(&sandbox, "m", Manners { flush: Some(Errno::NOSPC), ..Manners::default() });
        let args = [options, &["-T", "src", "m/dst"]].concat();
        let output = sandbox.zcp(&args).output().unwrap();
        let words = "zcp: failed to close 'm/dst/bad': No space left on device\n";
        assert_eq!((output.status.code(), &*String::from_utf8_lossy(&output.stderr)), (Some(1), words));
        store.behave(Manners::default());
        assert_done(&sandbox.zcp(&args).output().unwrap());
        assert!(fs::read(sandbox.path("m/dst/bad")).unwrap() == noise(50_000), "{options:?}");
    }
}

fn server_fsync_failed() {
    for options in [&["-a", "--resume", "--fsync"][..], &["-au", "--fsync"]] {
        let sandbox = Sandbox::new();
        sandbox.file("src/bad", noise(50_000)).file("src/good", noise(50_000)).dir("src");
        let store = Store::mount(&sandbox, "m", Manners { fsync: Some(Errno::IO), ..Manners::default() });
        let args = [options, &["-T", "src", "m/dst"]].concat();
        let output = sandbox.zcp(&args).output().unwrap();
        let words = "zcp: cannot sync 'm/dst/bad': Input/output error\n";
        assert_eq!((output.status.code(), &*String::from_utf8_lossy(&output.stderr)), (Some(1), words));
        store.behave(Manners::default());
        store.take_counts();
        let again = sandbox.zcp(args.iter().chain(&["--stats=json"])).output().unwrap();
        assert_done(&again);
        assert_eq!(stats(&again)["totals"]["files"], 1, "{options:?}");
        kept(&sandbox, "src").assert_same(&kept(&sandbox, "m/dst"));
    }
}

fn server_attribute_failed() {
    for options in [&["-a", "--resume"][..], &["-au"]] {
        let sandbox = Sandbox::within(SHM);
        sandbox.file("src/f", noise(5000)).xattr("src/f", "user.k", "v").dir("src");
        let manners = Manners { set_xattr: Some(Errno::NOSPC), acl: Some(Errno::INVAL), ..Manners::default() };
        let store = Store::mount(&sandbox, "m", manners);
        let args = [options, &["-T", "src", "m/dst"]].concat();
        assert_eq!(sandbox.zcp(&args).output().unwrap().status.code(), Some(1));
        store.behave(Manners { set_xattr: None, ..manners });
        assert_done(&sandbox.zcp(&args).output().unwrap());
        kept(&sandbox, "src").assert_same(&kept(&sandbox, "m/dst"));
    }
}

/// Nobody is to blame: whatever waited for it is copied again.
fn syncfs_failed() {
    for again in [&["-a", "--resume"][..], &["-au"]] {
        let sandbox = Sandbox::new();
        for name in ["a", "b", "sub/c"] {
            sandbox.file(format!("src/{name}"), noise(5000));
        }
        sandbox.symlink("a", "src/link").dir("src/sub").dir("src");
        let args = [again, &["--fsync", "-T", "src", "dst"]].concat();
        let trace = strace::zcp(&sandbox, &["-e", "inject=syncfs:error=EIO:when=1"], &args);
        let errors = String::from_utf8_lossy(&trace.output.stderr).into_owned();
        assert_eq!(trace.output.status.code(), Some(1));
        assert!(errors.starts_with("zcp: cannot sync the file system of 'dst/"), "{errors}");
        let output = sandbox.zcp(args.iter().chain(&["--stats=json"])).output().unwrap();
        assert_done(&output);
        assert_eq!(stats(&output)["totals"]["files"], 3, "{again:?}");
        kept(&sandbox, "src").assert_same(&kept(&sandbox, "dst"));
        let output = sandbox.zcp(args.iter().chain(&["--stats=json"])).output().unwrap();
        assert_eq!(stats(&output)["totals"]["files"], 0, "{again:?}");
    }
}

/// A disk image that has no room behind it: writing back fails, of files and of their inodes.
fn thin_disk() {
    const SCRIPT: &str = "set -e
        mkdir tmp; mount -t tmpfs -o size=40m tmpfs tmp
        truncate -s 200M tmp/image
        mkfs.ext4 -qF -O ^has_journal -e continue -E lazy_itable_init=0,nodiscard tmp/image
        mkdir disk; mount -o loop tmp/image disk
        used=$(du -m tmp/image | cut -f1)
        head -c $(((40 - used - 12) * 1048576)) /dev/zero >tmp/rest
        \"$@\" -T src disk/dst 2>errors && { echo 'the disk was large enough'; exit 3; }
        rm tmp/rest; mount -o remount,size=400m tmp
        \"$@\" -T src disk/dst || { echo 'failed again'; exit 3; }
        sync -f disk; echo 3 >/proc/sys/vm/drop_caches
        diff -r src disk/dst || exit 3";
    for options in [&["-a", "--resume", "--fsync"][..], &["-au", "--fsync"]] {
        let sandbox = Sandbox::new();
        for index in 0..40 {
            let mut bytes = noise(500_000);
            bytes[0] = index;
            sandbox.file(format!("src/{index}"), bytes);
        }
        sandbox.dir("src");
        let mut command = sandbox.command("unshare");
        let output = command.args(["-m", "sh", "-c", SCRIPT, "sh", crate::sandbox::ZCP]).args(options).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{options:?} {output:?}");
    }
}

/// An ordinary FUSE server never hears of syncfs(2).
fn server_is_synced() {
    for options in [&["-r"][..], &["-a"], &["-a", "--atomic"]] {
        let sandbox = Sandbox::new();
        sandbox.file("src/a", noise(5000)).file("src/sub/b", "b").symlink("a", "src/link").dir("src/empty");
        sandbox.dir("src/sub").dir("src");
        let store = Store::mount(&sandbox, "m", Manners::default());
        assert_done(&sandbox.zcp(options.iter().chain(&["--fsync", "-T", "src", "m/dst"])).output().unwrap());
        let synced = store.take_counts().synced;
        for name in ["dst", "sub", "empty", "/"] {
            assert_eq!(synced.iter().filter(|synced| *synced == name).count(), 1, "{options:?} {name} {synced:?}");
        }
        let is_file =
            |name: &&OsString| *name == "a" || *name == "b" || name.to_str().unwrap().starts_with(".zcp-");
        assert!(synced.iter().filter(is_file).count() >= 2, "{options:?} {synced:?}");
        assert_eq!(synced.last().unwrap(), "/");
    }
}

fn syncfs_refused() {
    for errno in ["ENOSYS", "EPERM"] {
        for options in ["-r", "-a"] {
            let sandbox = Sandbox::new();
            sandbox.file("src/a", noise(5000)).file("src/sub/b", "b").dir("src/empty").dir("src/sub").dir("src");
            let inject = format!("inject=syncfs:error={errno}");
            let args = [options, "-j1", "--fsync", "-T", "src", "dst"];
            let trace = strace::zcp(&sandbox, &["-e", "trace=fsync,syncfs,utimensat", "-e", &inject], &args);
            assert_done(&trace.output);
            let root = sandbox.path("").canonicalize().unwrap();
            for name in ["dst/a", "dst/sub/b", "dst", "dst/sub", "dst/empty"] {
                let path = format!("<{}>", root.join(name).display());
                let is_sync = |line: &&str| line.starts_with("fsync(") && line.contains(&path);
                assert!(trace.lines().any(|line| is_sync(&line)), "{errno} {options} {name}");
            }
            if options == "-a" {
                kept(&sandbox, "src").assert_same(&kept(&sandbox, "dst"));
            }
        }
    }
}

/// On a disk of this machine nothing is asked at close, and each file's times are set once.
fn pays_nothing() {
    let sandbox = Sandbox::new();
    for name in 0..20 {
        sandbox.file(format!("src/{name}"), noise(900));
    }
    for options in [&["-a", "-j1"][..], &["-a", "-j1", "--atomic"]] {
        let args = [options, &["-T", "src", "dst"]].concat();
        let trace = strace::zcp(&sandbox, &["-e", "trace=fcntl,utimensat"], &args);
        assert_done(&trace.output);
        assert_eq!(
            trace.lines().filter(|line| line.contains("F_DUPFD") && line.contains("/dst/")).count(),
            0,
            "{options:?}"
        );
        assert_eq!(trace.lines().filter(|line| line.starts_with("utimensat(")).count(), 21, "{options:?}");
        fs::remove_dir_all(sandbox.path("dst")).unwrap();
    }
}
