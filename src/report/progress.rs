//! Progress during a copy: the bar, plain lines, and the reply to SIGUSR1.
//!
//! One thread reads the counts of the workers a few times a second; no worker ever waits for it. Nothing is
//! drawn in the first moments, so a short copy shows nothing. An estimate at the lowest priority counts ahead
//! to find the total. Until it is done, the total is a lower bound.

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

/// The time after which a copy gets a bar.
const BAR_DELAY: Duration = Duration::from_millis(500);
/// The time after which a copy by one worker gets the thread for the bar. Starting and ending that thread takes
/// 0.3 ms, as long as cloning a file of many GiB.
const LATE: Duration = Duration::from_millis(50);
/// The time between two readings of the meters.
const TICK: Duration = Duration::from_millis(125);
/// The time between two plain lines, if there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(15);

/// The meters of all workers, and the current file of one of them.
#[derive(Debug, Default)]
pub struct Meters {
    all: Mutex<Vec<Arc<Meter>>>,
    current: Mutex<OsString>,
    /// Raised by the bar when it needs the name of the current file.
    wanted: AtomicBool,
    /// Checked by all meters.
    alarm: OnceLock<Arc<Alarm>>,
}

impl Meters {
    /// Adds the meter of a worker.
    pub fn add(&self) -> Arc<Meter> {
        let meter = Arc::new(Meter::with_alarm(self.alarm.get().cloned()));
        lock(&self.all).push(Arc::clone(&meter));
        meter
    }

    /// Returns the bytes and files of all workers together.
    pub fn read(&self) -> (u64, u64) {
        lock(&self.all).iter().fold((0, 0), |(bytes, files), meter| {
            (bytes + meter.bytes.load(Ordering::Relaxed), files + meter.files.load(Ordering::Relaxed))
        })
    }

    /// Returns whether the bar needs the name of a file: once for each reading of the meters.
    pub fn wants_name(&self) -> bool {
        self.wanted.load(Ordering::Relaxed) && self.wanted.swap(false, Ordering::Relaxed)
    }

    /// Sets the name of the current file.
    pub fn name(&self, path: OsString) {
        *lock(&self.current) = path;
    }
}

/// The amount to copy, as far as the estimate has counted.
#[derive(Debug, Default)]
pub struct Total {
    /// Bytes.
    pub bytes: AtomicU64,
    /// Files of all kinds except directories.
    pub files: AtomicU64,
    /// Whether everything was counted.
    pub complete: AtomicBool,
    /// Whether there is a stream among the files, so that the total is unknown.
    pub endless: AtomicBool,
    /// Raised when the estimate is not needed any more.
    pub cancelled: AtomicBool,
}

/// The progress of a copy, for callbacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes that are done: copied, or in no need of copying (holes, shared blocks, skipped files).
    pub bytes: u64,
    /// Files that are done, of all kinds except directories.
    pub files: u64,
    /// The total of bytes, as far as counted. A thread in the background counts ahead.
    pub total_bytes: u64,
    /// The total of files, as far as counted.
    pub total_files: u64,
    /// Whether the totals are final. With a pipe as source they never are.
    pub total_is_known: bool,
}

/// A callback that gets the progress a few times a second.
#[derive(Clone)]
pub struct Listener(pub Arc<dyn Fn(&Progress) + Send + Sync>);

impl Debug for Listener {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("Listener")
    }
}

/// Lets other output pass the bar.
#[derive(Clone, Debug, Default)]
pub struct BarHandle {
    bar: Arc<Mutex<Option<Bar>>>,
    /// Whether a bar was ever drawn.
    shown: Arc<AtomicBool>,
}

impl BarHandle {
    /// Runs `print` while the bar is cleared. Only one call runs at a time, so that lines stay whole.
    pub fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        match &*lock(&self.bar) {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Returns whether a bar was drawn, so that the user has been watching.
    pub fn was_shown(&self) -> bool {
        self.shown.load(Ordering::Relaxed)
    }
}

/// The form of the display.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Display {
    /// A bar on a terminal.
    Bar,
    /// A line from time to time.
    Lines,
    /// Only the reply to SIGUSR1.
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

/// Counts the amount to copy.
pub type Estimate = Box<dyn FnOnce(&Total) + Send>;

/// The parts that the progress thread needs.
pub struct Watch {
    /// The console to print on.
    pub console: Option<Console>,
    /// The meters to read.
    pub meters: Arc<Meters>,
    /// Whether progress is shown.
    pub progress: When,
    /// Raised by SIGUSR1.
    pub request: StatusRequest,
    /// Counts the amount to copy.
    pub estimate: Option<Estimate>,
    /// The callback for progress.
    pub listener: Option<Listener>,
}

/// The progress thread, which may not be started yet. Dropping it clears the bar.
#[derive(Default)]
pub struct Watcher {
    thread: Arc<Mutex<Option<Thread>>>,
    alarm: Option<Arc<Alarm>>,
    /// The parts of a thread that is not started yet, and the start of the copy.
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
    /// Starts the thread.
    pub fn start(watch: Watch) -> Watcher {
        let thread = Arc::new(Mutex::new(watch.spawn(Instant::now())));
        Watcher { thread, alarm: None, late: None }
    }

    /// Prepares the thread, which starts only if the copy takes long enough. Call it before the workers get
    /// their meters.
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
    /// Starts the thread for a copy that began at `start`.
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

    /// Calls the listener with the progress.
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

    /// Starts the estimate. It ends by itself when it is done or cancelled.
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
        // The total is at least as much as was done.
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

/// Returns the template of a line that fits: the most important part comes first, and only the file name is
/// cut.
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

/// Escapes a name so that it cannot control the terminal.
fn shown(name: &OsString) -> String {
    if name.is_empty() {
        return String::new();
    }
    String::from_utf8_lossy(&super::quote::quoted_if_needed(name)).into_owned()
}
