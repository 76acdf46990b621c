//! The oracle: GNU cp and zcp run the same command on equal trees, and must not differ.
//!
//! proptest generates trees, destinations, flags and operands, and reduces a case that fails. `ZCP_ORACLE_CASES`
//! sets the number of all cases (100000, say), `ZCP_ORACLE_SEED` another seed than the fixed one. The tree
//! afterwards, the exit status, and the sorted lines of stderr and stdout are compared. All known differences
//! are in [`known`].
//!
//! The reference is the newest GNU cp, which `tests/reference-cp` fetches. Without it, the system's cp is used,
//! with fewer kinds of cases and more known differences.

pub(crate) mod case;
pub(crate) mod invent;
mod known;
mod usage;

use crate::needs::{Need, SHM, trial};
use crate::sandbox::{Sandbox, ZCP};
use crate::snapshot::Snapshot;
use assert_cmd::Command;
use case::Case;
use libtest_mimic::Trial;
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The default number of cases.
const CASES: u32 = 2400;
/// Where `tests/reference-cp` puts the newest GNU cp.
const REFERENCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/reference-cp");
/// The user id of the ordinary user when root runs the tests.
const NOBODY: u32 = 65534;
/// More processor time, in seconds, than any of these copies takes: cp 9.1 may copy without end. Processor time,
/// unlike time on the clock, does not grow on a busy machine.
const PROCESSOR_TIME: u32 = 3;
/// A process that has not ended by then is blocked, as both programs are when they open a fifo that nobody
/// reads.
pub(crate) const BLOCKED: Duration = Duration::from_secs(20);

/// Ways to run zcp: name, further options, and percentage of the cases.
const WAYS: [(&str, &[&str], u32); 8] = [
    ("plain", &[], 40),
    ("j1", &["-j1"], 10),
    ("j8", &["-j8"], 10),
    ("copy_file_range", &["--strategy=copy_file_range"], 8),
    ("splice", &["--strategy=splice"], 8),
    ("sendfile", &["--strategy=sendfile"], 8),
    ("mmap", &["--strategy=mmap"], 8),
    ("read_write", &["--strategy=read_write"], 8),
];

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    let mut number = 0;
    let stage = Arc::new(Stage::default());
    for user in [User::Root, User::Ordinary] {
        for (name, told, share) in WAYS {
            number += 1;
            let needs: &[Need] = match user {
                User::Root => &[Need::Program("cp"), Need::Shm, Need::Root],
                User::Ordinary => &[Need::Program("cp"), Need::Shm],
            };
            let name = format!("oracle::{}::{name}", user.name());
            let stage = Arc::clone(&stage);
            trials.push(trial(name, needs, move || compare_many(Setting { user, told }, share, number, &stage)));
        }
    }
    let needs = [Need::Program("cp"), Need::Shm];
    let shared = Arc::clone(&stage);
    trials.push(trial("oracle::same_file", &needs, move || same_file(&shared)));
    trials.push(trial("oracle::usage", &[Need::ReferenceCp, Need::Shm], move || usage::compare_all(&stage)));
    trials
}

/// Whether `tests/reference-cp` has fetched GNU cp.
pub(crate) fn has_reference() -> bool {
    reference().exists()
}

/// GNU cp, if `tests/reference-cp` has fetched it.
pub(crate) fn reference() -> PathBuf {
    Path::new(REFERENCE).join("cp")
}

/// Checks each case of [`case::same_file`].
fn same_file(stage: &Stage) {
    let setting = Setting { user: User::Ordinary, told: &[] };
    let wrong: Vec<String> = case::same_file()
        .iter()
        .filter_map(|case| Some(format!("{case:?}{}", compare(case, setting, stage).err()?)))
        .collect();
    assert!(wrong.is_empty(), "{} of them:\n{}", wrong.len(), wrong.join("\n"));
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum User {
    Root,
    Ordinary,
}

impl User {
    fn name(self) -> &'static str {
        if self == User::Root { "root" } else { "user" }
    }

    /// The user id to switch to, if any.
    fn to_become(self) -> Option<u32> {
        (self == User::Ordinary && rustix::process::geteuid().is_root()).then_some(NOBODY)
    }
}

/// The common properties of all cases of a trial.
#[derive(Clone, Copy, Debug)]
struct Setting {
    user: User,
    told: &'static [&'static str],
}

/// The result of one program.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// `None` if the program had to be stopped.
    status: Option<i32>,
    errors: Vec<String>,
    lines: Vec<String>,
    snapshot: Snapshot,
}

impl Run {
    fn says(&self, words: &str) -> bool {
        self.errors.iter().any(|line| line.contains(words))
    }

    /// Whether this run has a backup in the topmost directory that the other run has further down.
    fn has_backup_astray(&self, other: &Run) -> bool {
        let is_astray = |name: &&PathBuf| {
            name.parent() == Some(Path::new(case::WITHIN)) && !other.snapshot.0.contains_key(*name)
        };
        self.snapshot.0.keys().any(|name| is_astray(&name)) || self.says("un-backup")
    }
}

impl Case {
    fn has_update(&self) -> bool {
        self.flags.iter().any(|flag| *flag == "-u" || *flag == "-aux" || flag.starts_with("--update"))
    }

    fn has_backup(&self) -> bool {
        self.flags.iter().any(|flag| {
            let short = !flag.starts_with("--") && flag.contains('b');
            short || flag.starts_with("--backup") || flag.starts_with("--suffix") || flag.starts_with("-S")
        })
    }
}

pub(crate) fn from_env<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

fn compare_many(setting: Setting, share: u32, number: u64, stage: &Stage) {
    let all: u32 = from_env("ZCP_ORACLE_CASES").unwrap_or(CASES);
    let cases = (u64::from(all) * u64::from(share) / 200).max(1);
    let seed = from_env::<u64>("ZCP_ORACLE_SEED").unwrap_or(1) << 8 | number;
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config {
        cases: u32::try_from(cases).unwrap(),
        failure_persistence: None,
        max_shrink_iters: 400,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let passed_over = Cell::new(0);
    let invented = if stage.has_reference() { invent::wide_cases().boxed() } else { invent::cases().boxed() };
    let answer = TestRunner::new_with_rng(config, rng).run(&invented, |case| {
        let decision = compare(&case, setting, stage).map_err(TestCaseError::fail)?;
        passed_over.set(passed_over.get() + u64::from(decision == Decision::Known));
        Ok(())
    });
    if let Err(error) = answer {
        panic!("{setting:?}, seed {seed}: {error}");
    }
    let few = 5 + cases / 20;
    assert!(passed_over.get() <= few, "the table of known differences hides {} of {cases}", passed_over.get());
}

/// The result of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Same,
    /// The difference is in the table of known differences.
    Known,
}

/// Compares both programs. Returns the differences as an error.
fn compare(case: &Case, setting: Setting, stage: &Stage) -> Result<Decision, String> {
    let told = if case.is_forcible() { setting.told } else { &[] };
    let sandbox = Sandbox::within(SHM);
    let mut cp = run(case, setting, &stage.reference(), &[], &sandbox);
    let mut zcp = run(case, setting, &stage.program(), told, &sandbox);
    known::without_our_own(&mut cp, &mut zcp);
    if !stage.has_reference() {
        known::modernise(&mut cp, &mut zcp);
    }
    let text = cp.diff(&zcp);
    if text.is_empty() {
        return Ok(Decision::Same);
    }
    let tables = if stage.has_reference() { [known::INTENDED, &[]] } else { [known::INTENDED, known::OLD] };
    let Some(known) = tables.into_iter().flatten().find(|known| (known.shows)(case, &cp, &zcp)) else {
        return Err(format!("- cp, + zcp:\n{text}"));
    };
    if std::env::var_os("ZCP_ORACLE_CASES").is_some() {
        println!("passed over: {}: {case:?}", known.why);
    }
    Ok(Decision::Known)
}

impl Run {
    fn diff(&self, zcp: &Run) -> String {
        let mut text = String::new();
        if self.status != zcp.status {
            text += &format!("status {:?} {:?}\n", self.status, zcp.status);
        }
        for (name, theirs, ours) in [("stderr", &self.errors, &zcp.errors), ("stdout", &self.lines, &zcp.lines)] {
            if theirs != ours {
                text += &format!("{name}\n- {theirs:#?}\n+ {ours:#?}\n");
            }
        }
        text + &self.snapshot.diff(&zcp.snapshot)
    }
}

impl Case {
    /// Whether a single strategy can do all that is asked for, and the output does not depend on which.
    fn is_forcible(&self) -> bool {
        let decides = |flag: &&str| ["--sparse", "--reflink", "--debug"].iter().any(|name| flag.starts_with(name));
        !self.flags.iter().any(decides)
    }
}

/// Builds the tree in the sandbox, runs the program in it, and empties the sandbox.
fn run(case: &Case, setting: Setting, program: &Path, told: &[&str], sandbox: &Sandbox) -> Run {
    case.build(sandbox);
    if let Some(user) = setting.user.to_become() {
        give(&sandbox.path(""), user);
    }
    let top = sandbox.path(case::WITHIN);
    let mut command = std::process::Command::new("sh");
    let line = format!("ulimit -t {PROCESSOR_TIME}; umask {:03o}; exec \"$@\"", case.umask);
    command.arg("-c").arg(line).arg("sh").arg(program).args(told).args(case.args(&top));
    command.current_dir(&top).env("LC_ALL", "C").envs(case.environment.iter().copied());
    if let Some(user) = setting.user.to_become() {
        command.uid(user).gid(user);
    }
    let fifos = case.hold_fifos(sandbox);
    let output = Command::from_std(command).write_stdin(case.answers.as_str()).timeout(BLOCKED).output().unwrap();
    drop(fifos);
    let (status, errors) = (output.status.code(), lines(&output.stderr));
    // A tree that was copied into itself without end is too deep to inspect.
    let endless = status.is_none() || errors.iter().any(|line| line.contains("File name too long"));
    let snapshot = if endless { Snapshot(BTreeMap::new()) } else { sandbox.snapshot("") };
    empty(sandbox);
    Run { status, errors, lines: lines(&output.stdout), snapshot }
}

fn empty(sandbox: &Sandbox) {
    let names: Vec<OsString> =
        fs::read_dir(sandbox.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    for name in names {
        let path = sandbox.path(name);
        // Only root can remove directories without permissions, and only rm can remove very deep ones.
        if fs::remove_dir_all(&path).is_err() {
            let _ = std::process::Command::new("chmod").args(["-R", "u+rwx"]).arg(&path).status();
            assert!(std::process::Command::new("rm").arg("-rf").arg(&path).status().unwrap().success());
        }
    }
}

/// Makes the user the owner of everything in `path`. chown clears set-ID bits, so they are set again.
fn give(path: &Path, user: u32) {
    let stat = path.symlink_metadata().unwrap();
    if stat.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| give(&entry.unwrap().path(), user));
    }
    std::os::unix::fs::lchown(path, Some(user), Some(user)).unwrap();
    if !stat.is_symlink() {
        fs::set_permissions(path, stat.permissions()).unwrap();
    }
}

/// The sorted lines. Each prompt counts as a line.
pub(crate) fn lines(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes).replace("? ", "?\n");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Both programs under the name cp, where every user can run them. Made at first use, and removed with the
/// trials.
#[derive(Debug, Default)]
struct Stage(OnceLock<tempfile::TempDir>);

impl Stage {
    fn dir(&self) -> &Path {
        let dir = self.0.get_or_init(|| {
            let dir = tempfile::Builder::new().prefix("zcp-it-").tempdir().unwrap();
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
            fs::copy(ZCP, dir.path().join("cp")).unwrap();
            if has_reference() {
                let gnu = dir.path().join("gnu");
                assert!(
                    std::process::Command::new("cp")
                        .arg("-r")
                        .args([Path::new(REFERENCE), &gnu])
                        .status()
                        .unwrap()
                        .success()
                );
            }
            dir
        });
        dir.path()
    }

    fn program(&self) -> PathBuf {
        self.dir().join("cp")
    }

    /// The GNU cp that was fetched, or the system's.
    fn reference(&self) -> PathBuf {
        if self.has_reference() { self.dir().join("gnu/cp") } else { PathBuf::from("cp") }
    }

    fn has_reference(&self) -> bool {
        self.dir().join("gnu").exists()
    }
}
