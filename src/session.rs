//! One copy from its preparation to its end: what the program and the library have in common, and
//! what only the program may do to the process that it runs in.

pub use crate::context::Witness;
use crate::context::{Context, Process};
use crate::dir::{Descriptors, Watched};
use crate::engine;
use crate::options::Options;
use crate::report::Reporter;
use crate::report::progress::{Handle, Listener};
use crate::report::stats::Summary;
use crate::sys::patience::Patience;
use crate::sys::proc::{self, StatusRequest, StopFlag};
use crate::walk::operands::{self, Duration, Operands, Roots, Unusable};

/// On whose behalf a copy runs.
#[derive(Debug)]
pub enum Host {
    /// The program of this name: it prints, catches signals, shows a bar.
    Program(String),
    /// Some other program, whose signals, terminal and descriptors are none of our business.
    Guest {
        /// Raised by it to end the copy.
        stop: StopFlag,
        /// Told how far the copy is.
        listener: Option<Listener>,
        /// Told what was made.
        witness: Option<Witness>,
    },
}

/// What is known of a copy before it begins.
#[derive(Debug)]
pub struct Outlook {
    /// How long it may last.
    pub duration: Duration,
    /// Whether there may be work for several workers.
    pub are_many: bool,
    /// Whether somebody will be there to tell how far it is.
    pub is_watched: bool,
    /// With others who are at work on the same tree.
    pub patience: Patience,
}

/// A copy that is about to begin.
#[derive(Debug)]
pub struct Session {
    /// What all threads are going to share.
    pub ctx: Context,
    /// Where the walk starts.
    pub roots: Roots,
    /// The progress bar, if there will be one.
    pub bar: Handle,
}

impl Session {
    /// Finds out what the operands mean, and gets ready for them.
    ///
    /// # Errors
    /// See [`Unusable`]: nothing can be copied at all.
    pub fn prepare(mut options: Options, operands: Operands, host: Host) -> Result<Session, Unusable> {
        let roots = operands::resolve(operands, &mut options)?;
        let (duration, are_many) = (roots.duration(), roots.are_many);
        let outlook = Outlook { duration, are_many, is_watched: true, patience: Patience::default() };
        let bar = Handle::default();
        Ok(Session { ctx: context(options, host, outlook, &bar), roots, bar })
    }

    /// Copies. The context is handed back for what is still to be said.
    pub fn run(self) -> (Context, Summary) {
        let summary = engine::run(&self.ctx, self.roots, self.bar);
        (self.ctx, summary)
    }
}

/// Gets the process ready for a copy, and makes what its threads are going to share.
pub fn context(options: Options, host: Host, outlook: Outlook, bar: &Handle) -> Context {
    let process = Process::look(matches!(host, Host::Program(_)));
    let may_last = outlook.duration == Duration::Long;
    let workers = if outlook.are_many { options.jobs.unwrap_or_else(proc::processors) } else { 1 };
    let descriptors = Descriptors::new(workers);
    let mut status = StatusRequest::default();
    let (reporter, stop, listener, witness) = match host {
        Host::Guest { stop, listener, witness } => (Reporter::silent(), stop, listener, witness),
        Host::Program(name) => {
            if options.nice {
                proc::lowest_priority(); // before there are threads to inherit it
            }
            let mut stop = StopFlag::default();
            // A temporary name has to go before the program does.
            if outlook.duration != Duration::Moment || options.atomic {
                stop = StopFlag::install().unwrap_or_default();
            }
            if may_last && outlook.is_watched {
                status = StatusRequest::install().unwrap_or_default();
            }
            if outlook.are_many {
                proc::reserve_descriptors(descriptors.highest());
            }
            (Reporter::new(&name, bar.clone()), stop, None, None)
        }
    };
    Context {
        syncs_whole: options.syncs_whole() && proc::syncfs_reports(),
        watched: Watched::default(),
        options,
        reporter,
        stop,
        status,
        may_last,
        listener,
        witness,
        process,
        descriptors,
        patience: outlook.patience,
    }
}
