//! Attributes that a file system or a kernel refuses: all others are preserved, and messages name the right
//! file.

use crate::needs::{Need, SHM, mounted, trial};
use crate::sandbox::{Sandbox, ZCP, assert_done, noise};
use crate::strace;
use libtest_mimic::Trial;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

pub(crate) fn trials() -> Vec<Trial> {
    let mounts = [Need::Root, Need::Mount("btrfs"), Need::Mount("ext4")];
    let acl = [Need::Strace, Need::Program("setfacl")];
    let context = [Need::Root, Need::Strace, Need::Namespaces];
    let property = [Need::Root, Need::Mount("btrfs"), Need::Program("chattr")];
    vec![
        trial("attributes::one_unsupported_does_not_end_the_others", &mounts, one_unsupported),
        trial("attributes::right_owner_is_not_set_again", &[Need::Strace, Need::Root], right_owner),
        trial("attributes::wrong_owner_gets_the_closed_mode", &[Need::Strace, Need::Root], wrong_owner),
        trial("attributes::refused_values_are_reported", &[Need::Strace], refused_values),
        trial("attributes::refused_property_is_left_out", &property, property_of_file_system),
        trial("attributes::refused_questions_about_the_process", &[Need::Strace, Need::Root], unknown_process),
        trial("attributes::wrong_owner_gets_no_later_mode", &[Need::Strace, Need::Root], no_later_mode),
        trial("attributes::acl_that_is_invalid_is_none", &[Need::Strace], invalid_acl),
        trial("attributes::no_acl_of_a_directory_that_got_one_meanwhile", &acl, acl_meanwhile),
        trial("attributes::listing_that_is_missing_is_empty", &[Need::Strace], no_listing),
        trial("attributes::messages_name_the_source", &[Need::Strace], source_is_named),
        trial("attributes::atomic_takes_no_capability_over", &[Need::Root, Need::Shm], no_capability),
        trial("attributes::creation_context_lasts_for_a_copy", &context, creation_context),
        trial("attributes::atomic_takes_no_set_id_over", &[Need::Root, Need::Program("setpriv")], no_set_id),
    ]
}

/// `cap_net_raw+ep`, as setcap(8) writes it.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn value(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut room = vec![0; 256];
    let length = rustix::fs::lgetxattr(path, name, &mut room[..]).ok()?;
    room.truncate(length);
    Some(room)
}

/// With `--context`, each worker sets the context of its thread before anything is made, and takes it back at its end. A
/// mount and an injected success make zcp believe that there is SELinux.
fn creation_context() {
    let script = "mount -t tmpfs none /sys/fs && mkdir /sys/fs/selinux && : >/sys/fs/selinux/enforce && \
                  exec strace -ff -y -o log/of -e trace=write,mkdirat,openat -e inject=write:retval=2:when=1+2 \"$0\" \"$@\"";
    for jobs in [&["-j1"][..], &["-j2"], &[]] {
        let sandbox = Sandbox::new();
        sandbox.file("src/below/file", "content").dir("log");
        let mut command = sandbox.command("unshare");
        command.args(["-m", "sh", "-c", script, ZCP]).args(jobs).args(["-r", "--context=x", "src", "dst"]);
        assert_done(&command.output().unwrap());
        let mut settings = 0;
        for (_, text) in strace::logs(&sandbox.path("log")) {
            let is_write = |line: &str, context: &str| line.contains(&format!("/attr/fscreate>, \"{context}\""));
            let makes = |line: &str| line.starts_with("mkdirat(") || line.contains("O_CREAT");
            let writes = |context| text.lines().filter(|line| is_write(line, context)).count();
            assert_eq!(writes(r"x\0"), writes(r"\0"), "{jobs:?}: {text}");
            settings += writes(r"x\0");
            let set = text.lines().position(|line| is_write(line, r"x\0"));
            let made = text.lines().position(makes);
            assert!(made.is_none_or(|made| set.is_some_and(|set| set < made)), "{jobs:?}: {text}");
        }
        assert!(settings > 0, "{jobs:?}");
    }
}

/// Another run that copies to the same place may give a directory its default access control list while files
/// are made in it.
fn acl_meanwhile() {
    let sandbox = Sandbox::new();
    for n in 0..5 {
        sandbox.file(format!("src/{n}"), "content").mode(format!("src/{n}"), 0o640);
    }
    let mut stops = 0;
    let options = ["-e", "inject=fchmod:signal=STOP:when=1"];
    let trace = strace::zcp_with_stops(&sandbox, &options, &["-a", "-j1", "-T", "src", "dst"], |stop| {
        stops = stop;
        let mut setfacl = sandbox.command("setfacl");
        setfacl.args(["-d", "-m", "u:65534:rwx", "dst"]).assert().success();
    });
    assert_done(&trace.output);
    assert_eq!(stops, 1);
    for n in 0..5 {
        let path = sandbox.path("dst").join(n.to_string());
        assert_eq!(value(&path, "system.posix_acl_access"), None, "{n}");
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o640);
    }
}

/// ext4 does not support `btrfs.compression`, but all other attributes of the file.
fn one_unsupported() {
    let (from, to) = (Sandbox::within(mounted("btrfs").unwrap()), Sandbox::within(mounted("ext4").unwrap()));
    from.file("src/f", "content").dir("src/d");
    for name in ["src/f", "src/d"] {
        from.xattr(name, "btrfs.compression", "zstd").xattr(name, "user.keep", "me").xattr(name, "trusted.z", "z");
    }
    from.xattr("src/f", "security.capability", CAPABILITY);
    let runs = [(&["-a"][..], 0), (&["-r", "--preserve=xattr"], 1), (&["-a", "--attributes-only"], 0)];
    for (options, status) in runs {
        let destination = to.path("dst");
        let args = [options, &["-T", "src", destination.to_str().unwrap()]].concat();
        let output = from.zcp(args).output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        for name in ["f", "d"] {
            assert_eq!(value(&destination.join(name), "user.keep").unwrap(), b"me", "{options:?} {name}");
            assert_eq!(value(&destination.join(name), "trusted.z").unwrap(), b"z", "{options:?} {name}");
        }
        assert_eq!(value(&destination.join("f"), "security.capability").unwrap(), CAPABILITY, "{options:?}");
        if status == 1 {
            let words =
                format!("zcp: setting attributes for '{}/f': Operation not supported\n", destination.display());
            assert!(String::from_utf8_lossy(&output.stderr).contains(&words), "{output:?}");
        }
        fs::remove_dir_all(&destination).unwrap();
    }
}

/// CIFS, for example, refuses chown(2) even to root.
fn right_owner() {
    for errno in ["ENOSYS", "EACCES", "EPERM", "EINVAL"] {
        let sandbox = Sandbox::new();
        sandbox
            .file("src/f", "f")
            .mode("src/f", 0o741)
            .fifo("src/p")
            .symlink("f", "src/l")
            .dir("src/d")
            .dir("src");
        // The group of new files in there is the source's, but not that of the process.
        sandbox.file("grouped/f", "f").dir("set").mode("set", 0o2755);
        std::os::unix::fs::chown(sandbox.path("grouped/f"), None, Some(1234)).unwrap();
        std::os::unix::fs::chown(sandbox.path("set"), None, Some(1234)).unwrap();
        sandbox.mode("set", 0o2755);
        let inject = format!("inject=fchown,fchownat,lchown,chown:error={errno}");
        for args in [&["-a", "-T", "src", "dst"][..], &["-p", "src/f", "f"], &["-p", "grouped/f", "set"]] {
            assert_done(&strace::zcp(&sandbox, &["-e", &inject], args).output);
        }
        sandbox.snapshot("src").assert_same(&sandbox.snapshot("dst"));
        sandbox.snapshot("grouped/f").assert_same(&sandbox.snapshot("set/f"));
    }
}

/// Like cp, zcp then opens the file to its owner alone.
fn wrong_owner() {
    let (keep, no_mode) = ("--preserve=ownership", "--no-preserve=mode");
    for (errno, reason, keep) in [
        ("EPERM", "Operation not permitted", &["-p"][..]),
        ("ENOSYS", "Function not implemented", &["-p"]),
        ("EPERM", "Operation not permitted", &[keep]),
        ("EPERM", "Operation not permitted", &[keep, no_mode]),
    ] {
        let sandbox = Sandbox::new();
        sandbox.file("src/f", "f").dir("src/d").fifo("src/p");
        for (name, mode) in [("src/f", 0o4751), ("src/d", 0o2771), ("src/p", 0o751)] {
            std::os::unix::fs::chown(sandbox.path(name), Some(1234), Some(1234)).unwrap();
            sandbox.mode(name, mode);
        }
        let inject = format!("inject=fchown,fchownat,lchown,chown:error={errno}");
        let trace = strace::zcp(&sandbox, &["-e", &inject], &[keep, &["-r", "-T", "src", "dst"]].concat());
        let errors = String::from_utf8_lossy(&trace.output.stderr);
        for name in ["f", "d", "p"] {
            let words = format!("zcp: failed to preserve ownership for 'dst/{name}': {reason}\n");
            assert!(errors.contains(&words), "{errors}");
            let mode = fs::metadata(sandbox.path("dst").join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o700, "{keep:?} {name}");
        }
    }
}

/// An attribute is left out silently only if the file system does not support it or the process may not set it.
fn refused_values() {
    for options in ["-a", "--preserve=xattr", "--preserve=xattr,all"] {
        for errno in [
            "EOPNOTSUPP",
            "ENODATA",
            "EPERM",
            "EACCES",
            "EINVAL",
            "ENOSPC",
            "EDQUOT",
            "EIO",
            "E2BIG",
            "ERANGE",
            "EROFS",
            "ENOMEM",
            "ENOSYS",
        ] {
            let sandbox = Sandbox::new();
            sandbox.file("src", "f").xattr("src", "user.k", "v");
            let inject = format!("inject=fsetxattr:error={errno}");
            let output = strace::zcp(&sandbox, &["-e", &inject], &[options, "src", "dst"]).output;
            let silent = options == "-a" && ["EOPNOTSUPP", "ENODATA", "EPERM", "EACCES"].contains(&errno);
            assert_eq!(output.status.code(), Some(i32::from(!silent)), "{options} {errno}");
            let errors = String::from_utf8_lossy(&output.stderr);
            assert_eq!(errors.contains("zcp: setting attribute"), !silent, "{options} {errno}: {errors}");
        }
    }
}

/// btrfs refuses `btrfs.compression` by EINVAL where copy-on-write is off, and takes all other attributes.
fn property_of_file_system() {
    let sandbox = Sandbox::within(mounted("btrfs").unwrap());
    sandbox.file("src", "f").xattr("src", "btrfs.compression", "zstd").xattr("src", "user.keep", "me").dir("to");
    assert!(sandbox.command("chattr").args(["+C", "to"]).output().unwrap().status.success());
    assert_done(&sandbox.zcp(["-a", "src", "to"]).output().unwrap());
    assert_eq!(value(&sandbox.path("to/src"), "user.keep").unwrap(), b"me");
    assert_eq!(value(&sandbox.path("to/src"), "btrfs.compression"), None);
}

/// These calls fail only under a filter of seccomp(2). What they would have told is then not known.
fn unknown_process() {
    for call in ["geteuid", "getegid", "getgroups", "prlimit64", "capget"] {
        for options in [&["-a"][..], &["-a", "--atomic"], &["-a", "--resume", "--backup"]] {
            let sandbox = Sandbox::new();
            sandbox.file("src/f", "f").mode("src/f", 0o640).fifo("src/p").dir("src");
            std::os::unix::fs::chown(sandbox.path("src/f"), Some(1234), Some(4321)).unwrap();
            let inject = format!("inject={call}:error=EPERM");
            let args = [options, &["-T", "src", "dst"]].concat();
            let output = strace::zcp(&sandbox, &["-e", &inject], &args).output;
            if call == "geteuid" {
                // A new directory then seems to belong to another user.
                let words = "zcp: skipping directory 'dst', as it was replaced while being copied\n";
                assert_eq!((output.status.code(), &*String::from_utf8_lossy(&output.stderr)), (Some(1), words));
                continue;
            }
            assert_done(&output);
            sandbox.snapshot("src").assert_same(&sandbox.snapshot("dst"));
        }
    }
}

/// Like cp, zcp leaves a copy closed to others if its owner cannot be set, because the mode was meant for that owner.
fn no_later_mode() {
    let sandbox = Sandbox::new();
    sandbox.file("src/f", "f").fifo("src/p").dir("src/d");
    for name in ["src/f", "src/p", "src/d"] {
        std::os::unix::fs::chown(sandbox.path(name), Some(1234), Some(1234)).unwrap();
        sandbox.mode(name, 0o777);
    }
    let inject = "inject=fchown,fchownat,lchown,chown:error=EIO";
    strace::zcp(&sandbox, &["-e", inject], &["-r", "--preserve=ownership", "-T", "src", "dst"]);
    for name in ["dst/f", "dst/p", "dst/d"] {
        assert_eq!(fs::metadata(sandbox.path(name)).unwrap().permissions().mode() & 0o777, 0o700, "{name}");
    }
}

/// Some FUSE servers answer EINVAL to this attribute.
fn invalid_acl() {
    let sandbox = Sandbox::new();
    sandbox.file("src/f", "f").mode("src/f", 0o741).dir("src/d").dir("src");
    let calls = ["fgetxattr", "getxattr", "lgetxattr", "fremovexattr", "removexattr"].join(",");
    let inject = format!("inject={calls}:error=EINVAL");
    for options in [&["-rp"][..], &["-a"], &["-rp", "--attributes-only"], &["-r", "--no-preserve=mode"]] {
        for _over in [false, true] {
            let args = [options, &["-T", "src", "dst"]].concat();
            assert_done(&strace::zcp(&sandbox, &["-e", &inject], &args).output);
        }
        if matches!(options, ["-rp"] | ["-a"]) {
            sandbox.snapshot("src").plain().assert_same(&sandbox.snapshot("dst").plain());
        }
        fs::remove_dir_all(sandbox.path("dst")).unwrap();
    }
}

fn no_listing() {
    let sandbox = Sandbox::new();
    sandbox.file("src/f", "f").dir("src");
    let inject = "inject=flistxattr,listxattr,llistxattr:error=ENOSYS";
    for options in [&["-a"][..], &["-r", "--preserve=xattr"]] {
        let args = [options, &["-T", "src", "dst"]].concat();
        assert_done(&strace::zcp(&sandbox, &["-e", inject], &args).output);
    }
}

fn source_is_named() {
    let sandbox = Sandbox::within(SHM);
    sandbox.file("src/f", "f").xattr("src/f", "user.k", "v").dir("src/d").xattr("src/d", "user.k", "v");
    let run = |call: &str| {
        let inject = format!("inject=f{call},{call},l{call}:error=EIO");
        let args = ["-rj1", "--preserve=xattr", "-T", "src", "dst"];
        let trace = strace::zcp(&sandbox, &["-e", &inject], &args);
        assert_eq!(trace.output.status.code(), Some(1));
        String::from_utf8_lossy(&trace.output.stderr).into_owned()
    };
    let errors = run("listxattr");
    for name in ["f", "d"] {
        let words = format!("zcp: listing attributes of 'src/{name}': Input/output error\n");
        assert!(errors.contains(&words), "{errors}");
    }
    let errors = run("getxattr");
    for name in ["f", "d"] {
        let words = format!("zcp: getting attribute 'user.k' of 'src/{name}': Input/output error\n");
        assert!(errors.contains(&words), "{errors}");
    }
}

/// Capabilities belong to the old content. O_TRUNC of cp removes them, even if nothing is written afterwards.
fn no_capability() {
    let sandbox = Sandbox::within(SHM);
    for content in [&b""[..], b"content", &noise(100_000)] {
        for options in [&["--atomic"][..], &["--atomic", "-f"], &["--atomic", "--fsync"]] {
            sandbox.file("src", content).file("dst", "old");
            sandbox.xattr("dst", "security.capability", CAPABILITY).xattr("dst", "trusted.k", "v");
            assert_done(&sandbox.zcp(options.iter().chain(&["src", "dst"])).output().unwrap());
            assert_eq!(value(&sandbox.path("dst"), "security.capability"), None, "{options:?}");
            assert_eq!(value(&sandbox.path("dst"), "trusted.k").unwrap(), b"v", "{options:?}");
            fs::remove_file(sandbox.path("dst")).unwrap();
        }
    }
}

/// The kernel removes set-ID bits when an ordinary user overwrites a file.
fn no_set_id() {
    let sandbox = Sandbox::new();
    sandbox.mode("", 0o755).file("src", "").dir("d").file("d/dst", "old").mode("d", 0o777);
    std::os::unix::fs::chown(sandbox.path("d/dst"), Some(1234), Some(1234)).unwrap();
    sandbox.mode("d/dst", 0o4755);
    let user = ["--reuid=1234", "--regid=1234", "--clear-groups", crate::sandbox::ZCP];
    let output = sandbox.command("setpriv").args(user).args(["--atomic", "src", "d/dst"]).output().unwrap();
    assert_done(&output);
    assert_eq!(fs::metadata(sandbox.path("d/dst")).unwrap().permissions().mode() & 0o7777, 0o755);
}
