//! One copy from its preparation to its end, and what may be done to the process that it runs in.

use crate::context::{Context, MadeEarlier, Process};
pub use crate::context::{MadeListener, Prompter};
use crate::dir::{Descriptors, Watched};
use crate::engine;
use crate::metadata::kept_times::KeptTimes;
use crate::options::Options;
use crate::report::progress::Listener;
use crate::report::stats::Summary;
use crate::report::{Console, Reporter};
use crate::sys::proc::{self, StatusRequest, StopFlag};
use crate::sys::stale::StaleRetry;
use crate::sys::{memory, raw};
use crate::walk::operands::{self, Duration, Operands, Roots, Unusable};
use std::sync::Arc;

/// On whose behalf a copy runs, and who is told and asked.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// The front end of a program. It makes the process the copy's own: signals are caught, limits raised.
    /// Without one, signals, terminal and descriptors are none of our business.
    pub console: Option<Console>,
    /// Raised to end the copy.
    pub stop: StopFlag,
    /// Told how far the copy is.
    pub listener: Option<Listener>,
    /// Told what was made.
    pub made_listener: Option<MadeListener>,
    /// In a job: which destinations it has made before.
    pub made_earlier: Option<MadeEarlier>,
    /// Asked before a file is replaced.
    pub prompter: Option<Prompter>,
}

/// What is known of a copy before it begins.
#[derive(Debug)]
pub struct Outlook {
    /// How long it may last.
    pub duration: Duration,
    /// Whether there may be work for several workers.
    pub are_many: bool,
    /// With others who are at work on the same tree.
    pub stale_retry: StaleRetry,
}

/// A copy that is about to begin.
#[derive(Debug)]
pub struct Session {
    /// What all threads are going to share.
    pub ctx: Arc<Context>,
    /// Where the walk starts.
    pub roots: Roots,
}

impl Session {
    /// Finds out what the operands mean, and gets ready for them.
    ///
    /// # Errors
    /// See [`Unusable`]: nothing can be copied at all.
    pub fn prepare(
        mut options: Options,
        operands: Operands,
        host: Host,
        reporter: Reporter,
    ) -> Result<Session, Unusable> {
        let roots = operands::resolve(operands, &mut options)?;
        let are_many = roots.are_many;
        let is_slow = options.limits.rate_limit.is_some();
        let duration = if is_slow { Duration::Long } else { roots.duration() };
        let outlook = Outlook { duration, are_many, stale_retry: StaleRetry::default() };
        Ok(Session { ctx: context(options, host, reporter, outlook), roots })
    }

    /// Copies.
    pub fn run(self) -> Summary {
        engine::run(&self.ctx, self.roots)
    }
}

/// Gets the process ready for a copy, and makes what its threads are going to share.
pub fn context(options: Options, host: Host, reporter: Reporter, outlook: Outlook) -> Arc<Context> {
    let Host { console, stop, listener, made_listener, made_earlier, prompter } = host;
    let process = Process::look(console.is_some());
    let workers = if outlook.are_many { options.jobs.unwrap_or_else(proc::processors) } else { 1 };
    let descriptors = Descriptors::new(workers);
    let mut status = StatusRequest::default();
    if let Some(console) = &console {
        console.stop_by(&stop);
        // A temporary name has to go before the program does.
        if outlook.duration != Duration::Moment || options.atomic {
            let _ = stop.install();
        }
        status = StatusRequest::install().unwrap_or_default();
        if outlook.are_many {
            if memory::is_limited() {
                raw::share_one_heap();
            }
            proc::reserve_descriptors(descriptors.highest());
        }
    }
    Arc::new(Context {
        syncs_whole: options.syncs_whole() && proc::syncfs_reports(),
        watched: Watched::default(),
        kept_times: KeptTimes::default(),
        options,
        reporter,
        stop,
        status,
        listener,
        made_listener,
        made_earlier,
        prompter,
        process,
        descriptors,
        stale_retry: outlook.stale_retry,
        operand_copies: std::sync::Mutex::default(),
    })
}
