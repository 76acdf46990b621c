//! The program as a function: parse, run, report, exit status.

use crate::cli::{self, Misuse, Request};
use crate::context::Context;
use crate::options::{Options, StatsForm};
use crate::report::output::Output;
use crate::report::stats::Summary;
use crate::report::{Failure, table};
use crate::session::{Host, Session};
use crate::shard::{self, Prepared};
use crate::sys::{Errno, at};
use crate::temporary;
use crate::walk::operands::Operands;
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

/// What has to be seen before std's start-up changes it.
pub fn before_main() {
    crate::sys::start::look();
}

/// Runs zcp. The first of `args` is the name that it calls itself by.
///
/// The exit status is 0 or 1, as for cp. A signal that asked for the end is raised again at last.
pub fn main(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let program = cli::program_name(args.next().as_deref());
    let warn = |failure: Failure| say(&program, &failure.text());
    match cli::parse(args.collect(), &program, &mut { warn }) {
        Ok(Request::Print(text)) => print(&program, &text),
        Ok(Request::Copy(options, operands)) => copy(&program, *options, operands),
        Ok(Request::Job(step)) => match shard::prepare(step, &program) {
            Ok(prepared) => share(&program, prepared),
            Err(misuse) => refuse(&program, &misuse),
        },
        Err(misuse) => refuse(&program, &misuse),
    }
}

fn copy(program: &str, options: Options, operands: Operands) -> ExitCode {
    let session = match Session::prepare(options, operands, Host::Program(program.to_owned())) {
        Ok(session) => session,
        Err(unusable) => return refuse(program, &unusable.into()),
    };
    let stdout_taken = session.ctx.options.stats.is_some() && session.roots.lead_to(std::io::stdout());
    let bar = session.bar.clone();
    let (ctx, summary) = session.run();
    if summary.interrupted && !ctx.stop.is_broken_pipe() {
        let _ = writeln!(std::io::stderr(), "{program}: interrupted: {}", table::headline(&summary));
    } else if bar.was_shown() && ctx.options.verbose && ctx.options.stats.is_none() {
        // The bar is gone; who wanted to know more keeps a line.
        let _ = writeln!(std::io::stderr(), "{program}: {}", table::headline(&summary));
    }
    conclude(&ctx, &summary, stdout_taken)
}

/// A step of a copy that many machines share.
fn share(program: &str, prepared: Prepared) -> ExitCode {
    let (ctx, summary) = shard::perform(prepared, program);
    conclude(&ctx, &summary, false)
}

/// The statistics and the exit status.
fn conclude(ctx: &Context, summary: &Summary, stdout_taken: bool) -> ExitCode {
    print_stats(ctx, summary, stdout_taken);
    write_stats_file(ctx, summary);
    ctx.reporter.finish();
    ctx.stop.reraise();
    ExitCode::from(u8::from(ctx.reporter.failures() > 0))
}

/// The statistics, to where they were wanted; to stderr if stdout got a copy.
fn print_stats(ctx: &Context, summary: &Summary, stdout_taken: bool) {
    let terminal = || if stdout_taken { std::io::stderr().is_terminal() } else { std::io::stdout().is_terminal() };
    let text = match ctx.options.stats {
        None => return,
        Some(StatsForm::Text) => table::text(summary, wants_colours() && terminal()),
        Some(StatsForm::Json) => format!("{}\n", summary.json()),
    };
    if stdout_taken {
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    } else {
        ctx.reporter.lines(text.as_bytes());
    }
}

/// See no-color.org and terminfo(5).
fn wants_colours() -> bool {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    set("NO_COLOR").is_none() && set("TERM").is_some_and(|term| term != "dumb")
}

/// `--stats-file`: whole or not at all, for whoever waits for it. What is no regular file (a pipe,
/// a device) cannot be replaced and is written to.
fn write_stats_file(ctx: &Context, summary: &Summary) {
    let Some(file) = &ctx.options.stats_file else { return };
    let text = format!("{}\n", summary.json());
    let special = std::fs::metadata(file).is_ok_and(|metadata| !metadata.is_file());
    let answer = if special {
        std::fs::OpenOptions::new().write(true).open(file).and_then(|mut file| file.write_all(text.as_bytes()))
    } else {
        temporary::replace(at::CWD, file, |temporary| {
            // A new file or none: in a directory like /tmp somebody may have guessed the name.
            let new = std::fs::File::create_new(temporary);
            let written = new.and_then(|mut new| {
                let written = new.write_all(text.as_bytes());
                written.inspect_err(|_| drop(std::fs::remove_file(temporary)))
            });
            written.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
        })
        .map_err(std::io::Error::from)
    };
    if let Err(error) = answer {
        let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        ctx.reporter.fail(Failure::new("cannot write statistics to {}", file).errno(errno));
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
