//! stdout, with every failed write remembered.
//!
//! std's own handle takes a closed descriptor for a sink and says nothing; a program that promised
//! output must say that it could not give it.

use crate::sys::interrupted::retry_on_intr;
use crate::sys::proc::{self, StopFlag};
use crate::sys::{Errno, start};
use std::io::IsTerminal;

/// Bytes held back before a write, unless stdout is a terminal.
const HELD: usize = 16 << 10;

/// stdout.
#[derive(Debug)]
pub struct Output {
    held: Vec<u8>,
    at_once: Option<bool>,
    error: Option<Errno>,
    /// What ends the copy that prints.
    stop: Option<StopFlag>,
}

impl Output {
    /// The process's stdout.
    pub fn stdout() -> Output {
        Output { held: Vec::new(), at_once: None, error: None, stop: None }
    }

    /// From now on, a reader that goes away ends the copy that `stop` belongs to in good order.
    pub fn stop_by(&mut self, stop: &StopFlag) {
        self.stop = Some(stop.clone());
    }

    /// Writes, or holds back for a while.
    pub fn write(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
        let at_once = *self.at_once.get_or_insert_with(|| std::io::stdout().is_terminal());
        if at_once || self.held.len() >= HELD {
            self.flush();
        }
    }

    /// Writes out what was held back.
    pub fn flush(&mut self) {
        let held = std::mem::take(&mut self.held);
        let mut rest = held.as_slice();
        while !rest.is_empty() && self.error.is_none() {
            if start::was_closed(1) {
                self.error = Some(Errno::BADF);
                return;
            }
            match retry_on_intr(|| rustix::io::write(rustix::stdio::stdout(), rest)) {
                Ok(n) => rest = rest.get(n..).unwrap_or_default(),
                Err(Errno::PIPE) => {
                    self.reader_has_gone();
                    self.error = Some(Errno::PIPE);
                }
                Err(errno) => self.error = Some(errno),
            }
        }
    }

    /// Nobody reads what is printed any more. std has SIGPIPE ignored, which ends cp at once; a copy that is under
    /// way leaves no file half-written first.
    pub fn reader_has_gone(&self) {
        match &self.stop {
            _ if !start::dies_of_broken_pipe() => {}
            Some(stop) => stop.raise_broken_pipe(),
            None => proc::end_by_broken_pipe(),
        }
    }

    /// The first write that failed.
    pub fn error(&self) -> Option<Errno> {
        self.error
    }
}
