//! A pseudo-terminal: tests read what a program shows on it, and type into it.

use crate::sandbox::LONGEST;
use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};

pub(crate) struct Pty {
    terminal: OwnedFd,
    shown: Receiver<Vec<u8>>,
    /// Everything that was shown so far.
    pub(crate) text: String,
}

impl Pty {
    /// Starts the command on a terminal with `columns` columns.
    pub(crate) fn start(columns: u16, command: Command) -> (Pty, Child) {
        Pty::start_by(columns, |_| command)
    }

    /// Like [`Pty::start`], for a command that needs the name of the terminal.
    pub(crate) fn start_by(columns: u16, command: impl FnOnce(&str) -> Command) -> (Pty, Child) {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap();
        let inside: File =
            open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap().into();
        let shown = reader(&terminal);
        let pty = Pty { terminal, shown, text: String::new() };
        pty.resize(columns);
        let mut command = command(name.to_str().unwrap());
        let twice = || inside.try_clone().unwrap();
        let child = command.stdin(twice()).stdout(twice()).stderr(twice()).spawn().unwrap();
        (pty, child)
    }

    pub(crate) fn resize(&self, columns: u16) {
        let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.terminal, size).unwrap();
    }

    pub(crate) fn type_keys(&self, keys: &str) {
        File::from(self.terminal.try_clone().unwrap()).write_all(keys.as_bytes()).unwrap();
    }

    /// Reads from the terminal until the new text satisfies `wanted`.
    #[track_caller]
    pub(crate) fn await_text(&mut self, wanted: impl Fn(&str) -> bool) {
        let seen = self.text.len();
        while !self.text.get(seen..).is_some_and(&wanted) {
            let Ok(bytes) = self.shown.recv_timeout(LONGEST) else {
                panic!("what is awaited is not in {:?}", &self.text[seen..]);
            };
            self.text.push_str(&String::from_utf8_lossy(&bytes));
        }
    }

    /// Everything that is shown until no process has the terminal open any more.
    pub(crate) fn read_to_end(mut self) -> String {
        while let Ok(bytes) = self.shown.recv_timeout(LONGEST) {
            self.text.push_str(&String::from_utf8_lossy(&bytes));
        }
        self.text
    }
}

/// Starts a thread that reads the terminal until it is closed.
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
