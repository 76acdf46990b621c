//! The progress of a running copy: a bar, lines, callbacks, and the reply to SIGUSR1.
//!
//! One thread reads the meters of the workers a few times a second, and no worker waits for it. A short copy
//! shows nothing. A second thread counts the files ahead; until it is done, the totals are open.

use super::bar::Bar;
use super::events::ProgressCallback;
use super::progress_line::State;
use super::speed::{Costs, Speed};
use super::{Console, lock};
use crate::options::{ProgressForm, When};
use crate::sys::memory;
use crate::sys::proc::{self, StatusRequest};
use crate::transfer::Meter;
use crate::transfer::meter::Alarm;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The age of a copy at which the bar appears.
const BAR_DELAY: Duration = Duration::from_millis(500);
/// The age of a small copy at which the thread starts. Starting and ending it takes 0.3 ms, as long as cloning a
/// file of many GiB.
const LATE: Duration = Duration::from_millis(50);
/// The time between two readings of the meters.
const TICK: Duration = Duration::from_millis(125);
/// The time between two lines, if there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(15);
/// The time between two lines of JSON.
const JSON_EVERY: Duration = Duration::from_secs(1);
/// The number of files whose average size predicts the remaining time while the other sizes are unknown.
const SOME: u64 = 100;
/// How long samples count: for the displayed speed, and for the one that predicts the remaining time.
const RATE_MEMORY: Duration = Duration::from_secs(3);
const COSTS_MEMORY: Duration = Duration::from_secs(10);

/// The meters of all workers, and the current file of one of them.
#[derive(Default)]
pub(crate) struct Meters {
    all: Mutex<Vec<Arc<Meter>>>,
    current: Mutex<OsString>,
    /// Set by the display when it needs the name of the current file.
    wanted: AtomicBool,
    alarm: OnceLock<Arc<Alarm>>,
}

/// The sums of all meters: see [`Meter`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reading {
    pub bytes: u64,
    pub moved: u64,
    pub files: u64,
    /// The bytes and files that took time.
    worked: (u64, u64),
}

impl Meters {
    pub(crate) fn add(&self) -> Arc<Meter> {
        let meter = Arc::new(Meter::with_alarm(self.alarm.get().cloned()));
        lock(&self.all).push(Arc::clone(&meter));
        meter
    }

    pub(crate) fn read(&self) -> Reading {
        lock(&self.all).iter().fold(Reading::default(), |sum, meter| {
            let (bytes, files) = (meter.bytes.get(), meter.files.get());
            let (passed, files_passed) = (meter.passed.get(), meter.files_passed.get());
            let worked = (bytes.saturating_sub(passed), files.saturating_sub(files_passed));
            Reading {
                bytes: sum.bytes + bytes,
                moved: sum.moved + meter.moved.get(),
                files: sum.files + files,
                worked: (sum.worked.0 + worked.0, sum.worked.1 + worked.1),
            }
        })
    }

    /// Returns whether the display needs a name: once for each reading of the meters.
    pub(crate) fn wants_name(&self) -> bool {
        self.wanted.load(Ordering::Relaxed) && self.wanted.swap(false, Ordering::Relaxed)
    }

    pub(crate) fn name(&self, path: OsString) {
        *lock(&self.current) = path;
    }
}

/// The amount to copy, as far as it was counted.
#[derive(Debug, Default)]
pub struct Total {
    /// Bytes.
    pub bytes: AtomicU64,
    /// Files of all kinds except directories.
    pub files: AtomicU64,
    /// Whether all files were counted, perhaps without their sizes.
    pub named: AtomicBool,
    /// Whether everything was counted.
    pub complete: AtomicBool,
    /// Whether there is a stream among the files, whose length is unknown.
    pub endless: AtomicBool,
    /// Set when the count is not needed any more.
    pub cancelled: AtomicBool,
}

/// The progress of a copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes that are done: copied, or in no need of copying (holes, shared blocks, skipped files).
    pub bytes: u64,
    /// Bytes that were moved. Their rate is the speed of the copy.
    pub bytes_moved: u64,
    /// Files that are done, of all kinds except directories.
    pub files: u64,
    /// The total of bytes, as far as counted.
    pub total_bytes: u64,
    /// The total of files, as far as counted.
    pub total_files: u64,
    /// Whether the totals are final. With a pipe as source they never are.
    pub total_is_known: bool,
}

/// Lets other output on the terminal pass the bar.
#[derive(Clone, Debug, Default)]
pub(crate) struct BarHandle {
    bar: Arc<Mutex<Option<Bar>>>,
    shown: Arc<AtomicBool>,
}

impl BarHandle {
    /// Runs `print` while the bar is hidden. Only one thread prints at a time, so that lines stay whole.
    pub(crate) fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        match &*lock(&self.bar) {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    pub(crate) fn was_shown(&self) -> bool {
        self.shown.load(Ordering::Relaxed)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Display {
    Bar,
    /// A line every 15 seconds.
    Lines,
    /// A line of JSON every second, and one at the end.
    Json,
    /// Only the replies to SIGUSR1.
    OnRequest,
}

impl Display {
    fn of(progress: When, form: ProgressForm) -> Display {
        let is_terminal = || std::io::stderr().is_terminal();
        match progress {
            When::Never => Display::OnRequest,
            _ if form == ProgressForm::Json => Display::Json,
            _ if is_terminal() && Bar::EXISTS && proc::terminal_has_cursor() => Display::Bar,
            When::Auto if !is_terminal() => Display::OnRequest,
            _ => Display::Lines,
        }
    }

    /// Returns the time between two lines. It is also the age of the copy at the first line.
    fn interval(self) -> Duration {
        match self {
            Display::Bar => BAR_DELAY,
            Display::Json => JSON_EVERY,
            Display::Lines | Display::OnRequest => LINE_EVERY,
        }
    }
}

pub(crate) type Estimate = Box<dyn FnOnce(&Total) + Send>;

pub(crate) struct ProgressDisplay {
    pub console: Option<Console>,
    pub meters: Arc<Meters>,
    pub progress: When,
    pub form: ProgressForm,
    /// Set by SIGUSR1.
    pub request: StatusRequest,
    pub estimate: Option<Estimate>,
    pub callback: Option<ProgressCallback>,
}

struct RunningCopy {
    start: Instant,
    total: Arc<Total>,
    last: Reading,
    rate: Speed,
    costs: Costs,
}

/// The thread of the display, which a small copy starts late. Dropping this ends it and removes the bar.
#[derive(Default)]
pub(crate) struct ProgressThread {
    thread: Arc<Mutex<Option<Thread>>>,
    alarm: Option<Arc<Alarm>>,
    /// The parts of a thread that is not started yet, and the start of the copy.
    late: Option<(Arc<Mutex<Option<ProgressDisplay>>>, Instant)>,
}

struct Thread {
    end: Sender<()>,
    handle: JoinHandle<()>,
}

impl ProgressThread {
    pub(crate) fn start(display: ProgressDisplay) -> ProgressThread {
        let thread = Arc::new(Mutex::new(display.spawn(Instant::now())));
        ProgressThread { thread, alarm: None, late: None }
    }

    /// Prepares the thread, which starts only if the copy takes long enough. Call it before the workers get their
    /// meters.
    pub(crate) fn start_late(display: ProgressDisplay) -> ProgressThread {
        let (meters, now) = (Arc::clone(&display.meters), Instant::now());
        let thread = Arc::default();
        let there = Arc::clone(&thread);
        let display = Arc::new(Mutex::new(Some(display)));
        let late = Arc::clone(&display);
        let alarm = Arc::new(Alarm::at(now + LATE, move || {
            *lock(&there) = lock(&display).take().and_then(|display| display.spawn(now));
        }));
        let _ = meters.alarm.set(Arc::clone(&alarm));
        ProgressThread { thread, alarm: Some(alarm), late: Some((late, now)) }
    }
}

impl Drop for ProgressThread {
    fn drop(&mut self) {
        if let Some(alarm) = &self.alarm {
            alarm.disarm();
        }
        if let Some(Thread { end, handle }) = lock(&self.thread).take() {
            drop(end);
            let _ = handle.join();
        } else if let Some((display, start)) = self.late.take()
            && let Some(display) = lock(&display).take()
        {
            display.answer(&display.begin(start));
        }
    }
}

fn is_over(ended: &Receiver<()>, wait: Duration) -> bool {
    ended.recv_timeout(wait) != Err(RecvTimeoutError::Timeout)
}

impl ProgressDisplay {
    fn spawn(self, start: Instant) -> Option<Thread> {
        let (end, ended) = channel();
        let thread = std::thread::Builder::new().name("progress".into()).stack_size(memory::STACK);
        thread.spawn(move || self.run(start, &ended)).ok().map(|handle| Thread { end, handle })
    }

    fn begin(&self, start: Instant) -> RunningCopy {
        let (now, reading) = (Instant::now(), self.meters.read());
        RunningCopy {
            start,
            total: Arc::default(),
            last: reading,
            rate: Speed::new(RATE_MEMORY, now, reading.moved),
            costs: Costs::new(COSTS_MEMORY, now, reading.worked),
        }
    }

    fn run(mut self, start: Instant, ended: &Receiver<()>) {
        let display = Display::of(self.progress, self.form);
        let (mut bar, mut next_line) = (None, display.interval());
        let mut running = self.begin(start);
        if self.callback.is_some() {
            self.start_estimate(&running.total);
        }
        loop {
            let over = is_over(ended, TICK);
            let (now, reading) = (Instant::now(), self.meters.read());
            running.sample(now, reading);
            if let Some(callback) = &self.callback {
                callback(&running.progress(&reading));
            }
            if over {
                break;
            }
            self.answer(&running);
            if start.elapsed() < BAR_DELAY || display == Display::OnRequest {
                continue;
            }
            self.start_estimate(&running.total);
            match display {
                Display::Bar => self.draw(bar.get_or_insert_with(|| self.show_bar()), &running),
                _ if start.elapsed() < next_line => self.meters.wanted.store(true, Ordering::Relaxed),
                _ => {
                    // Counted from now: a copy that was stopped for a while (SIGTSTP) has no lines to catch up with.
                    next_line = start.elapsed() + display.interval();
                    self.print_line(display, &running, false);
                }
            }
        }
        self.answer(&running);
        running.total.cancelled.store(true, Ordering::Relaxed);
        if display == Display::Json {
            self.print_line(display, &running, true);
        }
        if let Some(bar) = bar {
            if let Some(console) = &self.console {
                *lock(&console.bar().bar) = None;
            }
            bar.clear();
        }
    }

    /// Starts the count in a thread, which ends when it is done or cancelled.
    fn start_estimate(&mut self, total: &Arc<Total>) {
        let Some(estimate) = self.estimate.take() else { return };
        let total = Arc::clone(total);
        let _ = std::thread::Builder::new()
            .name("estimate".into())
            .stack_size(memory::STACK)
            .spawn(move || estimate(&total));
    }

    /// Prints the state with `show`, while the name of the current file is locked.
    fn show<T>(&self, running: &RunningCopy, show: impl FnOnce(&State<'_>) -> T) -> T {
        let name = lock(&self.meters.current);
        show(&running.state(&self.meters.read(), &name))
    }

    fn answer(&self, running: &RunningCopy) {
        if self.request.take() {
            self.print_line(Display::Lines, running, false);
        }
    }

    fn print_line(&self, display: Display, running: &RunningCopy, has_ended: bool) {
        let Some(console) = &self.console else { return };
        match display {
            Display::Json => console.say_line(self.show(running, |state| state.json(has_ended)).as_bytes()),
            _ => console.say(self.show(running, |state| state.plain()).as_bytes()),
        }
    }

    fn show_bar(&self) -> Bar {
        let bar = Bar::on_stderr();
        if let Some(console) = &self.console {
            *lock(&console.bar().bar) = Some(bar.clone());
            console.bar().shown.store(true, Ordering::Relaxed);
        }
        bar
    }

    fn draw(&self, bar: &Bar, running: &RunningCopy) {
        let width = proc::terminal_width(std::io::stderr());
        bar.draw(self.show(running, |state| state.bar(width)));
        self.meters.wanted.store(true, Ordering::Relaxed);
    }
}

impl RunningCopy {
    fn sample(&mut self, now: Instant, reading: Reading) {
        let has_passed = (reading.bytes, reading.files) != (self.last.bytes, self.last.files);
        if has_passed && reading.worked == self.last.worked {
            // Comparing files, and leaving them alone, says nothing about the time that the rest takes.
            self.rate.skip(now);
            self.costs.skip(now);
        } else {
            self.rate.sample(now, reading.moved);
            self.costs.sample(now, reading.worked);
        }
        self.last = reading;
    }

    fn progress(&self, reading: &Reading) -> Progress {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let total = &self.total;
        Progress {
            bytes: reading.bytes,
            bytes_moved: reading.moved,
            files: reading.files,
            // The count may have missed new files.
            total_bytes: of(&total.bytes).max(reading.bytes),
            total_files: of(&total.files).max(reading.files),
            total_is_known: total.complete.load(Ordering::Relaxed) && !total.endless.load(Ordering::Relaxed),
        }
    }

    fn state<'s>(&self, reading: &Reading, name: &'s OsString) -> State<'s> {
        let progress = self.progress(reading);
        let is_endless = self.total.endless.load(Ordering::Relaxed);
        let files_are_known = self.total.named.load(Ordering::Relaxed) && !is_endless;
        let files_left = progress.total_files - progress.files;
        let counted = progress.total_bytes - progress.bytes;
        let bytes_left = match progress.total_is_known {
            true => Some(counted),
            // Assume that the other files are as large as these, or larger if that is known already.
            false if files_are_known && progress.files >= SOME => {
                let size = progress.bytes as f64 / progress.files as f64;
                Some(counted.max((files_left as f64 * size) as u64))
            }
            false => None,
        };
        let left = bytes_left.and_then(|bytes| self.costs.time_of(bytes, files_left));
        State {
            progress,
            bytes_left,
            left,
            is_endless,
            files_are_known,
            elapsed: self.start.elapsed(),
            rate: self.rate.per_second(),
            name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counted_names_are_enough_for_a_percent() {
        let now = Instant::now();
        let total = Arc::new(Total { files: AtomicU64::new(1000), ..Total::default() });
        let (rate, costs) = (Speed::new(RATE_MEMORY, now, 0), Costs::new(COSTS_MEMORY, now, (0, 0)));
        let running = RunningCopy { start: now, total, last: Reading::default(), rate, costs };
        let reading = Reading { bytes: 400 << 10, files: 400, ..Reading::default() };
        let bar = || running.state(&reading, &OsString::new()).bar(120);
        assert!(!bar().contains('%'), "{}", bar());
        running.total.named.store(true, Ordering::Relaxed);
        assert!(bar().starts_with("~40% ["), "{}", bar());
        // The sizes of the rest turn out to be larger.
        running.total.bytes.store(4 << 20, Ordering::Relaxed);
        assert!(bar().starts_with(" ~9% ["), "{}", bar());
        running.total.complete.store(true, Ordering::Relaxed);
        assert!(bar().starts_with("  9% ["), "{}", bar());
    }

    #[test]
    fn comparing_is_no_slow_copy() {
        let start = Instant::now();
        let (rate, costs) = (Speed::new(RATE_MEMORY, start, 0), Costs::new(COSTS_MEMORY, start, (0, 0)));
        let mut running = RunningCopy { start, total: Arc::default(), last: Reading::default(), rate, costs };
        let mut reading = Reading::default();
        for tick in 1..=80 {
            let (compares, bytes) = (tick <= 40, 10 << 20);
            reading.bytes += bytes;
            if !compares {
                reading.moved += bytes;
                reading.worked.0 += bytes;
            }
            running.sample(start + tick * TICK, reading);
            let rate = running.rate.per_second();
            assert!(rate.is_none_or(|rate| !compares && (8.3e7..8.5e7).contains(&rate)), "{tick}: {rate:?}");
        }
        let left = running.costs.time_of(800 << 20, 0);
        assert!(left.is_some_and(|left| (9..11).contains(&left.as_secs())), "{left:?}");
    }
}
