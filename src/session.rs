//! One copy, from its preparation to its end, and its effects on the process.

use crate::context::{Context, Descriptors, MadeEarlier, Process, Run, SyncedFileSystems};
use crate::engine;
use crate::metadata::kept_times::KeptTimes;
use crate::options::Options;
use crate::report::stats::Summary;
use crate::report::{Events, Failure};
use crate::sys::proc;
use crate::sys::stale::StaleRetry;
use crate::sys::{memory, raw};
use crate::walk::operands::{self, Operands};
use std::sync::Arc;

/// Facts about a copy before it begins.
pub(crate) struct Outlook {
    /// Whether it takes long enough to be interrupted.
    pub takes_long: bool,
    pub are_many: bool,
    /// Retries for copies that share a tree with other processes.
    pub stale_retry: StaleRetry,
    /// In a job: tells which destinations the job has made before.
    pub made_earlier: Option<MadeEarlier>,
}

/// Copies the operands. Fails if nothing can be copied at all.
pub(crate) fn copy(mut options: Options, operands: Operands, events: Events) -> Result<Summary, Failure> {
    let roots = operands::resolve(operands, &mut options, &events.stop)?;
    let takes_long = options.limits.rate_limit.is_some() || roots.may_take_long();
    let are_many = roots.are_many;
    let outlook = Outlook { takes_long, are_many, stale_retry: StaleRetry::default(), made_earlier: None };
    Ok(engine::run(&context(options, events, outlook), roots))
}

/// Prepares the process for a copy, and makes the state that its threads share.
pub(crate) fn context(mut options: Options, mut events: Events, outlook: Outlook) -> Arc<Context> {
    let (console, stop) = (events.receivers.console.clone(), events.stop.clone());
    let process = Process::look(console.is_some());
    if proc::preloads("libfakeroot") {
        // fakeroot learns of a removal after it has happened. If another thread has made a file with the same inode
        // number by then, fakeroot forgets the owner and type of that file.
        options.jobs = Some(1);
    }
    let workers = if outlook.are_many { options.jobs.unwrap_or_else(proc::processors) } else { 1 };
    let descriptors = Descriptors::new(workers);
    if let Some(console) = &console {
        console.stop_by(&stop);
        // A signal must not end the program before it has removed its temporary files.
        if outlook.takes_long || options.atomic {
            let _ = stop.install();
        }
        events.answer_status_requests();
        if outlook.are_many {
            if memory::is_limited() {
                raw::share_one_heap();
            }
            proc::reserve_descriptors(descriptors.highest());
        }
    }
    let run = Run {
        stop,
        process,
        descriptors,
        stale_retry: outlook.stale_retry,
        made_earlier: outlook.made_earlier,
        syncs_whole: options.wants_syncfs() && proc::syncfs_reports(),
        synced_file_systems: SyncedFileSystems::default(),
        kept_times: KeptTimes::default(),
        operand_copies: std::sync::Mutex::default(),
    };
    Arc::new(Context { options, events, run })
}
