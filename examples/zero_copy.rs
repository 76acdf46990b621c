//! The textbook's table of zero-copy I/O, measured: one file copied by each path.
//!
//! `cargo run --release --example zero_copy [SIZE_MIB [DIRECTORY]]` prints it as Markdown. The calls
//! are those that zcp's own account counted; CPU time is what the kernel's scheduler has charged the process.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use zcp::sys::at;
use zcp::sys::proc::StopFlag;
use zcp::transfer::ladder::Limits;
use zcp::transfer::{Account, Call, Ladder, Meter, Strategy, Tally, Transfer};

/// Rounds; each path is run once in each, so that a machine that changes its speed changes it for all.
const ROUNDS: usize = 7;

type Outcome = Result<Tally, String>;

fn main() -> std::io::Result<()> {
    let mut args = std::env::args_os().skip(1);
    let mib = args.next().and_then(|arg| arg.to_str()?.parse().ok()).unwrap_or(256_u64);
    let dir = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let source = dir.join(format!("zcp-example-{}-source", std::process::id()));
    let target = dir.join(format!("zcp-example-{}-copy", std::process::id()));
    write_source(&source, mib << 20)?;
    let mut best: Vec<Option<(Duration, Duration, Outcome)>> = vec![None; Strategy::ALL.len()];
    for _ in 0..ROUNDS {
        for strategy in Strategy::ALL {
            let run = copy(strategy, &source, &target)?;
            let slot = &mut best[strategy as usize];
            if slot.as_ref().is_none_or(|(wall, ..)| run.0 < *wall) {
                *slot = Some(run);
            }
        }
    }
    std::fs::remove_file(&source)?;
    print(mib, &best);
    Ok(())
}

fn write_source(path: &Path, size: u64) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    std::io::copy(&mut File::open("/dev/urandom")?.take(size), &mut file)?;
    file.sync_all()
}

/// Wall time, CPU time, and what the path did, or why it could not.
fn copy(strategy: Strategy, source: &Path, target: &Path) -> std::io::Result<(Duration, Duration, Outcome)> {
    let src = File::open(source)?;
    let dst = File::create_new(target)?;
    let stat = at::fstat(&src)?;
    let dst_dev = at::fstat(&dst)?.dev;
    let transfer = Transfer { src: src.as_fd(), stat, dst: dst.as_fd(), dst_dev, dst_regular: true };
    let limits = Limits { forced: Some(vec![strategy]), ..Limits::default() };
    let mut ladder = Ladder::new(limits, StopFlag::default(), Arc::new(Meter::default()));
    let mut account = Account::default();
    let (start, cpu) = (Instant::now(), cpu_time());
    let answer = ladder.copy(&transfer, &mut account);
    let (wall, cpu) = (start.elapsed(), cpu_time().saturating_sub(cpu));
    drop(dst);
    std::fs::remove_file(target)?;
    let outcome = answer.map(|_| account.path(strategy).clone()).map_err(|fault| fault.errno.to_string());
    Ok((wall, cpu, outcome))
}

/// Time that this process has been on a processor (/proc/PID/schedstat, ns).
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let ns = stat.split_whitespace().next().and_then(|ns| ns.parse().ok()).unwrap_or(0);
    Duration::from_nanos(ns)
}

fn print(mib: u64, best: &[Option<(Duration, Duration, Outcome)>]) {
    let mut out = std::io::stdout().lock();
    let _ =
        writeln!(out, "| {mib} MiB by | calls | mode switches | CPU copies | through user space | ms | CPU ms |");
    let _ = writeln!(out, "|---|---|---|---|---|---|---|");
    for (strategy, run) in Strategy::ALL.into_iter().zip(best).rev() {
        let (copies, user) = copies(strategy);
        let Some((wall, cpu, outcome)) = run else { continue };
        let _ = match outcome {
            Ok(tally) => writeln!(
                out,
                "| {} | {} | {} | {copies} | {user} | {:.1} | {:.1} |",
                strategy.name(),
                calls(tally),
                2 * tally.total_calls(),
                wall.as_secs_f64() * 1e3,
                cpu.as_secs_f64() * 1e3,
            ),
            Err(reason) => writeln!(out, "| {} | {reason} | - | {copies} | {user} | - | - |", strategy.name()),
        };
    }
}

fn calls(tally: &Tally) -> String {
    let made = Call::ALL.into_iter().zip(tally.calls).filter(|(_, count)| *count > 0);
    made.map(|(call, count)| format!("{count} {}", call.label())).collect::<Vec<_>>().join(", ")
}

/// How often the CPU copies each byte on its way into a file, and how many of these copies go
/// through user space.
fn copies(strategy: Strategy) -> (&'static str, &'static str) {
    match strategy {
        Strategy::Reflink => ("0", "0"),
        Strategy::CopyFileRange => ("1 here, 0 where it clones", "0"),
        Strategy::Splice | Strategy::Sendfile => ("1", "0"),
        Strategy::Mmap => ("1", "0 (mapped)"),
        Strategy::ReadWrite => ("2", "2"),
    }
}
