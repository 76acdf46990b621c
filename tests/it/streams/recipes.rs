//! The commands of docs/streams.md, with the real programs.

use super::{Running, assert_ok, with_file};
use crate::needs::{Need, trial};
use crate::sandbox::{LONGEST, Sandbox, ZCP, assert_done, noise};
use libtest_mimic::Trial;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Instant;

const LEN: usize = 3_000_001;

pub(crate) fn trials() -> Vec<Trial> {
    let socat = [Need::Program("socat")];
    let systemd = [Need::Program("systemd-socket-activate")];
    let bash = [Need::Program("bash"), Need::Program("gzip")];
    vec![
        trial("streams::recipe::serve_under_socat", &socat, || serve(socat_with("zcp a /dev/stdout"))),
        trial("streams::recipe::serve_under_socket_activation", &systemd, || serve(activated())),
        trial("streams::recipe::receive_under_socat", &socat, receive_under_socat),
        trial("streams::recipe::send_from_bash", &bash, send_from_bash),
        trial("streams::recipe::compress", &bash, compress),
        trial("streams::recipe::fifo", &bash, fifo),
    ]
}

/// A port that is free now.
fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A command for socat that serves a port with `program`. `{port}` in it stands for the port.
fn socat_with(program: &str) -> impl Fn(u16) -> Command {
    move |port| {
        let mut command = Command::new("socat");
        command.arg(format!("TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr"));
        command.arg(format!("EXEC:{},nofork", program.replace("zcp", ZCP)));
        command
    }
}

fn activated() -> impl Fn(u16) -> Command {
    |port| {
        let mut command = Command::new("systemd-socket-activate");
        command.args([&format!("--listen=127.0.0.1:{port}"), "--accept", "--inetd", ZCP, "a", "/dev/stdout"]);
        command
    }
}

fn start(sandbox: &Sandbox, mut command: Command) -> Running {
    command.current_dir(sandbox.path("")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    Running::start(command)
}

/// Connects as soon as the server listens.
fn connect(port: u16) -> TcpStream {
    let start = Instant::now();
    loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => return stream,
            Err(error) => assert!(start.elapsed() < LONGEST, "{error}"),
        }
        std::thread::yield_now();
    }
}

fn serve(server: impl Fn(u16) -> Command) {
    let sandbox = with_file(LEN);
    let port = port();
    let mut running = start(&sandbox, server(port));
    let mut bytes = Vec::new();
    connect(port).read_to_end(&mut bytes).unwrap();
    let _ = running.child.kill();
    running.finish();
    assert!(bytes == noise(LEN), "{} bytes", bytes.len());
}

fn receive_under_socat() {
    let sandbox = Sandbox::new();
    let port = port();
    let running = start(&sandbox, socat_with("zcp /dev/stdin b")(port));
    connect(port).write_all(&noise(LEN)).unwrap();
    assert_ok(&running.finish());
    assert!(fs::read(sandbox.path("b")).unwrap() == noise(LEN));
}

fn bash(sandbox: &Sandbox, script: &str) {
    let script = script.replace("zcp ", &format!("{ZCP} "));
    assert_done(&sandbox.command("bash").args(["-c", &format!("set -e -o pipefail; {script}")]).output().unwrap());
}

fn send_from_bash() {
    let sandbox = with_file(LEN);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        listener.accept().unwrap().0.read_to_end(&mut bytes).unwrap();
        bytes
    });
    bash(&sandbox, &format!("zcp a /dev/fd/3 3<>/dev/tcp/127.0.0.1/{port}"));
    assert!(reader.join().unwrap() == noise(LEN));
}

fn compress() {
    let sandbox = with_file(LEN);
    bash(&sandbox, "zcp a /dev/stdout | gzip -1 > a.gz; gzip -d < a.gz | zcp /dev/stdin b; cmp a b");
    bash(&sandbox, "zcp a >(gzip -1 > c.gz); wait $!; zcp <(gzip -d < c.gz) c; cmp a c");
}

fn fifo() {
    let sandbox = with_file(LEN);
    bash(&sandbox, "mkfifo queue; cat a > queue & zcp queue b; cmp a b; wait");
    bash(&sandbox, "cat queue > c & zcp a queue; wait; cmp a c");
}
