//! The end of a copy after failures: when it ends early, which files remain, and its last line.

use crate::needs::{Need, SHM, trial};
use crate::sandbox::{Sandbox, ZCP, assert_done, noise, stats};
use crate::strace::{self, Trace};
use libtest_mimic::Trial;
use std::fs;
use std::os::unix::fs::MetadataExt;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("giving_up::full", &[Need::Shm, Need::Strace], full),
        trial("giving_up::full_on_request", &[Need::Shm, Need::Strace], full_on_request),
        trial("giving_up::nothing_else_is_begun", &[Need::Strace], nothing_else_is_begun),
        trial("giving_up::read_only", &[Need::Shm, Need::Strace], read_only),
        trial("giving_up::counts_add_up", &[Need::Shm, Need::Strace], counts_add_up),
        trial("giving_up::attributes_are_no_full_disk", &[Need::Shm, Need::Strace], attributes_are_no_full_disk),
        trial("giving_up::fail_fast", &[Need::Shm, Need::Strace], fail_fast),
        trial("giving_up::last_line", &[], last_line),
        trial("giving_up::vanished", &[Need::Shm, Need::Strace], vanished),
        trial("giving_up::dangling_links_are_there", &[], dangling_links_are_there),
    ]
}

fn ten_files() -> Sandbox {
    let sandbox = Sandbox::within(SHM);
    for n in 0..10 {
        sandbox.file(format!("src/{n}"), noise(100));
    }
    sandbox
}

/// Copies by one worker; the third write, and all after it, fail.
fn copy_to_full(sandbox: &Sandbox, errno: &str, args: &[&str]) -> Trace {
    let inject = format!("inject=pwrite64:error={errno}:when=3+");
    let fixed = ["-r", "-j1", "--strategy=read_write", "src", "dst"];
    strace::zcp(sandbox, &["-e", &inject], &[args, &fixed].concat())
}

fn copied(sandbox: &Sandbox) -> usize {
    fs::read_dir(sandbox.path("dst")).unwrap().count()
}

/// After a full disk or a signal among small files that are copied together, the file behind them is left alone, whose
/// destination exists.
fn nothing_else_is_begun() {
    for fault in ["error=ENOSPC", "signal=INT"] {
        let sandbox = Sandbox::new();
        for n in 0..21 {
            sandbox.file(format!("src/{n}"), noise(100));
        }
        // A listing is sorted by inode numbers, so this file comes last.
        let inode = |n: &usize| fs::metadata(sandbox.path(format!("src/{n}"))).unwrap().ino();
        let last = (0..21).max_by_key(inode).unwrap();
        sandbox.file(format!("src/{last}"), noise(1 << 20)).file(format!("dst/{last}"), "old");
        let inject = format!("inject=sendfile,copy_file_range:{fault}:when=3");
        let output = strace::zcp(&sandbox, &["-e", &inject], &["-rTj1", "src", "dst"]).output;
        assert!(!output.status.success());
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!errors.contains("overwritten in part"), "{fault}: {errors}");
        let old = fs::read(sandbox.path(format!("dst/{last}"))).ok();
        assert_eq!(old, Some(b"old".to_vec()), "{fault}: {errors}");
    }
}

/// Nothing can follow on a full disk: the half-written file is removed, and the rest is counted.
fn full() {
    for errno in ["ENOSPC", "EDQUOT"] {
        let sandbox = ten_files();
        let Trace { output, .. } = copy_to_full(&sandbox, errno, &["--stats=json"]);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(copied(&sandbox), 2, "{output:?}");
        let report = stats(&output);
        assert_eq!(report["gave_up"], true);
        let totals = &report["totals"];
        let figures = ["files", "failed", "left"].map(|name| totals[name].as_u64().unwrap());
        assert_eq!(figures, [2, 1, 7], "{totals}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said.lines().count(), 2, "{said}");
        let last = "zcp: copied 2 files, failed 1, 7 files not tried; --keep-going tries the rest\n";
        assert!(said.ends_with(last), "{said}");
    }
}

/// Small files that were opened together with the one that failed are among those that were not tried.
fn counts_add_up() {
    let sandbox = ten_files();
    let inject = ["-e", "inject=copy_file_range,sendfile:error=ENOSPC:when=3+"];
    let output = strace::zcp(&sandbox, &inject, &["-r", "-j1", "--stats=json", "src", "dst"]).output;
    let totals = &stats(&output)["totals"];
    let figures = ["files", "failed", "left"].map(|name| totals[name].as_u64().unwrap());
    assert!(figures[1] == 1 && figures[2] > 0, "{totals}");
    assert_eq!(figures.iter().sum::<u64>(), 10, "{totals}");
}

fn full_on_request() {
    let sandbox = ten_files();
    let Trace { output, .. } = copy_to_full(&sandbox, "ENOSPC", &["--keep-going", "--stats=json"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!((&stats(&output)["gave_up"], &stats(&output)["totals"]["failed"]), (&false.into(), &8.into()));
    // An incomplete file stays for the user to see, as with cp.
    assert_eq!(copied(&sandbox), 10);
}

fn read_only() {
    let sandbox = ten_files();
    let inject = ["-e", "inject=mkdirat:error=EROFS"];
    let output = strace::zcp(&sandbox, &inject, &["-r", "--stats=json", "src", "dst"]).output;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!((&stats(&output)["gave_up"], &stats(&output)["totals"]["left"]), (&true.into(), &10.into()));
}

/// ext4 has little space for attributes in an inode, so a failure says nothing about other files.
fn attributes_are_no_full_disk() {
    let sandbox = ten_files();
    for n in 0..10 {
        sandbox.xattr(format!("src/{n}"), "user.a", "1");
    }
    let inject = ["-e", "inject=fsetxattr:error=ENOSPC:when=1"];
    let args = ["-r", "-j1", "--preserve=xattr", "--stats=json", "src", "dst"];
    let output = strace::zcp(&sandbox, &inject, &args).output;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!((&stats(&output)["gave_up"], copied(&sandbox)), (&false.into(), 10));
}

fn fail_fast() {
    let sandbox = ten_files();
    let Trace { output, .. } = copy_to_full(&sandbox, "EIO", &["--fail-fast", "--stats=json"]);
    assert_eq!((output.status.code(), copied(&sandbox)), (Some(1), 2), "{output:?}");
    assert_eq!((&stats(&output)["gave_up"], &stats(&output)["totals"]["left"]), (&true.into(), &7.into()));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.ends_with("zcp: copied 2 files, failed 1, 7 files not tried\n"), "{said}");
    let sandbox = ten_files();
    let Trace { output, .. } = copy_to_full(&sandbox, "EIO", &[]);
    assert_eq!((output.status.code(), copied(&sandbox)), (Some(1), 10), "{output:?}");
}

/// One failure needs no summary, and cp prints none.
fn last_line() {
    let sandbox = Sandbox::new();
    sandbox.file("a", "").dir("dst");
    let said = |program: &str, args: &[&str]| {
        let output = sandbox.command_as(ZCP, program).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let missing = |name: &str| format!("cannot stat '{name}': No such file or directory");
    let last = format!("zcp: copied 1 file, failed 2 (first: {}; --log=FILE lists all)\n", missing("x"));
    assert_eq!(said("zcp", &["a", "x", "dst"]), format!("zcp: {}\n", missing("x")));
    assert_eq!(
        said("zcp", &["a", "x", "y", "dst"]),
        format!("zcp: {}\nzcp: {}\n{last}", missing("x"), missing("y"))
    );
    assert_eq!(said("cp", &["a", "x", "y", "dst"]), format!("cp: {}\ncp: {}\n", missing("x"), missing("y")));
}

/// A file and a directory that are removed after their directory was listed.
fn vanished() {
    for (args, status) in [(&["--ignore-vanished"][..], 0), (&[], 1)] {
        let sandbox = ten_files();
        sandbox.file("src/sub/f", "f");
        let stop = ["-e", "inject=getdents64:signal=STOP:when=2"];
        let all = [args, &["-r", "-j1", "--stats=json", "src", "dst"]].concat();
        let output = strace::zcp_with_stops(&sandbox, &stop, &all, |_| {
            let _ = fs::remove_file(sandbox.path("src/4"));
            let _ = fs::remove_dir_all(sandbox.path("src/sub"));
        })
        .output;
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        assert_eq!(stats(&output)["totals"]["vanished"], if status == 0 { 2 } else { 0 });
        let said = String::from_utf8(output.stderr).unwrap();
        if status == 0 {
            assert_eq!(said, "zcp: warning: names that vanished before they could be copied: 2\n");
        }
        sandbox.snapshot("src").plain().assert_same(&sandbox.snapshot("dst").plain());
    }
}

fn dangling_links_are_there() {
    let sandbox = Sandbox::new();
    sandbox.symlink("nowhere", "src/link").file("src/f", "f");
    let output = sandbox.zcp(["-rL", "--ignore-vanished", "src", "dst"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let output = sandbox.zcp(["--ignore-vanished", "missing", "dst"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "an operand is no entry: {output:?}");
    assert_done(&sandbox.zcp(["-r", "--ignore-vanished", "src", "copy"]).output().unwrap());
}
