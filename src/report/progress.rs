//! The progress bar: decoration, fed from what the workers count anyway.
//!
//! A thread looks at the meters a few times a second; no worker ever waits for it. Nothing is
//! drawn before the copy has lasted a while, so that a quick one leaves no trace.

use super::lock;
use crate::transfer::Meter;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a copy has to last before it is worth a bar.
const PATIENCE: Duration = Duration::from_millis(500);
/// Between two looks at the meters.
const TICK: Duration = Duration::from_millis(125);

/// The meters of all workers.
#[derive(Debug, Default)]
pub struct Meters(Mutex<Vec<Arc<Meter>>>);

impl Meters {
    /// A meter for one more worker.
    pub fn add(&self) -> Arc<Meter> {
        let meter = Arc::new(Meter::default());
        lock(&self.0).push(Arc::clone(&meter));
        meter
    }

    /// Bytes and files of all workers together.
    pub fn read(&self) -> (u64, u64) {
        lock(&self.0).iter().fold((0, 0), |(bytes, files), meter| {
            (bytes + meter.bytes.load(Ordering::Relaxed), files + meter.files.load(Ordering::Relaxed))
        })
    }
}

/// A way for others to print past the bar.
#[derive(Clone, Debug, Default)]
pub struct Handle(Arc<Mutex<Option<ProgressBar>>>);

impl Handle {
    /// Runs `print` with the bar out of the way. One at a time, so that lines stay whole.
    pub fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        match &*lock(&self.0) {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }
}

/// The thread that draws. Dropping it takes the bar away.
#[derive(Debug)]
pub struct Progress {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Starts drawing on stderr what `meters` say.
    pub fn start(meters: Arc<Meters>, handle: Handle) -> Progress {
        let (end, ended) = channel();
        let draw = move || {
            if ended.recv_timeout(PATIENCE) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(8));
            if let Ok(style) = ProgressStyle::with_template("{spinner} {bytes}  {msg}  {bytes_per_sec}  {elapsed}")
            {
                bar.set_style(style);
            }
            *lock(&handle.0) = Some(bar.clone());
            loop {
                let (bytes, files) = meters.read();
                bar.set_position(bytes);
                bar.set_message(format!("{} files", super::table::count(files)));
                bar.tick();
                if ended.recv_timeout(TICK) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
            }
            *lock(&handle.0) = None;
            bar.finish_and_clear();
        };
        let thread = std::thread::Builder::new().name("progress".into()).spawn(draw).ok();
        Progress { end: Some(end), thread }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
