//! `--atomic`: a name stands for a complete file, the old one or the new one, whatever happens during the copy.

use crate::needs::{Need, mounted, trial};
use crate::sandbox::{Sandbox, ZCP, assert_done, noise};
use crate::snapshot::Snapshot;
use crate::strace;
use libtest_mimic::Trial;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial("atomic::existing_keeps_what_cp_keeps", &[Need::Root], existing_keeps_what_cp_keeps),
        trial("atomic::other_links_keep_the_old", &[], other_links_keep_the_old),
        trial("atomic::link_is_written_through", &[], link_is_written_through),
        trial("atomic::dangling_link", &[], dangling_link),
        trial("atomic::unwritable", &[Need::Root, Need::Program("setpriv")], unwritable),
        trial("atomic::device_is_written_into", &[], device_is_written_into),
        trial("atomic::stats_file_leaves_nothing", &[], stats_file_leaves_nothing),
        trial("atomic::name_is_never_missing", &[Need::Strace], name_is_never_missing),
        trial("atomic::without_nameless_files", &[Need::Strace], without_nameless_files),
        trial("atomic::nameless_file_that_cannot_be_linked", &[Need::Strace], nameless_file_that_cannot_be_linked),
        trial("atomic::without_rename_flags", &[Need::Strace], without_rename_flags),
        trial("atomic::without_faccessat2", &[Need::Strace], without_faccessat2),
        trial(
            "atomic::without_the_right_to_link_files_of_others",
            &[Need::Root, Need::Program("setpriv")],
            without_the_right_to_link_files_of_others,
        ),
        trial(
            "atomic::backup_in_a_sticky_directory",
            &[Need::Root, Need::Program("setpriv")],
            backup_in_a_sticky_directory,
        ),
        trial("atomic::name_taken_meanwhile", &[Need::Strace], name_taken_meanwhile),
        trial("atomic::each_fstat_fails", &[Need::Root, Need::Strace], each_fstat_fails),
        trial("atomic::interrupted", &[Need::Strace], interrupted),
        trial("atomic::failed_backup_is_undone", &[Need::Strace], failed_backup_is_undone),
    ];
    for fs in ["ext4", "xfs", "btrfs"] {
        trials.push(trial(format!("atomic::tree_on_{fs}"), &[Need::Mount(fs)], move || {
            tree(&Sandbox::within(mounted(fs).unwrap()));
        }));
    }
    for (name, call) in [("write", "splice"), ("attributes", "fchown"), ("name", "linkat")] {
        trials.push(trial(format!("atomic::nothing_is_left::{name}"), &[Need::Strace], move || {
            nothing_is_left(call);
        }));
    }
    trials
}

/// All names in a directory, hidden ones included.
fn names(sandbox: &Sandbox, dir: &str) -> Vec<String> {
    let entries = fs::read_dir(sandbox.path(dir)).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// All kinds of files are copied as without the option, attributes included, to a new place and over a copy.
fn tree(sandbox: &Sandbox) {
    sandbox.file("src/small", noise(3000)).file("src/big", noise(3 << 20)).file("src/empty", "");
    sandbox.sparse("src/holes", 1 << 20, &[(300_000, b"data")]).symlink("small", "src/link").fifo("src/fifo");
    sandbox.hard_link("src/small", "src/sub/again").mode("src/big", 0o640).xattr("src/big", "user.k", "v");
    sandbox.dir("src/sub").dir("src");
    for args in [&["-a", "--atomic"][..], &["-a", "--atomic"], &["-ab", "--atomic"], &["-a", "--atomic", "-j4"]] {
        let output = sandbox.zcp(args.iter().chain(&["-T", "src", "dst"])).output().unwrap();
        assert_done(&output);
        let copy = sandbox.snapshot("dst").0.into_iter();
        let copy = Snapshot(copy.filter(|(path, _)| !path.to_str().unwrap().ends_with('~')).collect());
        let kept = |snapshot: Snapshot| snapshot.without(|node| node.spans.clear());
        kept(sandbox.snapshot("src")).assert_same(&kept(copy));
    }
    assert!(names(sandbox, "dst").contains(&"big~".to_owned()));
}

/// The new inode gets the owner, mode, access control list and attributes of the old one.
fn existing_keeps_what_cp_keeps() {
    let sandbox = Sandbox::new();
    for name in ["by-cp", "by-zcp"] {
        sandbox.file(name, "old").xattr(name, "user.k", "v").mode(name, 0o4640);
        std::os::unix::fs::chown(sandbox.path(name), Some(1234), Some(2345)).unwrap();
        sandbox.mode(name, 0o4640);
    }
    sandbox.file("src", "new").mode("src", 0o777);
    let inode = fs::metadata(sandbox.path("by-zcp")).unwrap().ino();
    assert_done(&sandbox.command("cp").args(["src", "by-cp"]).output().unwrap());
    assert_done(&sandbox.zcp(["--atomic", "src", "by-zcp"]).output().unwrap());
    sandbox.snapshot("by-cp").assert_same(&sandbox.snapshot("by-zcp"));
    assert_ne!(fs::metadata(sandbox.path("by-zcp")).unwrap().ino(), inode);
}

fn other_links_keep_the_old() {
    let sandbox = Sandbox::new();
    sandbox.file("src", "new").file("dst", "old").hard_link("dst", "other");
    assert_done(&sandbox.zcp(["--atomic", "src", "dst"]).output().unwrap());
    assert_eq!(fs::read(sandbox.path("dst")).unwrap(), b"new");
    assert_eq!(fs::read(sandbox.path("other")).unwrap(), b"old");
}

/// The file that a link leads to, through several links, is replaced in its own directory.
fn link_is_written_through() {
    let sandbox = Sandbox::new();
    sandbox.file("src", "new").file("far/file", "old").symlink("../far/file", "near/second");
    sandbox.symlink("near/second", "first");
    assert_done(&sandbox.zcp(["--atomic", "src", "first"]).output().unwrap());
    assert_eq!(fs::read(sandbox.path("far/file")).unwrap(), b"new");
    assert!(fs::symlink_metadata(sandbox.path("first")).unwrap().is_symlink());
    assert_eq!((names(&sandbox, "far"), names(&sandbox, "near")), (vec!["file".into()], vec!["second".into()]));
}

fn dangling_link() {
    let sandbox = Sandbox::new();
    sandbox.file("src", "new").dir("far").symlink("far/file", "dst");
    let output = sandbox.zcp(["--atomic", "src", "dst"]).output().unwrap();
    assert_eq!(output.stderr, b"zcp: not writing through dangling symlink 'dst'\n");
    let output = sandbox.zcp(["--atomic", "src", "dst"]).env("POSIXLY_CORRECT", "1").output().unwrap();
    assert_done(&output);
    assert_eq!(fs::read(sandbox.path("far/file")).unwrap(), b"new");
}

/// A file that cp could not have overwritten is not replaced, unless `-f` is given.
fn unwritable() {
    let sandbox = Sandbox::new();
    sandbox.file("src", "new").file("dst", "old").mode("dst", 0o444).mode("", 0o777);
    let run = |options: &[&str]| {
        let args = ["--reuid=65534", "--regid=65534", "--clear-groups", ZCP];
        sandbox.command("setpriv").args(args).args(options).args(["--atomic", "src", "dst"]).output().unwrap()
    };
    std::os::unix::fs::chown(sandbox.path("dst"), Some(65534), Some(65534)).unwrap();
    let output = run(&[]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.ends_with("cannot create regular file 'dst': Permission denied\n"), "{errors}");
    assert_eq!(fs::read(sandbox.path("dst")).unwrap(), b"old");
    assert_done(&run(&["-f"]));
    assert_eq!(fs::read(sandbox.path("dst")).unwrap(), b"new");
    assert_eq!(names(&sandbox, ""), ["dst", "src"]);
}

fn device_is_written_into() {
    let sandbox = Sandbox::new();
    sandbox.file("src", "text");
    let output = sandbox.zcp(["--atomic", "src", "/dev/stdout"]).output().unwrap();
    assert_done(&output);
    assert_eq!(output.stdout, b"text");
}

fn stats_file_leaves_nothing() {
    let sandbox = Sandbox::new();
    sandbox.file("src", "text").dir("out");
    assert_done(&sandbox.zcp(["--stats-file=out/stats", "src", "dst"]).output().unwrap());
    assert_eq!(names(&sandbox, "out"), ["stats"]);
}

/// With every option that renames or removes the old file first, each name exists at every moment.
fn name_is_never_missing() {
    for option in ["-r", "-a", "-ab", "-af", "-a --remove-destination", "-r --backup=numbered"] {
        let sandbox = Sandbox::new();
        sandbox.file("src/a", "new").file("src/b", "new").hard_link("src/b", "src/c").symlink("a", "src/l");
        sandbox.file("dst/a", "old").file("dst/b", "old").hard_link("dst/b", "dst/c").symlink("b", "dst/l");
        sandbox.fifo("src/p").fifo("dst/p");
        let there = names(&sandbox, "dst");
        let mut args: Vec<_> = option.split(' ').collect();
        args.extend(["-j1", "--atomic", "-T", "src", "dst"]);
        let inject = ["unlinkat", "renameat", "renameat2", "linkat"];
        let inject = inject.map(|call| format!("--inject={call}:delay_exit=0:signal=STOP"));
        let mut stops = 0;
        let trace = strace::zcp_with_stops(&sandbox, &inject, &args, |_| {
            stops += 1;
            let now = names(&sandbox, "dst");
            assert!(there.iter().all(|name| now.contains(name)), "{option}: {now:?}");
        });
        assert_done(&trace.output);
        assert!(stops >= 4, "{option}: {stops}");
        assert!(!names(&sandbox, "dst").iter().any(|name| name.starts_with(".zcp-")));
    }
}

/// An option for strace that makes O_TMPFILE fail, as on a file system that does not support it.
fn no_nameless_files(sandbox: &Sandbox, args: &[&str]) -> String {
    let trace = strace::zcp(sandbox, &["-e", "trace=openat"], args);
    let ordinal = trace
        .lines()
        .filter(|line| line.starts_with("openat("))
        .position(|line| line.contains("O_TMPFILE"))
        .unwrap()
        + 1;
    format!("inject=openat:error=EOPNOTSUPP:when={ordinal}")
}

/// Without O_TMPFILE, a new file has a temporary name.
fn without_nameless_files() {
    let sandbox = Sandbox::new();
    sandbox.file("src", noise(5000)).dir("first").dir("dst");
    let inject = no_nameless_files(&sandbox, &["--atomic", "src", "first"]);
    let trace = strace::zcp(&sandbox, &["-e", &inject], &["--atomic", "src", "dst"]);
    assert_done(&trace.output);
    assert!(trace.lines().any(|line| line.starts_with("renameat2(") && line.contains(".zcp-")));
    assert_eq!(fs::read(sandbox.path("dst/src")).unwrap(), noise(5000));
    assert_eq!(names(&sandbox, "dst"), ["src"]);
}

/// A file that cannot be given its name is copied again, under a temporary name, and so are those after it.
fn nameless_file_that_cannot_be_linked() {
    for errno in ["EPERM", "ENOENT", "EOPNOTSUPP", "ENOSYS"] {
        let sandbox = Sandbox::new();
        sandbox.file("src/a", noise(5000)).file("src/b", noise(300_000)).file("src/c", "");
        let inject = format!("inject=linkat:error={errno}");
        let trace = strace::zcp(&sandbox, &["-e", &inject], &["-aj1", "--atomic", "-T", "src", "dst"]);
        assert_done(&trace.output);
        assert!((1..=2).contains(&trace.injected()), "{errno}: {}", trace.injected());
        sandbox.snapshot("src").assert_same(&sandbox.snapshot("dst"));
    }
}

/// Without renameat2(2), a temporary name becomes the final one by link(2), or by rename(2) where link(2) fails
/// too.
fn without_rename_flags() {
    for (name, also) in [("linked", None), ("renamed", Some("inject=linkat:error=EPERM"))] {
        let sandbox = Sandbox::new();
        sandbox.file("src", noise(5000)).dir("first").dir("dst").file("over", "old").file("over.~1~", "older");
        let nameless = no_nameless_files(&sandbox, &["--atomic", "src", "first"]);
        let mut options = vec!["-e", &nameless, "-e", "inject=renameat2:error=EINVAL"];
        also.iter().for_each(|inject| options.extend(["-e", inject]));
        let trace = strace::zcp(&sandbox, &options, &["--atomic", "src", "dst"]);
        assert_done(&trace.output);
        assert_eq!(fs::read(sandbox.path("dst/src")).unwrap(), noise(5000), "{name}");
        assert_eq!(names(&sandbox, "dst"), ["src"], "{name}");
        let trace = strace::zcp(&sandbox, &options[2..], &["--backup=numbered", "src", "over"]);
        assert_done(&trace.output);
        assert_eq!(fs::read(sandbox.path("over.~2~")).unwrap(), b"old", "{name}");
        assert_eq!(fs::read(sandbox.path("over.~1~")).unwrap(), b"older", "{name}");
    }
}

/// Seccomp filters of old containers refuse faccessat2(2) with EPERM, and libc has no fallback for that.
fn without_faccessat2() {
    let sandbox = Sandbox::new();
    sandbox.file("src", "new").file("dst", "old");
    let trace = strace::zcp(&sandbox, &["-e", "inject=faccessat2:error=EPERM"], &["--atomic", "src", "dst"]);
    assert_done(&trace.output);
    assert_eq!(fs::read(sandbox.path("dst")).unwrap(), b"new");
}

/// Only root with all capabilities can link files that were given to other users (fs.protected_hardlinks).
/// Without them, contents are copied, and the attributes that could not be set are reported.
fn without_the_right_to_link_files_of_others() {
    let sandbox = Sandbox::new();
    for (name, mode) in [("own", 0o644), ("closed", 0o600), ("set-id", 0o4755)] {
        let path = format!("src/{name}");
        sandbox.file(&path, name).mode(&path, mode);
        if name != "own" {
            std::os::unix::fs::chown(sandbox.path(&path), Some(1234), Some(1234)).unwrap();
            sandbox.mode(&path, mode);
        }
    }
    let rights = ["--bounding-set=-fowner,-dac_override", ZCP, "-a", "--atomic", "-T", "src", "dst"];
    let output = sandbox.command("setpriv").args(rights).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(errors.lines().all(|line| line.contains(": preserving ")), "{errors}");
    assert_eq!(names(&sandbox, "dst"), ["closed", "own", "set-id"]);
    for name in names(&sandbox, "dst") {
        assert_eq!(fs::read_to_string(sandbox.path("dst").join(&name)).unwrap(), name);
    }
}

/// In a sticky directory, another user's file can be written to and linked, but not replaced, and a backup of it
/// could not be removed. So zcp makes no backup and reports the failure.
fn backup_in_a_sticky_directory() {
    for options in
        [&["-b"][..], &["--backup=numbered"], &["-b", "-f"], &["-b", "--remove-destination"], &["-f"], &[]]
    {
        for atomic in [&["--atomic"][..], &[]] {
            let sandbox = Sandbox::new();
            sandbox
                .file("src", "new")
                .file("dst/f", "old")
                .mode("dst/f", 0o666)
                .mode("", 0o755)
                .mode("dst", 0o1777);
            std::os::unix::fs::chown(sandbox.path("dst/f"), Some(1234), Some(1234)).unwrap();
            let args = ["--reuid=65534", "--regid=65534", "--clear-groups", ZCP];
            let mut command = sandbox.command("setpriv");
            let output = command.args(args).args(atomic).args(options).args(["src", "dst/f"]).output().unwrap();
            let overwritten = atomic.is_empty() && matches!(options, [] | ["-f"]);
            assert_eq!(output.status.success(), overwritten, "{options:?} {output:?}");
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(!errors.contains("un-backup"), "{errors}");
            assert_eq!(names(&sandbox, "dst"), ["f"], "{options:?}");
            let expected = if overwritten { "new" } else { "old" };
            assert_eq!(fs::read_to_string(sandbox.path("dst/f")).unwrap(), expected);
        }
    }
}

/// A file that another process makes under the final name is replaced, or kept if existing files are not to be
/// overwritten.
fn name_taken_meanwhile() {
    for (nameless, no_clobber) in [(true, true), (true, false), (false, true), (false, false)] {
        let more = if no_clobber { "--update=none-fail" } else { "--update=all" };
        let sandbox = Sandbox::new();
        sandbox.file("src", noise(5000)).dir("first").dir("dst");
        let mut options = vec!["-e".to_owned(), "inject=sendfile:signal=STOP:when=1".to_owned()];
        let args = |dir| ["--atomic", more, "--strategy=sendfile", "src", dir];
        if !nameless {
            options.extend(["-e".into(), no_nameless_files(&sandbox, &args("first"))]);
        }
        let trace = strace::zcp_with_stops(&sandbox, &options, &args("dst"), |_| {
            sandbox.file("dst/src", "first");
        });
        let errors = String::from_utf8_lossy(&trace.output.stderr);
        let words = if no_clobber { "zcp: not replacing 'dst/src'\n" } else { "" };
        assert_eq!((trace.output.status.success(), &*errors), (!no_clobber, words));
        let content = if no_clobber { b"first".to_vec() } else { noise(5000) };
        assert_eq!(fs::read(sandbox.path("dst/src")).unwrap(), content);
        assert_eq!(names(&sandbox, "dst"), ["src"]);
    }
}

/// Whichever call fails, the old file is complete, and there is neither a new file nor a temporary name.
fn nothing_is_left(call: &str) {
    for errno in ["ENOSPC", "EIO"] {
        let sandbox = Sandbox::new();
        sandbox.file("src/new", noise(300_000)).file("src/over", noise(300_000)).file("dst/over", "old");
        let inject = format!("inject={call}:error={errno}:when=1+");
        let args = ["-rj1", "--atomic", "--strategy=splice", "-T", "src", "dst"];
        let trace = strace::zcp(&sandbox, &["-e", &inject], &args);
        let names = names(&sandbox, "dst");
        assert!(!names.iter().any(|name| name.starts_with(".zcp-")), "{names:?}");
        if call == "fchown" {
            assert_done(&trace.output);
            continue; // no file of this tree changes its owner
        }
        assert!(trace.injected() > 0);
        assert_eq!(trace.output.status.code(), Some(1));
        assert_eq!(names, ["over"]);
        // Only a new file is linked.
        let over = fs::read(sandbox.path("dst/over")).unwrap();
        assert!(over == b"old" || (call == "linkat" && over == noise(300_000)));
    }
}

/// Each fstat in turn fails: no temporary name is left, and every file and directory that is not reported has
/// its attributes, the owner included.
fn each_fstat_fails() {
    let chown = |path| std::os::unix::fs::chown(path, Some(1234), Some(2345)).unwrap();
    for when in 1.. {
        let sandbox = Sandbox::new();
        sandbox.file("src/d/new", "new").file("src/over", "new").dir("src/d").dir("src").file("dst/over", "old");
        ["src/d/new", "src/d", "src/over"].into_iter().for_each(|name| chown(sandbox.path(name)));
        let inject = format!("inject=fstat,newfstatat:error=EIO:when={when}"); // either can be the call of fstat(3)
        let trace = strace::zcp(&sandbox, &["-e", &inject], &["-aj1", "--atomic", "-T", "src", "dst"]);
        let copy = sandbox.snapshot("dst");
        assert!(!copy.0.keys().any(|path| path.to_str().unwrap().contains(".zcp-")), "{when}");
        if trace.output.status.success() {
            sandbox.snapshot("src").assert_same(&copy);
        }
        if trace.injected() == 0 {
            assert!(when > 10);
            break;
        }
    }
}

/// After a signal in the middle of a file, the old file is complete, and the process ends by the signal.
fn interrupted() {
    for (signal, number) in [("INT", 2), ("TERM", 15), ("HUP", 1)] {
        for over in [false, true] {
            let sandbox = Sandbox::new();
            sandbox.file("src", noise(8 << 20)).dir("dst");
            if over {
                sandbox.file("dst/src", "old");
            }
            let inject = format!("inject=splice:signal={signal}:when=4");
            let args = ["--atomic", "--strategy=splice", "src", "dst"];
            let trace = strace::zcp(&sandbox, &["-e", &inject], &args);
            // strace ends in the same way as its child.
            assert_eq!(trace.output.status.signal(), Some(number), "{:?}", trace.output);
            assert_eq!(names(&sandbox, "dst"), if over { vec!["src"] } else { vec![] });
            assert!(!over || fs::read(sandbox.path("dst/src")).unwrap() == b"old");
        }
    }
}

/// The backup's name is removed again, and the file's own name existed all the time.
fn failed_backup_is_undone() {
    let sandbox = Sandbox::new();
    sandbox.file("src", noise(300_000)).file("dst/src", "old");
    let args = ["--atomic", "-b", "--strategy=splice", "src", "dst"];
    let trace = strace::zcp(&sandbox, &["-e", "inject=splice:error=EIO"], &args);
    assert_eq!(trace.output.status.code(), Some(1));
    assert_eq!(names(&sandbox, "dst"), ["src"]);
    assert_eq!(fs::read(sandbox.path("dst/src")).unwrap(), b"old");
}
