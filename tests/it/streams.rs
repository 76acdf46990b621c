//! Pipes, sockets, terminals and devices on either side: the bytes, the path that they took, and what
//! becomes of it all when a peer is slow, stops, or goes away.

mod buffers;
mod faults;
mod messages;
mod names;
mod paths;
mod peers;
mod recipes;
mod terminals;

use crate::sandbox::{LONGEST, Sandbox, ZCP, noise};
use libtest_mimic::Trial;
use rustix::io::ioctl_fionread;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair, sockopt};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};

pub(crate) fn trials() -> Vec<Trial> {
    [
        buffers::trials(),
        faults::trials(),
        messages::trials(),
        names::trials(),
        paths::trials(),
        peers::trials(),
        recipes::trials(),
        terminals::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What joins zcp to its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Pipe,
    Unix,
    Tcp,
    /// TCP with the smallest buffers that the kernel grants.
    TinyTcp,
}

impl Link {
    const ALL: [Link; 4] = [Link::Pipe, Link::Unix, Link::Tcp, Link::TinyTcp];

    fn name(self) -> &'static str {
        match self {
            Link::Pipe => "pipe",
            Link::Unix => "unix",
            Link::Tcp => "tcp",
            Link::TinyTcp => "tiny_tcp",
        }
    }

    /// What `--stats` calls it.
    fn place(self) -> &'static str {
        if self == Link::Pipe { "pipe" } else { "socket" }
    }

    /// Both ends: what is written to the second is read from the first.
    fn ends(self) -> (OwnedFd, OwnedFd) {
        if self == Link::Pipe {
            return rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        }
        if self == Link::Unix {
            return socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        if self == Link::TinyTcp {
            sockopt::set_socket_recv_buffer_size(&listener, 2048).unwrap();
        }
        let here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let there = listener.accept().unwrap().0;
        if self == Link::TinyTcp {
            for socket in [&here, &there] {
                sockopt::set_socket_send_buffer_size(socket, 2048).unwrap();
                sockopt::set_socket_recv_buffer_size(socket, 2048).unwrap();
            }
        }
        (there.into(), here.into())
    }
}

/// A sandbox with a file `a` of so many bytes.
fn with_file(len: usize) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.file("a", noise(len));
    sandbox
}

/// zcp, with descriptors of the test's own to come.
fn zcp(sandbox: &Sandbox, args: &[&str]) -> Command {
    let mut command = Command::new(ZCP);
    command.args(args).current_dir(sandbox.path("")).env("LC_ALL", "C");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// A zcp that is at work. One that hangs is ended, so that its test fails and the others go on.
struct Running {
    child: Child,
    guard: Sender<()>,
}

impl Running {
    /// Starts it, and lets go of the descriptors that it was given.
    fn start(mut command: Command) -> Running {
        let child = command.spawn().unwrap();
        let (guard, ended) = channel();
        let pid = Pid::from_child(&child);
        std::thread::spawn(move || {
            if ended.recv_timeout(LONGEST / 5) == Err(RecvTimeoutError::Timeout) {
                let _ = kill_process(pid, Signal::KILL);
            }
        });
        Running { child, guard }
    }

    fn finish(self) -> Output {
        let output = self.child.wait_with_output().unwrap();
        drop(self.guard);
        output
    }

    /// Ctrl-C, when it is caught: from then on it has to end the copy in good order.
    fn interrupt(self) -> Output {
        let is_caught = |line: &str| {
            let mask = line.strip_prefix("SigCgt:").map(str::trim);
            mask.is_some_and(|mask| u64::from_str_radix(mask, 16).unwrap() >> (Signal::INT.as_raw() - 1) & 1 == 1)
        };
        let is_over = |line: &str| line.starts_with("State:\tZ");
        while !self.status().lines().any(|line| is_caught(line) || is_over(line)) {
            std::thread::yield_now();
        }
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
        self.finish()
    }

    /// What the kernel says of it (proc_pid_status(5)).
    fn status(&self) -> String {
        fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap()
    }
}

/// `a` on its way to `write`, its stdout.
fn send(sandbox: &Sandbox, options: &[&str], write: OwnedFd) -> Running {
    let mut command = zcp(sandbox, &[options, &["a", "/dev/stdout"]].concat());
    command.stdout(write);
    Running::start(command)
}

/// `b` on its way from `read`, its stdin. The statistics go to stdout.
fn receive(sandbox: &Sandbox, options: &[&str], read: OwnedFd) -> Running {
    let mut command = zcp(sandbox, &[options, &["/dev/stdin", "b"]].concat());
    command.stdin(read).stdout(Stdio::piped());
    Running::start(command)
}

/// What comes from `read`, on its way to `write`.
fn relay(sandbox: &Sandbox, options: &[&str], read: OwnedFd, write: OwnedFd) -> Running {
    let mut command = zcp(sandbox, &[options, &["/dev/stdin", "/dev/stdout"]].concat());
    command.stdin(read).stdout(write);
    Running::start(command)
}

/// Until something can be read.
fn await_bytes(read: impl AsFd) {
    while ioctl_fionread(&read).unwrap() == 0 {
        std::thread::yield_now();
    }
}

/// Until all has been read, by whoever has the other descriptor of it.
fn await_taken(read: impl AsFd) {
    while ioctl_fionread(&read).unwrap() > 0 {
        std::thread::yield_now();
    }
}

fn read_all(end: OwnedFd) -> Vec<u8> {
    let mut bytes = Vec::new();
    File::from(end).read_to_end(&mut bytes).unwrap();
    bytes
}

/// Writes from a thread of its own, so that nobody waits for each other; closes when done.
fn feed(end: OwnedFd, bytes: Vec<u8>) -> std::thread::JoinHandle<std::io::Result<()>> {
    std::thread::spawn(move || File::from(end).write_all(&bytes))
}

#[track_caller]
fn assert_ok(output: &Output) {
    assert!(output.status.success(), "{output:?}");
}

/// The last line of stderr, where the statistics go if stdout gets the data.
#[track_caller]
fn stats_on_stderr(output: &Output) -> serde_json::Value {
    let text = String::from_utf8_lossy(&output.stderr);
    serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap_or_else(|_| panic!("{output:?}"))
}
