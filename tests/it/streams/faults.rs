//! The ladder of streams with injected faults: whichever call fails, at the start or in the middle, the next
//! strategy continues from the same byte, and no byte that was read from a stream is lost.

use super::{Link, Running, assert_ok, feed, read_all, stats_on_stderr, with_file};
use crate::needs::{Need, trial};
use crate::sandbox::{Sandbox, ZCP, bytes_by, noise};
use libtest_mimic::Trial;
use serde_json::Value;
use std::fs;
use std::os::fd::OwnedFd;
use std::process::{Command, Output, Stdio};

/// The length of three calls of sendfile, each of which is asked for more than the one before.
const LEN: usize = 6_000_001;

/// Answers that concern the call, and their names in the statistics.
const REFUSALS: [(&str, &str); 6] = [
    ("error=EINVAL", "EINVAL"),
    ("error=ENOSYS", "ENOSYS"),
    ("error=EOPNOTSUPP", "EOPNOTSUPP"),
    ("error=EPERM", "EPERM"),
    ("error=EBADF", "EBADF"),
    ("retval=0", "EARLY_END"),
];

/// Answers after which zcp repeats the call.
const AGAIN: [&str; 2] = ["error=EINTR", "error=EAGAIN"];

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    let mut add = |name: String, run: Box<dyn FnOnce() + Send>| {
        trials.push(trial(format!("streams::fault::{name}"), &[Need::Strace], run));
    };
    for link in [Link::Pipe, Link::Unix, Link::TinyTcp] {
        for when in [1, 2, 3] {
            for (fault, reason) in REFUSALS {
                for strategy in ["splice", "sendfile"] {
                    let name = format!("file_to_{}::{strategy}::{reason}@{when}", link.name());
                    add(name, Box::new(move || steps_down_from_file(link, strategy, fault, reason, when)));
                }
                let name = format!("{}_to_file::splice::{reason}@{when}", link.name());
                add(name, Box::new(move || steps_down_from_stream(link, fault, reason, when)));
            }
            for fault in AGAIN {
                let name = format!("{}::{fault}@{when}", link.name());
                add(name, Box::new(move || made_again(link, fault, when)));
            }
        }
        add(format!("{}::full_disk", link.name()), Box::new(move || full_disk(link)));
        add(format!("{}::file_after_a_failure", link.name()), Box::new(move || file_after_a_failure(link)));
        add(format!("{}::down_to_read_write", link.name()), Box::new(move || down_to_read_write(link)));
    }
    add("descriptor_that_cannot_be_had".into(), Box::new(descriptor_that_cannot_be_had));
    trials
}

/// A command that runs zcp under strace with `fault` injected. The statistics are on the last line of stderr.
pub(super) fn sabotaged(sandbox: &Sandbox, fault: &str, args: &[&str]) -> Command {
    let mut command = Command::new("strace");
    command.arg("-o").arg(sandbox.path("log")).args(["-f", "-e", fault, ZCP, "--stats=json"]).args(args);
    command.current_dir(sandbox.path("")).env("LC_ALL", "C");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn send(link: Link, fault: &str, args: &[&str]) -> (Vec<u8>, Output, Sandbox) {
    let sandbox = with_file(LEN);
    let (read, write) = link.ends();
    let args: Vec<_> = args.iter().copied().chain(["a", "/dev/stdout"]).collect();
    let running = Running::start({
        let mut command = sabotaged(&sandbox, fault, &args);
        command.stdout(write);
        command
    });
    let bytes = read_all(read);
    (bytes, running.finish(), sandbox)
}

/// Receives bytes into `b`. The statistics go to stdout, a file.
fn receive(link: Link, fault: &str, args: &[&str]) -> (Output, Value, Sandbox) {
    let sandbox = Sandbox::new();
    let (read, write): (OwnedFd, OwnedFd) = link.ends();
    let args: Vec<_> = args.iter().copied().chain(["/dev/stdin", "b"]).collect();
    let running = Running::start({
        let mut command = sabotaged(&sandbox, fault, &args);
        command.stdin(read).stdout(fs::File::create(sandbox.path("stats")).unwrap());
        command
    });
    let feeder = feed(write, noise(LEN));
    let output = running.finish();
    let _ = feeder.join().unwrap(); // fails if zcp has given up
    let stats = serde_json::from_slice(&fs::read(sandbox.path("stats")).unwrap()).unwrap();
    (output, stats, sandbox)
}

pub(super) fn was_injected(sandbox: &Sandbox) -> bool {
    fs::read_to_string(sandbox.path("log")).unwrap().contains("(INJECTED)")
}

#[track_caller]
fn assert_stepped_down(stats: &Value, strategy: &str, reason: &str) {
    let downs = stats["strategies"][strategy]["step_downs"].as_array().unwrap();
    assert!(downs.iter().any(|down| down["errno"] == reason), "{stats}");
    let sum: u64 = stats["strategies"]
        .as_object()
        .unwrap()
        .values()
        .map(|strategy| strategy["bytes"].as_u64().unwrap())
        .sum();
    assert_eq!((sum, &stats["totals"]["bytes_moved"]), (LEN as u64, &Value::from(LEN)), "{stats}");
}

fn steps_down_from_file(link: Link, strategy: &str, fault: &str, reason: &str, when: u32) {
    let ladder = if strategy == "splice" { "splice,sendfile,read_write" } else { "sendfile,splice,read_write" };
    let inject = format!("inject={strategy}:{fault}:when={when}");
    let (bytes, output, sandbox) = send(link, &inject, &[&format!("--strategy={ladder}")]);
    assert_ok(&output);
    assert!(bytes == noise(LEN), "{} bytes", bytes.len());
    assert!(was_injected(&sandbox));
    assert_stepped_down(&stats_on_stderr(&output), strategy, reason);
}

fn steps_down_from_stream(link: Link, fault: &str, reason: &str, when: u32) {
    let inject = format!("inject=splice:{fault}:when={when}");
    let (output, stats, sandbox) = receive(link, &inject, &[]);
    assert_ok(&output);
    assert!(fs::read(sandbox.path("b")).unwrap() == noise(LEN));
    assert!(was_injected(&sandbox));
    assert_stepped_down(&stats, "splice", reason);
    // Without another strategy it is an error, because no other strategy may take the bytes that are in the
    // pipe.
    let (output, _, _) = receive(link, &inject, &["--strategy=splice"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot copy '/dev/stdin' to 'b' by splice: "));
}

fn made_again(link: Link, fault: &str, when: u32) {
    for (strategy, calls) in [
        ("splice", "splice"),
        ("sendfile", "sendfile"),
        ("mmap", "write"),
        ("read_write", "write"),
        ("read_write", "ppoll"),
    ] {
        if calls == "ppoll" && fault != "error=EINTR" {
            continue;
        }
        // The first call checks stdin, stdout and stderr.
        let when = if calls == "ppoll" { when + 1 } else { when };
        let inject = format!("inject={calls}:{fault}:when={when}");
        let (bytes, output, _) = send(link, &inject, &[&format!("--strategy={strategy}")]);
        assert_ok(&output);
        assert!(bytes == noise(LEN), "{strategy} {calls}: {} bytes", bytes.len());
    }
    let (output, _, sandbox) =
        receive(link, &format!("inject=splice:{fault}:when={when}"), &["--strategy=splice"]);
    assert_ok(&output);
    assert!(fs::read(sandbox.path("b")).unwrap() == noise(LEN));
}

/// A full disk ends a stream as it ends a file, and the message names the file on it.
fn full_disk(link: Link) {
    let when = if link == Link::Pipe { 2 } else { 4 };
    let (output, _, _) = receive(link, &format!("inject=splice:error=ENOSPC:when={when}"), &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said, "zcp: error writing 'b': No space left on device\n");
}

/// Bytes that a failed copy had read from its stream do not get into the next file of the same worker.
fn file_after_a_failure(link: Link) {
    let sandbox = with_file(LEN);
    sandbox.dir("d");
    let (read, write) = link.ends();
    let when = if link == Link::Pipe { 2 } else { 4 };
    let inject = format!("inject=splice:error=ENOSPC:when={when}");
    let running = Running::start({
        let mut command =
            sabotaged(&sandbox, &inject, &["--keep-going", "-j1", "--strategy=splice", "/dev/stdin", "a", "d"]);
        command.stdin(read);
        command
    });
    let feeder = feed(write, vec![b'-'; LEN]);
    let output = running.finish();
    let _ = feeder.join().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said, "zcp: error writing 'd/stdin': No space left on device\n");
    assert!(fs::read(sandbox.path("d/a")).unwrap() == noise(LEN));
}

/// The kernel supports only read and write here, as for a socket with TLS.
fn down_to_read_write(link: Link) {
    let inject = "inject=splice,sendfile,copy_file_range:error=EINVAL";
    let (bytes, output, _) = send(link, inject, &["--strategy=sendfile,splice,copy_file_range,read_write"]);
    assert_ok(&output);
    assert!(bytes == noise(LEN));
    let stats = stats_on_stderr(&output);
    assert_eq!(
        (bytes_by(&stats, "read_write"), &stats["strategies"]["read_write"]["by_reference"]),
        (LEN as u64, &0.into())
    );
    let (output, stats, sandbox) = receive(link, inject, &[]);
    assert_ok(&output);
    assert!(fs::read(sandbox.path("b")).unwrap() == noise(LEN));
    assert_eq!(bytes_by(&stats, "read_write"), LEN as u64);
}

/// If the descriptor cannot be duplicated, its name is not opened instead: that would empty the file.
fn descriptor_that_cannot_be_had() {
    let sandbox = with_file(5);
    sandbox.file("b", "before");
    let append = fs::File::options().append(true).open(sandbox.path("b")).unwrap();
    let mut command = sabotaged(&sandbox, "inject=fcntl:error=EBADF:when=1", &["a", "/dev/stdout"]);
    let output = command.stdout(append).output().unwrap();
    assert!(was_injected(&sandbox));
    assert!(fs::read(sandbox.path("b")).unwrap().starts_with(b"before"), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() || said.contains("'/dev/stdout': Bad file descriptor"), "{output:?}");
}
