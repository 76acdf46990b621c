//! Readers and writers that are slow, stop, go away, or never end. No test waits for time to pass: the other end
//! continues when zcp has done something that can be observed.

use super::{Link, Running, assert_ok, await_bytes, await_taken, receive, relay, send, with_file, zcp};
use crate::needs::{Need, trial};
use crate::sandbox::{Sandbox, ZCP, noise};
use libtest_mimic::Trial;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::Signal;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

const STRATEGIES: [&str; 4] = ["splice", "sendfile", "mmap", "read_write"];

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for link in Link::ALL {
        for strategy in STRATEGIES {
            let mut add = |what: &str, run: fn(Link, &str)| {
                let name = format!("streams::{what}::{}::{strategy}", link.name());
                trials.push(trial(name, &[], move || run(link, strategy)));
            };
            add("does_not_block", does_not_block);
            add("reader_dies", reader_dies);
            add("reader_stalls", reader_stalls);
        }
        for strategy in ["splice", "read_write"] {
            let mut add = |what: &str, run: fn(Link, &str)| {
                let name = format!("streams::{what}::{}::{strategy}", link.name());
                trials.push(trial(name, &[], move || run(link, strategy)));
            };
            add("writer_stalls", writer_stalls);
            add("writer_does_not_block", writer_does_not_block);
            add("endless", endless);
        }
    }
    trials.push(trial("streams::half_closed", &[], half_closed));
    trials.push(trial("streams::writer_resets", &[], writer_resets));
    trials.push(trial("streams::broken_pipe_ignored", &[Need::Program("sh")], broken_pipe_ignored));
    trials.push(trial("streams::fifo_without_peer", &[], fifo_without_peer));
    trials.push(trial("streams::waits_and_does_not_spin", &[Need::Strace], waits_and_does_not_spin));
    trials
}

fn forced(strategy: &str) -> String {
    format!("--strategy={strategy}")
}

/// A descriptor that others have set to non-blocking stays so, and a blocking one too. The bytes arrive.
fn does_not_block(link: Link, strategy: &str) {
    for flags in [OFlags::empty(), OFlags::NONBLOCK] {
        let sandbox = with_file(3_000_000);
        let (read, write) = link.ends();
        fcntl_setfl(&write, flags).unwrap();
        let ours = write.try_clone().unwrap();
        let running = send(&sandbox, &[&forced(strategy)], write);
        // Reads pieces of another size, the first one only when something is there.
        await_bytes(&read);
        let mut bytes = vec![0; 3_000_000];
        let mut read = File::from(read);
        for part in bytes.chunks_mut(777_777) {
            read.read_exact(part).unwrap();
        }
        assert!(bytes == noise(3_000_000), "{link:?} {strategy}");
        assert_ok(&running.finish());
        assert_eq!(fcntl_getfl(&ours).unwrap() & OFlags::NONBLOCK, flags);
    }
}

fn writer_does_not_block(link: Link, strategy: &str) {
    let sandbox = Sandbox::new();
    let (read, write) = link.ends();
    fcntl_setfl(&read, OFlags::NONBLOCK).unwrap();
    let ours = read.try_clone().unwrap();
    let running = receive(&sandbox, &[&forced(strategy)], read);
    let mut write = File::from(write);
    for part in noise(3_000_000).chunks(99_999) {
        write.write_all(part).unwrap();
        // Sends the next piece when this one has been read.
        await_taken(&ours);
    }
    drop(write);
    assert_ok(&running.finish());
    assert!(fs::read(sandbox.path("b")).unwrap() == noise(3_000_000), "{link:?} {strategy}");
    assert!(fcntl_getfl(&ours).unwrap().contains(OFlags::NONBLOCK));
}

/// As for cp, SIGPIPE ends zcp without a message. A reset of TCP is an error with the system's reason.
fn reader_dies(link: Link, strategy: &str) {
    let sandbox = with_file(20 << 20);
    let (read, write) = link.ends();
    let running = send(&sandbox, &[&forced(strategy)], write);
    let mut read = File::from(read);
    read.read_exact(&mut vec![0; 100_000]).unwrap();
    drop(read);
    let output = running.finish();
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.signal() {
        Some(signal) => assert_eq!((signal, &*said), (Signal::PIPE.as_raw(), ""), "{link:?} {strategy}"),
        None => {
            assert!(matches!(link, Link::Unix | Link::Tcp | Link::TinyTcp), "{output:?}");
            assert_eq!(said, "zcp: error writing '/dev/stdout': Connection reset by peer\n");
            assert_eq!(output.status.code(), Some(1));
        }
    }
}

/// Ctrl-C ends a copy whose reader has stopped reading.
fn reader_stalls(link: Link, strategy: &str) {
    let sandbox = with_file(20 << 20);
    let (read, write) = link.ends();
    let running = send(&sandbox, &[&forced(strategy)], write);
    await_bytes(&read);
    let output = running.interrupt();
    assert_eq!(output.status.signal(), Some(Signal::INT.as_raw()), "{link:?} {strategy} {output:?}");
    assert!(output.stderr.starts_with(b"zcp: interrupted: copied "), "{output:?}");
}

/// Ctrl-C ends a copy whose writer has stopped writing, and the incomplete file is removed.
fn writer_stalls(link: Link, strategy: &str) {
    let sandbox = Sandbox::new();
    let (read, write) = link.ends();
    let ours = read.try_clone().unwrap();
    let running = receive(&sandbox, &[&forced(strategy)], read);
    let mut write = File::from(write);
    write.write_all(b"first and only").unwrap();
    await_taken(&ours);
    let output = running.interrupt();
    assert_eq!(output.status.signal(), Some(Signal::INT.as_raw()), "{link:?} {strategy} {output:?}");
    assert!(output.stderr.starts_with(b"zcp: interrupted: copied ") && !sandbox.path("b").exists(), "{output:?}");
}

/// A source that never ends, until its reader closes it: zcp uses bounded memory.
fn endless(link: Link, strategy: &str) {
    let sandbox = Sandbox::new();
    let ((read_from, write_from), (read_to, write_to)) = (link.ends(), link.ends());
    let running = relay(&sandbox, &[&forced(strategy)], read_from, write_to);
    let piece = noise(1 << 20);
    let writer = std::thread::spawn(move || {
        let mut write = File::from(write_from);
        while write.write_all(&piece).is_ok() {}
    });
    let mut read = File::from(read_to);
    let mut piece = vec![0; 1 << 20];
    for _ in 0..32 {
        read.read_exact(&mut piece).unwrap();
        assert!(piece == noise(1 << 20));
    }
    let status = running.status();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 24 << 10, "{peak} KiB");
    drop(read);
    let output = running.finish();
    writer.join().unwrap();
    assert!(!output.status.success(), "{output:?}");
}

/// A peer that has finished writing can still read.
fn half_closed() {
    let sandbox = Sandbox::new();
    let (read, write) = Link::Tcp.ends();
    let running = receive(&sandbox, &[], read);
    let peer = write.try_clone().unwrap();
    File::from(write).write_all(&noise(500_000)).unwrap();
    rustix::net::shutdown(&peer, rustix::net::Shutdown::Write).unwrap();
    assert_ok(&running.finish());
    assert!(fs::read(sandbox.path("b")).unwrap() == noise(500_000));
    drop(peer);
}

/// A connection that is reset has not ended properly: that is an error.
fn writer_resets() {
    for strategy in ["splice,read_write", "splice", "read_write"] {
        let sandbox = Sandbox::new();
        let (read, write) = Link::Tcp.ends();
        let ours = read.try_clone().unwrap();
        let running = receive(&sandbox, &[&forced(strategy)], read);
        File::from(write.try_clone().unwrap()).write_all(&noise(100_000)).unwrap();
        await_taken(&ours);
        rustix::net::sockopt::set_socket_linger(&write, Some(std::time::Duration::ZERO)).unwrap();
        drop(write);
        let output = running.finish();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(said, "zcp: error reading '/dev/stdin': Connection reset by peer\n", "{strategy}");
    }
}

/// Where SIGPIPE is ignored, a closed pipe is reported.
fn broken_pipe_ignored() {
    let sandbox = with_file(3_000_000);
    let (read, write) = Link::Pipe.ends();
    let mut command = Command::new("sh");
    command.args(["-c", r#"trap '' PIPE; exec "$0" a /dev/stdout"#, ZCP]).current_dir(sandbox.path(""));
    command.stdout(write).stderr(Stdio::piped()).env("LC_ALL", "C");
    drop(read);
    let output = Running::start(command).finish();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "zcp: error writing '/dev/stdout': Broken pipe\n");
}

/// No process opens the other end of a fifo: a signal ends the wait, and no file is changed.
fn fifo_without_peer() {
    for args in [["fifo", "b"], ["a", "fifo"], ["fifo", "old"]] {
        let sandbox = with_file(20 << 20);
        sandbox.fifo("fifo").file("old", "old");
        let running = Running::start(zcp(&sandbox, &args));
        let output = running.interrupt();
        assert_eq!(output.status.signal(), Some(Signal::INT.as_raw()), "{args:?} {output:?}");
        assert!(
            output.stderr.starts_with(b"zcp: interrupted: copied ") && !sandbox.path("b").exists(),
            "{output:?}"
        );
        assert_eq!(fs::read(sandbox.path("old")).unwrap(), b"old");
    }
    // The copy continues when somebody opens the fifo.
    let sandbox = with_file(100_000);
    sandbox.fifo("fifo");
    let running = Running::start(zcp(&sandbox, &["a", "fifo"]));
    let mut bytes = Vec::new();
    OpenOptions::new().read(true).open(sandbox.path("fifo")).unwrap().read_to_end(&mut bytes).unwrap();
    assert!(bytes == noise(100_000));
    assert_ok(&running.finish());
}

/// A non-blocking pipe of one page, read in 300 pieces, takes a few calls for each, not thousands.
fn waits_and_does_not_spin() {
    let sandbox = with_file(300 * 4096);
    let (read, write) = Link::Pipe.ends();
    rustix::pipe::fcntl_setpipe_size(&write, 4096).unwrap();
    fcntl_setfl(&write, OFlags::NONBLOCK).unwrap();
    let log = sandbox.path("log");
    let mut command = Command::new("strace");
    command.arg("-o").arg(&log).args(["-f", ZCP, "a", "/dev/stdout"]).current_dir(sandbox.path(""));
    command.stdout(write).stderr(Stdio::piped());
    let running = Running::start(command);
    let mut read = File::from(read);
    let mut piece = [0; 4096];
    for _ in 0..300 {
        await_bytes(&read);
        read.read_exact(&mut piece).unwrap();
    }
    assert_eq!(read.read(&mut piece).unwrap(), 0);
    assert_ok(&running.finish());
    let calls = fs::read_to_string(log).unwrap().lines().count();
    assert!((300..2_000).contains(&calls), "{calls} calls");
}
