//! The minimum: a tree with all kinds of files is copied correctly, and as cp would copy it.

use crate::needs::{Need, mounted, trial};
use crate::sandbox::Sandbox;
use libtest_mimic::Trial;
use std::os::unix::fs::lchown;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("smoke::archive_keeps_everything", &[], archive_keeps_everything),
        trial("smoke::attributes", &[Need::Root, Need::Mount("ext4")], attributes),
        trial("smoke::twins_of_cp", &[Need::Program("cp")], twins_of_cp),
    ]
}

/// A tree with one file of each kind.
pub(crate) fn mixed(name: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    let path = |rest: &str| format!("{name}/{rest}");
    sandbox
        .file(path("empty"), "")
        .file(path("small"), "small\n")
        .file(path("sub/large"), vec![7; 300_000])
        .sparse(path("sub/holes"), 3 << 20, &[(0, b"head"), (1 << 20, &[9; 70_000])])
        .file(path("sub/closed"), "x")
        .mode(path("sub/closed"), 0o400)
        .file(path("sub/tool"), "#!/bin/sh\n")
        .mode(path("sub/tool"), 0o755)
        .hard_link(path("small"), path("sub/again"))
        .symlink("small", path("link"))
        .symlink("/nowhere/at all", path("sub/dangling"))
        .fifo(path("sub/fifo"))
        .dir(path("sub/empty dir"))
        .time(path("sub"), crate::sandbox::LONG_AGO)
        .time(name, crate::sandbox::LONG_AGO);
    sandbox
}

fn archive_keeps_everything() {
    let sandbox = mixed("src");
    sandbox.zcp(["-a", "src", "dst"]).assert().success().stdout("").stderr("");
    sandbox.snapshot("src").assert_same(&sandbox.snapshot("dst"));
}

fn twins_of_cp() {
    for args in [["-r", "src", "dst"], ["-rL", "src", "dst"], ["-rp", "src", "dst"], ["-rd", "src", "dst"]] {
        let (ours, theirs) = (mixed("src"), mixed("src"));
        let zcp = ours.command_as(crate::sandbox::ZCP, "cp").args(args).output().unwrap();
        let cp = theirs.command("cp").args(args).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&zcp.stderr), String::from_utf8_lossy(&cp.stderr), "{args:?}");
        assert_eq!(zcp.status.code(), cp.status.code(), "{args:?}");
        theirs.snapshot("dst").assert_same(&ours.snapshot("dst"));
    }
}

/// `-a` preserves owner and extended attributes of all kinds of files; `-p` preserves the owner only.
fn attributes() {
    let sandbox = Sandbox::within(mounted("ext4").unwrap());
    sandbox.file("src/file", "x").dir("src/dir").symlink("file", "src/link").fifo("src/fifo");
    for (name, key) in
        [("file", "user.note"), ("dir", "user.note"), ("link", "trusted.note"), ("fifo", "trusted.note")]
    {
        sandbox.xattr(format!("src/{name}"), key, b"\0 bytes");
        lchown(sandbox.path(format!("src/{name}")), Some(1234), Some(4321)).unwrap();
    }
    sandbox.zcp(["-a", "src", "all"]).assert().success().stderr("");
    sandbox
        .snapshot("src")
        .without(|node| node.mtime = None)
        .assert_same(&sandbox.snapshot("all").without(|node| node.mtime = None));
    sandbox.zcp(["-rp", "src", "some"]).assert().success().stderr("");
    let expected = sandbox.snapshot("src").without(|node| node.xattrs.clear());
    expected
        .without(|node| node.mtime = None)
        .assert_same(&sandbox.snapshot("some").without(|node| node.mtime = None));
}
