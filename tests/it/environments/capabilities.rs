//! Root without one of its capabilities (capabilities(7)), as in many containers: the copy and the messages are
//! cp's.

use crate::needs::{Need, mounted, trial};
use crate::oracle;
use crate::sandbox::{Sandbox, ZCP};
use crate::snapshot::Snapshot;
use libtest_mimic::Trial;
use std::fs;
use std::os::unix::fs::lchown;

/// Rights by the names that setpriv(1) knows, alone and together.
const RIGHTS: [&str; 12] = [
    "chown",
    "fowner",
    "fsetid",
    "dac_override",
    "dac_read_search",
    "mknod",
    "setfcap",
    "sys_admin",
    "linux_immutable",
    "sys_resource",
    "dac_override,dac_read_search",
    "chown,fowner,fsetid,dac_override,dac_read_search,mknod,setfcap,sys_admin",
];

pub(crate) fn trials() -> Vec<Trial> {
    let needs = [Need::Root, Need::Program("setpriv"), Need::ReferenceCp, Need::Mount("ext4")];
    let name = |rights: &str| format!("capabilities::without_{}", rights.replace(',', "_"));
    let trials = RIGHTS.iter().map(|rights| trial(name(rights), &needs, || as_by_cp(rights)));
    trials.chain([trial("capabilities::are_taken_away", &needs, are_taken_away)]).collect()
}

/// Files of root and of others, closed files, and files that only a capability lets a process make.
fn tree() -> Sandbox {
    let sandbox = Sandbox::within(mounted("ext4").unwrap());
    sandbox.file("src/plain", "1").file("src/theirs/file", "2").file("src/set-id", "3").file("src/closed", "4");
    sandbox.file("src/private/file", "5").file("src/capable", "6").file("src/trusted", "7").file("src/user", "8");
    sandbox
        .file("src/set-gid/file", "9")
        .file("src/own-closed", "10")
        .symlink("plain", "src/link")
        .fifo("src/fifo");
    let owned = [
        ("theirs", 1234),
        ("theirs/file", 1234),
        ("set-id", 1234),
        ("closed", 1234),
        ("private", 1234),
        ("user", 4321),
        ("fifo", 1234),
        ("link", 1234),
    ];
    owned.iter().for_each(|(name, id)| lchown(sandbox.path("src").join(name), Some(*id), Some(id + 1)).unwrap());
    sandbox.mode("src/set-id", 0o6755).mode("src/closed", 0).mode("src/own-closed", 0).mode("src/private", 0o700);
    sandbox.mode("src/set-gid", 0o2775).mode("src/theirs", 0o755);
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    sandbox.xattr("src/capable", "security.capability", capability).xattr("src/trusted", "trusted.key", "value");
    sandbox.xattr("src/user", "user.key", "value");
    let mut mknod = sandbox.command("mknod");
    mknod.args(["src/null", "c", "1", "3"]).assert().success();
    for name in
        ["src/capable", "src/trusted", "src/user", "src/null", "src/theirs", "src/private", "src/set-gid", "src"]
    {
        sandbox.time(name, crate::sandbox::LONG_AGO);
    }
    sandbox
}

/// The outcome of a copy. Times are left out where something failed, because cp leaves other times then.
#[derive(PartialEq)]
struct Outcome {
    status: Option<i32>,
    words: Vec<String>,
    copy: Snapshot,
}

fn outcome(sandbox: &Sandbox, rights: &str, program: &std::path::Path, options: &[&str], copied: bool) -> Outcome {
    let without: Vec<_> = rights.split(',').map(|right| format!("-{right}")).collect();
    let without = without.join(",");
    let _ = fs::remove_dir_all(sandbox.path("dst"));
    if copied {
        sandbox.command("cp").args(["-a", "src", "dst"]).assert().success();
        sandbox.file("dst/plain", "old");
    }
    let mut command = sandbox.command("setpriv");
    command.args([format!("--bounding-set={without}"), format!("--inh-caps={without}")]).arg(program);
    let output = command.args(options).args(["-T", "src", "dst"]).output().unwrap();
    let plain = |line: &str| {
        let line: String = line.chars().filter(|letter| !"'‘’".contains(*letter)).collect();
        let line = line.split_once(": ").map(|(_, said)| said.to_owned()).unwrap_or(line);
        // If several attributes cannot be set, cp reports only its first, and its order is different.
        line.replace("preserving permissions for", "preserving times for")
    };
    let mut words: Vec<_> = String::from_utf8_lossy(&output.stderr).lines().map(plain).collect();
    // The last line of zcp counts the copied files.
    words.retain(|words| !words.starts_with("copied "));
    words.sort();
    let failed = !output.status.success();
    let copy = sandbox.snapshot("dst").without(|node| {
        if failed {
            node.mtime = None;
        }
    });
    Outcome { status: output.status.code(), words, copy }
}

/// Exit status, messages and tree are cp's, also with `--atomic`.
fn as_by_cp(rights: &str) {
    let sandbox = tree();
    for options in [&["-a"][..], &["-r"], &["-a", "--remove-destination"], &["-rf"]] {
        for copied in [false, true] {
            let cp = outcome(&sandbox, rights, &oracle::reference(), options, copied);
            let zcp = outcome(&sandbox, rights, ZCP.as_ref(), options, copied);
            let differs = cp.copy.diff(&zcp.copy);
            assert_eq!(
                (cp.status, &cp.words),
                (zcp.status, &zcp.words),
                "{rights} {options:?} over a copy: {copied}"
            );
            assert!(differs.is_empty(), "{rights} {options:?} over a copy: {copied}\n{differs}");
            if !copied {
                let atomic = outcome(&sandbox, rights, ZCP.as_ref(), &[options, &["--atomic"]].concat(), copied);
                assert_eq!(
                    (zcp.status, &zcp.words),
                    (atomic.status, &atomic.words),
                    "{rights} {options:?} --atomic"
                );
                let differs = zcp.copy.diff(&atomic.copy);
                assert!(differs.is_empty(), "{rights} {options:?} --atomic\n{differs}");
            }
        }
    }
}

fn are_taken_away() {
    let sandbox = tree();
    let output = outcome(&sandbox, "mknod", ZCP.as_ref(), &["-a"], false);
    assert_eq!(output.words, ["cannot create special file dst/null: Operation not permitted"]);
    assert_eq!(output.status, Some(1));
}
