//! The table of `--stats`: totals, a row for each strategy, the reasons of step-downs, the routes.

use super::errno;
use super::stats::Summary;
use crate::transfer::{Call, Strategy, Tally};
use std::fmt::Write;
use std::time::Duration;

/// Returns the whole text, at most 80 columns wide. With `colours`, the headings are bold.
pub(crate) fn text(summary: &Summary, colours: bool) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = totals(&mut out, summary);
    let _ = strategies(&mut out, summary);
    let _ = step_downs(&mut out, summary);
    let _ = routes(&mut out, summary);
    if colours { with_headings(&out) } else { out }
}

fn with_headings(text: &str) -> String {
    let is_heading = |line: &str| {
        ["copied ", "would copy ", "strategy ", "refused", "tried first"].iter().any(|word| line.starts_with(word))
    };
    let lines = text
        .lines()
        .map(|line| if is_heading(line) { format!("\x1b[1m{line}\x1b[0m\n") } else { format!("{line}\n") });
    lines.collect()
}

/// Returns the first line: files, bytes, time and speed.
pub(crate) fn headline(summary: &Summary) -> String {
    let stats = &summary.stats;
    if summary.dry_run {
        return format!("would copy {}, {}", of_files(stats.files), bytes(stats.bytes_logical));
    }
    let seconds = summary.elapsed.as_secs_f64().max(1e-9);
    let files_a_second = match stats.files {
        0 | 1 => String::new(), // a rate of one file says nothing
        files => format!("{} files/s, ", count((files as f64 / seconds) as u64)),
    };
    let unfinished = if summary.is_complete() { 0 } else { stats.unfinished() };
    format!(
        "copied {}, {}{}, in {} ({files_a_second}{}/s)",
        of_files(stats.files),
        bytes(stats.bytes_logical),
        if unfinished > 0 { format!(", and {} of unfinished files", bytes(unfinished)) } else { String::new() },
        duration(summary.elapsed),
        bytes(((stats.bytes_logical + unfinished) as f64 / seconds) as u64),
    )
}

/// Returns the final line with the outcome, after several failures or after one that ended the copy.
pub(crate) fn outcome(summary: &Summary) -> Option<Vec<u8>> {
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
        line.extend_from_slice(b"; --log=FILE lists all)");
    }
    if summary.gave_up {
        let left = left.map(|left| {
            let at_least = if left.all_counted { "" } else { "at least " };
            format!(", {at_least}{} not tried", of_files(left.files))
        });
        line.extend_from_slice(left.unwrap_or_default().as_bytes());
        if !summary.fails_fast {
            line.extend_from_slice(b"; --keep-going tries the rest");
        }
    }
    Some(line)
}

/// Returns a number with the name of the things, in the plural if there are several. Returns an empty string for
/// 0.
fn number_of(n: u64, (one, many): (&str, &str)) -> Option<String> {
    (n > 0).then(|| format!("{} {}", count(n), if n == 1 { one } else { many }))
}

fn totals(out: &mut String, summary: &Summary) -> std::fmt::Result {
    let stats = &summary.stats;
    writeln!(out, "{}", headline(summary))?;
    let same = |word| (word, word);
    let figures = [
        (stats.directories, ("directory", "directories")),
        (stats.symlinks, ("symbolic link", "symbolic links")),
        (stats.hard_links, ("hard link", "hard links")),
        (stats.special, ("special file", "special files")),
        (stats.skipped, same("skipped")),
        (stats.excluded, same("excluded")),
        (stats.complete, same("already complete")),
        (stats.verified, same("verified")),
        (stats.verified_in_cache, same("of them in the page cache, not on a disk")),
        (summary.vanished, same("vanished")),
        (summary.failed, same("failed")),
        (summary.left.map_or(0, |left| left.files), same("not tried")),
    ];
    wrapped(out, figures.into_iter().filter_map(|(n, words)| number_of(n, words)))
}

/// Writes indented lines of at most 80 columns, with commas between the words.
fn wrapped(out: &mut String, words: impl Iterator<Item = String>) -> std::fmt::Result {
    let mut line = String::new();
    for word in words {
        if !line.is_empty() && line.len() + word.len() + 5 > 80 {
            writeln!(out, "  {line},")?;
            line.clear();
        }
        line = if line.is_empty() { word } else { format!("{line}, {word}") };
    }
    if line.is_empty() { Ok(()) } else { writeln!(out, "  {line}") }
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

/// Returns the part in per cent, or an empty string for a total of 0.
fn share(part: u64, all: u64) -> String {
    if all == 0 { String::new() } else { format!("{:.1}%", 100.0 * part as f64 / all as f64) }
}

fn strategies(out: &mut String, summary: &Summary) -> std::fmt::Result {
    let account = &summary.stats.account;
    let all: u64 = Strategy::ALL.into_iter().map(|s| account.tally(s).bytes).sum();
    // A strategy that was only refused is listed in the next part.
    let is_row = |s: &Strategy| {
        let tally = account.tally(*s);
        tally.bytes > 0 || tally.is_used() && tally.step_downs.is_empty()
    };
    let mut used: Vec<_> = Strategy::ALL.into_iter().filter(is_row).collect();
    used.sort_by_key(|s| std::cmp::Reverse(account.tally(*s).bytes));
    let others = [("holes", account.holes), ("kept", summary.stats.bytes_kept)];
    if used.is_empty() && others.iter().all(|(_, n)| *n == 0) {
        return Ok(());
    }
    writeln!(
        out,
        "\n{:<15} {:>10} {:>6} {:>8} {:>9} {:>9} {:>8} {:>8}",
        "strategy", "bytes", "share", "files", "calls", "switches", "copies", "in calls"
    )?;
    for strategy in &used {
        let tally = account.tally(*strategy);
        writeln!(
            out,
            "{:<15} {:>10} {:>6} {:>8} {:>9} {:>9} {:>8} {:>8}",
            strategy.name(),
            bytes(tally.bytes),
            share(tally.bytes, all),
            count(tally.files),
            count(tally.total_calls()),
            count(2 * tally.total_calls()),
            cpu_copies(*strategy, tally),
            duration(Duration::from_nanos(tally.ns)),
        )?;
    }
    for (words, n) in others.into_iter().filter(|(_, n)| *n > 0) {
        writeln!(out, "{words:<15} {:>10}", bytes(n))?;
    }
    for tally in used.iter().map(|strategy| account.tally(*strategy)) {
        if tally.calls.iter().filter(|n| **n > 0).count() > 1 {
            writeln!(out, "  {}", calls(tally))?;
        }
    }
    match summary.workers {
        0 | 1 => Ok(()),
        workers => writeln!(out, "  time in calls is summed over {workers} workers"),
    }
}

fn calls(tally: &Tally) -> String {
    let made = Call::ALL.into_iter().zip(tally.calls).filter(|(_, n)| *n > 0);
    made.map(|(call, n)| format!("{} {}", count(n), call.label())).collect::<Vec<_>>().join(", ")
}

fn step_downs(out: &mut String, summary: &Summary) -> std::fmt::Result {
    let account = &summary.stats.account;
    let mut heading = "\nrefused\n";
    for strategy in Strategy::ALL {
        for (reason, times) in &account.tally(strategy).step_downs {
            let times = number_of(*times, ("time", "times")).unwrap_or_default();
            write!(out, "{}", std::mem::take(&mut heading))?;
            writeln!(out, "  {}, {times}: {}", strategy.name(), errno::reason_name(*reason))?;
            writeln!(out, "    because {}", errno::explain(strategy, *reason))?;
        }
    }
    Ok(())
}

/// Writes the first strategy for each pair of file systems and size class, with the reason.
fn routes(out: &mut String, summary: &Summary) -> std::fmt::Result {
    let mut heading = "\ntried first\n";
    for (case, (route, files)) in &summary.stats.routes {
        let first = route.strategies.first().map_or("nothing", |s| s.name());
        let (from, to) = (case.source.name(), case.destination.name());
        let another = if case.same_device || from != to { "" } else { "another " };
        let state = if case.overwritten { ", overwritten" } else { "" };
        write!(out, "{}", std::mem::take(&mut heading))?;
        let size = case.size.name();
        writeln!(out, "  {from} -> {another}{to}, {size}{state}, {}: {first}", of_files(*files))?;
        writeln!(out, "    because {}", route.why)?;
    }
    Ok(())
}

pub(super) fn of_files(n: u64) -> String {
    format!("{} {}", count(n), if n == 1 { "file" } else { "files" })
}

/// Formats a number with thousands separators.
pub(crate) fn count(n: u64) -> String {
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

/// Formats a size in the largest binary unit that is not larger than the rounded size.
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let mut value = n as f64 / 1024.0;
    let mut unit = 0;
    // From here on, one decimal would show 1024.0.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

pub(crate) fn duration(time: Duration) -> String {
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
    use crate::sys::Errno;

    #[test]
    fn numbers_have_units() {
        assert_eq!(count(0), "0");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes((1 << 20) - 1), "1.0 MiB");
        assert_eq!(bytes(u64::MAX), "16.0 EiB");
        assert_eq!(duration(Duration::from_micros(1500)), "1.5 ms");
    }

    #[test]
    fn zeros_are_not_mentioned() {
        let mut summary = Summary::default();
        assert_eq!(text(&summary, false).lines().count(), 1);
        (summary.stats.directories, summary.failed, summary.stats.special) = (1, 2, 1000);
        assert_eq!(text(&summary, false).lines().nth(1), Some("  1 directory, 1,000 special files, 2 failed"));
    }

    #[test]
    fn strategy_that_moved_most_is_first() {
        let mut summary = Summary { workers: 2, ..Summary::default() };
        let account = &mut summary.stats.account;
        account.tally_mut(Strategy::CopyFileRange).step_downs.insert(Errno::XDEV.into(), 1);
        (account.tally_mut(Strategy::Sendfile).bytes, account.tally_mut(Strategy::ReadWrite).bytes) = (1024, 3072);
        let text = text(&summary, false);
        let rows: Vec<_> = text.lines().skip(3).filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(rows, ["read_write", "sendfile", "time", "refused", "copy_file_range,", "because"]);
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
    }
}
