//! The progress bar in a pseudo-terminal, at several widths and while it is resized.
//!
//! The source is a fifo that the test feeds, so the copy lasts exactly as long as the test needs, whatever the
//! speed of the machine.

use crate::needs::{Need, trial};
use crate::pty::Pty;
use crate::sandbox::{Sandbox, ZCP};
use libtest_mimic::Trial;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::process::{Child, Command};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials: Vec<Trial> = [200, 80, 79, 40, 39, 12]
        .into_iter()
        .map(|columns| trial(format!("terminal::width-{columns}"), &[], move || fits(columns)))
        .collect();
    trials.push(trial("terminal::resized", &[], resized));
    trials.push(trial("terminal::message_past_the_bar", &[], message_past_the_bar));
    trials.push(trial("terminal::line_stays_with_verbose", &[], line_stays_with_verbose));
    trials.push(trial("terminal::part_of_a_job", &[], part_of_a_job));
    trials.push(trial("terminal::rate_is_never_absurd", &[], rate_is_never_absurd));
    trials.push(trial("terminal::no_bar_on_a_dumb_one", &[], no_bar_on_a_dumb_one));
    trials.push(trial("terminal::lone_small_file", &[], lone_small_file));
    trials.push(trial(
        "terminal::request_is_answered_at_the_end",
        &[Need::Strace],
        request_is_answered_at_the_end,
    ));
    trials
}

/// zcp in a terminal, while it copies a fifo.
struct Watched {
    sandbox: Sandbox,
    pty: Pty,
    child: Child,
    fifo: File,
}

impl Watched {
    fn start(columns: u16, options: &[&str]) -> Watched {
        let sandbox = Sandbox::new();
        sandbox.fifo("fifo");
        let mut command = Command::new(ZCP);
        command.args(options).args(["fifo", "copy"]).current_dir(sandbox.path("")).env("TERM", "xterm");
        let (pty, child) = Pty::start(columns, command);
        let fifo = OpenOptions::new().write(true).open(sandbox.path("fifo")).unwrap();
        Watched { sandbox, pty, child, fifo }
    }

    /// Ends the copy, and returns everything that was shown.
    fn finish(mut self) -> String {
        drop(self.fifo);
        assert!(self.child.wait().unwrap().success());
        self.pty.read_to_end()
    }
}

/// The visible lines: without escape sequences, and split where the cursor returns to the start.
fn lines(text: &str) -> Vec<String> {
    let mut plain = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c == '\u{1b}' {
            let _ = rest.by_ref().find(|c| c.is_ascii_alphabetic());
        } else {
            plain.push(c);
        }
    }
    plain.split(['\r', '\n']).map(|line| line.trim_end().to_owned()).filter(|line| !line.is_empty()).collect()
}

fn assert_fits(text: &str, columns: u16) {
    for line in lines(text) {
        assert!(line.chars().count() <= columns.into(), "{columns} columns: {line:?}");
    }
}

/// Every line fits, the received bytes are shown, and nothing of the bar remains at the end.
fn fits(columns: u16) {
    let mut watched = Watched::start(columns, &[]);
    watched.fifo.write_all(&[7; 2048]).unwrap();
    watched.pty.await_text(|text| text.contains("2.0 KiB"));
    watched.fifo.write_all(&[7; 1024]).unwrap();
    watched.pty.await_text(|text| text.contains("3.0 KiB"));
    let copy = watched.sandbox.path("copy");
    let copied = std::fs::metadata(copy).unwrap().len();
    let text = watched.finish();
    assert_eq!(copied, 3072);
    assert_fits(&text, columns);
    let last = text.trim_end_matches(['\r', '\n']).rsplit('\r').next().unwrap_or_default();
    assert!(lines(last).is_empty(), "something is left: {last:?}");
}

fn resized() {
    let mut watched = Watched::start(120, &[]);
    watched.fifo.write_all(&[7; 2048]).unwrap();
    watched.pty.await_text(|text| text.contains("2.0 KiB"));
    watched.pty.resize(30);
    // One frame may have been in progress. Everything after the next complete frame is drawn for 30 columns.
    for size in [3, 4] {
        watched.fifo.write_all(&[7; 1024]).unwrap();
        let wanted = format!("{size}.0 KiB");
        watched.pty.await_text(|text| text.contains(&wanted));
    }
    let seen = watched.pty.text.len();
    watched.fifo.write_all(&[7; 1024]).unwrap();
    watched.pty.await_text(|text| text.contains("5.0 KiB"));
    assert_fits(&watched.pty.text[seen..], 30);
    watched.finish();
}

/// The answer to SIGUSR1 has a line of its own above the bar.
fn message_past_the_bar() {
    let mut watched = Watched::start(80, &[]);
    watched.fifo.write_all(&[7; 2048]).unwrap();
    watched.pty.await_text(|text| text.contains("2.0 KiB"));
    let pid = Pid::from_child(&watched.child);
    kill_process(pid, Signal::USR1).unwrap();
    watched.pty.await_text(|text| text.contains("zcp: 0 files, 2.0 KiB"));
    let text = watched.finish();
    let line = lines(&text).into_iter().find(|line| line.starts_with("zcp: ")).unwrap();
    assert!(line.ends_with("/s"), "{line:?}");
}

fn line_stays_with_verbose() {
    let mut watched = Watched::start(80, &["-v"]);
    watched.fifo.write_all(&[7; 2048]).unwrap();
    watched.pty.await_text(|text| text.contains("2.0 KiB"));
    let text = watched.finish();
    assert!(lines(&text).iter().any(|line| line.starts_with("zcp: copied 1 file, 2.0 KiB, in ")), "{text:?}");
}

/// A lone file of any size has a bar if its copy lasts, and SIGUSR1 is answered.
fn lone_small_file() {
    for size in [20_000, 2 << 20] {
        let sandbox = Sandbox::new();
        sandbox.file("src", crate::sandbox::noise(size));
        for options in [&["--bwlimit=2K"][..], &["--bwlimit=2K", "--progress=always"]] {
            let mut command = Command::new(ZCP);
            command.args(options).args(["src", "dst"]).current_dir(sandbox.path("")).env("TERM", "xterm");
            let (mut pty, mut child) = Pty::start(120, command);
            pty.await_text(|text| text.contains("/s ETA"));
            let pid = Pid::from_child(&child);
            kill_process(pid, Signal::USR1).unwrap();
            pty.await_text(|text| text.contains("zcp: 0 files, "));
            kill_process(pid, Signal::TERM).unwrap();
            assert!(!child.wait().unwrap().success());
            assert!(!sandbox.path("dst").exists());
        }
    }
}

/// SIGUSR1 never ends a copy, however short it is.
fn request_is_answered_at_the_end() {
    let sandbox = Sandbox::new();
    sandbox.file("src", "small");
    let inject = ["-e", "inject=copy_file_range:signal=USR1:when=1"];
    let trace = crate::strace::zcp(&sandbox, &inject, &["--strategy=copy_file_range", "src", "dst"]);
    let errors = String::from_utf8_lossy(&trace.output.stderr);
    assert!(trace.output.status.success() && errors.starts_with("zcp: 1 file, 5 B"), "{:?}", trace.output);
    assert_eq!(std::fs::read(sandbox.path("dst")).unwrap(), b"small");
}

/// A part knows from the plan how much there is to copy. The copy is slowed down until the test has seen the
/// bar, and then ended.
fn part_of_a_job() {
    let sandbox = Sandbox::new();
    sandbox.file("src/a", crate::sandbox::noise(1 << 20));
    crate::sandbox::assert_done(&sandbox.zcp(["-r", "--plan=job", "--parts=1", "src", "dst"]).output().unwrap());
    let mut command = Command::new(ZCP);
    command.args(["--run=job", "--part=0", "--bwlimit=2K"]).current_dir(sandbox.path("")).env("TERM", "xterm");
    let (mut pty, mut child) = Pty::start(120, command);
    pty.await_text(|text| text.contains("/1.0 MiB") && text.contains("ETA"));
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::USR1).unwrap();
    pty.await_text(|text| text.contains("zcp: 0 files, ") && text.contains(" of 1.0 MiB ("));
    kill_process(pid, Signal::TERM).unwrap();
    assert!(!child.wait().unwrap().success());
    assert_fits(&pty.read_to_end(), 120);
}

/// The rates in the text, in bytes a second.
fn rates(text: &str) -> Vec<f64> {
    let rate = |before: &str| {
        let mut words = before.rsplit(' ');
        let unit = match words.next()? {
            "B" => 1.0,
            "KiB" => 1024.0,
            "MiB" => 1024.0 * 1024.0,
            _ => f64::INFINITY,
        };
        Some(unit * words.next()?.parse::<f64>().ok()?)
    };
    let all: Vec<_> = text.split("/s").collect();
    all.iter().take(all.len() - 1).filter_map(|before| rate(before)).collect()
}

/// Holes, and a first look after a short time, are no speed. The line fills the terminal.
fn rate_is_never_absurd() {
    let sandbox = Sandbox::new();
    sandbox.sparse("src", 1 << 30, &[(0, &crate::sandbox::noise(1 << 20)), (1 << 29, &[1; 100_000])]);
    let mut command = Command::new(ZCP);
    command.args(["--bwlimit=100K", "src", "dst"]).current_dir(sandbox.path("")).env("TERM", "xterm");
    let (mut pty, mut child) = Pty::start(120, command);
    pty.await_text(|text| text.matches("/s ETA").count() > 8);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert!(!child.wait().unwrap().success());
    let text = pty.read_to_end();
    let rates = rates(&text);
    assert!(rates.len() > 8 && rates.iter().all(|rate| *rate < 2e6), "{rates:?} in {text:?}");
    assert!(lines(&text).iter().any(|line| line.contains("% [") && line.len() > 100), "{text:?}");
    assert!(lines(&text).iter().all(|line| line.is_ascii()), "{text:?}");
}

/// A terminal that cannot write over a line gets whole lines.
fn no_bar_on_a_dumb_one() {
    let sandbox = Sandbox::new();
    sandbox.file("src", crate::sandbox::noise(1 << 20));
    let mut command = Command::new(ZCP);
    command.args(["--bwlimit=2K", "src", "dst"]).current_dir(sandbox.path("")).env("TERM", "dumb");
    let (mut pty, mut child) = Pty::start(120, command);
    pty.await_text(|text| text.contains("zcp: 0 files, ") && text.ends_with('\n'));
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert!(!child.wait().unwrap().success());
    assert!(!pty.read_to_end().contains('\u{1b}'));
}
