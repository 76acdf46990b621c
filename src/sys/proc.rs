//! The process: its umask, ids, limits, resource usage and signals.

use super::{Result, Time, at, raw};
use nix::sys::resource::{RLIM_INFINITY, Resource, UsageWho, getrlimit, getrusage};
use nix::sys::time::TimeValLike;
use rustix::process;
use signal_hook::consts::{SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU, SIGXFSZ};
use std::ffi::OsStr;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

/// Returns the file creation mask. umask(2) can only be read by setting it, so other threads must not create
/// files meanwhile.
pub(crate) fn umask() -> u32 {
    let mask = process::umask(rustix::fs::Mode::empty());
    process::umask(mask);
    mask.as_raw_mode()
}

/// Returns the file creation mask, where other threads may be creating files: `Umask` of proc_pid_status(5),
/// from Linux 4.7, else by [`umask`].
pub(crate) fn umask_among_threads() -> u32 {
    let status = read("/proc/self/status");
    let octal = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    octal.and_then(|octal| u32::from_str_radix(octal.trim(), 8).ok()).unwrap_or_else(umask)
}

/// Returns the time by the clock from which file systems take timestamps, which may lag by a tick (1 to 10 ms).
pub(crate) fn now() -> Time {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    Time { sec: now.tv_sec, nsec: u32::try_from(now.tv_nsec).unwrap_or(0) }
}

/// Returns whether the process has the rights of the owner on every file (CAP_FOWNER of capabilities(7)).
pub(crate) fn ignores_owners() -> bool {
    let sets = rustix::thread::capabilities(None);
    sets.is_ok_and(|sets| sets.effective.contains(rustix::thread::CapabilitySet::FOWNER))
}

/// geteuid(2). By nix, because rustix takes for granted that the call succeeds, which a filter of seccomp(2) can
/// prevent.
pub(crate) fn effective_uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// Returns whether ld.so(8) preloads a library whose name begins like this, such as `libfakeroot`.
pub fn preloads(library: &str) -> bool {
    let preloaded = std::env::var_os("LD_PRELOAD").unwrap_or_default();
    preloaded.as_bytes().windows(library.len()).any(|part| part == library.as_bytes())
}

/// Returns whether ld.so(8) preloads or audits with any library, which expects to see system calls as calls of libc.
#[inline]
pub(crate) fn has_preloads() -> bool {
    static HAS_PRELOADS: LazyLock<bool> = LazyLock::new(|| {
        let is_static = cfg!(target_feature = "crt-static");
        let names_libraries = |name| std::env::var_os(name).is_some_and(|libraries| !libraries.is_empty());
        let for_all = || std::fs::metadata("/etc/ld.so.preload").is_ok_and(|file| file.len() > 0);
        !is_static && (names_libraries("LD_PRELOAD") || names_libraries("LD_AUDIT") || for_all())
    });
    *HAS_PRELOADS
}

/// How many descriptors the process may have open: the soft limit of RLIMIT_NOFILE.
pub(crate) fn descriptor_limit() -> usize {
    /// The default soft limit of the kernel (INR_OPEN_CUR in linux/fs.h).
    const DEFAULT: u64 = 1024;
    let limit = soft_limit(Resource::RLIMIT_NOFILE).unwrap_or(Some(DEFAULT));
    limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

/// Returns the soft limit of a resource, or `None` if there is none.
// The type of a limit differs between architectures.
#[allow(clippy::useless_conversion)]
pub(super) fn soft_limit(resource: Resource) -> Result<Option<u64>> {
    let (soft, _) = super::io::libc_call(|| getrlimit(resource))?;
    Ok(Some(soft).filter(|soft| *soft != RLIM_INFINITY).map(u64::from))
}

/// Makes room for `count` descriptors in the process's table. Call it while there is only one thread: with
/// several threads, the kernel stops the opening thread for an RCU grace period (milliseconds) each time the
/// table grows (expand_fdtable in fs/file.c).
pub(crate) fn reserve_descriptors(count: usize) {
    let highest = i32::try_from(count.min(descriptor_limit()).saturating_sub(1)).unwrap_or(i32::MAX);
    // Any descriptor will do; the duplicate is closed at once.
    let _ = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), highest);
}

pub(crate) fn host() -> String {
    first_line("/proc/sys/kernel/hostname")
}

/// Returns an identifier of this boot of this machine (`boot_id` of random(4)).
pub(crate) fn machine() -> String {
    first_line("/proc/sys/kernel/random/boot_id")
}

pub(crate) fn random() -> u128 {
    static DRAWN: AtomicU64 = AtomicU64::new(0);
    // std takes the keys of RandomState from the kernel (getrandom(2)).
    let drawn = DRAWN.fetch_add(1, Ordering::Relaxed);
    let half = || u128::from(RandomState::new().hash_one(drawn));
    half() << 64 | half()
}

/// Returns the first line of a file in /proc, or an empty string if /proc is not mounted.
fn first_line(path: &str) -> String {
    read(path).lines().next().unwrap_or_default().to_owned()
}

/// Returns the content of a file in /proc, or an empty string if /proc is not mounted.
pub(super) fn read(path: &str) -> String {
    let content = at::read_small(at::CWD, OsStr::new(path));
    String::from_utf8_lossy(&content.ok().flatten().unwrap_or_default()).into_owned()
}

/// Returns whether a process with this id exists (kill(2) with signal 0).
pub(crate) fn is_alive(process: u32) -> bool {
    let pid = i32::try_from(process).ok().and_then(process::Pid::from_raw);
    pid.is_some_and(|pid| process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

/// Returns the effective group id, which new files get unless their directory has the set-group-ID bit. Cached.
pub(crate) fn effective_gid() -> u32 {
    static GID: OnceLock<u32> = OnceLock::new();
    *GID.get_or_init(|| nix::unistd::getegid().as_raw())
}

/// Returns whether this process may give its own files to a group: it is root, or a member of the group.
pub(crate) fn may_give_group(gid: u32) -> bool {
    static GROUPS: OnceLock<Vec<u32>> = OnceLock::new();
    let of_process = || {
        let more = process::getgroups().unwrap_or_default();
        more.into_iter().map(|group| group.as_raw()).chain([effective_gid()]).collect()
    };
    effective_uid() == 0 || GROUPS.get_or_init(of_process).contains(&gid)
}

/// Returns whether syncfs(2) reports writeback errors, as it does from Linux 5.8.
pub(crate) fn syncfs_reports() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(5), Some(8))
}

/// Returns the number of processors that the affinity mask and the control group of this process allow. Cached,
/// because finding it out takes some fifteen system calls.
pub(crate) fn processors() -> usize {
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// The signal for a write to a pipe or socket without a reader.
pub const SIGPIPE: i32 = signal_hook::consts::SIGPIPE;

pub(crate) fn end_by_broken_pipe() {
    let _ = signal_hook::low_level::emulate_default_handler(SIGPIPE);
}

/// The signals on which a copy stops and cleans up: those by which users, time limits and other programs end a
/// program.
const ENDING: [i32; 7] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGALRM, SIGUSR2, SIGXCPU];

/// The value of a [`StopFlag`] that a failure raised; no signal has this number.
const GAVE_UP: usize = usize::MAX - 1;

/// A request to stop the copy. 0: none; a positive `i32`: that signal; `GAVE_UP`: a failure; `usize::MAX`: the caller.
#[derive(Clone, Debug, Default)]
pub struct StopFlag(Arc<AtomicUsize>);

impl StopFlag {
    /// Makes the ending signals raise this flag. A second signal of the same number ends the process at once, by
    /// its default action. A signal that was ignored when the program started (as by nohup) stays ignored. SIGXFSZ
    /// is caught as well, so that exceeding RLIMIT_FSIZE is an ordinary failure (EFBIG).
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

    /// Requests a stop as if SIGPIPE had been caught.
    pub fn raise_broken_pipe(&self) {
        self.0.store(usize::try_from(SIGPIPE).unwrap_or(1), Ordering::Relaxed);
    }

    /// Requests a stop without a signal.
    pub fn raise(&self) {
        self.0.store(usize::MAX, Ordering::Relaxed);
    }

    /// Requests a stop because of a failure, unless one was requested already.
    pub fn give_up(&self) {
        let _ = self.0.compare_exchange(0, GAVE_UP, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Returns whether the stop was requested because of a failure.
    pub fn has_given_up(&self) -> bool {
        self.0.load(Ordering::Relaxed) == GAVE_UP
    }

    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    /// Returns the signal that requested the stop, if one did. Only a program catches signals, and its process
    /// is about to end.
    pub fn signal(&self) -> Option<i32> {
        i32::try_from(self.0.load(Ordering::Relaxed)).ok().filter(|signal| *signal > 0)
    }

    /// Ends the process by the signal that was caught, if any, so that the shell sees it.
    pub fn reraise(&self) {
        if let Some(signal) = self.signal() {
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    }
}

/// Resources that the process has used so far (getrusage(2)).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// Input from block devices (`ru_inblock`).
    pub block_reads: i64,
    /// User and system time.
    pub processor_time: Duration,
}

impl Usage {
    /// Returns the usage up to now, or zero if getrusage fails.
    // The field is a c_long, whose width differs between architectures.
    #[allow(clippy::unnecessary_cast)]
    pub(crate) fn now() -> Usage {
        let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return Usage::default() };
        let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
        let processor_time = Duration::from_micros(u64::try_from(micros).unwrap_or(0));
        Usage { block_reads: usage.block_reads() as i64, processor_time }
    }
}

/// A request for a progress report by SIGUSR1, as for dd(1).
#[derive(Clone, Debug, Default)]
pub(crate) struct StatusRequest(Arc<AtomicBool>);

impl StatusRequest {
    /// Catches SIGUSR1, which would otherwise end the process. If it is ignored, it stays ignored.
    pub(crate) fn install() -> std::io::Result<StatusRequest> {
        let request = StatusRequest::default();
        if !raw::is_ignored(SIGUSR1) {
            signal_hook::flag::register(SIGUSR1, Arc::clone(&request.0))?;
        }
        Ok(request)
    }

    /// Returns whether there was a request since the last call.
    pub(crate) fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

/// Gives the calling thread the lowest CPU priority, nice 19 (on Linux setpriority(2) applies to a thread), and
/// with it the lowest best-effort I/O priority (`IOPRIO_CLASS_NONE` in ioprio_set(2)).
pub(crate) fn lowest_priority() {
    let _ = process::setpriority_process(Some(rustix::thread::gettid()), 19);
}

/// Returns whether the terminal that TERM names can return to the start of a line and write over it; see terminfo(5).
pub(crate) fn terminal_has_cursor() -> bool {
    std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb")
}

/// Returns the width of a terminal in columns, or 80 if `fd` is not a terminal.
pub fn terminal_width(fd: impl AsFd) -> usize {
    let size = rustix::termios::tcgetwinsize(fd);
    size.ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0).unwrap_or(80)
}
