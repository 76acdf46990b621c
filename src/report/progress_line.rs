//! The lines that show the progress of a copy: in the bar, for SIGUSR1, and as JSON.

use super::json;
use super::progress::Progress;
use super::quote;
use super::table::{bytes, count, duration, of_files};
use crate::transfer::nanoseconds;
use std::ffi::OsStr;
use std::time::Duration;

#[derive(Clone, Debug, Default)]
pub(crate) struct State<'s> {
    pub progress: Progress,
    /// Whether the copy lasts as long as a stream, so that there are no totals.
    pub is_endless: bool,
    /// Whether all files were counted, perhaps without their sizes.
    pub files_are_known: bool,
    pub elapsed: Duration,
    /// The current speed in moved bytes per second.
    pub rate: Option<f64>,
    /// The bytes that remain. While the totals are open, this is an estimate.
    pub bytes_left: Option<u64>,
    /// The remaining time at the current speed.
    pub left: Option<Duration>,
    /// The current source file, or empty.
    pub name: &'s OsStr,
}

impl State<'_> {
    /// Returns the line for a terminal of `width` columns. It is ASCII except for the name, whose end may exceed
    /// the width.
    pub(crate) fn bar(&self, width: usize) -> String {
        let Progress { bytes: done, files, total_bytes, total_files, total_is_known, .. } = self.progress;
        let name = shown(self.name);
        if width < 40 {
            return format!("{} {name}", bytes(done));
        }
        let rate = self.rate.map(|rate| format!("{}/s", bytes(rate as u64))).unwrap_or_default();
        if self.is_endless {
            let more = format!(" {} {} files", clock(self.elapsed), count(files));
            return format!("{} {rate}{} {name}", bytes(done), if width < 80 { "" } else { &more });
        }
        let percent = self.percent().map(|percent| match total_is_known {
            true => format!("{percent:>3}% "),
            false => format!("{:>4} ", format!("~{percent}%")),
        });
        let percent = percent.unwrap_or_default();
        let more = if total_is_known { "" } else { "+" };
        let amount = format!("{}/{}{more}", bytes(done), bytes(total_bytes));
        let left = self.left.map(|left| format!("ETA {}", clock(left))).unwrap_or_default();
        if width < 80 {
            return format!("{percent}{amount} {left} {name}");
        }
        let is_lone = total_is_known && total_files == 1;
        // A single file needs no name: the user has just typed it.
        let (files, name) = match is_lone {
            true => (String::new(), String::new()),
            false if total_files == 0 => (" ".to_owned(), name),
            false => {
                let more = if self.files_are_known { "" } else { "+" };
                (format!(" {}/{}{more} files ", count(files), count(total_files)), name)
            }
        };
        let numbers = format!("{amount:>19} {rate:>12} {left:<11}{files}");
        let free = width.saturating_sub(percent.len() + numbers.len() + "[] ".len());
        let cells = if is_lone { free } else { (free / 2).max(8) };
        let bar = self.percent().map(|percent| filled(cells, percent)).unwrap_or_default();
        format!("{percent}{bar}{numbers}{}", end_of(&name, free.saturating_sub(cells)))
    }

    /// Returns the line for a log, or for a reply to SIGUSR1. Its rate is the average since the start.
    pub(crate) fn plain(&self) -> String {
        let Progress { bytes: done, files, total_bytes, total_is_known, bytes_moved, .. } = self.progress;
        let mut line = format!("{}, {}", of_files(files), bytes(done));
        if let Some(percent) = self.percent().filter(|_| total_is_known && total_bytes > 0) {
            line.push_str(&format!(" of {} ({percent}%)", bytes(total_bytes)));
        }
        let rate = bytes_moved as f64 / self.elapsed.as_secs_f64().max(1e-3);
        line.push_str(&format!(" in {}, {}/s", duration(self.elapsed), bytes(rate as u64)));
        line
    }

    /// Returns the object of `--progress=json`, and a newline. Sizes are in bytes, times in nanoseconds.
    pub(crate) fn json(&self, has_ended: bool) -> String {
        let Progress { bytes, files, total_bytes, total_files, total_is_known, bytes_moved } = self.progress;
        let object = serde_json::json!({
            "schema": 2,
            "elapsed_ns": nanoseconds(self.elapsed),
            "bytes": bytes,
            "bytes_moved": bytes_moved,
            "files": files,
            "total_bytes": total_bytes,
            "total_files": total_files,
            "total_is_known": total_is_known,
            "bytes_per_second": self.rate.map(|rate| rate as u64),
            "remaining_ns": self.left.map(nanoseconds),
            "source": (!self.name.is_empty()).then(|| json::bytes(self.name)),
            "ended": has_ended,
        });
        format!("{object}\n")
    }

    /// Returns the percentage of bytes that are done, rounded down. It is an estimate while the totals are open.
    fn percent(&self) -> Option<u64> {
        let Progress { bytes, files, total_files, .. } = self.progress;
        let all_bytes = u128::from(bytes) + u128::from(self.bytes_left?);
        let (done, all) = if all_bytes > 0 { (bytes, all_bytes) } else { (files, total_files.max(1).into()) };
        // The copy is not complete before the last file has its name.
        let most = if files < total_files { 99 } else { 100 };
        u64::try_from(u128::from(done) * 100 / all).ok().map(|percent| percent.min(most))
    }
}

fn filled(cells: usize, percent: u64) -> String {
    let done = cells * usize::try_from(percent).unwrap_or(100) / 100;
    let head = if (1..cells).contains(&done) { ">" } else { "" };
    format!("[{:cells$}] ", format!("{}{head}", "=".repeat(done.saturating_sub(head.len()))))
}

/// Formats a time in hours, minutes and seconds.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    match hours {
        0 => format!("{minutes}:{:02}", seconds % 60),
        1..48 => format!("{hours}:{minutes:02}:{:02}", seconds % 60),
        _ => format!("{} days", hours / 24),
    }
}

/// Returns the end of a path, which is more informative than its start.
fn end_of(path: &str, columns: usize) -> String {
    let length = path.chars().count();
    match length.checked_sub(columns) {
        None | Some(0) => path.to_owned(),
        Some(more) => {
            path.chars().skip(more + 3).fold("...".to_owned(), |text, c| text + c.encode_utf8(&mut [0; 4]))
        }
    }
}

/// Escapes a name so that it cannot control the terminal.
fn shown(name: &OsStr) -> String {
    if name.is_empty() {
        return String::new();
    }
    String::from_utf8_lossy(&quote::quoted_if_needed(name)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(done: u64, files: u64, total: u64, total_files: u64, is_known: bool) -> State<'static> {
        let progress = Progress {
            bytes: done,
            files,
            total_bytes: total,
            total_files,
            total_is_known: is_known,
            bytes_moved: done,
        };
        let rate = Some(1.5 * f64::from(1 << 30));
        let left = is_known.then(|| Duration::from_secs(75));
        let name = OsStr::new("a/long/path/to/some/file/that/does/not/fit/into/the/line");
        State {
            progress,
            rate,
            bytes_left: is_known.then(|| total - done),
            left,
            files_are_known: is_known,
            name,
            elapsed: Duration::from_secs(10),
            ..State::default()
        }
    }

    #[test]
    fn lines_fill_the_terminal() {
        let lone = state(1 << 30, 0, 4 << 30, 1, true);
        assert_eq!(
            lone.bar(80),
            " 25% [======>                     ]     1.0 GiB/4.0 GiB    1.5 GiB/s ETA 1:15   "
        );
        let many = state(1 << 30, 12, 4 << 30, 50_000, true);
        for width in [80, 100, 132, 200] {
            let line = many.bar(width);
            assert!(line.len() <= width.max(100) && line.starts_with(" 25% ["), "{width}: {line}");
            assert!(line.contains("ETA 1:15    12/50,000 files"), "{line}");
        }
        assert_eq!(
            many.bar(60),
            " 25% 1.0 GiB/4.0 GiB ETA 1:15 a/long/path/to/some/file/that/does/not/fit/into/the/line"
        );
    }

    #[test]
    fn open_totals_have_no_percent() {
        let line = state(1 << 30, 12, 4 << 30, 50_000, false).bar(120);
        assert!(line.contains("1.0 GiB/4.0 GiB+") && line.contains("12/50,000+ files") && !line.contains('%'));
        let endless = State { is_endless: true, ..state(2048, 0, 2048, 1, false) };
        assert_eq!(
            endless.bar(79).split("  ").next(),
            Some("2.0 KiB 1.5 GiB/s a/long/path/to/some/file/that/does/not/fit/into/the/line")
        );
    }

    #[test]
    fn estimated_percent_is_marked() {
        let mut state = State { bytes_left: Some(9 << 30), ..state(1 << 30, 5_000, 2 << 30, 50_000, false) };
        assert!(state.bar(120).starts_with("~10% [") && !state.plain().contains('%'));
        state.progress.bytes = 100 << 30;
        assert!(state.bar(120).starts_with("~91% ["));
    }

    #[test]
    fn percent_is_100_only_at_the_end() {
        assert_eq!(state(4 << 30, 0, 4 << 30, 1, true).percent(), Some(99));
        assert_eq!(state(4 << 30, 1, 4 << 30, 1, true).percent(), Some(100));
        assert_eq!(state(0, 0, 0, 0, true).percent(), Some(0));
    }

    #[test]
    fn times_are_short() {
        let clock = |seconds| clock(Duration::from_secs(seconds));
        assert_eq!([clock(5), clock(75), clock(3675), clock(400_000)], ["0:05", "1:15", "1:01:15", "4 days"]);
    }
}
