//! Runs zcp under strace, which records its system calls or makes some of them fail.

use crate::sandbox::{LONGEST, Sandbox, ZCP};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The result of a traced run.
pub(crate) struct Trace {
    pub(crate) output: Output,
    /// The lines of each thread, in order.
    threads: Vec<String>,
    /// The path of the sandbox. strace prints it with the descriptors of files in the sandbox.
    root: String,
}

/// Runs `zcp args` with further options for strace, such as `-e inject=...`. If `-P PATH` is among them, strace
/// traces only calls on that path, and makes only those fail.
pub(crate) fn zcp(sandbox: &Sandbox, options: &[impl AsRef<OsStr>], args: &[impl AsRef<OsStr>]) -> Trace {
    zcp_with_stops(sandbox, options, args, |_| panic!("stopped, although nobody asked for it"))
}

/// Like [`zcp`], with an `inject=...:signal=STOP` that stops zcp. Each time it has stopped, `at_stop` runs with
/// the number of the stop, and then zcp continues. So a test can act between two calls without relying on time.
pub(crate) fn zcp_with_stops(
    sandbox: &Sandbox,
    options: &[impl AsRef<OsStr>],
    args: &[impl AsRef<OsStr>],
    mut at_stop: impl FnMut(usize),
) -> Trace {
    let log = tempfile::tempdir().unwrap();
    // The shell may have started the tests with SIGINT ignored.
    let mut command = Command::new("env");
    command.args(["--default-signal", "strace"]);
    // `-ff` writes a file for each thread, so that no line is torn; `-y` prints the paths of descriptors.
    command.args(["-ff", "-y", "-s", "8", "-o"]).arg(log.path().join("log")).args(options).arg(ZCP).args(args);
    command.current_dir(sandbox.path("")).env("LC_ALL", "C").stdin(Stdio::null());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let child = std::thread::spawn(|| child.wait_with_output().unwrap());
    let mut stops = 0;
    let start = Instant::now();
    while !child.is_finished() {
        for (thread, text) in logs(log.path()) {
            if start.elapsed() > LONGEST {
                let _ = kill_process(Pid::from_raw(thread).unwrap(), Signal::KILL);
            }
            if text.matches("--- stopped by SIGSTOP ---").count() > stops {
                stops += 1;
                at_stop(stops);
                kill_process(Pid::from_raw(thread).unwrap(), Signal::CONT).unwrap();
            }
        }
        std::thread::sleep(Duration::from_millis(2)); // leaves the processor to others
    }
    let output = child.join().unwrap();
    let root = format!("<{}/", sandbox.path("").canonicalize().unwrap().to_str().unwrap().trim_end_matches('/'));
    Trace { threads: logs(log.path()).map(|(_, text)| text).collect(), output, root }
}

/// The id of each thread, with its lines so far.
pub(crate) fn logs(dir: &Path) -> impl Iterator<Item = (i32, String)> {
    std::fs::read_dir(dir).unwrap().map(|file| {
        let path = file.unwrap().path();
        let thread = path.extension().unwrap().to_str().unwrap().parse().unwrap();
        (thread, String::from_utf8_lossy(&std::fs::read(path).unwrap()).into())
    })
}

impl Trace {
    pub(crate) fn lines(&self) -> impl Iterator<Item = &str> {
        self.threads.iter().flat_map(|thread| thread.lines())
    }

    /// The number of threads.
    pub(crate) fn threads(&self) -> usize {
        self.threads.len()
    }

    /// The number of threads that made a call whose line contains `words`.
    pub(crate) fn threads_with(&self, words: &str) -> usize {
        self.threads.iter().filter(|thread| thread.contains(words)).count()
    }

    /// The number of calls that strace made fail.
    pub(crate) fn injected(&self) -> usize {
        self.lines().filter(|line| line.ends_with("(INJECTED)")).count()
    }

    /// The number of calls of each kind that moved data of files in the sandbox, by the name that `--stats`
    /// uses.
    pub(crate) fn data_calls(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for thread in &self.threads {
            let mut maps = Vec::new();
            for name in thread.lines().filter_map(|line| self.data_call(line, &mut maps)) {
                *counts.entry(name.to_owned()).or_default() += 1;
            }
        }
        counts
    }

    /// The bytes that those calls wrote into files and fifos of the sandbox, according to their results.
    pub(crate) fn bytes_moved(&self) -> u64 {
        let moved = |line: &str| -> Option<u64> {
            let (name, rest) = line.split_once('(')?;
            let writes = match name {
                "copy_file_range" | "sendfile" | "pwrite64" | "write" => rest.contains(&self.root),
                // The third argument is the destination.
                "splice" => rest.split(", ").nth(2)?.contains(&self.root),
                _ => false,
            };
            if writes { rest.rsplit_once("= ")?.1.split(' ').next()?.parse().ok() } else { None }
        };
        self.lines().filter_map(moved).sum()
    }

    /// The name of the call if it concerns data, else `None`. The line of a munmap shows no descriptor, so
    /// `maps` holds the addresses of the mapped files.
    fn data_call<'l>(&self, line: &'l str, maps: &mut Vec<&'l str>) -> Option<&'l str> {
        let (name, rest) = line.split_once('(')?;
        let on_data = rest.contains(&self.root);
        match name {
            "copy_file_range" | "splice" | "sendfile" | "pread64" | "pwrite64" | "read" | "write" | "ppoll"
                if on_data =>
            {
                Some(name)
            }
            "ioctl" if on_data && rest.contains("FICLONE") => Some("ioctl"),
            "mmap" if on_data => {
                maps.extend(rest.rsplit_once("= 0x").map(|(_, address)| address));
                Some(name)
            }
            "munmap" => {
                let address = rest.strip_prefix("0x")?.split(',').next()?;
                let index = maps.iter().position(|map| *map == address)?;
                maps.swap_remove(index);
                Some(name)
            }
            _ => None,
        }
    }
}
