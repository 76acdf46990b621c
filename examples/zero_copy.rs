//! The textbook's table of zero-copy I/O, measured: one file copied by each strategy, into a file and into
//! sockets.
//!
//! `cargo run --release --example zero_copy [SIZE_MIB [DIRECTORY]]` prints it as Markdown. The calls are those
//! that zcp counts itself. CPU time is the time that the kernel's scheduler has charged to this process. Another
//! process reads from the sockets, so its CPU time is not included. The time ends when it has read the last
//! byte.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use zcp::Strategy;
use zcp::internals::{Account, Call, DestinationKind, Ladder, Limits, Meter, StopFlag, Tally, Transfer, fstat};

/// The number of rounds. Each strategy runs once in each, so that a machine that changes its speed changes it
/// for all.
const ROUNDS: usize = 7;
/// The argument that makes this program the reader of a socket.
const READER: &str = "--read-stdin";

/// The costs of one run, and the calls of the strategy or the reason for its refusal.
#[derive(Clone)]
struct Run {
    wall: Duration,
    cpu: Duration,
    outcome: Result<Tally, String>,
}

/// The destination of the bytes.
#[derive(Clone, Copy)]
enum Destination<'a> {
    File(&'a Path),
    Unix,
    Tcp,
}

fn main() -> std::io::Result<()> {
    let mut args = std::env::args_os().skip(1).peekable();
    if args.peek().is_some_and(|arg| arg == READER) {
        return read_stdin();
    }
    let mib = args.next().and_then(|arg| arg.to_str()?.parse().ok()).unwrap_or(256_u64);
    let dir = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let source = dir.join(format!("zcp-example-{}-source", std::process::id()));
    let target = dir.join(format!("zcp-example-{}-copy", std::process::id()));
    write_source(&source, mib << 20)?;
    for (destination, words) in [
        (Destination::File(&target), "by"),
        (Destination::Unix, "to a UNIX socket by"),
        (Destination::Tcp, "to TCP over loopback by"),
    ] {
        print(&format!("{mib} MiB {words}"), destination, &measure(&source, destination)?);
    }
    std::fs::remove_file(&source)
}

fn write_source(path: &Path, size: u64) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    std::io::copy(&mut File::open("/dev/urandom")?.take(size), &mut file)?;
    file.sync_all()
}

/// The best run of each strategy.
fn measure(source: &Path, destination: Destination<'_>) -> std::io::Result<Vec<(Strategy, Run)>> {
    let mut best: Vec<(Strategy, Run)> = Vec::new();
    for _ in 0..ROUNDS {
        for strategy in Strategy::ALL.into_iter().rev() {
            let run = match destination {
                Destination::File(target) => to_file(strategy, source, target)?,
                // These two do not support sockets.
                _ if matches!(strategy, Strategy::Reflink | Strategy::CopyFileRange) => continue,
                Destination::Unix => to_socket(strategy, source, UnixStream::pair()?)?,
                Destination::Tcp => to_socket(strategy, source, connection()?)?,
            };
            match best.iter_mut().find(|(known, _)| *known == strategy) {
                Some((_, slot)) if run.wall < slot.wall => *slot = run,
                Some(_) => {}
                None => best.push((strategy, run)),
            }
        }
    }
    Ok(best)
}

fn connection() -> std::io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let here = TcpStream::connect(listener.local_addr()?)?;
    Ok((here, listener.accept()?.0))
}

fn to_file(strategy: Strategy, source: &Path, target: &Path) -> std::io::Result<Run> {
    let dst = File::create_new(target)?;
    let run = copy(strategy, source, &dst.into(), DestinationKind::File, || Ok(()));
    std::fs::remove_file(target)?;
    run
}

fn to_socket(
    strategy: Strategy,
    source: &Path,
    (here, there): (impl Into<OwnedFd>, impl Into<OwnedFd>),
) -> std::io::Result<Run> {
    let here = here.into();
    let mut reader = reader(there.into())?;
    let destination_kind = DestinationKind::Stream(fstat(&here)?);
    copy(strategy, source, &here.try_clone()?, destination_kind, || {
        drop(here);
        reader.wait().map(drop)
    })
}

/// Starts a process that reads the socket to its end, and waits until it is ready.
fn reader(socket: OwnedFd) -> std::io::Result<Child> {
    let program = std::env::current_exe()?;
    let mut child = Command::new(program).arg(READER).stdin(socket).stdout(Stdio::piped()).spawn()?;
    if let Some(ready) = &mut child.stdout {
        ready.read_exact(&mut [0])?;
    }
    Ok(child)
}

fn read_stdin() -> std::io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    std::io::stdout().write_all(b".")?;
    std::io::stdout().flush()?;
    while std::io::stdin().read(&mut buffer)? > 0 {}
    Ok(())
}

/// Copies, closes the destination, and waits until `arrived` returns.
fn copy(
    strategy: Strategy,
    source: &Path,
    dst: &OwnedFd,
    destination_kind: DestinationKind,
    arrived: impl FnOnce() -> std::io::Result<()>,
) -> std::io::Result<Run> {
    let src = File::open(source)?;
    let transfer = Transfer {
        src: src.as_fd(),
        stat: fstat(&src)?,
        dst: dst.as_fd(),
        dst_dev: fstat(dst)?.dev,
        destination_kind,
        overwritten: false,
    };
    let limits = Limits { forced: Some(vec![strategy]), ..Limits::default() };
    let mut ladder = Ladder::new(limits, StopFlag::default(), Arc::new(Meter::default()));
    let mut account = Account::default();
    let (start, cpu) = (Instant::now(), cpu_time());
    let answer = ladder.copy(&transfer, &mut account);
    let cpu = cpu_time().saturating_sub(cpu);
    if destination_kind != DestinationKind::File {
        // The reader sees the end of the data, although other processes still have the descriptor.
        let _ = rustix::net::shutdown(dst, rustix::net::Shutdown::Write);
    }
    arrived()?;
    let outcome = answer.map(|_| account.tally(strategy).clone());
    let outcome = outcome.map_err(|failure| failure.errno_name().unwrap_or_default());
    Ok(Run { wall: start.elapsed(), cpu, outcome })
}

/// The time that this process has run on a processor (/proc/PID/schedstat, in ns).
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let ns = stat.split_whitespace().next().and_then(|ns| ns.parse().ok()).unwrap_or(0);
    Duration::from_nanos(ns)
}

fn print(heading: &str, destination: Destination<'_>, best: &[(Strategy, Run)]) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "| {heading} | calls | mode switches | CPU copies | through user space | ms | CPU ms |");
    let _ = writeln!(out, "|---|---|---|---|---|---|---|");
    for (strategy, run) in best {
        let (copies, user) = copies(*strategy, destination);
        let _ = match &run.outcome {
            Ok(tally) => writeln!(
                out,
                "| {} | {} | {} | {copies} | {user} | {:.1} | {:.1} |",
                strategy.name(),
                calls(tally),
                2 * tally.total_calls(),
                run.wall.as_secs_f64() * 1e3,
                run.cpu.as_secs_f64() * 1e3,
            ),
            Err(reason) => writeln!(out, "| {} | {reason} | - | {copies} | {user} | - | - |", strategy.name()),
        };
    }
    let _ = writeln!(out);
}

fn calls(tally: &Tally) -> String {
    let made = Call::ALL.into_iter().zip(tally.calls).filter(|(_, count)| *count > 0);
    made.map(|(call, count)| format!("{count} {}", call.label())).collect::<Vec<_>>().join(", ")
}

/// How often the CPU copies each byte on its way into a file or a socket, and how many of these copies go
/// through user space.
fn copies(strategy: Strategy, destination: Destination<'_>) -> (&'static str, &'static str) {
    let into_file = matches!(destination, Destination::File(_));
    match strategy {
        Strategy::Reflink => ("0", "0"),
        Strategy::CopyFileRange => ("1 here, 0 where it clones", "0"),
        Strategy::Splice | Strategy::Sendfile if into_file => ("1", "0"),
        Strategy::Splice | Strategy::Sendfile => ("0", "0"),
        Strategy::Mmap => ("1", "0 (mapped)"),
        Strategy::ReadWrite => ("2", "2"),
        _ => ("not known", "not known"),
    }
}
