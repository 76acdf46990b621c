//! A source that other processes rename, delete, truncate and extend during the copy. Every byte of the copy was
//! in the file at that place (or is a zero of a page that was just truncated), zcp ends, and it names what it
//! could not copy. `ZCP_CHURN_ROUNDS` sets the number of rounds.

use crate::law;
use crate::needs::{Need, trial};
use crate::sandbox::{Sandbox, stats};
use crate::strace;
use libtest_mimic::Trial;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// The length of the bytes that all files are taken from: each offset always has the same byte, however long a
/// file is.
const STREAM: usize = 3 << 20;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("churn::tree", &[], tree), trial("churn::cut_off_midway", &[Need::Strace], cut_off_midway)]
}

fn stream() -> Vec<u8> {
    // No byte is 0, so that a hole or a truncated page is noticed.
    (0..STREAM).map(|at| u8::try_from(at.wrapping_mul(2_654_435_761) >> 13 & 0xff).unwrap() | 1).collect()
}

/// Between the two calls of a strategy the source is truncated inside a page, and extended again to its old
/// content. The pages that are on their way then have zeros behind the cut.
fn cut_off_midway() {
    for (strategy, call) in [("splice", "splice"), ("mmap", "mmap")] {
        for size in [100_000, 2_000_000] {
            let sandbox = Sandbox::new();
            let bytes = &stream()[..size];
            sandbox.file("src", bytes);
            let source = sandbox.path("src");
            let inject = format!("inject={call}:signal=STOP:when=1");
            let options = ["-P", source.to_str().unwrap(), "-e", &inject];
            let forced = format!("--strategy={strategy},read_write");
            let args = [&forced, "--stats=json", "src", "dst"];
            let trace = strace::zcp_with_stops(&sandbox, &options, &args, |_| {
                let file = OpenOptions::new().write(true).open(&source).unwrap();
                file.set_len(5000).unwrap();
                file.write_all_at(&bytes[5000..], 5000).unwrap();
            });
            assert!(trace.output.status.success(), "{:?}", trace.output);
            let copy = fs::read(sandbox.path("dst")).unwrap();
            assert_eq!(copy.iter().zip(bytes).position(|(here, there)| here != there), None, "{strategy} {size}");
            let stats = stats(&trace.output);
            assert_eq!(stats["strategies"][strategy]["step_downs"][0]["errno"], "CHANGED", "{stats}");
            assert_eq!(stats["totals"]["bytes_moved"], size, "{stats}");
        }
    }
}

fn tree() {
    let rounds = std::env::var("ZCP_CHURN_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(15);
    let sandbox = Sandbox::new();
    let stream = stream();
    for index in 0..40 {
        sandbox.file(format!("src/{}/{index}", index % 4), &stream[..size(index)]);
    }
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for seed in 1..3_u64 {
            let (over, stream, src) = (&over, &stream, sandbox.path("src"));
            scope.spawn(move || {
                let mut state = seed;
                while !over.load(Ordering::Relaxed) {
                    let _ = disturb(&src, stream, &mut state);
                }
            });
        }
        let _end = Ending(&over);
        for round in 0..rounds {
            let jobs = ["-j1", "-j2", "-j4"][round % 3];
            let way =
                ["--reflink=auto", "--strategy=read_write", "--strategy=splice,read_write", "-a", "--atomic"];
            let output =
                sandbox.zcp(["-r", jobs, way[round / 3 % way.len()], "-T", "src", "dst"]).output().unwrap();
            check(&sandbox.path("dst"), &stream, &output);
            fs::remove_dir_all(sandbox.path("dst")).unwrap();
        }
    });
}

/// Stops the changes, even when a check fails.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Small sizes and large ones.
fn size(index: usize) -> usize {
    [0, 100, 4097, 70_000, 1 << 20, STREAM - 1][index % 6]
}

/// One random change.
fn disturb(src: &Path, stream: &[u8], state: &mut u64) -> std::io::Result<()> {
    let mut next = |limit: u64| {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(*state >> 33).unwrap() % usize::try_from(limit).unwrap()
    };
    let (dir, index) = (next(4), next(40));
    let path = src.join(dir.to_string()).join(index.to_string());
    // Two threads that write at the end of one file would leave a hole between them.
    static WRITING: Mutex<()> = Mutex::new(());
    let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    match next(8) {
        0 => fs::rename(path, src.join(next(4).to_string()).join(next(40).to_string())),
        1 => fs::remove_file(path),
        2 => {
            let file = File::options().write(true).open(path)?;
            file.set_len(next(file.metadata()?.len() + 1) as u64)
        }
        3 => {
            // Removes a directory and brings it back under its own name or another.
            let (from, to) = (src.join(dir.to_string()), src.join("gone"));
            fs::rename(&from, &to)?;
            std::thread::yield_now();
            fs::rename(&to, &from)
        }
        _ => {
            let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
            let from = usize::try_from(file.metadata()?.len()).unwrap().min(STREAM);
            let to = (from + next(200_000)).min(STREAM);
            file.write_all_at(&stream[from..to], from as u64)
        }
    }
}

fn check(dst: &Path, stream: &[u8], output: &std::process::Output) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(0 | 1)) && !errors.contains("panicked"), "{output:?}");
    assert_eq!(output.status.success(), errors.is_empty(), "{output:?}");
    for line in law::failures(&errors) {
        let known = ["cannot stat '", "cannot access '", "cannot open '", "skipping file '", "error reading '"];
        let said = line.strip_prefix("zcp: ").unwrap_or_default();
        assert!(known.iter().any(|words| said.starts_with(words)), "{line}");
    }
    let mut dirs = vec![dst.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                dirs.push(entry.path());
                continue;
            }
            let bytes = fs::read(entry.path()).unwrap();
            if stream.starts_with(&bytes) {
                continue;
            }
            // Even read(2) can return zeros behind the end of a file that is being truncated.
            let torn = |(here, there): (&u8, &u8)| here != there && *here != 0;
            let wrong = bytes.iter().zip(stream).position(torn);
            let (path, len) = (entry.path(), bytes.len());
            assert!(wrong.is_none() && len <= STREAM, "{path:?} of {len} bytes is wrong at {wrong:?}\n{errors}");
        }
    }
}
