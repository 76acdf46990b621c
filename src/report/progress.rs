//! Progress while it goes on: the bar, plain lines, and the answer to SIGUSR1.
//!
//! Decoration, fed from what the workers count anyway: one thread looks at the meters a few times a
//! second, and no worker ever waits for it. Nothing is drawn before the copy has lasted a while, so
//! that a quick one leaves no trace. How much there is to do is found out by a estimate that runs ahead
//! at the lowest priority; until it is through, the total is "at least".

use super::bar::{Bar, Shown};
use super::table::{bytes, count, duration};
use super::{Console, lock};
use crate::options::When;
use crate::sys::memory;
use crate::sys::proc::{self, StatusRequest};
use crate::transfer::Meter;
use crate::transfer::meter::Alarm;
use std::ffi::OsString;
use std::fmt::{Debug, Formatter};
use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a copy has to last before it is worth a bar.
const BAR_DELAY: Duration = Duration::from_millis(500);
/// How long a copy has to last before it is worth the thread that shows the bar, where one worker does it
/// alone: to start and end that thread takes 0.3 ms, as long as cloning a file of many GiB.
const LATE: Duration = Duration::from_millis(50);
/// Between two looks at the meters.
const TICK: Duration = Duration::from_millis(125);
/// Between two plain lines, where there is no terminal to draw on.
const LINE_EVERY: Duration = Duration::from_secs(15);

/// The meters of all workers, and the file that one of them has in hand.
#[derive(Debug, Default)]
pub struct Meters {
    all: Mutex<Vec<Arc<Meter>>>,
    current: Mutex<OsString>,
    /// Raised by the bar when it would like to know the current file.
    wanted: AtomicBool,
    /// Looked at by all meters.
    alarm: OnceLock<Arc<Alarm>>,
}

impl Meters {
    /// A meter for one more worker.
    pub fn add(&self) -> Arc<Meter> {
        let meter = Arc::new(Meter::with_alarm(self.alarm.get().cloned()));
        lock(&self.all).push(Arc::clone(&meter));
        meter
    }

    /// Bytes and files of all workers together.
    pub fn read(&self) -> (u64, u64) {
        lock(&self.all).iter().fold((0, 0), |(bytes, files), meter| {
            (bytes + meter.bytes.load(Ordering::Relaxed), files + meter.files.load(Ordering::Relaxed))
        })
    }

    /// Whether anybody asked for the name of a file: once for each look at the meters.
    pub fn wants_name(&self) -> bool {
        self.wanted.load(Ordering::Relaxed) && self.wanted.swap(false, Ordering::Relaxed)
    }

    /// Says which file is being copied.
    pub fn name(&self, path: OsString) {
        *lock(&self.current) = path;
    }
}

/// How much there is to copy, as far as the estimate has come.
#[derive(Debug, Default)]
pub struct Total {
    /// Bytes.
    pub bytes: AtomicU64,
    /// Files of all kinds but directories.
    pub files: AtomicU64,
    /// Whether that is all.
    pub complete: AtomicBool,
    /// Whether there is a stream among them, which ends when it ends.
    pub endless: AtomicBool,
    /// Raised when nobody needs the answer any more.
    pub cancelled: AtomicBool,
}

/// How far a copy is, for those who asked to be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes that are in their destinations, or had no need to be moved (holes, shared blocks, files
    /// that were skipped).
    pub bytes: u64,
    /// Files of all kinds but directories that are done with.
    pub files: u64,
    /// Bytes that there are, as far as has been counted; counted ahead, in the background.
    pub total_bytes: u64,
    /// The files to them.
    pub total_files: u64,
    /// Whether the totals are final. They stay open where the source is a pipe.
    pub total_is_known: bool,
}

/// Who is told a few times a second how far the copy is.
#[derive(Clone)]
pub struct Listener(pub Arc<dyn Fn(&Progress) + Send + Sync>);

impl Debug for Listener {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("Listener")
    }
}

/// A way for others to print past the bar.
#[derive(Clone, Debug, Default)]
pub struct BarHandle {
    bar: Arc<Mutex<Option<Bar>>>,
    /// Whether there ever was a bar.
    shown: Arc<AtomicBool>,
}

impl BarHandle {
    /// Runs `print` with the bar out of the way. One at a time, so that lines stay whole.
    pub fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        match &*lock(&self.bar) {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Whether a bar was drawn, so that the user has been watching.
    pub fn was_shown(&self) -> bool {
        self.shown.load(Ordering::Relaxed)
    }
}

/// What is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Display {
    /// A bar on a terminal.
    Bar,
    /// A line now and then.
    Lines,
    /// Nothing, but SIGUSR1 is answered.
    OnRequest,
}

impl Display {
    fn of(progress: When) -> Display {
        let is_terminal = || std::io::stderr().is_terminal();
        match progress {
            When::Always | When::Auto if Bar::EXISTS && is_terminal() => Display::Bar,
            When::Always => Display::Lines,
            When::Auto | When::Never => Display::OnRequest,
        }
    }
}

/// Counts what there is to do.
pub type Estimate = Box<dyn FnOnce(&Total) + Send>;

/// All that the watching thread needs.
pub struct Watch {
    /// Where to show it.
    pub console: Option<Console>,
    /// What to look at.
    pub meters: Arc<Meters>,
    /// Whether progress is shown.
    pub progress: When,
    /// Raised by SIGUSR1.
    pub request: StatusRequest,
    /// Counts what there is to do, into the total.
    pub estimate: Option<Estimate>,
    /// Whom to tell.
    pub listener: Option<Listener>,
}

/// The thread that watches, or that will. Dropping it takes the bar away.
#[derive(Default)]
pub struct Watcher {
    thread: Arc<Mutex<Option<Thread>>>,
    alarm: Option<Arc<Alarm>>,
    /// What the thread is to be made of, and when the copy began.
    late: Option<(Arc<Mutex<Option<Watch>>>, Instant)>,
}

#[derive(Debug)]
struct Thread {
    end: Sender<()>,
    handle: JoinHandle<()>,
}

impl Debug for Watcher {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "Watcher({:?})", self.thread)
    }
}

impl Watcher {
    /// Starts watching.
    pub fn start(watch: Watch) -> Watcher {
        let thread = Arc::new(Mutex::new(watch.spawn(Instant::now())));
        Watcher { thread, alarm: None, late: None }
    }

    /// Starts watching if the copy lasts. To be said before its workers get their meters.
    pub fn start_late(watch: Watch) -> Watcher {
        let (meters, now) = (Arc::clone(&watch.meters), Instant::now());
        let thread = Arc::default();
        let there = Arc::clone(&thread);
        let watch = Arc::new(Mutex::new(Some(watch)));
        let late = Arc::clone(&watch);
        let alarm = Arc::new(Alarm::at(now + LATE, move || {
            *lock(&there) = lock(&watch).take().and_then(|watch| watch.spawn(now));
        }));
        let _ = meters.alarm.set(Arc::clone(&alarm));
        Watcher { thread, alarm: Some(alarm), late: Some((late, now)) }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if let Some(alarm) = &self.alarm {
            alarm.disarm();
        }
        if let Some(Thread { end, handle }) = lock(&self.thread).take() {
            drop(end);
            let _ = handle.join();
        } else if let Some((watch, start)) = self.late.take()
            && let Some(watch) = lock(&watch).take()
        {
            watch.answer(&Total::default(), start);
        }
    }
}

fn is_over(ended: &Receiver<()>, wait: Duration) -> bool {
    ended.recv_timeout(wait) != Err(RecvTimeoutError::Timeout)
}

impl Watch {
    /// Watches a copy that began at `start`, in a thread of its own.
    fn spawn(self, start: Instant) -> Option<Thread> {
        let (end, ended) = channel();
        let thread = std::thread::Builder::new().name("progress".into()).stack_size(memory::STACK);
        thread.spawn(move || self.run(start, &ended)).ok().map(|handle| Thread { end, handle })
    }

    fn run(mut self, start: Instant, ended: &Receiver<()>) {
        let total = Arc::new(Total::default());
        let (mut bar, mut next_line) = (None, LINE_EVERY);
        let display = Display::of(self.progress);
        if self.listener.is_some() {
            self.start_estimate(&total);
        }
        loop {
            let over = is_over(ended, TICK);
            self.tell(&total);
            if over {
                break;
            }
            self.answer(&total, start);
            if start.elapsed() < BAR_DELAY || display == Display::OnRequest {
                continue;
            }
            self.start_estimate(&total);
            if display == Display::Bar {
                self.draw(bar.get_or_insert_with(|| self.show_bar()), &total);
            } else if start.elapsed() >= next_line {
                next_line += LINE_EVERY;
                self.print_status(&total, start);
            }
        }
        self.answer(&total, start);
        total.cancelled.store(true, Ordering::Relaxed);
        if let Some(bar) = bar {
            if let Some(console) = &self.console {
                *lock(&console.bar().bar) = None;
            }
            bar.clear();
        }
    }

    /// Tells the listener; at the end once more.
    fn tell(&self, total: &Total) {
        let Some(listener) = &self.listener else { return };
        let (bytes, files) = self.meters.read();
        (listener.0)(&Progress {
            bytes,
            files,
            total_bytes: total.bytes.load(Ordering::Relaxed).max(bytes),
            total_files: total.files.load(Ordering::Relaxed).max(files),
            total_is_known: total.complete.load(Ordering::Relaxed) && !total.endless.load(Ordering::Relaxed),
        });
    }

    /// The estimate is left to itself: it ends when it is through, or soon after it is told to.
    fn start_estimate(&mut self, total: &Arc<Total>) {
        let Some(estimate) = self.estimate.take() else { return };
        let total = Arc::clone(total);
        let _ = std::thread::Builder::new().name("estimate".into()).stack_size(memory::STACK).spawn(move || {
            proc::lowest_priority();
            estimate(&total);
        });
    }

    fn answer(&self, total: &Total, start: Instant) {
        if self.request.take() {
            self.print_status(total, start);
        }
    }

    fn print_status(&self, total: &Total, start: Instant) {
        let Some(console) = &self.console else { return };
        let (done, files) = self.meters.read();
        let seconds = start.elapsed().as_secs_f64().max(1e-3);
        let rate = done as f64 / seconds;
        let mut line = format!("{} files, {}", count(files), bytes(done));
        let all = total.bytes.load(Ordering::Relaxed);
        if total.complete.load(Ordering::Relaxed) && !total.endless.load(Ordering::Relaxed) && all > 0 {
            let percent = (100.0 * done as f64 / all as f64).min(100.0);
            line.push_str(&format!(" of {} ({percent:.0}%)", bytes(all)));
        }
        line.push_str(&format!(" in {}, {}/s", duration(start.elapsed()), bytes(rate as u64)));
        console.say(line.as_bytes());
    }

    fn show_bar(&self) -> Bar {
        let bar = Bar::new();
        if let Some(console) = &self.console {
            *lock(&console.bar().bar) = Some(bar.clone());
            console.bar().shown.store(true, Ordering::Relaxed);
        }
        bar
    }

    fn draw(&self, bar: &Bar, total: &Total) {
        let (done, files) = self.meters.read();
        let complete = total.complete.load(Ordering::Relaxed);
        let endless = total.endless.load(Ordering::Relaxed);
        // What is done is at least what there was to do.
        let all = total.bytes.load(Ordering::Relaxed).max(done);
        let all_files = total.files.load(Ordering::Relaxed).max(files);
        let more = if complete { "" } else { "+" };
        bar.draw(Shown {
            template: template(proc::terminal_width(std::io::stderr()), complete, endless),
            done,
            all,
            prefix: format!("{}/{}{more} files", count(files), count(all_files)),
            message: shown(&lock(&self.meters.current)),
        });
        self.meters.wanted.store(true, Ordering::Relaxed);
    }
}

/// A line that fits: what matters most comes first, and only the file's name is cut.
fn template(width: usize, complete: bool, endless: bool) -> &'static str {
    match (width, complete) {
        (..40, _) => "{bytes} {wide_msg}",
        (..80, _) if endless => "{spinner} {bytes} {bytes_per_sec} {wide_msg}",
        _ if endless => "{spinner} {bytes} {bytes_per_sec} {elapsed} {prefix} {wide_msg}",
        (..80, true) => "{percent:>3}% {bytes}/{total_bytes} ETA {eta} {wide_msg}",
        (..80, false) => "{spinner} {bytes}/{total_bytes}+ {wide_msg}",
        (_, true) => "[{bar:16}] {bytes}/{total_bytes} {bytes_per_sec} ETA {eta} {prefix} {wide_msg}",
        (_, false) => "{spinner} {bytes}/{total_bytes}+ (counting) {bytes_per_sec} {prefix} {wide_msg}",
    }
}

/// A name that cannot drive the terminal.
fn shown(name: &OsString) -> String {
    if name.is_empty() {
        return String::new();
    }
    String::from_utf8_lossy(&super::quote::quoted_if_needed(name)).into_owned()
}
