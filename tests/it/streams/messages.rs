//! Sockets that keep messages apart: the part of a message that a call does not read is lost, so each must be
//! read completely, and no message sent may exceed the limit.

use super::faults::{sabotaged, was_injected};
use super::{Link, Running, assert_ok, read_all, receive, relay, send, stats_on_stderr, with_file};
use crate::needs::{Need, trial};
use crate::sandbox::{Sandbox, bytes_by, noise, stats};
use libtest_mimic::Trial;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair, sockopt};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

const LEN: usize = 4_000_001;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("streams::messages::to_file", &[], to_file),
        trial("streams::messages::from_file", &[], from_file),
        trial("streams::messages::to_socket", &[], to_socket),
        trial("streams::messages::splice_is_refused", &[], splice_is_refused),
        trial("streams::messages::zero_is_no_end", &[Need::Strace], zero_is_no_end),
    ]
}

/// A pair of sockets with room for messages of 200,000 bytes, or with almost none.
fn pair(room: bool) -> (OwnedFd, OwnedFd) {
    let (read, write) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    sockopt::set_socket_send_buffer_size(&write, if room { 212_992 } else { 2048 }).unwrap();
    (read, write)
}

fn feed(write: OwnedFd, message: usize) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let mut write = File::from(write);
        for part in noise(LEN).chunks(message) {
            let written = write.write(part).unwrap();
            assert_eq!(written, part.len());
        }
    })
}

fn to_file() {
    for (message, options) in [
        (1000, &[][..]),
        (50_000, &[]),
        (200_000, &[]),
        (200_000, &["--bwlimit=20M"]),
        (50_000, &["--sparse=always"]),
    ] {
        let sandbox = Sandbox::new();
        let (read, write) = pair(true);
        let running = receive(&sandbox, &[&["--stats=json"], options].concat(), read);
        feed(write, message).join().unwrap();
        let output = running.finish();
        assert_ok(&output);
        assert!(fs::read(sandbox.path("b")).unwrap() == noise(LEN), "{message} {options:?}");
        assert_eq!(bytes_by(&stats(&output), "read_write"), LEN as u64);
    }
}

fn from_file() {
    for (room, strategy) in [(true, None), (false, None), (true, Some("read_write")), (false, Some("read_write"))]
    {
        let sandbox = with_file(LEN);
        let (read, write) = pair(room);
        let options: Vec<_> = ["--stats=json"]
            .into_iter()
            .chain(strategy.map(|strategy| ["--strategy", strategy]).into_iter().flatten())
            .collect();
        let running = send(&sandbox, &options, write);
        assert!(drain(read) == noise(LEN), "{room} {strategy:?}");
        let output = running.finish();
        assert_ok(&output);
        let used = if room { strategy.unwrap_or("sendfile") } else { "read_write" };
        assert_eq!(bytes_by(&stats_on_stderr(&output), used), LEN as u64);
    }
}

/// Reads message by message, each completely.
fn drain(read: OwnedFd) -> Vec<u8> {
    let (mut read, mut bytes, mut message) = (File::from(read), Vec::new(), vec![0; 1 << 20]);
    loop {
        match read.read(&mut message).unwrap() {
            0 => return bytes,
            n => bytes.extend_from_slice(&message[..n]),
        }
    }
}

/// TCP delivers pieces that are longer than a message may be.
fn to_socket() {
    for from in [Link::Tcp, Link::Pipe, Link::Unix] {
        for room in [true, false] {
            let sandbox = Sandbox::new();
            let ((read_from, write_from), (read_to, write_to)) = (from.ends(), pair(room));
            let running: Running = relay(&sandbox, &[], read_from, write_to);
            let feeder = super::feed(write_from, noise(LEN));
            assert!(drain(read_to) == noise(LEN), "{from:?} {room}");
            feeder.join().unwrap().unwrap();
            assert_ok(&running.finish());
        }
    }
    let sandbox = Sandbox::new();
    let ((read_from, write_from), (read_to, write_to)) = (pair(true), Link::Tcp.ends());
    let running = relay(&sandbox, &[], read_from, write_to);
    let feeder = feed(write_from, 150_000);
    assert!(read_all(read_to) == noise(LEN));
    feeder.join().unwrap();
    assert_ok(&running.finish());
}

/// The kernel's splice, which sendfile also uses to write to a pipe, can cut off a message. Then zcp copies
/// nothing instead of half a message.
fn splice_is_refused() {
    for (strategy, to) in [("splice", "b"), ("sendfile", "/dev/stdout")] {
        let sandbox = Sandbox::new();
        let (read, write) = pair(true);
        let option = format!("--strategy={strategy}");
        let mut command = super::zcp(&sandbox, &[&option, "/dev/stdin", to]);
        command.stdin(read).stdout(std::process::Stdio::piped());
        // zcp may end without reading it.
        File::from(write).write_all(b"message").unwrap();
        let running = Running::start(command);
        let output = running.finish();
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(said, format!("zcp: cannot copy '/dev/stdin' to '{to}' by {strategy}: Invalid argument\n"));
    }
}

/// A call that returns 0 bytes means the end only if nothing is left to read.
fn zero_is_no_end() {
    let sandbox = Sandbox::new();
    let (read, write) = pair(true);
    let args = ["--strategy=copy_file_range,read_write", "/dev/stdin", "b"];
    let running = Running::start({
        let mut command = sabotaged(&sandbox, "inject=copy_file_range:retval=0:when=1", &args);
        command.stdin(read);
        command
    });
    feed(write, 50_000).join().unwrap();
    assert_ok(&running.finish());
    assert!(was_injected(&sandbox));
    assert!(fs::read(sandbox.path("b")).unwrap() == noise(LEN));
}
