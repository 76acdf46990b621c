//! Pipes, sockets, terminals and devices on both sides: the bytes, the strategies that moved them, and what
//! happens when the other end is slow, stops, or goes away.

mod buffers;
mod faults;
mod messages;
mod names;
mod peers;
mod recipes;
mod strategies;
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
        strategies::trials(),
        peers::trials(),
        recipes::trials(),
        terminals::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The connection between zcp and the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Pipe,
    Unix,
    Tcp,
    /// TCP with the smallest buffers that the kernel allows.
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

    /// Its name in `--stats`.
    fn place(self) -> &'static str {
        if self == Link::Pipe { "pipe" } else { "socket" }
    }

    /// Both ends. Bytes written to the second are read from the first.
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

/// A sandbox with a file `a` of `len` bytes.
fn with_file(len: usize) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.file("a", noise(len));
    sandbox
}

/// A command for zcp, to which the test adds descriptors.
fn zcp(sandbox: &Sandbox, args: &[&str]) -> Command {
    let mut command = Command::new(ZCP);
    command.args(args).current_dir(sandbox.path("")).env("LC_ALL", "C");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// A running zcp. One that hangs is killed, so that its test fails and the others continue.
struct Running {
    child: Child,
    guard: Sender<()>,
}

impl Running {
    /// Starts the command, and closes the test's copies of the descriptors in it.
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

    /// Sends SIGINT when zcp has a handler for it; it must then end the copy in good order.
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

    /// The kernel's status of the process (proc_pid_status(5)).
    fn status(&self) -> String {
        fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap()
    }
}

/// Starts a copy of `a` to `write`, its stdout.
fn send(sandbox: &Sandbox, options: &[&str], write: OwnedFd) -> Running {
    let mut command = zcp(sandbox, &[options, &["a", "/dev/stdout"]].concat());
    command.stdout(write);
    Running::start(command)
}

/// Starts a copy from `read`, its stdin, to `b`. The statistics go to stdout.
fn receive(sandbox: &Sandbox, options: &[&str], read: OwnedFd) -> Running {
    let mut command = zcp(sandbox, &[options, &["/dev/stdin", "b"]].concat());
    command.stdin(read).stdout(Stdio::piped());
    Running::start(command)
}

/// Starts a copy from `read` to `write`.
fn relay(sandbox: &Sandbox, options: &[&str], read: OwnedFd, write: OwnedFd) -> Running {
    let mut command = zcp(sandbox, &[options, &["/dev/stdin", "/dev/stdout"]].concat());
    command.stdin(read).stdout(write);
    Running::start(command)
}

/// Waits until something can be read.
fn await_bytes(read: impl AsFd) {
    while ioctl_fionread(&read).unwrap() == 0 {
        std::thread::yield_now();
    }
}

/// Waits until everything has been read through another copy of the descriptor.
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

/// Writes in a thread, so that writer and reader do not block each other. Closes `end` when done.
fn feed(end: OwnedFd, bytes: Vec<u8>) -> std::thread::JoinHandle<std::io::Result<()>> {
    std::thread::spawn(move || File::from(end).write_all(&bytes))
}

#[track_caller]
fn assert_ok(output: &Output) {
    assert!(output.status.success(), "{output:?}");
}

/// The last line of stderr, where the statistics go if stdout receives the data.
#[track_caller]
fn stats_on_stderr(output: &Output) -> serde_json::Value {
    let text = String::from_utf8_lossy(&output.stderr);
    serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap_or_else(|_| panic!("{output:?}"))
}
