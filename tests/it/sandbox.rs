//! A scratch directory in which tests make trees, run programs, and take snapshots to compare.

use crate::snapshot::Snapshot;
use assert_cmd::Command;
use filetime::FileTime;
use rustix::fs::{CWD, FileType, Mode, XattrFlags, mknodat};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

/// The program under test.
pub(crate) const ZCP: &str = env!("CARGO_BIN_EXE_zcp");
/// The longest time that a run may take. A run that takes longer hangs, and is killed.
pub(crate) const LONGEST: Duration = Duration::from_secs(300);
/// The modification time of everything that a sandbox makes. Times that a run sets differ from it.
pub(crate) const LONG_AGO: FileTime = FileTime::from_unix_time(1_000_000_000, 123_456_789);

/// A private directory of one test. All names are relative to it; parent directories are made as needed.
pub(crate) struct Sandbox {
    dir: tempfile::TempDir,
    born: FileTime,
}

/// Makes a directory with a copy of the program, `zcp`, that every user can execute, wherever the project lies.
pub(crate) fn program_for_others() -> tempfile::TempDir {
    let dir = tempfile::Builder::new().prefix("zcp-it-").tempdir().unwrap();
    fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    // Another process makes the copy: a child that this process starts meanwhile would keep the file open for
    // writing, and then it cannot be executed.
    let copied = std::process::Command::new("cp").arg(ZCP).arg(dir.path()).status();
    assert!(copied.unwrap().success());
    dir
}

impl Sandbox {
    /// Makes it in the system's directory for temporary files.
    pub(crate) fn new() -> Sandbox {
        Sandbox::within(std::env::temp_dir())
    }

    /// Makes it on the file system that holds `place`.
    pub(crate) fn within(place: impl AsRef<Path>) -> Sandbox {
        let dir = tempfile::Builder::new().prefix("zcp-it-").tempdir_in(place).unwrap();
        let born = FileTime::from_last_modification_time(&fs::metadata(dir.path()).unwrap());
        Sandbox { dir, born }
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    fn new_path(&self, name: impl AsRef<Path>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    pub(crate) fn dir(&self, name: impl AsRef<Path>) -> &Self {
        fs::create_dir_all(self.path(&name)).unwrap();
        self.time(name, LONG_AGO)
    }

    pub(crate) fn file(&self, name: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> &Self {
        fs::write(self.new_path(&name), bytes).unwrap();
        self.time(name, LONG_AGO)
    }

    /// Makes a file of `size` bytes with the given pieces, each at its offset, and holes elsewhere.
    pub(crate) fn sparse(&self, name: impl AsRef<Path>, size: u64, pieces: &[(u64, &[u8])]) -> &Self {
        let file = File::create(self.new_path(&name)).unwrap();
        file.set_len(size).unwrap();
        pieces.iter().for_each(|(at, bytes)| file.write_all_at(bytes, *at).unwrap());
        self.time(name, LONG_AGO)
    }

    pub(crate) fn symlink(&self, target: impl AsRef<Path>, name: impl AsRef<Path>) -> &Self {
        symlink(target, self.new_path(&name)).unwrap();
        self.time(name, LONG_AGO)
    }

    pub(crate) fn hard_link(&self, old: impl AsRef<Path>, name: impl AsRef<Path>) -> &Self {
        fs::hard_link(self.path(old), self.new_path(name)).unwrap();
        self
    }

    pub(crate) fn fifo(&self, name: impl AsRef<Path>) -> &Self {
        mknodat(CWD, self.new_path(&name), FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
        self.time(name, LONG_AGO)
    }

    /// Waits until files get a later time than a file made now. Many file systems take times from a clock that
    /// advances only with each tick of the kernel, so a file may seem older than a process that made it.
    pub(crate) fn next_tick(&self) -> &Self {
        let probe = self.path(".tick");
        let time = || {
            fs::write(&probe, "").unwrap();
            let time = fs::metadata(&probe).unwrap();
            (time.ctime(), time.ctime_nsec())
        };
        let first = time();
        while time() == first {
            std::thread::yield_now();
        }
        fs::remove_file(&probe).unwrap();
        self
    }

    pub(crate) fn socket(&self, name: impl AsRef<Path>) -> &Self {
        mknodat(CWD, self.new_path(&name), FileType::Socket, Mode::from_raw_mode(0o755), 0).unwrap();
        self
    }

    pub(crate) fn mode(&self, name: impl AsRef<Path>, mode: u32) -> &Self {
        assert!(!self.path(&name).is_symlink(), "the mode of what a link leads to may be the system's");
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    /// Sets access and modification time; for a symbolic link, those of the link itself.
    pub(crate) fn time(&self, name: impl AsRef<Path>, time: FileTime) -> &Self {
        filetime::set_symlink_file_times(self.path(name), time, time).unwrap();
        self
    }

    pub(crate) fn xattr(&self, name: impl AsRef<Path>, key: &str, value: impl AsRef<[u8]>) -> &Self {
        rustix::fs::lsetxattr(self.path(name), key, value.as_ref(), XattrFlags::empty()).unwrap();
        self
    }

    /// A command that runs `program` inside the sandbox in the C locale.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.command_as(program.as_ref(), program.as_ref())
    }

    /// A command whose `argv[0]` is `name`.
    pub(crate) fn command_as(&self, program: impl AsRef<OsStr>, name: impl AsRef<OsStr>) -> Command {
        let mut command = Command::from_std(self.std_command(program, name));
        command.timeout(LONGEST);
        command
    }

    /// Like [`Sandbox::command_as`], as a `std` command that can be changed further.
    pub(crate) fn std_command(
        &self,
        program: impl AsRef<OsStr>,
        name: impl AsRef<OsStr>,
    ) -> std::process::Command {
        let mut command = std::process::Command::new(program);
        // ASAN_OPTIONS is for a zcp that is built with a sanitizer (CONTRIBUTING.md).
        let kept = ["PATH", "ASAN_OPTIONS"].into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
        command.arg0(name).current_dir(self.dir.path()).env_clear().env("LC_ALL", "C").envs(kept);
        command
    }

    pub(crate) fn zcp<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.command_as(ZCP, "zcp");
        command.args(args);
        command
    }

    /// Everything below `name`; `name` itself has the empty path.
    pub(crate) fn snapshot(&self, name: impl AsRef<Path>) -> Snapshot {
        Snapshot::take(&self.path(name), self.born)
    }
}

/// Bytes without a pattern, the same in each run, so that swapped or shifted bytes are noticed.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut bytes: Vec<u8> =
        std::iter::repeat_with(next).take(len.div_ceil(8)).flat_map(u64::to_le_bytes).collect();
    bytes.truncate(len);
    bytes
}

/// The object that `--stats=json` printed as the last line of stdout.
#[track_caller]
pub(crate) fn stats(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|error| panic!("no JSON ({error}) in {output:?}"))
}

#[track_caller]
pub(crate) fn assert_done(output: &Output) {
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

/// The number of bytes that `--stats=json` reports for a strategy.
pub(crate) fn bytes_by(stats: &Value, strategy: &str) -> u64 {
    stats["strategies"][strategy]["bytes"].as_u64().unwrap_or(0)
}
