//! What the process is and may do: its mask, its ids, its limits, the signals that end it.

use super::{Time, raw};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use rustix::process::{self, Resource};
use signal_hook::consts::{SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU, SIGXFSZ};
use std::hash::{BuildHasher, RandomState};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Reads the file creation mask. umask(2) can only be read by setting it, so this is called once,
/// before any thread exists.
pub fn umask() -> u32 {
    let mask = process::umask(rustix::fs::Mode::empty());
    process::umask(mask);
    mask.as_raw_mode()
}

/// The same where other threads may be making files (`Umask` of proc_pid_status(5), Linux 4.7); where
/// /proc does not say, by setting it all the same.
pub fn umask_among_threads() -> u32 {
    let mask = status_field("Umask:").and_then(|octal| u32::from_str_radix(&octal, 8).ok());
    mask.unwrap_or_else(umask)
}

/// A field of the process's status in /proc.
fn status_field(name: &str) -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
}

/// The time by the clock that file systems use for their stamps, which may be a tick behind (1 to 10 ms).
pub fn now() -> Time {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    Time { sec: now.tv_sec, nsec: u32::try_from(now.tv_nsec).unwrap_or(0) }
}

/// Whether the process may treat files as their owner may (CAP_FOWNER of capabilities(7)).
pub fn ignores_owners() -> bool {
    let sets = rustix::thread::capabilities(None);
    sets.is_ok_and(|sets| sets.effective.contains(rustix::thread::CapabilitySet::FOWNER))
}

/// The effective user id.
pub fn effective_uid() -> u32 {
    process::geteuid().as_raw()
}

/// How many descriptors the process may have open (RLIMIT_NOFILE, soft).
pub fn descriptor_limit() -> usize {
    process::getrlimit(Resource::Nofile).current.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX)
}

/// Makes room for `count` descriptors in the process's table, while it has one thread only. Later the
/// kernel would stop the opening thread for a grace period of RCU, milliseconds, each time that the
/// table grows (expand_fdtable in fs/file.c).
pub fn reserve_descriptors(count: usize) {
    let highest = i32::try_from(count.min(descriptor_limit()).saturating_sub(1)).unwrap_or(i32::MAX);
    // Any descriptor will do; it is closed again at once.
    let _ = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), highest);
}

/// The name of this machine.
pub fn host() -> String {
    first_line("/proc/sys/kernel/hostname")
}

/// What tells this machine from others, until it is started again (random(4)).
pub fn machine() -> String {
    first_line("/proc/sys/kernel/random/boot_id")
}

/// A number that nobody else can guess.
pub fn random() -> u128 {
    static DRAWN: AtomicU64 = AtomicU64::new(0);
    // The keys of a hash of std, for which it asks the kernel (getrandom(2)).
    let drawn = DRAWN.fetch_add(1, Ordering::Relaxed);
    let half = || u128::from(RandomState::new().hash_one(drawn));
    half() << 64 | half()
}

/// Empty where /proc is not mounted.
fn first_line(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().lines().next().unwrap_or_default().to_owned()
}

/// Whether there is a process of this number (kill(2) with signal 0).
pub fn is_alive(process: u32) -> bool {
    let pid = i32::try_from(process).ok().and_then(process::Pid::from_raw);
    pid.is_some_and(|pid| process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

/// The effective group id, which new files get unless their directory says otherwise; asked once.
pub fn effective_gid() -> u32 {
    static GID: OnceLock<u32> = OnceLock::new();
    *GID.get_or_init(|| rustix::process::getegid().as_raw())
}

/// Whether this process may give its own files to a group: it is privileged, or in that group.
pub fn may_give_group(gid: u32) -> bool {
    static GROUPS: OnceLock<Vec<u32>> = OnceLock::new();
    let of_process = || {
        let more = process::getgroups().unwrap_or_default();
        more.into_iter().map(|group| group.as_raw()).chain([effective_gid()]).collect()
    };
    effective_uid() == 0 || GROUPS.get_or_init(of_process).contains(&gid)
}

/// Whether syncfs(2) reports what could not be written, as it does from Linux 5.8.
pub fn syncfs_reports() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(5), Some(8))
}

/// Processors that this process may run on, and that its control group lets it have: found out once, for
/// that takes some fifteen calls.
pub fn processors() -> usize {
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// What ends a process that writes to a pipe which nobody reads.
pub const SIGPIPE: i32 = signal_hook::consts::SIGPIPE;

/// Ends the process by it.
pub fn end_by_broken_pipe() {
    let _ = signal_hook::low_level::emulate_default_handler(SIGPIPE);
}

/// The signals that end a copy in good order: those that people, time limits and other programs send for that.
const ENDING: [i32; 7] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGALRM, SIGUSR2, SIGXCPU];

/// A wish for the end: a signal that asks for one, and which, or the caller's own.
#[derive(Clone, Debug, Default)]
pub struct StopFlag(Arc<AtomicUsize>);

impl StopFlag {
    /// Lets the signals that ask a program to end raise it. A second one of the same kind ends the process
    /// at once, as the signal would have. A signal that was ignored when the program started (as
    /// nohup does) stays ignored. SIGXFSZ is caught as well, so that a file that is longer than RLIMIT_FSIZE
    /// allows is an ordinary failure (EFBIG).
    ///
    /// # Errors
    /// The error of sigaction(2).
    pub fn install(&self) -> std::io::Result<()> {
        if !raw::is_ignored(SIGXFSZ) {
            signal_hook::flag::register(SIGXFSZ, Arc::default())?;
        }
        for signal in ENDING.into_iter().filter(|signal| !raw::is_ignored(*signal)) {
            let raised = Arc::new(AtomicBool::new(false));
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&raised))?;
            signal_hook::flag::register(signal, raised)?;
            signal_hook::flag::register_usize(signal, Arc::clone(&self.0), usize::try_from(signal).unwrap_or(1))?;
        }
        Ok(())
    }

    /// Ends the run as SIGPIPE would end it at once, but in good order.
    pub fn raise_broken_pipe(&self) {
        self.0.store(usize::try_from(SIGPIPE).unwrap_or(1), Ordering::Relaxed);
    }

    /// Asks for the end without a signal.
    pub fn raise(&self) {
        self.0.store(usize::MAX, Ordering::Relaxed);
    }

    /// Whether somebody asked for the end.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    /// The signal that did, if one did: then this is a program, and its process is about to end.
    pub fn signal(&self) -> Option<i32> {
        i32::try_from(self.0.load(Ordering::Relaxed)).ok().filter(|signal| *signal > 0)
    }

    /// Ends the process by the signal that was caught, so that the shell sees it. Does nothing if
    /// none was.
    pub fn reraise(&self) {
        if let Some(signal) = self.signal() {
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    }
}

/// What the process has used so far (getrusage(2)).
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Times that a block had to be read from a disk.
    pub block_reads: i64,
    /// Time on processors, user and system.
    pub processor_time: Duration,
}

impl Usage {
    /// Up to now; nothing where the kernel does not say.
    pub fn now() -> Usage {
        let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return Usage::default() };
        let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
        let processor_time = Duration::from_micros(u64::try_from(micros).unwrap_or(0));
        Usage { block_reads: usage.block_reads(), processor_time }
    }
}

/// SIGUSR1: a wish to know how far the copy is, as for dd(1).
#[derive(Clone, Debug, Default)]
pub struct StatusRequest(Arc<AtomicBool>);

impl StatusRequest {
    /// Takes SIGUSR1, which would otherwise end the process; one that is ignored stays so.
    ///
    /// # Errors
    /// The error of sigaction(2).
    pub fn install() -> std::io::Result<StatusRequest> {
        let request = StatusRequest::default();
        if !raw::is_ignored(SIGUSR1) {
            signal_hook::flag::register(SIGUSR1, Arc::clone(&request.0))?;
        }
        Ok(request)
    }

    /// Whether there was a request since the last time.
    pub fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

/// Gives the calling thread the lowest priority for processors, nice 19 (on Linux setpriority(2) is about a
/// thread), and with it the lowest of the best-effort class for disks (`IOPRIO_CLASS_NONE` in ioprio_set(2)).
pub fn lowest_priority() {
    let _ = process::setpriority_process(Some(rustix::thread::gettid()), 19);
}

/// The columns of a terminal; 80 where `fd` is none.
pub fn terminal_width(fd: impl AsFd) -> usize {
    let size = rustix::termios::tcgetwinsize(fd);
    size.ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0).unwrap_or(80)
}
