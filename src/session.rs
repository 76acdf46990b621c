//! One copy from its preparation to its end: what the program and the library have in common, and
//! what only the program may do to the process that it runs in.

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
    },
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
        let process = Process::look(matches!(host, Host::Program(_)));
        let roots = operands::resolve(operands, &mut options)?;
        let duration = roots.duration();
        let may_last = duration == Duration::Long;
        let many = roots.are_many;
        let descriptors = Descriptors::new(if many { options.jobs.unwrap_or_else(proc::processors) } else { 1 });
        let bar = Handle::default();
        let mut status = StatusRequest::default();
        let (reporter, stop, listener) = match host {
            Host::Guest { stop, listener } => (Reporter::silent(), stop, listener),
            Host::Program(name) => {
                if options.nice {
                    proc::lowest_priority(); // before there are threads to inherit it
                }
                let mut stop = StopFlag::default();
                // A temporary name has to go before the program does.
                if duration != Duration::Moment || options.atomic {
                    stop = StopFlag::install().unwrap_or_default();
                }
                if may_last {
                    status = StatusRequest::install().unwrap_or_default();
                }
                if many {
                    proc::reserve_descriptors(descriptors.highest());
                }
                (Reporter::new(&name, bar.clone()), stop, None)
            }
        };
        let ctx = Context {
            syncs_whole: options.syncs_whole() && proc::syncfs_reports(),
            watched: Watched::default(),
            options,
            reporter,
            stop,
            status,
            may_last,
            listener,
            process,
            descriptors,
            patience: Patience::default(),
        };
        Ok(Session { ctx, roots, bar })
    }

    /// Copies. The context is handed back for what is still to be said.
    pub fn run(self) -> (Context, Summary) {
        let summary = engine::run(&self.ctx, self.roots, self.bar);
        (self.ctx, summary)
    }
}

/// What the threads of the program share in a long copy that others have a part in.
pub fn context(options: Options, program: &str, patience: Patience) -> Context {
    let process = Process::look(true);
    let descriptors = Descriptors::new(options.jobs.unwrap_or_else(proc::processors));
    proc::reserve_descriptors(descriptors.highest());
    let reporter = Reporter::new(program, Handle::default());
    let stop = StopFlag::install().unwrap_or_default();
    Context {
        syncs_whole: options.syncs_whole() && proc::syncfs_reports(),
        watched: Watched::default(),
        options,
        reporter,
        stop,
        status: StatusRequest::default(),
        may_last: true,
        listener: None,
        process,
        descriptors,
        patience,
    }
}
