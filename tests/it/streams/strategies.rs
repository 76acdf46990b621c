//! Every pair of ends with every strategy: the bytes arrive, by that strategy and no other, and `--stats`
//! reports how often they were copied.

use super::{Link, assert_ok, feed, read_all, receive, relay, send, stats_on_stderr, with_file};
use crate::needs::{Need, trial};
use crate::sandbox::{Sandbox, bytes_by, noise, stats};
use crate::strace;
use libtest_mimic::Trial;
use std::fs;

/// More bytes than any buffer in between holds.
const LEN: usize = 4_000_001;

/// The strategies for a file as source. Other sources cannot be sent or mapped.
const FROM_FILE: [&str; 4] = ["splice", "sendfile", "mmap", "read_write"];
const FROM_STREAM: [&str; 2] = ["splice", "read_write"];

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for to in Link::ALL {
        for strategy in FROM_FILE {
            let name = format!("streams::file_to_{}::{strategy}", to.name());
            trials.push(trial(name, &[], move || from_file(to, Some(strategy))));
        }
        trials.push(trial(format!("streams::file_to_{}::default", to.name()), &[], move || from_file(to, None)));
        for strategy in FROM_STREAM.map(Some).into_iter().chain([None]) {
            let name = format!("streams::{}_to_file::{}", to.name(), strategy.unwrap_or("default"));
            trials.push(trial(name, &[], move || to_file(to, strategy)));
            for from in Link::ALL {
                let name = format!("streams::{}_to_{}::{}", from.name(), to.name(), strategy.unwrap_or("default"));
                trials.push(trial(name, &[], move || between(from, to, strategy)));
            }
        }
    }
    trials.push(trial("streams::refused_strategies", &[], refused_strategies));
    trials.push(trial("streams::holes_arrive_as_zeros", &[], holes_arrive_as_zeros));
    trials.push(trial("streams::zeros_become_holes", &[], zeros_become_holes));
    trials.push(trial("streams::devices", &[], devices));
    trials.push(trial("streams::no_data_in_user_space", &[Need::Strace], no_data_in_user_space));
    trials
}

fn options(strategy: Option<&str>) -> Vec<&str> {
    ["--stats=json"]
        .into_iter()
        .chain(strategy.map(|strategy| ["--strategy", strategy]).into_iter().flatten())
        .collect()
}

/// Checks the statistics: one strategy moved all bytes, by reference or not.
fn assert_credited(stats: &serde_json::Value, strategy: &str, referring: bool, route: [&str; 2]) {
    assert_eq!(bytes_by(stats, strategy), LEN as u64, "{stats}");
    let by_reference = if referring { LEN } else { 0 };
    assert_eq!(stats["strategies"][strategy]["by_reference"], by_reference, "{stats}");
    assert_eq!(stats["totals"]["bytes_moved"], LEN, "{stats}");
    if route[0] != "file" {
        assert_eq!(stats["routes"][0]["source"], route[0], "{stats}");
    }
    if route[1] != "file" {
        assert_eq!(stats["routes"][0]["destination"], route[1], "{stats}");
    }
}

fn is_referring(strategy: &str) -> bool {
    matches!(strategy, "splice" | "sendfile")
}

fn from_file(to: Link, strategy: Option<&str>) {
    let sandbox = with_file(LEN);
    let (read, write) = to.ends();
    let running = send(&sandbox, &options(strategy), write);
    assert!(read_all(read) == noise(LEN));
    let output = running.finish();
    assert_ok(&output);
    let used = strategy.unwrap_or(if to == Link::Pipe { "splice" } else { "sendfile" });
    assert_credited(&stats_on_stderr(&output), used, is_referring(used), ["file", to.place()]);
}

fn to_file(from: Link, strategy: Option<&str>) {
    let sandbox = Sandbox::new();
    let (read, write) = from.ends();
    let running = receive(&sandbox, &options(strategy), read);
    let feeder = feed(write, noise(LEN));
    let output = running.finish();
    feeder.join().unwrap().unwrap();
    assert_ok(&output);
    assert!(fs::read(sandbox.path("b")).unwrap() == noise(LEN));
    assert_credited(&stats(&output), strategy.unwrap_or("splice"), false, [from.place(), "file"]);
}

fn between(from: Link, to: Link, strategy: Option<&str>) {
    let sandbox = Sandbox::new();
    let ((read_from, write_from), (read_to, write_to)) = (from.ends(), to.ends());
    let running = relay(&sandbox, &options(strategy), read_from, write_to);
    let feeder = feed(write_from, noise(LEN));
    let arrived = read_all(read_to);
    feeder.join().unwrap().unwrap();
    let output = running.finish();
    assert_ok(&output);
    assert!(arrived == noise(LEN));
    let used = strategy.unwrap_or("splice");
    assert_credited(&stats_on_stderr(&output), used, is_referring(used), [from.place(), to.place()]);
}

/// A strategy that cannot copy is reported, and no other is used instead.
fn refused_strategies() {
    for to in [Link::Pipe, Link::Unix] {
        for (option, words) in [
            ("--strategy=reflink", "zcp: failed to clone '/dev/stdout' from 'a': Invalid cross-device link\n"),
            ("--reflink=always", "zcp: failed to clone '/dev/stdout' from 'a': Invalid cross-device link\n"),
            (
                "--strategy=copy_file_range",
                "zcp: cannot copy 'a' to '/dev/stdout' by copy_file_range: Invalid argument\n",
            ),
        ] {
            let sandbox = with_file(100_000);
            let (read, write) = to.ends();
            let running = send(&sandbox, &[option], write);
            assert_eq!(read_all(read), b"", "{to:?} {option}");
            let output = running.finish();
            assert_eq!(output.status.code(), Some(1));
            assert_eq!(String::from_utf8_lossy(&output.stderr), words, "{to:?} {option}");
        }
    }
}

fn holes_arrive_as_zeros() {
    for to in Link::ALL {
        for option in ["--sparse=auto", "--sparse=always", "--sparse=never", "--strategy=mmap"] {
            let sandbox = Sandbox::new();
            sandbox.sparse("a", 3 << 20, &[(1 << 20, b"middle")]);
            let (read, write) = to.ends();
            let running = send(&sandbox, &[option], write);
            assert!(read_all(read) == fs::read(sandbox.path("a")).unwrap(), "{to:?} {option}");
            assert_ok(&running.finish());
        }
    }
}

fn zeros_become_holes() {
    for from in Link::ALL {
        let sandbox = Sandbox::new();
        let mut bytes = vec![0; 4 << 20];
        bytes[1 << 20..][..100_000].copy_from_slice(&noise(100_000));
        let (read, write) = from.ends();
        let running = receive(&sandbox, &["--sparse=always", "--stats=json"], read);
        feed(write, bytes.clone()).join().unwrap().unwrap();
        let output = running.finish();
        assert_ok(&output);
        assert!(fs::read(sandbox.path("b")).unwrap() == bytes, "{from:?}");
        let stats = stats(&output);
        let holes = stats["totals"]["bytes_holes"].as_u64().unwrap();
        assert!(holes > 3 << 20, "{from:?} {stats}");
        let sum = holes + stats["totals"]["bytes_moved"].as_u64().unwrap();
        assert_eq!(stats["totals"]["bytes_logical"], sum, "{stats}");
    }
}

/// /dev/null accepts references, but not from a mapping, which nobody would read. /dev/full accepts nothing.
fn devices() {
    let sandbox = with_file(LEN);
    let output = sandbox.zcp(["--stats=json", "a", "/dev/null"]).output().unwrap();
    assert_ok(&output);
    assert_credited(&stats(&output), "sendfile", true, ["file", "device"]);
    let strategies = stats(&output)["routes"][0]["strategies"].clone();
    assert!(!strategies.as_array().unwrap().contains(&"mmap".into()), "{strategies}");
    let output = sandbox.zcp(["a", "/dev/full"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "zcp: error writing '/dev/full': No space left on device\n"
    );
}

/// If a strategy without copies exists, strace shows no read or write of data.
fn no_data_in_user_space() {
    let sandbox = with_file(3_000_000);
    let trace = strace::zcp(&sandbox, &["-e", "signal=none"], &["a", "/dev/stdout"]);
    assert!(trace.output.stdout == noise(3_000_000));
    let calls = trace.data_calls();
    assert!(calls["splice"] > 0, "{calls:?}");
    assert!(!["read", "write", "pread64", "pwrite64"].iter().any(|call| calls.contains_key(*call)), "{calls:?}");
    let lines: Vec<_> = trace.lines().filter(|line| line.starts_with("write(1<pipe")).collect();
    assert!(lines.is_empty(), "{lines:?}");
}
