//! `--dry-run` prints what would be done, and changes nothing.
//!
//! Cases of the oracle are run with `--dry-run`, and then without it on a copy of the tree. Both must print the
//! same, as far as it can be known in advance, and the dry run must leave no trace.

use crate::needs::{Need, SHM, mounted, trial};
use crate::oracle::case::{self, Case};
use crate::oracle::invent;
use crate::oracle::{BLOCKED, from_env, lines};
use crate::sandbox::{LONG_AGO, Sandbox, ZCP, assert_done, stats};
use assert_cmd::Command;
use libtest_mimic::Trial;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Output;

/// The default number of cases; `ZCP_DRY_RUN_CASES` sets another.
const CASES: u32 = 300;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("dry_run::says_what_is_done", &[Need::Shm], says_what_is_done),
        trial("dry_run::totals", &[], totals),
        trial("dry_run::foresees", &[], foresees),
        trial("dry_run::with_our_own_options", &[], with_our_own_options),
        trial("dry_run::foresees_what_cannot_be_cloned", &[Need::Shm], foresees_what_cannot_be_cloned),
        trial("dry_run::asks_nobody", &[], asks_nobody),
        trial("dry_run::leaves_no_access_time", &[Need::Mount("ext4")], leaves_no_access_time),
        trial("dry_run::changes_nothing", &[Need::Strace, Need::Shm], changes_nothing),
    ]
}

fn says_what_is_done() {
    let cases = from_env("ZCP_DRY_RUN_CASES").unwrap_or(CASES);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 400, ..Config::default() };
    let seed = from_env::<u64>("ZCP_ORACLE_SEED").unwrap_or(1).to_le_bytes();
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed);
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let answer = TestRunner::new_with_rng(config, rng)
        .run(&invent::cases(), |case| compare(&case).map_err(TestCaseError::fail));
    answer.unwrap_or_else(|error| panic!("{error}"));
}

/// zcp's own options: lines and exit status are those of a real copy.
fn with_our_own_options() {
    let tree = || {
        let sandbox = Sandbox::new();
        sandbox.file("src/a", "a").symlink("gone", "src/l").dir("dst").symlink("nowhere", "dst/a");
        std::os::unix::net::UnixListener::bind(sandbox.path("src/socket")).unwrap();
        std::os::unix::net::UnixListener::bind(sandbox.path("dst/b")).unwrap();
        sandbox.file("b", "b").fifo("dst/fifo").file("fifo", "");
        sandbox
    };
    for args in [
        &["-r", "--resume", "--parents", "src/a", "src/l", "dst"][..],
        &["--atomic", "--remove-destination", "src/a", "dst"],
        &["src/socket", "dst"],
        &["b", "dst"],
        &["--verify", "fifo", "dst"],
    ] {
        let [dry, wet] = [&["--dry-run"][..], &[]].map(|more| {
            let output = tree().zcp(["-v"]).args(more).args(args).output().unwrap();
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap(), output.status)
        });
        assert_eq!(dry, wet, "{args:?}");
    }
}

/// The differences between a dry run and the copy.
fn compare(case: &Case) -> Result<(), String> {
    let sandbox = Sandbox::within(SHM);
    case.build(&sandbox);
    let before = (sandbox.snapshot(""), stamps(&sandbox.path("")));
    let dry = run(case, &sandbox, &["-v", "--dry-run", "-j1"]);
    let trace = before.0.diff(&sandbox.snapshot(""));
    if before.1 != stamps(&sandbox.path("")) {
        return Err("the dry run touched an inode".to_owned());
    }
    if !trace.is_empty() {
        return Err(format!("the dry run left a trace:\n{trace}"));
    }
    if case.has("-i") || feeds_itself(case, &sandbox) || meets_itself(case) {
        return Ok(()); // the result depends on answers, or on what the copy did before
    }
    let wet = run(case, &sandbox, &["-v", "-j1"]);
    let said = String::from_utf8_lossy(&[wet.stdout.as_slice(), &wet.stderr].concat()).into_owned();
    if wet.status.code().is_none() {
        return Ok(()); // the copy waits for a reader of the fifo that it writes to
    }
    if case.operands.len() > 2 && said.contains("cannot overwrite non-directory") {
        return Ok(()); // a directory met a file that an earlier operand made
    }
    if said.contains("into itself") || said.contains("(unbackup)") {
        return Ok(()); // the copy met a file that it had made itself, or renamed its own source
    }
    let mut text = String::new();
    if dry.status.code() != wet.status.code() {
        text += &format!("status {:?} {:?}\n", dry.status, wet.status);
    }
    for (name, dry, wet) in [("stderr", &dry.stderr, &wet.stderr), ("stdout", &dry.stdout, &wet.stdout)] {
        let (dry, wet) = (lines(dry), lines(wet));
        if dry != wet {
            text += &format!("{name}\n- {dry:#?}\n+ {wet:#?}\n");
        }
    }
    if text.is_empty() { Ok(()) } else { Err(format!("- dry, + in truth:\n{text}")) }
}

/// The inode of each name, and the time when the inode last changed.
fn stamps(place: &Path) -> BTreeMap<PathBuf, (u64, i64, i64)> {
    let mut all = BTreeMap::new();
    let mut ahead = vec![place.to_owned()];
    while let Some(path) = ahead.pop() {
        let Ok(stat) = path.symlink_metadata() else { continue };
        if stat.is_dir() {
            ahead.extend(std::fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
        }
        all.insert(path, (stat.ino(), stat.ctime(), stat.ctime_nsec()));
    }
    all
}

/// Whether the contents of two operands have the same destination.
fn meets_itself(case: &Case) -> bool {
    let Some((_, sources)) = case.operands.split_last() else { return false };
    sources.len() > 1 && sources.iter().any(|source| source.as_encoded_bytes().ends_with(b"."))
}

/// Whether `--parents` makes directories in which sources are looked up.
fn feeds_itself(case: &Case, sandbox: &Sandbox) -> bool {
    let canonical = |name: &std::path::Path| sandbox.path(case::WITHIN).join(name).canonicalize().ok();
    let Some((target, sources)) = case.operands.split_last() else { return false };
    let Some(target) = canonical(target.as_ref()).filter(|_| case.has("--parents")) else { return false };
    let leads_there = |dir: &std::path::Path| canonical(dir).is_some_and(|dir| target.starts_with(dir));
    let ways = sources.iter().flat_map(|source| std::path::Path::new(source).ancestors());
    ways.filter(|dir| !dir.as_os_str().is_empty()).any(leads_there)
}

fn run(case: &Case, sandbox: &Sandbox, told: &[&str]) -> Output {
    let mut command = std::process::Command::new("sh");
    let line = format!("ulimit -t 3; umask {:03o}; exec \"$@\"", case.umask);
    command
        .arg("-c")
        .arg(line)
        .arg("sh")
        .arg(ZCP)
        .args(told)
        .args(case.args(&sandbox.path(case::WITHIN)))
        .arg0("zcp");
    command.current_dir(sandbox.path(case::WITHIN)).env("LC_ALL", "C");
    let mut command = Command::from_std(command);
    command.write_stdin(case.answers.as_str()).timeout(BLOCKED).output().unwrap()
}

/// The totals are those of a real copy, except for the strategies.
fn totals() {
    let sandbox = crate::smoke::mixed("src");
    let run = |args: &[&str]| {
        let output = sandbox.zcp(["-a", "--stats=json"]).args(args).args(["src", "dst"]).output().unwrap();
        assert_done(&output);
        assert_eq!(output.stdout.iter().filter(|byte| **byte == b'\n').count(), 1, "only the totals: {output:?}");
        stats(&output)
    };
    for _ in ["into nothing", "over what is there"] {
        let (dry, wet) = (run(&["--dry-run"]), run(&[]));
        assert_eq!((&dry["dry_run"], &wet["dry_run"]), (&true.into(), &false.into()));
        for total in ["files", "directories", "symlinks", "hard_links", "special", "skipped", "bytes_logical"] {
            assert_eq!(dry["totals"][total], wet["totals"][total], "{total}");
        }
        assert_eq!((&dry["totals"]["bytes_moved"], &dry["strategies"]), (&0.into(), &serde_json::json!({})));
        std::fs::rename(sandbox.path("dst/src"), sandbox.path("dst/other")).unwrap_or_default();
    }
    let text = sandbox.zcp(["-a", "--stats", "--dry-run", "src", "new"]).output().unwrap();
    assert!(String::from_utf8_lossy(&text.stdout).starts_with("would copy 6 files, "), "{text:?}");
}

/// Operations that the kernel would refuse are refused.
fn foresees() {
    let sandbox = Sandbox::new();
    sandbox.file("a", "").file("dir/b", "").symlink("nowhere", "dangling").file("old", "").dir("into");
    for (args, words) in [
        (&["a", "missing/a"][..], "zcp: cannot create regular file 'missing/a': No such file or directory\n"),
        (&["a", "dangling"], "zcp: not writing through dangling symlink 'dangling'\n"),
        (&["a", "missing/"], "zcp: cannot create regular file 'missing/': Not a directory\n"),
        (&["dir", "new"], "zcp: -r not specified; omitting directory 'dir'\n"),
        (&["a", "dir/b", "old"], "zcp: target 'old': Not a directory\n"),
        (&["-l", "a", "old"], "zcp: cannot create hard link 'old' to 'a': File exists\n"),
        (&["-r", "dir", "dir/in"], "zcp: cannot copy a directory, 'dir', into itself, 'dir/in'\n"),
        (&["-r", "--parents", "dir/.", "into"], "zcp: cannot create directory 'into/dir/.': File exists\n"),
    ] {
        for dry in [&["--dry-run"][..], &[]] {
            let output = sandbox.zcp(dry).args(args).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stderr), words, "{dry:?} {args:?}");
            assert_eq!(output.status.code(), Some(1));
        }
    }
}

/// `--reflink=always` fails where blocks cannot be shared, for example between file systems.
fn foresees_what_cannot_be_cloned() {
    let (sandbox, other) = (Sandbox::within(SHM), Sandbox::new());
    sandbox.file("a", "1").file("old", "2").file("src/in/b", "3");
    let elsewhere = other.path("b");
    for args in [&["a", "b"][..], &["a", "old"], &["-r", "src", "new"], &["a", elsewhere.to_str().unwrap()]] {
        let [dry, wet] = [&["--dry-run"][..], &[]].map(|more| {
            let output = sandbox.zcp(more).arg("--reflink=always").args(args).output().unwrap();
            (String::from_utf8(output.stderr).unwrap(), output.status.code())
        });
        assert_eq!((&dry, dry.1), (&wet, Some(1)), "{args:?}");
    }
}

/// With `-i`, it prints what it would ask.
fn asks_nobody() {
    let sandbox = Sandbox::new();
    sandbox.file("a", "1").file("b", "2");
    let output = sandbox.zcp(["-i", "--dry-run", "a", "b"]).output().unwrap();
    assert_done(&output);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "would ask: overwrite 'b'?\n");
}

/// Reading a directory could update its access time; a dry run does not.
fn leaves_no_access_time() {
    let sandbox = Sandbox::within(mounted("ext4").unwrap());
    sandbox.file("src/sub/a", "1").time("src/sub", LONG_AGO).time("src", LONG_AGO);
    let accessed =
        || ["src", "src/sub"].map(|name| std::fs::metadata(sandbox.path(name)).unwrap().accessed().unwrap());
    let before = accessed();
    assert_done(&sandbox.zcp(["-a", "--dry-run", "--stats", "src", "dst"]).output().unwrap());
    assert_eq!(accessed(), before);
    assert_done(&sandbox.zcp(["-a", "src", "dst"]).output().unwrap());
    assert_ne!(accessed(), before, "the file system keeps no access times");
}

/// A dry run makes no call that could change anything, not even one whose effect would be undone.
fn changes_nothing() {
    let sandbox = Sandbox::within(SHM);
    sandbox.file("src/a", "new").file("src/sub/b", "").symlink("a", "src/link").file("src/c", "").fifo("src/fifo");
    sandbox.file("dst/src/a", "old").file("dst/src/c", "").hard_link("src/a", "src/name");
    for flags in
        [&["-a"][..], &["-r", "-f", "-b"], &["-rl", "-f"], &["-a", "--remove-destination"], &["-rp", "-u"]]
    {
        let trace = crate::strace::zcp(
            &sandbox,
            &["-e", "trace=%file,%desc"],
            &[flags, &["--dry-run", "src", "dst"]].concat(),
        );
        assert!(trace.output.status.success(), "{:?}", trace.output);
        let name = |line: &str| line.split('(').next().unwrap().to_owned();
        for line in trace.lines().filter(|line| line.contains("dst") || line.contains("src")) {
            let looks = [
                "openat",
                "open",
                "newfstatat",
                "fstat",
                "statx",
                "fstatfs",
                "statfs",
                "getdents64",
                "close",
                "execve",
            ];
            let harmless = [
                "faccessat2",
                "faccessat",
                "read",
                "readlink",
                "fcntl",
                "write",
                "lseek",
                "getcwd",
                "flistxattr",
                "fgetxattr",
            ];
            let writes = line.contains("O_WRONLY") || line.contains("O_RDWR") || line.contains("O_CREAT");
            let known = looks.contains(&&*name(line)) || harmless.contains(&&*name(line));
            assert!(known && !writes, "{flags:?}: {line}");
        }
    }
}
