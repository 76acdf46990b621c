//! A writer for stdout that remembers the first failed write.
//!
//! `std::io::stdout` silently discards output if the descriptor is closed. A program that promises output
//! must report that it could not write it.

use crate::sys::interrupted::retry_on_intr;
use crate::sys::proc::{self, StopFlag};
use crate::sys::{Errno, start};
use std::io::IsTerminal;

/// The size of the buffer in bytes. A terminal gets each line at once.
const HELD: usize = 16 << 10;

#[derive(Debug, Default)]
pub(crate) struct Output {
    held: Vec<u8>,
    at_once: Option<bool>,
    pub error: Option<Errno>,
    /// Stops the copy if the reader goes away, so that it ends in good order.
    pub stop: Option<StopFlag>,
}

impl Output {
    /// Writes bytes, perhaps only to the buffer.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
        let at_once = *self.at_once.get_or_insert_with(|| std::io::stdout().is_terminal());
        if at_once || self.held.len() >= HELD {
            self.flush();
        }
    }

    pub(crate) fn flush(&mut self) {
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

    /// Handles the end of the reader. A broken pipe ends cp by SIGPIPE at once. std ignores SIGPIPE, so a
    /// copy can first remove its incomplete files.
    pub(crate) fn reader_has_gone(&self) {
        match &self.stop {
            _ if !start::dies_of_broken_pipe() => {}
            Some(stop) => stop.raise_broken_pipe(),
            None => proc::end_by_broken_pipe(),
        }
    }
}
