//! The progress bar in a terminal of our own, at several widths and while it is resized.
//!
//! The source is a fifo that the test feeds, so the copy lasts exactly as long as the test looks at
//! it: nothing here depends on how fast a machine is.

use crate::needs::trial;
use crate::sandbox::{LONGEST, Sandbox, ZCP};
use libtest_mimic::Trial;
use rustix::fs::{OFlags, open};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials: Vec<Trial> = [200, 80, 79, 40, 39, 12]
        .into_iter()
        .map(|columns| trial(format!("terminal::width-{columns}"), &[], move || fits(columns)))
        .collect();
    trials.push(trial("terminal::resized", &[], resized));
    trials.push(trial("terminal::message_past_the_bar", &[], message_past_the_bar));
    trials.push(trial("terminal::line_stays_with_verbose", &[], line_stays_with_verbose));
    trials
}

/// zcp in a terminal, copying a fifo that it has to wait for.
struct Watched {
    sandbox: Sandbox,
    terminal: OwnedFd,
    child: Child,
    fifo: File,
    shown: Receiver<Vec<u8>>,
    text: String,
}

impl Watched {
    fn start(columns: u16, options: &[&str]) -> Watched {
        let sandbox = Sandbox::new();
        sandbox.fifo("fifo");
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap();
        let inside: File =
            open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY, rustix::fs::Mode::empty()).unwrap().into();
        resize(&terminal, columns);
        let child = Command::new(ZCP)
            .args(options)
            .args(["fifo", "copy"])
            .current_dir(sandbox.path(""))
            .env("TERM", "xterm")
            .stdin(inside.try_clone().unwrap())
            .stdout(inside.try_clone().unwrap())
            .stderr(inside)
            .spawn()
            .unwrap();
        let fifo = OpenOptions::new().write(true).open(sandbox.path("fifo")).unwrap();
        let shown = reader(&terminal);
        Watched { sandbox, terminal, child, fifo, shown, text: String::new() }
    }

    /// Reads what the terminal shows until it holds `wanted` that was not there before.
    fn await_text(&mut self, wanted: impl Fn(&str) -> bool) {
        let seen = self.text.len();
        while !self.text.get(seen..).is_some_and(&wanted) {
            let bytes = self.shown.recv_timeout(LONGEST).expect("the terminal shows what is awaited");
            self.text.push_str(&String::from_utf8_lossy(&bytes));
        }
    }

    /// Ends the copy and gives all that was shown.
    fn finish(mut self) -> String {
        drop(self.fifo);
        assert!(self.child.wait().unwrap().success());
        while let Ok(bytes) = self.shown.recv_timeout(LONGEST) {
            self.text.push_str(&String::from_utf8_lossy(&bytes));
        }
        self.text
    }
}

/// A thread that reads the terminal; it ends with it.
fn reader(terminal: &OwnedFd) -> Receiver<Vec<u8>> {
    let (send, receive) = channel();
    let mut terminal = File::from(terminal.try_clone().unwrap());
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = terminal.read(&mut buffer) {
            if send.send(buffer[..n].to_vec()).is_err() {
                break;
            }
        }
    });
    receive
}

fn resize(terminal: &OwnedFd, columns: u16) {
    tcsetwinsize(terminal, Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
}

/// The visible lines: escape sequences taken out, split where the cursor goes back.
fn lines(text: &str) -> Vec<String> {
    let mut plain = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c == '\u{1b}' {
            let _ = rest.by_ref().find(|c| c.is_ascii_alphabetic());
        } else {
            plain.push(c);
        }
    }
    plain.split(['\r', '\n']).map(|line| line.trim_end().to_owned()).filter(|line| !line.is_empty()).collect()
}

fn assert_fits(text: &str, columns: u16) {
    for line in lines(text) {
        assert!(line.chars().count() <= columns.into(), "{columns} columns: {line:?}");
    }
}

/// Every line fits, the bytes that have come are shown, and nothing of the bar is left.
fn fits(columns: u16) {
    let mut watched = Watched::start(columns, &[]);
    watched.fifo.write_all(&[7; 2048]).unwrap();
    watched.await_text(|text| text.contains("2.00 KiB"));
    watched.fifo.write_all(&[7; 1024]).unwrap();
    watched.await_text(|text| text.contains("3.00 KiB"));
    let copy = watched.sandbox.path("copy");
    let copied = std::fs::metadata(copy).unwrap().len();
    let text = watched.finish();
    assert_eq!(copied, 3072);
    assert_fits(&text, columns);
    let last = text.trim_end_matches(['\r', '\n']).rsplit('\r').next().unwrap_or_default();
    assert!(lines(last).is_empty(), "something is left: {last:?}");
}

fn resized() {
    let mut watched = Watched::start(120, &[]);
    watched.fifo.write_all(&[7; 2048]).unwrap();
    watched.await_text(|text| text.contains("2.00 KiB"));
    resize(&watched.terminal, 30);
    // One frame may have been under way; what follows a whole new one is drawn for 30 columns.
    for size in [3, 4] {
        watched.fifo.write_all(&[7; 1024]).unwrap();
        let wanted = format!("{size}.00 KiB");
        watched.await_text(|text| text.contains(&wanted));
    }
    let seen = watched.text.len();
    watched.fifo.write_all(&[7; 1024]).unwrap();
    watched.await_text(|text| text.contains("5.00 KiB"));
    assert_fits(&watched.text[seen..], 30);
    watched.finish();
}

/// The answer to SIGUSR1 stands on a line of its own, above the bar.
fn message_past_the_bar() {
    let mut watched = Watched::start(80, &[]);
    watched.fifo.write_all(&[7; 2048]).unwrap();
    watched.await_text(|text| text.contains("2.00 KiB"));
    let pid = Pid::from_child(&watched.child);
    kill_process(pid, Signal::USR1).unwrap();
    watched.await_text(|text| text.contains("zcp: 0 files, 2.0 KiB"));
    let text = watched.finish();
    let line = lines(&text).into_iter().find(|line| line.starts_with("zcp: ")).unwrap();
    assert!(line.ends_with("/s"), "{line:?}");
}

fn line_stays_with_verbose() {
    let mut watched = Watched::start(80, &["-v"]);
    watched.fifo.write_all(&[7; 2048]).unwrap();
    watched.await_text(|text| text.contains("2.00 KiB"));
    let text = watched.finish();
    assert!(lines(&text).iter().any(|line| line.starts_with("zcp: copied 1 file, 2.0 KiB, in ")), "{text:?}");
}
