//! The integration tests: one binary, a module for each behaviour.
//!
//! A trial that needs something this machine lacks (strace, a file system, root) counts as ignored, never as
//! passed. If `CI` is set, it fails instead.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod accounting;
mod atomic;
mod attributes;
mod churn;
mod complete;
mod completions;
mod concurrent;
mod continued;
mod disks;
mod documents;
mod dry_run;
mod durable;
mod engine;
mod environments;
mod errors;
mod faults;
mod files_from;
mod filter;
mod fuse;
mod fuzz;
mod generated;
mod giving_up;
mod interrupt;
mod jobs;
mod jobs_engines;
mod jobs_trust;
mod kills;
mod lane;
mod law;
mod library;
mod like_gnu;
mod limits;
mod log;
mod matrix;
mod modules;
mod needs;
mod options;
mod oracle;
mod pty;
mod races;
mod report;
mod resume;
mod sandbox;
mod smoke;
mod snapshot;
mod sources;
mod strace;
mod strategies;
mod streams;
mod surroundings;
mod terminal;
mod verify;

use libtest_mimic::{Arguments, Trial};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

fn main() -> ExitCode {
    if let Some(exit_code) = needs::run_with_mounts_of_our_own() {
        return exit_code;
    }
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let_signals_end_programs();
    let trials = [
        atomic::trials(),
        attributes::trials(),
        complete::trials(),
        completions::trials(),
        concurrent::trials(),
        continued::trials(),
        churn::trials(),
        disks::trials(),
        dry_run::trials(),
        durable::trials(),
        documents::trials(),
        engine::trials(),
        environments::trials(),
        errors::trials(),
        faults::trials(),
        files_from::trials(),
        filter::trials(),
        fuse::trials(),
        fuzz::trials(),
        generated::trials(),
        giving_up::trials(),
        library::trials(),
        limits::trials(),
        log::trials(),
        interrupt::trials(),
        kills::trials(),
        lane::trials(),
        matrix::trials(),
        options::trials(),
        like_gnu::trials(),
        oracle::trials(),
        races::trials(),
        report::trials(),
        resume::trials(),
        modules::trials(),
        strategies::trials(),
        jobs::trials(),
        jobs_engines::trials(),
        jobs_trust::trials(),
        smoke::trials(),
        sources::trials(),
        streams::trials(),
        surroundings::trials(),
        terminal::trials(),
        verify::trials(),
        accounting::trials(),
    ];
    let (arguments, filters) = arguments();
    let is_wanted =
        |trial: &Trial| filters.is_empty() || filters.iter().any(|filter| trial.name().contains(filter));
    let trials = trials.into_iter().flatten().filter(is_wanted).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Gives the signals a handler that does nothing. A shell starts background commands with SIGINT ignored, and
/// nohup ignores SIGHUP; a zcp that inherited this would keep ignoring them. A caught signal has its default
/// action in the programs that the tests start.
fn let_signals_end_programs() {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1};
    for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1] {
        signal_hook::flag::register_conditional_default(signal, Arc::new(AtomicBool::new(true))).unwrap();
    }
}

/// Splits the arguments into options of the harness and filters. There can be any number of filters, as with
/// Rust's own harness.
fn arguments() -> (Arguments, Vec<String>) {
    const WITH_VALUE: [&str; 6] = ["--skip", "--test-threads", "--logfile", "--color", "--format", "-Z"];
    let mut filters = Vec::new();
    let mut others = Vec::new();
    for argument in std::env::args() {
        let is_value = others.last().is_some_and(|last: &String| WITH_VALUE.contains(&last.as_str()));
        let is_filter = !others.is_empty() && !is_value && !argument.starts_with('-');
        if is_filter { filters.push(argument) } else { others.push(argument) }
    }
    (Arguments::from_iter(others), filters)
}
