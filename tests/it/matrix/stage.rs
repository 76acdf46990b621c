//! A source tree, a command line, and the system calls that zcp makes for it. A run without faults finds them;
//! the order of the calls of one worker is always the same.

use super::{Setting, judge};
use crate::needs::mounted;
use crate::sandbox::{Sandbox, ZCP, noise};
use crate::snapshot::Snapshot;
use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::BTreeMap;
use std::fmt::{Display, Formatter};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

/// Far more seconds than any cell takes. A run that takes longer hangs.
const LIMIT: u32 = 60;

/// A call to fail: its name, the kind of its file, and the moments.
pub(super) struct Site {
    pub(super) call: String,
    /// The call and the kind of its file, in words.
    pub(super) label: String,
    /// The numbers of the thread's calls of that name: the first on such a file, and one in the middle.
    pub(super) moments: Vec<usize>,
    /// The names of the files at those moments, if they are known.
    pub(super) files: Vec<Option<String>>,
}

/// The fault that strace injects.
pub(super) struct Fault {
    pub(super) what: String,
    pub(super) errno: Option<&'static str>,
    pub(super) when: String,
}

impl Display for Fault {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} @{}", self.what, self.when)
    }
}

/// The common part of all cells of a setting.
pub(super) struct Stage {
    pub(super) setting: &'static Setting,
    sandbox: Sandbox,
    pub(super) source: Snapshot,
    sites: Vec<Site>,
    /// The number of runs, from which each run takes the name of its destination.
    runs: AtomicUsize,
}

impl Stage {
    pub(super) fn set(setting: &'static Setting) -> Stage {
        let sandbox = Sandbox::within(mounted(setting.fs).unwrap());
        make_tree(&sandbox);
        let source = sandbox.snapshot("src");
        let mut stage = Stage { setting, sandbox, source, sites: Vec::new(), runs: AtomicUsize::new(0) };
        let (_, log) = stage.trace(&["-ff"], |_| ());
        stage.sites = find_sites(&log, &stage.sandbox.path("").canonicalize().unwrap());
        stage
    }

    pub(super) fn sites(&self) -> &[Site] {
        &self.sites
    }

    /// Runs one cell. Returns the result, or the violation that it found.
    pub(super) fn run(&self, site: &Site, fault: &Fault) -> Result<String, String> {
        let calls = format!("trace={}", site.call);
        let inject = format!("inject={}:{}:when={}", site.call, fault.what, fault.when);
        let mut copy = None;
        let options = ["-f", "--seccomp-bpf", "-e", &calls, "-e", &inject];
        let (answer, log) = self.trace(&options, |dst| copy = Some((dst.to_owned(), self.sandbox.snapshot(dst))));
        let output = answer?;
        let (dst, copy) = copy.unwrap();
        let index = site.moments.iter().position(|when| fault.when == when.to_string());
        let file = index.and_then(|index| site.files[index].clone());
        judge::judge(&judge::Case {
            stage: self,
            site,
            fault,
            file,
            output: &output,
            log: &log,
            dst: &dst,
            copy: &copy,
        })
    }

    /// Runs zcp under strace, calls `look` with the destination, and removes it. Returns the output and the log
    /// of the thread that copies.
    fn trace(&self, options: &[&str], look: impl FnOnce(&str)) -> (Result<Output, String>, String) {
        let dst = format!("d{}", self.runs.fetch_add(1, Ordering::Relaxed));
        if self.setting.occupied {
            occupy(&self.sandbox, &dst);
        }
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("strace");
        command.args(["-y", "-o"]).arg(dir.path().join("log")).args(options).arg(ZCP);
        command.args(self.setting.args).args(["--keep-going", "-j1", "-T", "src", &dst]);
        command.current_dir(self.sandbox.path("")).env("LC_ALL", "C").stdin(Stdio::null()).process_group(0);
        let answer = run(command);
        look(&dst);
        let _ = std::fs::remove_dir_all(self.sandbox.path(&dst));
        let logs = std::fs::read_dir(dir.path()).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap());
        let logs: Vec<_> = logs.map(|log| String::from_utf8_lossy(&log).into_owned()).collect();
        let log = logs.iter().find(|log| log.contains("execve(")).or(logs.first()).cloned();
        (answer, log.unwrap_or_default())
    }
}

/// The output of a run that ends. A run that hangs is killed with all its children.
fn run(mut command: Command) -> Result<Output, String> {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let group = Pid::from_child(&child);
    let (send, ended) = channel();
    std::thread::spawn(move || send.send(child.wait_with_output().unwrap()));
    // Waits second by second, so that a suspended machine does not look like a hang.
    let answer = (0..LIMIT).find_map(|_| ended.recv_timeout(Duration::from_secs(1)).ok());
    answer.ok_or_else(|| {
        let _ = kill_process_group(group, Signal::KILL);
        "hangs".to_owned()
    })
}

/// Files of several kinds in two directories. One of them consists of several pieces for any strategy.
fn make_tree(sandbox: &Sandbox) {
    let mut big = noise(1_150_000);
    big[200_000..300_000].fill(0); // zeros for --sparse=always
    let bytes = noise(24_576);
    let pieces: Vec<_> = (0..3).map(|i| (i * 81_920, &bytes[i as usize * 8192..][..8192])).collect();
    sandbox.file("src/a/big", &big).sparse("src/a/holes", 300_007, &pieces).symlink("big", "src/a/link");
    sandbox.file("src/b/one", noise(5000)).hard_link("src/b/one", "src/b/two").fifo("src/b/fifo");
    sandbox.file("src/b/plain", noise(9001)).mode("src/b/plain", 0o640);
    // They belong to another user, so that zcp has to set an owner.
    std::os::unix::fs::chown(sandbox.path("src/b/plain"), Some(1), Some(1)).unwrap();
    std::os::unix::fs::lchown(sandbox.path("src/a/link"), Some(1), Some(1)).unwrap();
    sandbox.xattr("src/b/plain", "user.k", "v").xattr("src/b/plain", "system.posix_acl_access", acl());
    sandbox.dir("src/a").dir("src/b").dir("src");
}

/// An access control list that the mode alone cannot express (struct posix_acl_xattr_entry).
fn acl() -> Vec<u8> {
    let entries: [(u16, u16, u32); 5] =
        [(1, 6, u32::MAX), (2, 4, 1234), (4, 4, u32::MAX), (0x10, 4, u32::MAX), (0x20, 0, u32::MAX)];
    let entry = |(tag, permissions, id): (u16, u16, u32)| {
        [tag.to_le_bytes().as_slice(), &permissions.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    [2_u32.to_le_bytes().to_vec()].into_iter().chain(entries.map(entry)).flatten().collect()
}

/// Makes an older destination: the same names with different content.
fn occupy(sandbox: &Sandbox, dst: &str) {
    for name in ["a/big", "a/holes", "b/one", "b/plain"] {
        sandbox.file(format!("{dst}/{name}"), format!("old {name}"));
    }
    // Belongs to another user, so that zcp has to set an owner.
    std::os::unix::fs::chown(sandbox.path(format!("{dst}/b/one")), Some(1), Some(1)).unwrap();
    sandbox.symlink("old", format!("{dst}/a/link"));
    // A list that zcp must remove: user 65534 has all permissions (struct posix_acl_xattr_header of
    // linux/posix_acl_xattr.h).
    let entries = [(1, 7, u32::MAX), (2, 7, 65534), (4, 5, u32::MAX), (16, 7, u32::MAX), (32, 5, u32::MAX)];
    let entry = |(tag, rights, id): (u16, u16, u32)| {
        [&tag.to_le_bytes()[..], &rights.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    let list = [2_u32.to_le_bytes().to_vec(), entries.map(entry).concat()].concat();
    sandbox.xattr(format!("{dst}/b"), "system.posix_acl_access", list);
}

/// The calls on the sandbox, grouped by call and kind of file.
fn find_sites(log: &str, root: &Path) -> Vec<Site> {
    let mut ordinals: BTreeMap<&str, usize> = BTreeMap::new();
    let mut found: BTreeMap<String, (String, Vec<(usize, PathBuf)>)> = BTreeMap::new();
    for line in log.lines() {
        let Some((call, arguments)) = line.split_once('(') else { continue };
        let ordinal = ordinals.entry(call).or_default();
        *ordinal += 1;
        let Some(path) = path_of(call, arguments, root) else { continue };
        let Some(place) = place(&path, root) else { continue };
        // std asserts that closedir(3) succeeds, so it must not fail. No file system decides its result.
        if matches!(call, "execve" | "fcntl") || (call, place.as_str()) == ("close", "source directory") {
            continue;
        }
        let label = format!("{call} {place}");
        let entry = found.entry(label).or_insert_with(|| (call.to_owned(), Vec::new()));
        entry.1.push((*ordinal, path));
    }
    found.into_iter().map(|(label, (call, calls))| site(call, label, &calls)).collect()
}

/// The first of the calls, and the first repeated call on the same file or, if there is none, the call in the
/// middle.
fn site(call: String, label: String, calls: &[(usize, PathBuf)]) -> Site {
    let again = (1..calls.len()).find(|index| calls[..*index].iter().any(|(_, path)| *path == calls[*index].1));
    let mut chosen = vec![0, again.unwrap_or(calls.len() / 2)];
    chosen.dedup();
    let (moments, files) = chosen.into_iter().map(|index| (calls[index].0, name_of(&calls[index].1))).unzip();
    Site { call, label, moments, files }
}

/// The file that a call is made on, according to the paths that strace prints with descriptors.
fn path_of(call: &str, arguments: &str, root: &Path) -> Option<PathBuf> {
    if call == "pipe2" {
        return Some("pipe:".into());
    }
    let quoted = |text: &str| Some(text.strip_prefix('"')?.split_once('"')?.0.to_owned());
    if let Some(name) = quoted(arguments)
        && !call.ends_with("at")
    {
        return Some(root.join(name));
    }
    let descriptors = arguments.split('<').skip(1).filter_map(|rest| rest.split_once('>'));
    if call.ends_with("at") || matches!(call, "statx" | "renameat2" | "faccessat2") {
        let names = descriptors.filter(|(path, _)| path.starts_with('/'));
        let (dir, rest) = names.last()?;
        let name = rest.strip_prefix(", ").and_then(quoted).unwrap_or_default();
        return Some(if name.is_empty() { dir.into() } else { Path::new(dir).join(name) });
    }
    descriptors.map(|(path, _)| PathBuf::from(path)).find(|path| path.starts_with(root))
}

/// The tree that a path belongs to, and whether the path is a directory.
fn place(path: &Path, root: &Path) -> Option<String> {
    if path.starts_with("pipe:") {
        return Some("pipe".into());
    }
    if path.starts_with("/proc/thread-self/fd") {
        return Some("by descriptor".into());
    }
    let mut parts = path.strip_prefix(root).ok()?.components();
    let tree = match parts.next()?.as_os_str().to_str()? {
        "src" => "source",
        name if name.starts_with('d') => "destination",
        _ => return None,
    };
    let kind = if matches!(parts.as_path().to_str()?, "" | "a" | "b") { "directory" } else { "file" };
    Some(format!("{tree} {kind}"))
}

fn name_of(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?.to_owned();
    let in_tree = ["a", "b", "big", "holes", "link", "one", "two", "fifo", "plain"].contains(&name.as_str());
    in_tree.then_some(name)
}
