//! The program as a function: parse, run, report, exit status.

use crate::cli::{self, Misuse, Request};
use crate::context::{Context, Process};
use crate::dir::Descriptors;
use crate::engine;
use crate::options::{Options, StatsForm};
use crate::report::output::Output;
use crate::report::progress::Handle;
use crate::report::stats::Summary;
use crate::report::{Failure, Reporter, table};
use crate::sys::proc::{self, StopFlag};
use crate::walk::operands::{self, Operands};
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

/// Runs zcp. The first of `args` is the name that it calls itself by.
///
/// The exit status is 0 or 1, as for cp. A signal that asked for the end is raised again at last.
pub fn main(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let program = cli::program_name(args.next().as_deref());
    let warn = |failure: Failure| say(&program, &failure.text());
    match cli::parse(args.collect(), &program, &mut { warn }) {
        Ok(Request::Print(text)) => print(&program, &text),
        Ok(Request::Copy(options, operands)) => copy(&program, *options, operands),
        Err(misuse) => refuse(&program, &misuse),
    }
}

fn copy(program: &str, mut options: Options, operands: Operands) -> ExitCode {
    let process = Process::look();
    let roots = match operands::resolve(operands, &mut options) {
        Ok(roots) => roots,
        Err(unusable) => return refuse(program, &unusable.into()),
    };
    let stop = StopFlag::install().unwrap_or_default();
    let bar = Handle::default();
    let reporter = Reporter::new(program, bar.clone());
    let descriptors = Descriptors::new(options.jobs.unwrap_or_else(proc::processors));
    let ctx = Context { options, reporter, stop, process, descriptors };
    let summary = engine::run(&ctx, roots, bar);
    print_stats(&ctx, &summary);
    ctx.reporter.finish();
    ctx.stop.reraise();
    ExitCode::from(u8::from(ctx.reporter.failures() > 0))
}

fn print_stats(ctx: &Context, summary: &Summary) {
    match ctx.options.stats {
        None => {}
        Some(StatsForm::Text) => ctx.reporter.lines(table::text(summary).as_bytes()),
        Some(StatsForm::Json) => ctx.reporter.lines(format!("{}\n", summary.json()).as_bytes()),
    }
}

fn print(program: &str, text: &str) -> ExitCode {
    let mut output = Output::stdout();
    output.write(text.as_bytes());
    output.flush();
    match output.error() {
        None => ExitCode::SUCCESS,
        Some(errno) => {
            say(program, &Failure::plain("write error").errno(errno).text());
            ExitCode::FAILURE
        }
    }
}

fn refuse(program: &str, misuse: &Misuse) -> ExitCode {
    say(program, &misuse.text);
    if misuse.hint {
        let _ = writeln!(std::io::stderr(), "Try '{program} --help' for more information.");
    }
    ExitCode::FAILURE
}

fn say(program: &str, text: &[u8]) {
    let line = [program.as_bytes(), b": ", text, b"\n"].concat();
    let _ = std::io::stderr().lock().write_all(&line);
}
