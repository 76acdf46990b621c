//! A terminal on either side: typed lines, a typed end of input, Ctrl-C, and output that is shown.

use crate::needs::{Need, trial};
use crate::pty::Pty;
use crate::sandbox::{Sandbox, ZCP};
use crate::strace;
use libtest_mimic::Trial;
use rustix::process::Signal;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command};

/// The key that ends the input at the start of a line.
const END: &str = "\u{4}";
const CTRL_C: &str = "\u{3}";

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for strategy in [None, Some("sendfile"), Some("splice"), Some("mmap"), Some("read_write")] {
        let name = strategy.unwrap_or("default");
        trials.push(trial(format!("streams::terminal::shows::{name}"), &[], move || shows(strategy)));
    }
    for strategy in [None, Some("splice"), Some("read_write")] {
        let name = strategy.unwrap_or("default");
        trials.push(trial(format!("streams::terminal::takes_lines::{name}"), &[], move || takes_lines(strategy)));
        let setsid = [Need::Program("setsid")];
        trials.push(trial(format!("streams::terminal::ctrl_c::{name}"), &setsid, move || ctrl_c(strategy)));
        let traced = [Need::Program("setsid"), Need::Strace];
        let name = format!("streams::terminal::ctrl_c_takes_input_away::{name}");
        trials.push(trial(name, &traced, move || ctrl_c_takes_input_away(strategy)));
    }
    trials.push(trial("streams::terminal::bar_between_streams", &[], bar_between_streams));
    trials
}

/// Starts zcp in a terminal of its own. Ctrl-C reaches it if that is its controlling terminal.
fn start(sandbox: &Sandbox, controlling: bool, strategy: Option<&str>, args: [&str; 2]) -> (Pty, Child) {
    let mut command = Command::new(if controlling { "setsid" } else { ZCP });
    if controlling {
        command.args(["--ctty", ZCP]);
    }
    command.args(strategy.map(|strategy| format!("--strategy={strategy}"))).args(args);
    command.current_dir(sandbox.path("")).env("LC_ALL", "C").env("TERM", "xterm");
    Pty::start(80, command)
}

fn shows(strategy: Option<&str>) {
    let sandbox = Sandbox::new();
    let text: String = (0..20_000).map(|line| format!("line {line}\n")).collect();
    sandbox.file("a", &text);
    let (pty, mut child) = start(&sandbox, false, strategy, ["a", "/dev/stdout"]);
    // Reads while zcp writes, because a terminal holds little.
    let shown = pty.read_to_end();
    assert!(child.wait().unwrap().success());
    assert!(shown.replace("\r\n", "\n") == text, "{} bytes of {}", shown.len(), text.len());
}

fn takes_lines(strategy: Option<&str>) {
    let sandbox = Sandbox::new();
    let (mut pty, mut child) = start(&sandbox, false, strategy, ["/dev/stdin", "b"]);
    for line in ["first\n", "second\n", "third, not ended"] {
        pty.type_keys(line);
        pty.await_text(|shown| shown.contains(line.trim_end())); // the echo
    }
    // In the middle of a line, the first key passes on the line, and the second ends the input.
    pty.type_keys(END);
    pty.type_keys(END);
    assert!(child.wait().unwrap().success(), "{}", pty.read_to_end());
    assert_eq!(fs::read_to_string(sandbox.path("b")).unwrap(), "first\nsecond\nthird, not ended");
}

fn ctrl_c(strategy: Option<&str>) {
    let sandbox = Sandbox::new();
    let (mut pty, mut child) = start(&sandbox, true, strategy, ["/dev/stdin", "b"]);
    pty.type_keys("first\n");
    // Ctrl-C also discards typed input that has not been read, so wait until it has been.
    while fs::read(sandbox.path("b")).unwrap_or_default() != b"first\n" {
        std::thread::yield_now();
    }
    pty.type_keys(CTRL_C);
    pty.await_text(|shown| shown.contains("zcp: interrupted: copied "));
    assert_eq!(child.wait().unwrap().signal(), Some(Signal::INT.as_raw()));
    assert!(!sandbox.path("b").exists());
}

/// Ctrl-C arrives after poll(2) has reported input and before zcp reads it; strace delays zcp there. One Ctrl-C
/// is enough.
fn ctrl_c_takes_input_away(strategy: Option<&str>) {
    let sandbox = Sandbox::new();
    let log = tempfile::tempdir().unwrap();
    let (mut pty, mut child) = Pty::start_by(80, |terminal| {
        let mut command = Command::new("setsid");
        command.args(["--ctty", "strace", "-ff", "-P", terminal, "-e", "trace=read,splice"]);
        command.args(["-e", "inject=read,splice:delay_enter=1000000:when=1", "-o"]).arg(log.path().join("log"));
        command.arg(ZCP).args(strategy.map(|strategy| format!("--strategy={strategy}"))).args(["/dev/stdin", "b"]);
        command.current_dir(sandbox.path("")).env("LC_ALL", "C").env("TERM", "xterm");
        command
    });
    pty.type_keys("first\n");
    let calls = [nix::libc::SYS_read, nix::libc::SYS_splice].map(|number| number.to_string());
    let is_held_up = |thread: i32| {
        let call = fs::read_to_string(format!("/proc/{thread}/syscall")).unwrap_or_default();
        let [number, fd] = [0, 1].map(|field| call.split(' ').nth(field).unwrap_or_default());
        let fd = u32::from_str_radix(fd.trim_start_matches("0x"), 16).unwrap_or(u32::MAX);
        let file = fs::read_link(format!("/proc/{thread}/fd/{fd}")).unwrap_or_default();
        calls.iter().any(|call| number == call) && file.starts_with("/dev/pts")
    };
    while !strace::logs(log.path()).any(|(thread, _)| is_held_up(thread)) {
        std::thread::yield_now();
    }
    pty.type_keys(CTRL_C);
    pty.await_text(|shown| shown.contains("zcp: interrupted: copied "));
    assert_eq!(child.wait().unwrap().signal(), Some(Signal::INT.as_raw()));
    assert!(!sandbox.path("b").exists());
}

/// Neither side has a length, and the bar still shows how much has arrived.
fn bar_between_streams() {
    let sandbox = Sandbox::new();
    sandbox.fifo("from").fifo("to");
    let (mut pty, mut child) = start(&sandbox, false, None, ["from", "to"]);
    let mut from = OpenOptions::new().write(true).open(sandbox.path("from")).unwrap();
    from.write_all(&[7; 2048]).unwrap();
    let mut to = File::open(sandbox.path("to")).unwrap();
    pty.await_text(|shown| shown.contains("2.0 KiB"));
    from.write_all(&[7; 2048]).unwrap();
    pty.await_text(|shown| shown.contains("4.0 KiB"));
    drop(from);
    let mut bytes = Vec::new();
    to.read_to_end(&mut bytes).unwrap();
    assert!(bytes == [7; 4096]);
    assert!(child.wait().unwrap().success());
}
