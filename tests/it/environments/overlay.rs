//! An overlay mount as a source and as a destination, and copies between it and its own layers.

use crate::needs::{self, Need, trial};
use crate::sandbox::{Sandbox, assert_done};
use crate::snapshot::Snapshot;
use crate::strace;
use libtest_mimic::Trial;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// Mount options besides the layers. Trials whose options the kernel does not support are ignored.
const KINDS: [(&str, &str); 3] =
    [("plain", ""), ("metacopy", ",redirect_dir=on,metacopy=on"), ("index", ",index=on,nfs_export=off")];

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial("overlay::upper_into_its_own_mount", &[Need::Overlay("")], upper_into_its_own_mount),
        trial("overlay::mount_into_its_own_upper", &[Need::Overlay("")], mount_into_its_own_upper),
        trial(
            "overlay::repeated_names_and_fresh_sources_are_copied",
            &[Need::Overlay(""), Need::Shm],
            repeated_names_and_fresh_sources_are_copied,
        ),
        trial(
            "overlay::replaced_file_is_not_overwritten",
            &[Need::Overlay(""), Need::Strace],
            replaced_file_is_not_overwritten,
        ),
        trial(
            "bindfs::served_directory_into_its_own_mount",
            &[Need::Fuse, Need::Program("bindfs")],
            served_directory_into_its_own_mount,
        ),
    ];
    for (name, options) in KINDS {
        let needs = [Need::Overlay(options)];
        trials.push(trial(format!("overlay::copied_up_files_are_overwritten::{name}"), &needs, move || {
            copied_up_files_are_overwritten(options, false);
        }));
    }
    let needs = [Need::Overlay(""), Need::Shm];
    trials.push(trial("overlay::copied_up_files_are_overwritten::two_file_systems", &needs, || {
        copied_up_files_are_overwritten("", true);
    }));
    trials.push(trial("overlay::trees_over_all_layers", &needs, trees_over_all_layers));
    trials
}

/// A mount in a sandbox. It is unmounted before the sandbox is removed.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Mounts an overlay on `merged` whose lower layer is `lower`.
fn mount(sandbox: &Sandbox, options: &str) -> Mounted {
    ["lower", "upper", "work", "merged"].iter().for_each(|name| _ = sandbox.dir(name));
    assert!(needs::mount_overlay(&sandbox.path(""), options));
    Mounted(sandbox.path("merged"))
}

/// When a file of the lower layer that has several names is opened for writing, it gets another inode. That does
/// not mean that another process replaced it. If the layers are on two file systems, other files get another
/// device number as well.
fn copied_up_files_are_overwritten(options: &str, two_file_systems: bool) {
    let kinds: [&[&str]; 14] = [
        &[],
        &["-f"],
        &["-u"],
        &["-a"],
        &["-a", "-j1"],
        &["--attributes-only", "-p"],
        &["--resume"],
        &["--verify"],
        &["--fsync"],
        &["--cache=drop"],
        &["--atomic"],
        &["-a", "--atomic", "--resume", "--fsync", "--verify"],
        &["--remove-destination"],
        &["-b"],
    ];
    for args in kinds {
        let sandbox = Sandbox::new();
        let elsewhere = two_file_systems.then(|| Sandbox::within(needs::SHM));
        if let Some(elsewhere) = &elsewhere {
            sandbox.symlink(elsewhere.dir("lower").path("lower"), "lower");
            sandbox.file("src/lone", "new content").file("lower/lone", "old");
        }
        for name in ["a", "empty"] {
            sandbox.file(format!("src/{name}"), if name == "a" { "new content" } else { "" }).mode("src/a", 0o640);
            sandbox
                .file(format!("lower/{name}"), "old")
                .hard_link(format!("lower/{name}"), format!("lower/{name}2"));
            // The older time lets `-u` replace the file.
            let long_before = filetime::FileTime::from_unix_time(900_000_000, 0);
            sandbox.time(format!("lower/{name}"), long_before);
        }
        let _mount = mount(&sandbox, options);
        let output = sandbox.zcp(args).args(["-r", "-T", "src", "merged"]).output().unwrap();
        assert_done(&output);
        let bytes = |name: &str| fs::read_to_string(sandbox.path("merged").join(name)).unwrap();
        let changed = !args.contains(&"--attributes-only");
        assert_eq!(bytes("a"), if changed { "new content" } else { "old" }, "{args:?}");
        assert_eq!(bytes("empty"), if changed { "" } else { "old" }, "{args:?}");
        if !options.contains("index=on") || args.iter().any(|arg| ["--atomic", "-b"].contains(arg)) {
            assert_eq!((&*bytes("a2"), &*bytes("empty2")), ("old", "old"), "{args:?}");
        }
        let names = fs::read_dir(sandbox.path("merged")).unwrap();
        let backups = if args == ["-b"] { 2 } else { 0 };
        let lone = usize::from(two_file_systems) * if args == ["-b"] { 2 } else { 1 };
        assert_eq!(names.count(), 4 + backups + lone, "{args:?}");
        assert!(!two_file_systems || bytes("lone") == bytes("a") || args == ["-u"], "{args:?}");
        let kept = args.iter().any(|arg| ["-a", "-p", "--resume"].contains(arg));
        let times =
            ["src/a", "merged/a"].map(|name| fs::metadata(sandbox.path(name)).unwrap().modified().unwrap());
        assert!(!kept || times[0] == times[1], "{args:?}");
    }
}

/// A file with another name that another process puts in the place of the one to overwrite is left alone, on an
/// overlay too.
fn replaced_file_is_not_overwritten() {
    let sandbox = Sandbox::new();
    sandbox.file("src", "new").file("lower/f", "old").hard_link("lower/f", "lower/g");
    let _mount = mount(&sandbox, "");
    sandbox.file("merged/other", "precious").hard_link("merged/other", "merged/kept");
    let inject = "inject=newfstatat:signal=STOP:when=1";
    let options = ["-P", "merged/f", "-e", inject];
    let mut stops = 0;
    let trace = strace::zcp_with_stops(&sandbox, &options, &["src", "merged/f"], |stop| {
        stops = stop;
        fs::rename(sandbox.path("merged/other"), sandbox.path("merged/f")).unwrap();
    });
    let errors = String::from_utf8_lossy(&trace.output.stderr);
    assert!(stops == 1 && errors.contains("replaced while being copied"), "{stops} {:?}", trace.output);
    for name in ["merged/f", "merged/kept"] {
        assert_eq!(fs::read(sandbox.path(name)).unwrap(), b"precious", "{name}");
    }
}

/// Copies `from` into `to`, where each new directory appears in the source. The copy must end soon and report
/// it.
#[track_caller]
fn assert_ends(sandbox: &Sandbox, args: &[&str]) {
    let mut command = sandbox.zcp(args);
    let output = command.timeout(Duration::from_secs(60)).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let words = "cannot copy a directory, '";
    let said = errors.matches(words).count() == 1 && errors.contains("', into itself, '");
    assert!(output.status.code() == Some(1) && said, "{args:?} {output:?}");
}

fn deepest(sandbox: &Sandbox, name: &str) -> usize {
    let root = sandbox.path(name);
    walkdir::WalkDir::new(root).into_iter().map(|entry| entry.unwrap().depth()).max().unwrap()
}

fn upper_into_its_own_mount() {
    let cases: [(&[&str], &[&str]); 10] = [
        (&[], &["-a", "upper", "merged/x"]),
        (&[], &["-r", "-j1", "upper", "merged/x"]),
        (&[], &["-a", "upper", "merged/d/x"]),
        (&["x"], &["-a", "upper", "merged/x"]),
        (&["x"], &["-r", "upper/.", "merged/x"]),
        (&["x/x/x"], &["-aT", "upper", "merged/x"]),
        (&["x/y/x/y"], &["-aT", "upper", "merged/x/y"]),
        (&[], &["-r", "upper/", "merged/x/"]),
        (&[], &["-rs", "upper", "merged/x"]),
        (&[], &["-r", "--parents", "upper", "merged"]),
    ];
    for (there, args) in cases {
        let sandbox = Sandbox::new();
        sandbox.file("upper/d/e/f", "f").file("upper/g", "g");
        let _mount = mount(&sandbox, "");
        for name in there {
            sandbox.dir(format!("merged/{name}"));
        }
        let args: Vec<_> = args.iter().map(|arg| arg.to_string()).collect();
        let absolute = |arg: &String| match arg.strip_prefix("upper") {
            Some(rest) if args.contains(&"-rs".into()) => {
                sandbox.path("upper").to_str().unwrap().to_owned() + rest
            }
            _ => arg.clone(),
        };
        let args: Vec<_> = args.iter().map(absolute).collect();
        assert_ends(&sandbox, &args.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(deepest(&sandbox, "upper") < 12, "{args:?}");
        // Files that were complete before stay.
        assert_eq!(fs::read(sandbox.path("upper/d/e/f")).unwrap(), b"f");
    }
}

fn mount_into_its_own_upper() {
    let sandbox = Sandbox::new();
    sandbox.file("upper/d/e/f", "f");
    let _mount = mount(&sandbox, "");
    let mut command = sandbox.zcp(["-a", "merged", "upper/x"]);
    let output = command.timeout(Duration::from_secs(60)).output().unwrap();
    // The kernel does not define what a mount shows when its upper directory is changed directly.
    assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
    assert!(deepest(&sandbox, "upper") < 12);
}

fn served_directory_into_its_own_mount() {
    for args in [["-a", "served", "mount/x"], ["-a", "mount", "served/x"], ["-r", "served/.", "mount/d/e"]] {
        let sandbox = Sandbox::new();
        sandbox.file("served/d/e/f", "f").dir("mount");
        assert_done(&sandbox.command("bindfs").args(["served", "mount"]).output().unwrap());
        let _mount = Mounted(sandbox.path("mount"));
        assert_ends(&sandbox, &args);
        assert!(deepest(&sandbox, "served") < 12, "{args:?}");
    }
}

/// Copies that only look like copies into themselves are not refused: repeated names, and sources that change
/// during the run.
fn repeated_names_and_fresh_sources_are_copied() {
    let sandbox = Sandbox::new();
    let elsewhere = Sandbox::within(needs::SHM);
    let _mount = mount(&sandbox, "");
    for name in ["x/x/x/x/f", "x/x/y/x/x/y/f", "merged/x/merged/x/f", "a/b/a/b/a/b/f"] {
        elsewhere.file(format!("src/{name}"), name);
    }
    let source = elsewhere.path("src");
    for destination in ["merged", "merged/x", "merged/x/x"] {
        for _ in 0..2 {
            let args = ["-a".as_ref(), source.as_os_str(), destination.as_ref()];
            assert_done(&sandbox.zcp(args).output().unwrap());
        }
    }
    elsewhere.snapshot("src").assert_same(&sandbox.snapshot("merged/src"));
    // Between two directories of one mount, into a subdirectory with the same names.
    assert_done(&sandbox.zcp(["-a", "merged/src/x", "merged/x/src"]).output().unwrap());
    assert_done(&sandbox.zcp(["-a", "upper/src", "merged/y"]).output().unwrap());
    elsewhere.snapshot("src").assert_same(&sandbox.snapshot("merged/y"));
}

/// A tree with all kinds of files is copied over one whose files are in both layers, and from there back to a
/// disk.
fn trees_over_all_layers() {
    let kinds: [&[&str]; 12] = [
        &["-r"],
        &["-a"],
        &["-a", "-j1"],
        &["-a", "-f"],
        &["-a", "--remove-destination"],
        &["-a", "--atomic"],
        &["-a", "--resume"],
        &["-a", "--fsync"],
        &["-a", "--cache=drop"],
        &["-a", "--verify"],
        &["-a", "-b"],
        &["-a", "-b", "--atomic"],
    ];
    for args in kinds {
        let (sandbox, elsewhere) = (Sandbox::new(), Sandbox::within(needs::SHM));
        sandbox.symlink(elsewhere.dir("lower").path("lower"), "lower");
        for (name, content) in [("f", "f"), ("d/g", "new g"), ("d/e/h", ""), ("new/i", "i")] {
            sandbox.file(format!("src/{name}"), content).mode(format!("src/{name}"), 0o640);
        }
        sandbox.file("src/big", crate::sandbox::noise(3 << 20)).symlink("f", "src/link").fifo("src/d/fifo");
        sandbox
            .hard_link("src/f", "src/d/f2")
            .xattr("src/f", "user.k", "v")
            .mode("src/d/e", 0o750)
            .dir("src/d")
            .dir("src");
        for name in ["f", "d/g", "d/e/h", "big"] {
            sandbox.file(format!("lower/dst/{name}"), "old content");
        }
        sandbox
            .file("upper/dst/d/f2", "upper")
            .file("lower/dst/gone", "gone")
            .symlink("nowhere", "lower/dst/link");
        let _mount = mount(&sandbox, "");
        fs::remove_file(sandbox.path("merged/dst/gone")).unwrap(); // makes a whiteout
        fs::rename(sandbox.path("merged/dst/d/e/h"), sandbox.path("merged/dst/new")).unwrap();
        fs::remove_file(sandbox.path("merged/dst/new")).unwrap();
        assert_done(&sandbox.zcp(args).args(["-T", "src", "merged/dst"]).output().unwrap());
        assert_done(&sandbox.zcp(["-a", "-T", "merged/dst", "back"]).output().unwrap());
        for copy in ["merged/dst", "back"] {
            let mut copy = sandbox.snapshot(copy);
            copy.0.retain(|path, _| !path.to_str().unwrap().ends_with('~'));
            let (source, copy) = (sandbox.snapshot("src"), copy);
            if args == ["-r"] {
                let bytes = |snapshot: Snapshot| snapshot.plain().without(|node| node.mode = 0);
                bytes(source).assert_same(&bytes(copy));
            } else {
                let kept = |snapshot: Snapshot| snapshot.without(|node| node.spans.clear());
                kept(source).assert_same(&kept(copy));
            }
        }
    }
}
