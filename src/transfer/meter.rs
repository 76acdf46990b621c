//! How far a worker has come, for others to look at; and somebody who is called if it takes long.
//!
//! What they see and show is in `report/progress.rs`.

use std::fmt::{Debug, Formatter};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// What one worker has done so far, for others to look at while it works. Alone in its cache line,
/// so that looking does not slow the worker down.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Meter {
    /// Bytes that arrived.
    pub bytes: AtomicU64,
    /// Files that are done.
    pub files: AtomicU64,
    /// Whom to call if the copy lasts.
    alarm: Option<Arc<Alarm>>,
}

impl Meter {
    /// A meter that looks at the clock, too, whenever bytes arrive.
    pub fn with_alarm(alarm: Option<Arc<Alarm>>) -> Meter {
        Meter { alarm, ..Meter::default() }
    }

    /// So many more bytes have arrived.
    pub fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Some(alarm) = &self.alarm {
            alarm.look();
        }
    }
}

/// Something to be done once a copy has lasted for a time. The worker itself does it, between two calls
/// that move bytes: a copy that is over before has needed no thread that waits for it.
pub struct Alarm {
    due: Instant,
    ring: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Alarm {
    /// Does `ring`, once, when bytes arrive at `due` or later.
    pub fn at(due: Instant, ring: impl FnOnce() + Send + 'static) -> Alarm {
        Alarm { due, ring: Mutex::new(Some(Box::new(ring))) }
    }

    /// There is nobody to call any more.
    pub fn disarm(&self) {
        drop(self.take());
    }

    fn look(&self) {
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

impl Debug for Alarm {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "Alarm({:?})", self.due)
    }
}
