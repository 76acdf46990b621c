//! The table of `--stats`: totals, a row for each strategy, the reasons of step-downs, the routes.

use super::errno;
use super::stats::Summary;
use crate::transfer::{Call, Strategy, Tally};
use std::fmt::Write;
use std::time::Duration;

/// Returns the whole text, at most 80 columns wide. With `colours`, the headings are bold.
pub fn text(summary: &Summary, colours: bool) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = totals(&mut out, summary);
    let _ = strategies(&mut out, summary);
    let _ = step_downs(&mut out, summary);
    let _ = routes(&mut out, summary);
    if colours { with_headings(&out) } else { out }
}

/// Sets the headings in bold.
fn with_headings(text: &str) -> String {
    let is_heading = |line: &str| {
        ["copied ", "would copy ", "strategy ", "step-downs", "routes"].iter().any(|word| line.starts_with(word))
    };
    let lines = text
        .lines()
        .map(|line| if is_heading(line) { format!("\x1b[1m{line}\x1b[0m\n") } else { format!("{line}\n") });
    lines.collect()
}

/// Returns the first line: files, bytes, time and speed.
pub fn headline(summary: &Summary) -> String {
    let stats = &summary.stats;
    if summary.dry_run {
        return format!("would copy {}, {}", of_files(stats.files), bytes(stats.bytes_logical));
    }
    let seconds = summary.elapsed.as_secs_f64().max(1e-9);
    format!(
        "copied {}, {}, in {} ({} files/s, {}/s)",
        of_files(stats.files),
        bytes(stats.bytes_logical),
        duration(summary.elapsed),
        count((stats.files as f64 / seconds) as u64),
        bytes((stats.bytes_logical as f64 / seconds) as u64),
    )
}

/// Returns the final line with the outcome, after several failures or after one that ended the copy.
pub fn outcome(summary: &Summary) -> Option<Vec<u8>> {
    let left = summary.left.filter(|left| left.files > 0);
    if summary.failed < 2 && left.is_none() {
        return None;
    }
    let mut line =
        format!("copied {}, failed {}", of_files(summary.stats.files), count(summary.failed)).into_bytes();
    if summary.failed > 1
        && let Some(first) = summary.failures.first()
    {
        line.extend_from_slice(b" (first: ");
        line.extend_from_slice(&first.text());
        line.push(b')');
    }
    if summary.gave_up {
        let left = left.map(|left| {
            let at_least = if left.all_counted { "" } else { "at least " };
            format!(", {at_least}{} not tried", of_files(left.files))
        });
        line.extend_from_slice(left.unwrap_or_default().as_bytes());
        line.extend_from_slice(b"; --keep-going tries the rest");
    }
    Some(line)
}

fn totals(out: &mut String, summary: &Summary) -> std::fmt::Result {
    let stats = &summary.stats;
    writeln!(out, "{}", headline(summary))?;
    let excluded =
        if stats.excluded > 0 { format!("excluded {}, ", count(stats.excluded)) } else { String::new() };
    writeln!(
        out,
        "  directories {}, symlinks {}, hard links {}, special {}, skipped {}, {excluded}failed {}",
        count(stats.directories),
        count(stats.symlinks),
        count(stats.hard_links),
        count(stats.special),
        count(stats.skipped),
        count(summary.failed),
    )?;
    let figures = [
        ("already complete", stats.complete),
        ("verified", stats.verified),
        ("verified in the page cache, not on a disk,", stats.verified_in_cache),
        ("vanished", summary.vanished),
        ("not tried", summary.left.map_or(0, |left| left.files)),
    ];
    for (words, number) in figures {
        if number > 0 {
            writeln!(out, "  {words} {}", count(number))?;
        }
    }
    writeln!(
        out,
        "  bytes moved {}, in holes {}, shared by reflink {}",
        bytes(stats.account.bytes_moved()),
        bytes(stats.account.holes),
        bytes(stats.account.bytes_shared()),
    )?;
    writeln!(out, "  workers {}, batches at work at most {}", summary.workers, summary.peak_in_flight)
}

/// How often the CPU copied each byte that a strategy moved, and whether in user space.
fn cpu_copies(strategy: Strategy, tally: &Tally) -> &'static str {
    match strategy {
        _ if tally.by_reference > 0 && tally.by_reference == tally.bytes => "0",
        _ if tally.by_reference > 0 => "0 or 1",
        Strategy::Reflink => "0",
        Strategy::CopyFileRange => "kernel's",
        Strategy::Splice | Strategy::Sendfile | Strategy::Mmap => "1",
        Strategy::ReadWrite => "2 (user)",
    }
}

fn strategies(out: &mut String, summary: &Summary) -> std::fmt::Result {
    let account = &summary.stats.account;
    let all: u64 = Strategy::ALL.into_iter().map(|s| account.tally(s).bytes).sum();
    let used: Vec<_> = Strategy::ALL.into_iter().filter(|s| account.tally(*s).is_used()).collect();
    if used.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n{:<15} {:>9} {:>10} {:>6} {:>9} {:>9} {:>8} {:>8}",
        "strategy", "files", "bytes", "share", "calls", "switches", "copies", "in calls"
    )?;
    for strategy in &used {
        let tally = account.tally(*strategy);
        let share = if all == 0 { 0.0 } else { 100.0 * tally.bytes as f64 / all as f64 };
        writeln!(
            out,
            "{:<15} {:>9} {:>10} {:>5.1}% {:>9} {:>9} {:>8} {:>8}",
            strategy.name(),
            count(tally.files),
            bytes(tally.bytes),
            share,
            count(tally.total_calls()),
            count(2 * tally.total_calls()),
            cpu_copies(*strategy, tally),
            duration(Duration::from_nanos(tally.ns)),
        )?;
    }
    for strategy in used {
        writeln!(out, "  {}: {}", strategy.name(), calls(account.tally(strategy)))?;
    }
    Ok(())
}

fn calls(tally: &Tally) -> String {
    let made = Call::ALL.into_iter().zip(tally.calls).filter(|(_, n)| *n > 0);
    made.map(|(call, n)| format!("{} {}", count(n), call.label())).collect::<Vec<_>>().join(", ")
}

fn step_downs(out: &mut String, summary: &Summary) -> std::fmt::Result {
    let account = &summary.stats.account;
    let mut first = true;
    for strategy in Strategy::ALL {
        for (reason, times) in &account.tally(strategy).step_downs {
            if std::mem::take(&mut first) {
                writeln!(out, "\nstep-downs")?;
            }
            let name = errno::reason_name(*reason);
            let why = errno::explain(strategy, *reason);
            writeln!(out, "  {} {} x {name}: {why}", strategy.name(), count(*times))?;
        }
    }
    Ok(())
}

fn routes(out: &mut String, summary: &Summary) -> std::fmt::Result {
    if summary.stats.routes.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nroutes")?;
    for (case, (route, files)) in &summary.stats.routes {
        let strategies: Vec<_> = route.strategies.iter().map(|s| s.name()).collect();
        let (from, to) = (case.source.name(), case.destination.name());
        let another = if case.same_device || from != to { "" } else { "another " };
        let state = if case.overwritten { ", overwritten" } else { "" };
        writeln!(out, "  {from} -> {another}{to}, {}{state}: {}", case.size.name(), of_files(*files))?;
        writeln!(out, "    {}", strategies.join(" > "))?;
        writeln!(out, "    because {}", route.why)?;
    }
    Ok(())
}

fn of_files(n: u64) -> String {
    format!("{} {}", count(n), if n == 1 { "file" } else { "files" })
}

/// Formats a number with thousands separators.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Formats a size in the largest binary unit that is not larger than the size.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let mut value = n as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Formats a duration in a suitable unit.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        s if s >= 100.0 => format!("{s:.0} s"),
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 1e-3 => format!("{:.1} ms", s * 1e3),
        s => format!("{:.0} us", s * 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_units() {
        assert_eq!(count(0), "0");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(u64::MAX), "16.0 EiB");
        assert_eq!(duration(Duration::from_micros(1500)), "1.5 ms");
    }
}
