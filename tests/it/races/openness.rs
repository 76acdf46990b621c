//! Permissions of a file before it is complete: never wider than in the end.

use super::MALLORY;
use crate::sandbox::{Sandbox, noise};
use crate::strace;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::Path;

/// An access control list that gives user 1000 more than the group (struct posix_acl_xattr_entry).
fn acl(group: u16, user: u16, mask: u16) -> Vec<u8> {
    let entries: [(u16, u16, u32); 5] =
        [(1, 6, u32::MAX), (2, user, 1000), (4, group, u32::MAX), (0x10, mask, u32::MAX), (0x20, 0, u32::MAX)];
    let entry = |(tag, permissions, id): (u16, u16, u32)| {
        [tag.to_le_bytes().as_slice(), &permissions.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    [2_u32.to_le_bytes().to_vec()].into_iter().chain(entries.map(entry)).flatten().collect()
}

/// The permissions of each class of users: owner, group, others, and user 1000 by name.
fn rights(path: &Path) -> Option<[u32; 4]> {
    let mode = path.symlink_metadata().ok()?.mode();
    let (owner, group, others) = (mode >> 6 & 7, mode >> 3 & 7, mode & 7);
    let mut list = [0; 256];
    let Ok(len) = rustix::fs::getxattr(path, "system.posix_acl_access", &mut list[..]) else {
        return Some([owner, group, others, others]);
    };
    let entries: Vec<_> = list[4..len].chunks(8).map(|entry| (entry[0], u32::from(entry[2]))).collect();
    let of = |tag| entries.iter().find(|(found, _)| *found == tag).map(|(_, rights)| *rights);
    let mask = of(0x10).unwrap_or(7);
    Some([owner, of(4)? & mask, others, of(2).map_or(others, |rights| rights & mask)])
}

/// The names below `dst` that are inspected.
const NAMES: [&str; 8] = ["d", "d/plain", "d/suid", "d/closed", "d/list", "d/fifo", "e", "e/f"];

fn build(sandbox: &Sandbox) {
    let list = "system.posix_acl_access";
    sandbox.file("src/d/plain", noise(5000)).mode("src/d/plain", 0o664);
    sandbox.file("src/d/suid", noise(5000)).mode("src/d/suid", 0o6755);
    sandbox.file("src/d/closed", "x").mode("src/d/closed", 0o400);
    sandbox.file("src/d/list", "x").xattr("src/d/list", list, acl(0, 6, 6));
    sandbox.fifo("src/d/fifo").mode("src/d/fifo", 0o622);
    for name in ["plain", "suid", "list", "fifo"] {
        lchown(sandbox.path(format!("src/d/{name}")), Some(MALLORY), Some(MALLORY)).unwrap();
    }
    sandbox.mode("src/d/suid", 0o6755).mode("src/d", 0o770);
    // User 1000 is excluded from a directory that others may read.
    sandbox.file("src/e/f", "x").mode("src/e", 0o755).xattr("src/e", list, acl(5, 0, 5)).dir("dst");
    // New files in there inherit a list that admits user 1000.
    sandbox.xattr("dst", "system.posix_acl_default", acl(7, 7, 7));
}

/// An inspected name, its permissions, its set-ID bits, and its owner.
type Seen = (&'static str, [u32; 4], u32, u32);

/// Runs zcp, and inspects the names below `dst` after each call that makes or changes a file.
fn watch(sandbox: &Sandbox, args: &[&str], seen: &mut Vec<Seen>) {
    let calls = "openat,mkdirat,mknodat,fchmod,fchmodat,chmod,fchown,fchownat,setxattr,fsetxattr,\
                 removexattr,fremovexattr,renameat,renameat2,linkat,utimensat";
    let inject = ["-e", &format!("inject={calls}:signal=STOP:when=1+")];
    let trace = strace::zcp_with_stops(sandbox, &inject, args, |_| {
        for name in NAMES {
            let path = sandbox.path("dst").join(name);
            let Some(rights) = rights(&path) else { continue };
            let stat = path.symlink_metadata().unwrap();
            seen.push((name, rights, stat.mode() & 0o6000, stat.uid()));
        }
    });
    assert!(trace.output.status.success(), "{:?}", trace.output);
}

/// Checks that no class ever had wider permissions than in the end, and that no set-ID bit came before the
/// owner.
fn assert_never_more_open(sandbox: &Sandbox, flags: &[&str], seen: Vec<Seen>) {
    assert!(seen.len() > 20, "only {} looks", seen.len());
    for (name, then, set_id, owner) in seen {
        let path = sandbox.path("dst").join(name);
        let (last, stat) = (rights(&path).unwrap(), path.symlink_metadata().unwrap());
        // The owner is left out: it is the user of the process, and needs permissions to fill a directory.
        let open = (1..4).any(|class| then[class] & !last[class] != 0);
        assert!(!open, "{flags:?} {name}: {then:?} before {last:?}");
        assert!(set_id == 0 || owner == stat.uid(), "{flags:?} {name}: set-ID before its owner");
    }
}

pub(super) fn never_more_open() {
    for flags in [
        &["-a"][..],
        &["-a", "--atomic"],
        &["-rp"],
        &["-r", "--preserve=mode"],
        &["-r", "--preserve=ownership"],
        &["-r", "--no-preserve=mode"],
    ] {
        let sandbox = Sandbox::new();
        build(&sandbox);
        let mut seen = Vec::new();
        watch(&sandbox, &[flags, &["-j1", "src/.", "dst"]].concat(), &mut seen);
        assert_never_more_open(&sandbox, flags, seen);
    }
}

/// The directories of a job are closed until `--finish` has set their attributes.
pub(super) fn never_more_open_in_jobs() {
    for flags in
        [["-r", "--preserve=mode"], ["-r", "--preserve=ownership"], ["-r", "--no-preserve=mode"], ["-r", "-p"]]
    {
        let sandbox = Sandbox::new();
        build(&sandbox);
        let mut seen = Vec::new();
        watch(&sandbox, &[&flags[..], &["--plan=job", "--parts=1", "src/.", "dst"]].concat(), &mut seen);
        watch(&sandbox, &["--run=job", "--part=0", "-j1"], &mut seen);
        watch(&sandbox, &["--finish=job"], &mut seen);
        assert_never_more_open(&sandbox, &flags, seen);
    }
}
