//! Compares `--stats` with strace: each call that `--stats` counts was made, each call that was made is counted,
//! and the bytes add up.

use crate::needs::{Need, mounted, trial};
use crate::sandbox::{Sandbox, assert_done, noise, stats};
use crate::strace::{self, Trace};
use crate::strategies::STRATEGIES;
use libtest_mimic::Trial;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    let mut add = |name: String, image: Option<&'static str>, options: Vec<String>, args: Vec<String>| {
        let needs: Vec<_> = [Need::Strace].into_iter().chain(image.map(Need::Mount)).collect();
        trials.push(trial(format!("accounting::{name}"), &needs, move || tells_the_truth(image, &options, &args)));
    };
    for jobs in ["-j1", "-j4"] {
        let with = |option: &str| vec![jobs.to_owned(), option.to_owned()];
        for strategy in &STRATEGIES[1..] {
            add(format!("{strategy}{jobs}"), None, vec![], with(&format!("--strategy={strategy}")));
        }
        for image in ["ext4", "xfs", "btrfs"] {
            add(format!("{image}{jobs}"), Some(image), vec![], with("-r"));
        }
        for image in ["xfs", "btrfs"] {
            add(format!("reflink_on_{image}{jobs}"), Some(image), vec![], with("--strategy=reflink"));
        }
        for option in ["-a", "--sparse=always", "--sparse=never", "--reflink=never", "--debug"] {
            add(format!("{}{jobs}", option.trim_start_matches('-')), None, vec![], with(option));
        }
        // Small files that are copied together.
        for (call, image) in [("sendfile", None), ("ioctl", Some("xfs"))] {
            for fault in ["error=EINVAL:when=2", "error=EXDEV:when=1", "error=ENOSYS:when=2", "error=EINTR:when=1"]
            {
                let inject = vec!["-e".to_owned(), format!("inject={call}:{fault}")];
                add(format!("together::{call}::{fault}{jobs}"), image, inject, with("-r"));
            }
        }
        for (call, strategy) in [
            ("ioctl", "reflink"),
            ("copy_file_range", "copy_file_range"),
            ("splice", "splice"),
            ("sendfile", "sendfile"),
        ] {
            for fault in ["error=EINVAL:when=2+3", "error=EXDEV:when=2", "error=ENOSYS:when=1", "retval=0:when=2"]
            {
                // A clone that reports success cannot be distinguished from one that succeeded.
                if (call, fault) == ("ioctl", "retval=0:when=2") {
                    continue;
                }
                let index = STRATEGIES.iter().position(|name| *name == strategy).unwrap();
                let ladder = format!("--strategy={}", STRATEGIES[index..].join(","));
                let inject = vec!["-e".to_owned(), format!("inject={call}:{fault}")];
                add(format!("{strategy}::{fault}{jobs}"), None, inject, with(&ladder));
            }
        }
    }
    trials.push(trial("accounting::streams", &[Need::Strace], streams));
    trials.push(trial("accounting::refused", &[Need::Strace], refused));
    trials
}

fn tree(image: Option<&'static str>) -> Sandbox {
    let sandbox = image.map_or_else(Sandbox::new, |image| Sandbox::within(mounted(image).unwrap()));
    for (name, size) in
        [("empty", 0), ("one", 1), ("a/page", 4096), ("a/b/small", 65_537), ("a/b/large", 3_000_001)]
    {
        sandbox.file(format!("src/{name}"), noise(size));
    }
    let piece = noise(150_000);
    sandbox.sparse("src/a/sparse", 5 << 20, &[(0, &piece), (2 << 20, &piece), (4 << 20, b"tail")]);
    sandbox.file("src/zeros", vec![0; 300_000]);
    sandbox.symlink("one", "src/link").fifo("src/fifo").dir("src/empty dir");
    sandbox
}

/// All calls in the output of `--stats=json`, by name.
fn counted(stats: &Value) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for path in stats["strategies"].as_object().unwrap().values() {
        for (name, count) in path["calls"].as_object().unwrap() {
            *counts.entry(name.clone()).or_default() += count.as_u64().unwrap();
        }
    }
    counts
}

fn assert_agree(trace: &Trace, stats: &Value) {
    assert_eq!(counted(stats), trace.data_calls(), "--stats, then strace: {stats}");
    assert_eq!(stats["totals"]["bytes_moved"], trace.bytes_moved(), "{stats}");
}

fn tells_the_truth(image: Option<&'static str>, options: &[String], args: &[String]) {
    let sandbox = tree(image);
    let args: Vec<_> = args.iter().map(String::as_str).chain(["--stats=json", "-r", "src", "dst"]).collect();
    let trace = strace::zcp(&sandbox, options, &args);
    assert_done(&trace.output);
    sandbox.snapshot("src").plain().assert_same(&sandbox.snapshot("dst").plain());
    let stats = stats(&trace.output);
    assert_agree(&trace, &stats);
    let total = |name: &str| stats["totals"][name].as_u64().unwrap();
    let parts = total("bytes_moved") + total("bytes_holes") + total("bytes_shared");
    assert_eq!(parts, total("bytes_logical"), "{stats}");
    let sizes =
        sandbox.snapshot("dst").0.into_values().filter_map(|node| node.bytes).map(|bytes| bytes.len() as u64);
    assert_eq!(sizes.sum::<u64>(), total("bytes_logical"), "{stats}");
    let on_paths: u64 =
        stats["strategies"].as_object().unwrap().values().map(|path| path["bytes"].as_u64().unwrap()).sum();
    assert_eq!(on_paths, total("bytes_moved") + total("bytes_shared"), "{stats}");
    let counts = ["files", "directories", "symlinks", "special", "failed"].map(total);
    assert_eq!(counts, [7, 4, 1, 1, 0], "{stats}");
}

/// Fifos on both sides: splice, and the waits for data. Waiting for another process to open the other end is not
/// part of the copy.
fn streams() {
    let sandbox = Sandbox::new();
    sandbox.fifo("in").fifo("out").file("a", noise(200_000));
    let (from, to) = (sandbox.path("in"), sandbox.path("out"));
    let writer = std::thread::spawn(move || fs::write(from, noise(200_000)));
    let trace = strace::zcp(&sandbox, &["-e", "signal=none"], &["--stats=json", "in", "copy"]);
    writer.join().unwrap().unwrap();
    assert_done(&trace.output);
    let (mut seen, mut said) = (trace.data_calls(), counted(&stats(&trace.output)));
    // If the writer has opened the fifo before, zcp does not wait.
    let waits = [&mut seen, &mut said].map(|counts| counts.remove("ppoll").unwrap_or(0));
    assert!(waits[0] >= waits[1], "{waits:?} {seen:?}");
    assert_eq!(said, seen);
    assert_eq!(trace.bytes_moved(), 200_000);
    assert!(seen["splice"] > 1 && !seen.contains_key("read"), "{seen:?}");
    let reader = std::thread::spawn(move || fs::read(to));
    let trace = strace::zcp(&sandbox, &["-e", "signal=none"], &["--stats=json", "a", "out"]);
    assert_done(&trace.output);
    assert_agree(&trace, &stats(&trace.output));
    assert!(!trace.data_calls().contains_key("write"), "{:?}", trace.data_calls());
    assert!(reader.join().unwrap().unwrap() == noise(200_000));
    assert!(fs::read(sandbox.path("copy")).unwrap() == noise(200_000));
}

/// Failed calls are counted too.
fn refused() {
    for strategy in STRATEGIES {
        let sandbox = tree(None);
        let call = if strategy == "reflink" { "ioctl" } else { strategy };
        let inject = if strategy == "read_write" {
            "inject=pwrite64:error=EIO"
        } else {
            &format!("inject={call}:error=EPERM")
        };
        if strategy == "mmap" {
            continue; // the loader needs it
        }
        let only = format!("--strategy={strategy}");
        let trace = strace::zcp(&sandbox, &["-e", inject], &["-rj1", "--stats=json", &only, "src", "dst"]);
        assert_eq!(trace.output.status.code(), Some(1));
        assert_agree(&trace, &stats(&trace.output));
        assert_eq!(stats(&trace.output)["totals"]["bytes_moved"], 0);
    }
}
