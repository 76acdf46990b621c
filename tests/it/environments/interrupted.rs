//! Calls that return EINTR each time: a copy ends, and reports what it could not do.

use crate::needs::{Need, mounted, trial};
use crate::sandbox::{Sandbox, noise};
use crate::strace::{self, Trace};
use libtest_mimic::Trial;

/// Calls on descriptors and on names, with options that make zcp use them.
const CALLS: [(&str, &[&str]); 26] = [
    ("pread64", &["-a", "--strategy=read_write"]),
    ("pwrite64", &["-a", "--strategy=read_write"]),
    ("pwrite64", &["-a", "--strategy=mmap"]),
    ("copy_file_range", &["-a", "--strategy=copy_file_range"]),
    ("sendfile", &["-a", "--strategy=sendfile"]),
    ("splice", &["-a", "--strategy=splice"]),
    ("splice,sendfile,copy_file_range", &["-a"]),
    ("pread64", &["-a", "--verify"]),
    ("preadv2", &["-a", "--cache=drop"]),
    ("pwritev2", &["-a", "--cache=drop"]),
    ("ioctl", &["-a", "--reflink=always"]),
    ("ioctl", &["-a", "--reflink=auto"]),
    ("fallocate", &["-a", "--sparse=never"]),
    ("ftruncate", &["-a", "--sparse=always"]),
    ("lseek", &["-a"]),
    ("fchmod", &["-a"]),
    ("fchown", &["-a"]),
    ("utimensat", &["-a"]),
    ("fsync", &["-a", "--fsync"]),
    ("flistxattr", &["-a"]),
    ("fgetxattr", &["-a"]),
    ("fsetxattr", &["-a"]),
    ("openat", &["-a"]),
    ("newfstatat,fstat", &["-a"]),
    ("linkat,renameat,renameat2", &["-a", "--atomic"]),
    ("close", &["-a"]),
];

pub(crate) fn trials() -> Vec<Trial> {
    let needs = [Need::Strace, Need::Root, Need::Mount("ext4"), Need::Mount("xfs")];
    let mut trials = vec![
        trial("interrupted::directories_end", &[Need::Strace], directories_end),
        trial("interrupted::lists_end", &[Need::Strace], lists_end),
        trial("interrupted::opening_ends", &[Need::Strace], opening_ends),
        trial("interrupted::streams_end", &[Need::Strace], streams_end),
    ];
    for (calls, options) in CALLS {
        let name = format!("interrupted::{calls}_under{}_ends", options.concat());
        trials.push(trial(name, &needs, move || file_ends(calls, options)));
    }
    trials
}

/// Checks that zcp ended by itself, and reported the files that it did not copy.
#[track_caller]
fn assert_ended(trace: &Trace, is_copied: bool) {
    assert!(trace.injected() > 0, "no call was interrupted");
    let words = String::from_utf8_lossy(&trace.output.stderr);
    match trace.output.status.code() {
        Some(0) => assert!(words.is_empty() && is_copied, "{words}"),
        Some(1) => assert!(words.contains(": Interrupted system call\n"), "{words}"),
        _ => panic!("{:?}", trace.output),
    }
}

fn file_ends(calls: &str, options: &[&str]) {
    let sandbox = Sandbox::within(mounted(if calls == "ioctl" { "xfs" } else { "ext4" }).unwrap());
    sandbox.sparse("src", 4 << 20, &[(0, &noise(3 << 20))]).mode("src", 0o640).xattr("src", "user.key", "value");
    std::os::unix::fs::chown(sandbox.path("src"), Some(1234), Some(1234)).unwrap();
    let names =
        ["src", "dst", "."].map(|name| sandbox.path(name).to_str().unwrap().trim_end_matches("/.").to_owned());
    let inject = format!("inject={calls}:error=EINTR");
    let strace = ["-P", &names[0], "-P", &names[1], "-P", &names[2], "-e", &inject];
    let args = [options, &["-j1", &names[0], &names[1]]].concat();
    let trace = strace::zcp(&sandbox, &strace, &args);
    // Where lseek(2) does not report holes, zcp looks for zeros instead.
    let snapshot = |name: &str| sandbox.snapshot(name).without(|node| node.spans.clear());
    let is_copied = || snapshot("src").diff(&snapshot("dst")).is_empty();
    assert_ended(&trace, trace.output.status.success() && is_copied());
}

fn directories_end() {
    let sandbox = Sandbox::new();
    sandbox.file("src/file", "content").dir("src");
    let path = sandbox.path("src").to_str().unwrap().to_owned();
    let trace =
        strace::zcp(&sandbox, &["-P", &path, "-e", "inject=getdents64:error=EINTR"], &["-r", &path, "dst"]);
    assert_ended(&trace, false);
    for call in ["mkdirat", "symlinkat", "mknodat", "readlinkat"] {
        let sandbox = Sandbox::new();
        sandbox.file("src/d/file", "content").symlink("file", "src/d/link").fifo("src/fifo");
        let inject = format!("inject={call}:error=EINTR");
        assert_ended(&strace::zcp(&sandbox, &["-e", &inject], &["-a", "src", "dst"]), false);
    }
}

/// The loops of std that read lists and write reports would make the call again without end.
fn lists_end() {
    for (call, path, args) in [
        ("read", "list", "-r --files-from=list src dst"),
        ("read", "list", "-r --exclude-from=list src dst"),
        ("read", "src/.gitignore", "-r --gitignore src dst"),
        ("write", "log", "-r --log=log src dst"),
        ("write", "job/parts/0.names", "--plan=job --parts=1 -r src dst"),
        ("read", "job/parts/0.names", "--run=job --part=0"),
        ("read", "job/parts/0.facts", "--run=job --part=0"),
    ] {
        let sandbox = Sandbox::new();
        sandbox.file("src/file", "content").file("src/.gitignore", "*.o\n").file("list", "file\n").file("log", "");
        if call == "read" && path.starts_with("job") {
            assert!(
                sandbox.zcp(["--plan=job", "--parts=1", "-r", "src", "dst"]).output().unwrap().status.success()
            );
        }
        let path = sandbox.path(path).to_str().unwrap().to_owned();
        let inject = format!("inject={call}:error=EINTR");
        let args: Vec<&str> = args.split(' ').collect();
        assert_ended(&strace::zcp(&sandbox, &["-P", &path, "-e", &inject], &args), false);
    }
}

/// std opens files by loops, too.
fn opening_ends() {
    for (option, is_optional) in
        [("--log", false), ("--files-from", false), ("--exclude-from", false), ("--stats-file", true)]
    {
        let sandbox = Sandbox::new();
        sandbox.file("src/file", "content").file("list", "file\n");
        let path = sandbox.path("list").to_str().unwrap().to_owned();
        let strace = ["-P", &path, "-e", "inject=openat:error=EINTR"];
        let trace = strace::zcp(&sandbox, &strace, &["-r", &format!("{option}={path}"), "src", "dst"]);
        // An old report is only read to see whether it is one.
        assert_ended(&trace, is_optional);
    }
}

fn streams_end() {
    for call in ["ppoll", "splice,read,sendfile"] {
        let sandbox = Sandbox::new();
        sandbox.fifo("fifo");
        let fifo = sandbox.path("fifo");
        let writer = std::thread::spawn(move || _ = std::fs::write(fifo, noise(100_000)));
        let path = sandbox.path("fifo").to_str().unwrap().to_owned();
        let inject = format!("inject={call}:error=EINTR");
        assert_ended(&strace::zcp(&sandbox, &["-P", &path, "-e", &inject], &[&path[..], "dst"]), false);
        // zcp may have ended before it opened the fifo.
        drop(std::fs::File::options().read(true).write(true).open(sandbox.path("fifo")));
        writer.join().unwrap();
    }
}
