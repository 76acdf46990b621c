//! The progress of a worker, which `report/progress.rs` displays, and an alarm for copies that take long.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// A number that one worker changes and other threads read. A plain load and store is enough, where a locked
/// instruction of the processor would take about 20 cycles.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets the number. Only the worker that it belongs to may do this.
    pub fn set(&self, number: u64) {
        self.0.store(number, Ordering::Relaxed);
    }

    /// Adds to the number. Only the worker that it belongs to may do this.
    pub fn add(&self, more: u64) {
        self.set(self.get().saturating_add(more));
    }
}

/// The progress of one worker, readable by other threads. It has a cache line to itself, so that readers do not
/// slow the worker down.
#[derive(Default)]
#[repr(align(128))]
pub struct Meter {
    /// Bytes that are done: moved, shared or passed over.
    pub bytes: Counter,
    pub moved: Counter,
    /// Bytes that are passed over because they take no time: holes, and files that were left alone.
    pub passed: Counter,
    pub files: Counter,
    pub files_passed: Counter,
    alarm: Option<Arc<Alarm>>,
}

impl Meter {
    /// Makes a meter that checks the alarm whenever bytes are added.
    pub fn with_alarm(alarm: Option<Arc<Alarm>>) -> Meter {
        Meter { alarm, ..Meter::default() }
    }

    pub fn pass(&self, bytes: u64) {
        self.bytes.add(bytes);
        self.passed.add(bytes);
    }

    /// Subtracts bytes of holes that will be read after all.
    pub fn take_back(&self, bytes: u64) {
        self.bytes.set(self.bytes.get().saturating_sub(bytes));
        self.passed.set(self.passed.get().saturating_sub(bytes));
    }

    pub fn add(&self, bytes: u64) {
        self.bytes.add(bytes);
        self.moved.add(bytes);
        if let Some(alarm) = &self.alarm {
            alarm.check();
        }
    }
}

/// An action for a copy that lasts until a given time. The worker runs it between two calls that move bytes, so a
/// shorter copy needs no thread that waits.
pub struct Alarm {
    due: Instant,
    ring: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Alarm {
    /// Runs `ring` once, when bytes are added at `due` or later.
    pub fn at(due: Instant, ring: impl FnOnce() + Send + 'static) -> Alarm {
        Alarm { due, ring: Mutex::new(Some(Box::new(ring))) }
    }

    pub fn disarm(&self) {
        drop(self.take());
    }

    fn check(&self) {
        if Instant::now() >= self.due
            && let Some(ring) = self.take()
        {
            ring();
        }
    }

    fn take(&self) -> Option<Box<dyn FnOnce() + Send>> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
