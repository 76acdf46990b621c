//! Runs zcp under strace, which lists its system calls or makes some of them fail.

use crate::sandbox::{LONGEST, Sandbox, ZCP};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// What a traced run left.
pub(crate) struct Trace {
    pub(crate) output: Output,
    /// The lines of each thread, in order.
    threads: Vec<String>,
    /// Where the sandbox is: descriptors of data are annotated with a path below it.
    root: String,
}

/// Runs `zcp args` with further options for strace, such as `-e inject=...`. With a `-P` among them
/// only calls on that path are traced, and sabotaged.
pub(crate) fn zcp(sandbox: &Sandbox, options: &[impl AsRef<OsStr>], args: &[impl AsRef<OsStr>]) -> Trace {
    zcp_with_stops(sandbox, options, args, |_| panic!("stopped, although nobody asked for it"))
}

/// The same, where an `inject=...:signal=STOP` stops zcp: then `at_stop` is run, with the number of
/// the stop, before zcp may go on. So things happen between two calls without a clock.
pub(crate) fn zcp_with_stops(
    sandbox: &Sandbox,
    options: &[impl AsRef<OsStr>],
    args: &[impl AsRef<OsStr>],
    mut at_stop: impl FnMut(usize),
) -> Trace {
    let log = tempfile::tempdir().unwrap();
    // Whoever started the tests in the background may have left SIGINT ignored.
    let mut command = Command::new("env");
    command.args(["--default-signal", "strace"]);
    // One file a thread, so that no line is torn; descriptors with their paths, and short strings.
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
        std::thread::sleep(Duration::from_millis(2)); // only to leave the processor to others
    }
    let output = child.join().unwrap();
    let root = format!("<{}/", sandbox.path("").canonicalize().unwrap().to_str().unwrap().trim_end_matches('/'));
    Trace { threads: logs(log.path()).map(|(_, text)| text).collect(), output, root }
}

/// The id of each thread, and its lines so far.
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

    /// How many threads there were.
    pub(crate) fn threads(&self) -> usize {
        self.threads.len()
    }

    /// How many threads made a call whose line has these words.
    pub(crate) fn threads_with(&self, words: &str) -> usize {
        self.threads.iter().filter(|thread| thread.contains(words)).count()
    }

    /// Calls that strace made fail.
    pub(crate) fn injected(&self) -> usize {
        self.lines().filter(|line| line.ends_with("(INJECTED)")).count()
    }

    /// How often each call of the data paths was made on files of the sandbox, by the name that
    /// `--stats` gives it.
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

    /// The bytes that those calls put into files and fifos of the sandbox, by what they returned.
    pub(crate) fn bytes_moved(&self) -> u64 {
        let moved = |line: &str| -> Option<u64> {
            let (name, rest) = line.split_once('(')?;
            let writes = match name {
                "copy_file_range" | "sendfile" | "pwrite64" | "write" => rest.contains(&self.root),
                // The third argument is where the bytes go.
                "splice" => rest.split(", ").nth(2)?.contains(&self.root),
                _ => false,
            };
            if writes { rest.rsplit_once("= ")?.1.split(' ').next()?.parse().ok() } else { None }
        };
        self.lines().filter_map(moved).sum()
    }

    /// The name of a call that is about data, `None` for any other line. A munmap has no descriptor
    /// to know it by, so `maps` holds the addresses of files that are mapped.
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
