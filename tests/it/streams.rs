//! Pipes, sockets, terminals and devices on either side: the bytes, the path that they took, and what
//! becomes of it all when a peer is slow, stops, or goes away.

mod faults;
mod names;
mod paths;
mod peers;
mod recipes;

use crate::sandbox::{Sandbox, ZCP, noise};
use libtest_mimic::Trial;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair, sockopt};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Output, Stdio};

pub(crate) fn trials() -> Vec<Trial> {
    [faults::trials(), names::trials(), paths::trials(), peers::trials(), recipes::trials()]
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

/// Starts it, and lets go of the descriptors that it was given.
fn start(mut command: Command) -> Child {
    command.spawn().unwrap()
}

fn finish(child: Child) -> Output {
    child.wait_with_output().unwrap()
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
