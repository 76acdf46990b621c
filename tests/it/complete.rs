//! A copy that failed never looks complete to a later run, and a complete copy is not copied again.

use crate::environments::store::{Manners, Store};
use crate::needs::{Image, Need, SHM, trial};
use crate::sandbox::{LONG_AGO, Sandbox, assert_done, noise, stats};
use crate::snapshot::Snapshot;
use crate::strace;
use filetime::FileTime;
use libtest_mimic::Trial;
use rustix::io::Errno;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

pub(crate) fn trials() -> Vec<Trial> {
    let fuse = [Need::Fuse, Need::Root];
    vec![
        trial("complete::not_if_a_call_failed", &[Need::Strace, Need::Root, Need::Shm], call_failed),
        trial("complete::not_if_close_failed_on_a_server", &fuse, server_close_failed),
        trial("complete::not_if_fsync_failed_on_a_server", &fuse, server_fsync_failed),
        trial("complete::not_if_an_attribute_was_refused_by_a_server", &fuse, server_attribute_failed),
        trial("complete::not_if_syncfs_failed", &[Need::Strace], syncfs_failed),
        trial("complete::not_if_a_failure_ended_the_copy_before_the_sync", &[], ended_before_sync),
        trial("complete::not_if_the_disk_was_full", &[Need::Root, Need::Mount("ext4")], thin_disk),
        trial("complete::each_is_synced_where_syncfs_does_not_reach", &fuse, server_is_synced),
        trial("complete::each_is_synced_where_syncfs_is_refused", &[Need::Strace], syncfs_refused),
        trial("complete::attributes_are_compared", &[Need::Root, Need::Shm], attributes_are_compared),
        trial("complete::owners_are_compared", &[Need::Root, Need::Program("setpriv")], owners_are_compared),
        trial("complete::links_and_fifos_get_attributes", &[Need::Root, Need::Shm], special_files_get_attributes),
        trial("complete::coarse_times_on_ext4", &[Need::Root, Need::Mount("ext4")], coarse_ext4),
        trial("complete::times_beyond_what_is_kept", &[Need::Root, Need::Mount("ext4")], times_beyond),
        trial("complete::coarse_times_on_a_server", &fuse, coarse_server),
        trial("complete::coarse_guesses_are_refuted", &[Need::Strace], coarse_guesses),
        trial("complete::other_kinds_are_replaced", &[Need::Root], other_kinds),
        trial("complete::streams_of_operands_stay", &[Need::Root], streams_stay),
        trial("complete::ordinary_copies_pay_nothing_for_it", &[Need::Strace], pays_nothing),
    ]
}

/// The content and attributes of a copy, without the ranges of data.
fn kept(sandbox: &Sandbox, name: &str) -> Snapshot {
    sandbox.snapshot(name).without(|node| node.spans.clear())
}

/// Each call that can fail after all bytes are written. The next run decides by times alone, and completes the
/// copy.
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

/// Data that was written is lost, and only close(2) reports it.
fn server_close_failed() {
    for options in [&["-a", "--resume"][..], &["-au"], &["-a", "--resume", "--atomic"], &["-ru"]] {
        let sandbox = Sandbox::new();
        sandbox.file("src/bad", noise(50_000)).file("src/good", noise(50_000)).dir("src");
        let store = Store::mount(&sandbox, "m", Manners { flush: Some(Errno::NOSPC), ..Manners::default() });
        // Without --keep-going, ENOSPC may end the copy before the other file.
        let args = [options, &["--keep-going", "-T", "src", "m/dst"]].concat();
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

/// syncfs(2) fails without naming a file, so all files that waited for it are copied again.
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
        assert!(errors.starts_with("zcp: cannot sync the file system of 'dst': "), "{errors}");
        let output = sandbox.zcp(args.iter().chain(&["--stats=json"])).output().unwrap();
        assert_done(&output);
        assert_eq!(stats(&output)["totals"]["files"], 3, "{again:?}");
        kept(&sandbox, "src").assert_same(&kept(&sandbox, "dst"));
        let output = sandbox.zcp(args.iter().chain(&["--stats=json"])).output().unwrap();
        assert_eq!(stats(&output)["totals"]["files"], 0, "{again:?}");
    }
}

/// Files that wait for syncfs(2) when a failure ends the copy are not known to be on the disk.
fn ended_before_sync() {
    for options in [&["-a", "--resume"][..], &["-au"]] {
        let sandbox = Sandbox::new();
        sandbox.file("src/f", noise(5000)).dir("src").dir("dst");
        let common = [options, &["-j1", "--fsync", "--stats=json", "src"]].concat();
        let ended = sandbox.zcp(common.iter().chain(&["--fail-fast", "missing", "dst"])).output().unwrap();
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        assert_eq!(stats(&ended)["totals"]["files"], 1, "{ended:?}");
        for copied in [1, 0] {
            let again = sandbox.zcp(common.iter().chain(&["dst"])).output().unwrap();
            assert_done(&again);
            assert_eq!(stats(&again)["totals"]["files"], copied, "{options:?}");
            kept(&sandbox, "src").assert_same(&kept(&sandbox, "dst/src"));
        }
    }
}

/// A sparse disk image on a full file system: writing back fails, of files and of their inodes.
fn thin_disk() {
    const SCRIPT: &str = "set -e
        trap 'umount -l disk; umount -l tmp' EXIT
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
        let mut command = sandbox.command("sh");
        let output = command.args(["-c", SCRIPT, "sh", crate::sandbox::ZCP]).args(options).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{options:?} {output:?}");
    }
}

/// The kernel does not pass syncfs(2) on to an ordinary FUSE server.
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

/// On a local disk, zcp makes no call to learn the result of close(2), and sets the times of each file once.
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

/// `cap_net_raw+ep`, as setcap(8) writes it.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// An access control list that lets user 1234 read (struct posix_acl_xattr_entry).
pub(crate) fn acl() -> Vec<u8> {
    let entries: [(u16, u16, u32); 5] =
        [(1, 6, u32::MAX), (2, 4, 1234), (4, 4, u32::MAX), (0x10, 4, u32::MAX), (0x20, 4, u32::MAX)];
    let entry = |(tag, permissions, id): (u16, u16, u32)| {
        [tag.to_le_bytes().as_slice(), &permissions.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    [2_u32.to_le_bytes().to_vec()].into_iter().chain(entries.map(entry)).flatten().collect()
}

/// Length and times are right. All else that would be preserved is set, and no byte is copied.
fn attributes_are_compared() {
    let list = "system.posix_acl_access";
    type Change = fn(&Sandbox, &str);
    let changes: [(&str, Change, Change); 6] = [
        ("a new attribute", |s, f| _ = s.xattr(f, "user.k", "v"), |_, _| ()),
        ("another value", |s, f| _ = s.xattr(f, "user.k", "new"), |s, f| _ = s.xattr(f, "user.k", "old")),
        ("a new grant", |s, f| _ = s.xattr(f, "system.posix_acl_access", acl()), |_, _| ()),
        ("a withdrawn grant", |_, _| (), |s, f| _ = s.xattr(f, "system.posix_acl_access", acl())),
        ("a withdrawn capability", |_, _| (), |s, f| _ = s.xattr(f, "security.capability", CAPABILITY)),
        ("a new capability", |s, f| _ = s.xattr(f, "security.capability", CAPABILITY), |_, _| ()),
    ];
    for (name, at_source, at_copy) in changes {
        for options in [&["-a"][..], &["-rp"], &["-r", "--preserve=mode"]] {
            let is_list = name.contains("grant");
            if !is_list && options != ["-a"] {
                continue;
            }
            let sandbox = Sandbox::within(SHM);
            sandbox.file("src/f", noise(5000)).dir("src").file("dst/f", noise(5000)).dir("dst");
            at_source(&sandbox, "src/f");
            at_copy(&sandbox, "dst/f");
            let args = [options, &["--resume", "--stats=json", "-T", "src", "dst"]].concat();
            let output = sandbox.zcp(&args).output().unwrap();
            assert_done(&output);
            assert_eq!(stats(&output)["totals"]["complete"], 1, "{name} {options:?}");
            let of = |file: &str| {
                let node = kept(&sandbox, file).0.into_values().next().unwrap();
                (node.mode, node.mtime, node.xattrs.get(&*std::ffi::CString::new(list).unwrap()).cloned())
            };
            assert_eq!(of("src/f"), of("dst/f"), "{name} {options:?}");
            if options == ["-a"] {
                kept(&sandbox, "src").assert_same(&kept(&sandbox, "dst"));
            }
        }
    }
}

/// Owners are compared as far as this process could change them.
fn owners_are_compared() {
    let sandbox = Sandbox::new();
    sandbox.mode("", 0o777);
    for name in ["src/f", "dst/f"] {
        sandbox.file(name, "content");
    }
    for dir in ["src", "dst"] {
        sandbox.dir(dir);
        std::os::unix::fs::chown(sandbox.path(dir), Some(1234), Some(1234)).unwrap();
    }
    std::os::unix::fs::chown(sandbox.path("src/f"), Some(0), Some(2345)).unwrap();
    std::os::unix::fs::chown(sandbox.path("dst/f"), Some(1234), Some(1234)).unwrap();
    let copy = |group: &str| {
        let user = ["--reuid=1234", "--regid=1234", group, crate::sandbox::ZCP, "-a", "--resume", "--stats=json"];
        let output = sandbox.command("setpriv").args(user).args(["-T", "src", "dst"]).output().unwrap();
        assert_done(&output);
        assert_eq!(stats(&output)["totals"]["complete"], 1);
        let copy = fs::metadata(sandbox.path("dst/f")).unwrap();
        (copy.uid(), copy.gid())
    };
    assert_eq!(copy("--clear-groups"), (1234, 1234));
    assert_eq!(copy("--groups=2345"), (1234, 2345));
}

/// Special files are not made again when their attributes are set.
fn special_files_get_attributes() {
    let sandbox = Sandbox::within(SHM);
    sandbox.symlink("to", "src/link").fifo("src/fifo").symlink("to", "dst/link").fifo("dst/fifo");
    sandbox.dir("src").dir("dst");
    for name in ["src/link", "src/fifo"] {
        std::os::unix::fs::lchown(sandbox.path(name), Some(1234), Some(2345)).unwrap();
        sandbox.xattr(name, "trusted.k", "v").time(name, LONG_AGO);
    }
    sandbox.mode("src/fifo", 0o600);
    let inodes = || ["link", "fifo"].map(|name| sandbox.path("dst").join(name).symlink_metadata().unwrap().ino());
    let before = inodes();
    let output = sandbox.zcp(["-a", "--resume", "--stats=json", "-T", "src", "dst"]).output().unwrap();
    assert_done(&output);
    assert_eq!((inodes(), &stats(&output)["totals"]["complete"]), (before, &2.into()));
    kept(&sandbox, "src").assert_same(&kept(&sandbox, "dst"));
}

/// Copies twice, and returns the number of files that the second run copied.
fn copied_again(sandbox: &Sandbox, options: &[&str], destination: &Path) -> u64 {
    let args = [options, &["--stats=json", "-T", "src", destination.to_str().unwrap()]].concat();
    assert_done(&sandbox.zcp(&args).output().unwrap());
    let again = sandbox.zcp(&args).output().unwrap();
    assert_done(&again);
    let totals = &stats(&again)["totals"];
    let count = |name: &str| totals[name].as_u64().unwrap();
    count("files") + count("symlinks") + count("special")
}

const KEEPING: [&[&str]; 4] = [&["-au"], &["-rup"], &["-a", "--resume"], &["-r", "--resume"]];

/// Inodes of 128 bytes store whole seconds.
fn coarse_ext4() {
    let disk = Image::new("ext4", &["-I", "128"]);
    let sandbox = Sandbox::new();
    for index in 0..30 {
        sandbox.file(format!("src/{index}"), noise(500)).symlink("x", format!("src/link{index}"));
    }
    sandbox.fifo("src/fifo").dir("src");
    for options in KEEPING {
        let destination = disk.path().join("dst");
        assert_eq!(copied_again(&sandbox, options, &destination), 0, "{options:?}");
        // A difference of a whole second still counts.
        let later = FileTime::from_unix_time(LONG_AGO.unix_seconds() + 1, 0);
        sandbox.file("src/7", noise(501)).time("src/7", later);
        sandbox.file("src/8", noise(501)).time("src/8", later);
        assert_eq!(copied_again(&sandbox, options, &destination), 0, "{options:?}");
        assert_eq!(fs::read(destination.join("7")).unwrap(), noise(501), "{options:?}");
        sandbox.file("src/7", noise(500)).file("src/8", noise(500));
        fs::remove_dir_all(&destination).unwrap();
    }
}

/// Times before the first or after the last one that the file system can store.
fn times_beyond() {
    for (options, last) in [(&["-I", "128"][..], i64::from(i32::MAX)), (&[], 15_032_385_535)] {
        let disk = Image::new("ext4", options);
        let sandbox = Sandbox::within(SHM);
        let times = [
            ("old", -6_000_000_000),
            ("older", -7_000_000_000),
            ("new", last + 90_000),
            ("newer", last + 900_000),
        ];
        for (name, time) in times {
            sandbox
                .file(format!("src/{name}"), noise(500))
                .time(format!("src/{name}"), FileTime::from_unix_time(time, 5));
        }
        for options in KEEPING {
            let destination = disk.path().join("dst");
            assert_eq!(copied_again(&sandbox, options, &destination), 0, "{options:?} {last}");
            fs::remove_dir_all(&destination).unwrap();
        }
    }
}

/// Units of time of sshfs, FAT, exFAT and NTFS.
fn coarse_server() {
    let units = [(1, 0), (2, 0), (0, 100), (0, 10_000_000)];
    for (coarse_seconds, coarse_nanoseconds) in units {
        let sandbox = Sandbox::new();
        for index in 0..10 {
            let time = FileTime::from_unix_time(LONG_AGO.unix_seconds() + index, 123_456_789);
            sandbox.file(format!("src/{index}"), noise(500)).time(format!("src/{index}"), time);
        }
        sandbox.dir("src");
        let store =
            Store::mount(&sandbox, "m", Manners { coarse_seconds, coarse_nanoseconds, ..Manners::default() });
        for options in KEEPING {
            let destination = sandbox.path(format!("m/dst{}", options.concat()));
            assert_eq!(copied_again(&sandbox, options, &destination), 0, "{options:?} {coarse_seconds}");
        }
        drop(store);
    }
}

/// A time that could be a truncated form of the source's, on a file system that truncates nothing: the file is
/// copied, and at each moment has its own time or one that is not its source's.
fn coarse_guesses() {
    for nanoseconds in [0, 123_456_000, 120_000_000] {
        let sandbox = Sandbox::new();
        let time = FileTime::from_unix_time(LONG_AGO.unix_seconds(), nanoseconds);
        sandbox.file("src/f", noise(500)).dir("src").file("dst/f", [0; 500]).time("dst/f", time);
        let kill = ["-e", "trace=utimensat", "-e", "inject=utimensat:signal=KILL:when=1"];
        let args = ["-a", "-j1", "--resume", "-T", "src", "dst"];
        assert!(!strace::zcp(&sandbox, &kill, &args).output.status.success());
        let before = fs::read(sandbox.path("dst/f")).unwrap();
        assert_eq!(before, [0; 500]);
        sandbox.time("dst/f", time);
        for option in ["-u", "--resume"] {
            sandbox.file("dst/f", [0; 500]).time("dst/f", time);
            assert_done(&sandbox.zcp(["-a", option, "-T", "src", "dst"]).output().unwrap());
            assert_eq!(fs::read(sandbox.path("dst/f")).unwrap(), noise(500), "{nanoseconds} {option}");
            kept(&sandbox, "src").assert_same(&kept(&sandbox, "dst"));
        }
    }
}

/// `--resume` makes a copy of the source: it writes nothing through a link, and waits for no fifo.
fn other_kinds() {
    for options in [&["-a"][..], &["-r"], &["-a", "--atomic"], &["-a", "--verify"], &["-aL"]] {
        let sandbox = Sandbox::new();
        sandbox.file("kept", "kept");
        for name in ["link", "dangling", "fifo", "socket"] {
            sandbox.file(format!("src/{name}"), "content");
        }
        sandbox.dir("src").symlink("../kept", "dst/link").symlink("nowhere", "dst/dangling").fifo("dst/fifo");
        let _socket = std::os::unix::net::UnixListener::bind(sandbox.path("dst/socket")).unwrap();
        let args = [options, &["--resume", "-T", "src", "dst"]].concat();
        assert_done(&sandbox.zcp(&args).output().unwrap());
        assert_eq!(fs::read(sandbox.path("kept")).unwrap(), b"kept", "{options:?}");
        for name in ["link", "dangling", "fifo", "socket"] {
            let path = sandbox.path("dst").join(name);
            assert!(path.symlink_metadata().unwrap().is_file(), "{options:?} {name}");
            assert_eq!(fs::read(path).unwrap(), b"content", "{options:?} {name}");
        }
        // Directories as well, without looking at what a link leads to.
        sandbox
            .file("tree/file/f", "1")
            .file("tree/fifo/f", "2")
            .file("tree/link/f", "3")
            .file("tree/none/f", "4");
        sandbox
            .file("copy/file", "old")
            .fifo("copy/fifo")
            .file("aside/f", "kept")
            .symlink("../aside", "copy/link");
        sandbox.symlink("nowhere", "copy/none");
        assert_done(&sandbox.zcp([options, &["--resume", "-T", "tree", "copy"]].concat()).output().unwrap());
        for (name, content) in [("file", "1"), ("fifo", "2"), ("link", "3"), ("none", "4")] {
            let path = sandbox.path("copy").join(name);
            assert!(path.symlink_metadata().unwrap().is_dir(), "{options:?} {name}");
            assert_eq!(fs::read_to_string(path.join("f")).unwrap(), content, "{options:?} {name}");
        }
        assert_eq!(fs::read(sandbox.path("aside/f")).unwrap(), b"kept", "{options:?}");
        // An operand as well, without looking at what the link leads to.
        sandbox.symlink("kept", "name");
        let args = [options, &["--resume", "src/link", "name"]].concat();
        assert_done(&sandbox.zcp(&args).output().unwrap());
        assert_eq!(fs::read(sandbox.path("kept")).unwrap(), b"kept", "{options:?}");
        assert!(sandbox.path("name").symlink_metadata().unwrap().is_file());
    }
}

/// A device or a descriptor that is named on the command line is written to.
fn streams_stay() {
    let sandbox = Sandbox::new();
    sandbox.file("src", "content").symlink("/proc/self/fd/1", "out").symlink("device", "null");
    let null = rustix::fs::makedev(1, 3);
    let mode = rustix::fs::Mode::from_raw_mode(0o666);
    let kind = rustix::fs::FileType::CharacterDevice;
    rustix::fs::mknodat(rustix::fs::CWD, sandbox.path("device"), kind, mode, null).unwrap();
    for destination in ["out", "device", "null"] {
        let output = sandbox.zcp(["--resume", "src", destination]).output().unwrap();
        assert_done(&output);
        assert_eq!(output.stdout.is_empty(), destination != "out", "{destination}");
    }
    assert!(sandbox.path("out").is_symlink() && sandbox.path("null").is_symlink());
    assert!(fs::metadata(sandbox.path("device")).unwrap().file_type().is_char_device());
}
