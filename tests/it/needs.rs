//! What a trial needs of the machine, and what becomes of it where that is missing.
//!
//! Run by root, the whole binary starts itself again in a mount namespace of its own: there it can
//! mount images of real file systems, which nobody else sees and which are gone when it ends.

use libtest_mimic::Trial;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Mutex, OnceLock};

/// Where the second start finds its directory for mounts.
const PLACE: &str = "ZCP_IT_MOUNTS";
/// The size of an image: mkfs.xfs refuses less than 300 MiB. It is sparse.
const IMAGE: u64 = 512 << 20;

/// Where a tmpfs is mounted.
pub(crate) const SHM: &str = "/dev/shm";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// strace, and the right to trace.
    Strace,
    /// To be root.
    Root,
    /// A tmpfs on [`SHM`], as every Linux has it.
    Shm,
    /// A program in PATH.
    Program(&'static str),
    /// A file system of this type, see [`mounted`].
    Mount(&'static str),
}

impl Need {
    fn is_met(self) -> bool {
        static STRACE: OnceLock<bool> = OnceLock::new();
        match self {
            Need::Strace => *STRACE.get_or_init(|| succeeds("strace", &["-f", "-o", "/dev/null", "true"])),
            Need::Root => is_root(),
            Need::Shm => Path::new(SHM).is_dir(),
            Need::Program(name) => {
                let path = std::env::var_os("PATH").unwrap_or_default();
                std::env::split_paths(&path).any(|dir| dir.join(name).is_file())
            }
            Need::Mount(fs) => mounted(fs).is_some(),
        }
    }
}

/// A trial that is run where all its needs are met.
pub(crate) fn trial(name: impl Into<String>, needs: &[Need], run: impl FnOnce() + Send + 'static) -> Trial {
    match needs.iter().find(|need| !need.is_met()).copied() {
        None => Trial::test(name, || {
            run();
            Ok(())
        }),
        Some(need) => Trial::test(name, move || Err(format!("this machine lacks {need:?}").into()))
            .with_ignored_flag(std::env::var_os("CI").is_none()),
    }
}

/// An empty file system of the given type, the same one for all trials that ask for it.
pub(crate) fn mounted(fs: &'static str) -> Option<PathBuf> {
    static MOUNTS: Mutex<BTreeMap<&str, Option<PathBuf>>> = Mutex::new(BTreeMap::new());
    let mut mounts = MOUNTS.lock().unwrap();
    mounts.entry(fs).or_insert_with(|| mount(fs, &PathBuf::from(std::env::var_os(PLACE)?))).clone()
}

fn mount(fs: &str, place: &Path) -> Option<PathBuf> {
    let (image, point) = (place.join(format!("{fs}.img")), place.join(fs));
    File::create(&image).ok()?.set_len(IMAGE).ok()?;
    fs::create_dir(&point).ok()?;
    let made = succeeds(&format!("mkfs.{fs}"), &[image.as_os_str()]);
    let mounted =
        made && succeeds("mount", &["-o".into(), "loop".into(), image.into(), point.clone().into_os_string()]);
    mounted.then_some(point)
}

/// Starts the tests again where mounts are private, if that is possible; their exit status.
pub(crate) fn run_with_mounts_of_our_own() -> Option<ExitCode> {
    if let Some(place) = std::env::var_os(PLACE) {
        let tmpfs: [OsString; 4] = ["-t".into(), "tmpfs".into(), "zcp-it".into(), place];
        assert!(succeeds("mount", &tmpfs), "cannot mount a tmpfs in a namespace of our own");
        return None;
    }
    if !is_root() || !succeeds("unshare", &["--mount", "true"]) {
        return None;
    }
    let place = tempfile::tempdir().unwrap();
    let mut again = Command::new("unshare");
    again.arg("--mount").arg(std::env::current_exe().unwrap()).args(std::env::args_os().skip(1));
    let status = again.env(PLACE, place.path()).status().unwrap();
    Some(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn succeeds(program: &str, args: &[impl AsRef<std::ffi::OsStr>]) -> bool {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
