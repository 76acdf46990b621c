//! The integration tests: one binary, a module for each behaviour.
//!
//! What a machine lacks (strace, a file system, root) makes a trial count as ignored, never as
//! passed; where `CI` is set, a lack is a failure.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod atomic;
mod completions;
mod dry_run;
mod engine;
mod errors;
mod faults;
mod files_from;
mod filter;
mod generated;
mod library;
mod limits;
mod matrix;
mod needs;
mod options;
mod oracle;
mod pty;
mod report;
mod rooms;
mod rungs;
mod sandbox;
mod smoke;
mod snapshot;
mod sources;
mod strace;
mod terminal;
mod witness;

use libtest_mimic::Arguments;
use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(exit_code) = needs::run_with_mounts_of_our_own() {
        return exit_code;
    }
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let trials = [
        atomic::trials(),
        completions::trials(),
        dry_run::trials(),
        engine::trials(),
        errors::trials(),
        faults::trials(),
        files_from::trials(),
        filter::trials(),
        generated::trials(),
        library::trials(),
        limits::trials(),
        matrix::trials(),
        options::trials(),
        oracle::trials(),
        report::trials(),
        rooms::trials(),
        rungs::trials(),
        smoke::trials(),
        sources::trials(),
        terminal::trials(),
        witness::trials(),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials.into_iter().flatten().collect()).exit_code()
}
