//! Requirements of trials on the machine. A trial whose requirements are not met is ignored.
//!
//! If root runs the tests, the whole binary starts itself again in a mount namespace of its own. There it can
//! mount images of real file systems that nobody else sees and that vanish when it ends.

use libtest_mimic::Trial;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

/// The environment variable with the directory for mounts, set for the second start.
const PLACE: &str = "ZCP_IT_MOUNTS";
/// The size of an image: mkfs.xfs refuses less than 300 MiB. It is sparse.
const IMAGE: u64 = 512 << 20;

/// Where a tmpfs is mounted.
pub(crate) const SHM: &str = "/dev/shm";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// strace, with the permission to trace.
    Strace,
    /// The tests run as root.
    Root,
    /// A tmpfs on [`SHM`].
    Shm,
    /// The GNU cp that `tests/reference-cp` fetches.
    ReferenceCp,
    /// A program in PATH.
    Program(&'static str),
    /// A file system of this type, see [`mounted`] and [`Image`].
    Mount(&'static str),
    /// A FUSE server of the tests' own.
    Fuse,
    /// An overlay mounted with these options, see [`mount_overlay`].
    Overlay(&'static str),
    /// io_uring(7), with which `--verify` reads many copies at the same time.
    IoUring,
    /// Namespaces of mounts and host names for single processes.
    Namespaces,
    /// At least this version of Linux.
    Linux(u32, u32),
    /// A control group with a limit on memory, see [`ControlGroup`].
    MemoryGroup,
    /// A control group with a limit on processes.
    ProcessGroup,
}

impl Need {
    fn is_met(self) -> bool {
        static STRACE: OnceLock<bool> = OnceLock::new();
        static NAMESPACES: OnceLock<bool> = OnceLock::new();
        match self {
            Need::Strace => *STRACE.get_or_init(|| succeeds("strace", &["-f", "-o", "/dev/null", "true"])),
            Need::Root => is_root(),
            Need::Shm => Path::new(SHM).is_dir(),
            Need::ReferenceCp => crate::oracle::has_reference(),
            Need::Program(name) => {
                let path = std::env::var_os("PATH").unwrap_or_default();
                std::env::split_paths(&path).any(|dir| dir.join(name).is_file())
            }
            Need::Mount(fs) => mounted(fs).is_some(),
            Need::Fuse => Path::new("/dev/fuse").exists() && std::env::var_os(PLACE).is_some(),
            Need::Overlay(options) => can_mount_overlay(options),
            Need::IoUring => has_io_uring(),
            Need::Namespaces => *NAMESPACES.get_or_init(|| succeeds("unshare", &["-mnu", "true"])),
            Need::Linux(major, minor) => {
                let release = rustix::system::uname().release().to_string_lossy().into_owned();
                let mut numbers =
                    release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
                (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (major, minor)
            }
            Need::MemoryGroup => ControlGroup::of_memory(1 << 30).is_some(),
            Need::ProcessGroup => ControlGroup::of_processes(100).is_some(),
        }
    }
}

/// A trial that runs if all its requirements are met.
pub(crate) fn trial(name: impl Into<String>, needs: &[Need], run: impl FnOnce() + Send + 'static) -> Trial {
    match needs.iter().find(|need| !need.is_met()).copied() {
        None => Trial::test(name, || {
            run();
            Ok(())
        }),
        Some(need) => Trial::test(name, move || Err(format!("this machine lacks {need:?}").into()))
            .with_ignored_flag(std::env::var_os("CI").is_none()),
    }
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn has_io_uring() -> bool {
    io_uring::IoUring::new(1).is_ok()
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn has_io_uring() -> bool {
    false
}

/// An empty file system of the given type. All trials that ask for the type share it.
pub(crate) fn mounted(fs: &'static str) -> Option<PathBuf> {
    static MOUNTS: Mutex<BTreeMap<&str, Option<PathBuf>>> = Mutex::new(BTreeMap::new());
    let mut mounts = MOUNTS.lock().unwrap();
    mounts.entry(fs).or_insert_with(|| mount(fs, &PathBuf::from(std::env::var_os(PLACE)?), &[])).clone()
}

/// A file system that one trial has for itself, to fill or break it.
pub(crate) struct Image {
    point: PathBuf,
    _dir: tempfile::TempDir,
}

impl Image {
    /// `options` are further options of mkfs.
    pub(crate) fn new(fs: &str, options: &[&str]) -> Image {
        let dir = tempfile::tempdir_in(std::env::var_os(PLACE).unwrap()).unwrap();
        let point = mount(fs, dir.path(), options).unwrap();
        Image { point, _dir: dir }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.point
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // The directory with the image is removed next. The loop device is released when it is closed.
        succeeds("umount", &["--lazy".as_ref(), self.point.as_os_str()]);
    }
}

/// A mounted image whose file stays accessible, to simulate a power cut or a broken disk.
pub(crate) struct Mounted {
    pub(crate) image: PathBuf,
    pub(crate) point: PathBuf,
}

impl Mounted {
    /// Makes and mounts a new image, if images can be mounted. It stays until the tests end.
    pub(crate) fn make(fs: &str) -> Option<Mounted> {
        Mounted::mount(fs, Mounted::image(fs)?)
    }

    /// An ext4 that also writes data to its journal (data=journal).
    pub(crate) fn journaling_data() -> Option<Mounted> {
        let image = Mounted::image("ext4")?;
        let set = succeeds("tune2fs", &["-o".as_ref(), "journal_data".as_ref(), image.as_os_str()]);
        if set { Mounted::mount("ext4", image) } else { None }
    }

    fn image(fs: &str) -> Option<PathBuf> {
        static SERIAL: AtomicUsize = AtomicUsize::new(0);
        let name = format!("{fs}-{}.img", SERIAL.fetch_add(1, Ordering::Relaxed));
        let image = PathBuf::from(std::env::var_os(PLACE)?).join(name);
        File::create(&image).ok()?.set_len(IMAGE).ok()?;
        succeeds(&format!("mkfs.{fs}"), &[&image]).then_some(image)
    }

    fn mount(fs: &str, image: PathBuf) -> Option<Mounted> {
        let point = image.with_extension("");
        fs::create_dir(&point).ok()?;
        // A copy of an image has the same UUID, and xfs refuses to mount a UUID twice.
        let options = if fs == "xfs" { "loop,nouuid" } else { "loop" };
        let args = ["-o".into(), options.into(), image.clone().into_os_string(), point.clone().into_os_string()];
        if !succeeds("mount", &args) {
            return None;
        }
        read_little_ahead(&point);
        Some(Mounted { image, point })
    }

    /// Simulates a power cut: mounts a copy of the image as it is now.
    pub(crate) fn after_power_cut(&self, fs: &str) -> Mounted {
        let image = self.image.with_extension("cut.img");
        assert!(succeeds("cp", &[&self.image, &image]));
        Mounted::mount(fs, image).unwrap()
    }

    /// Unmounts the image.
    pub(crate) fn end(self) {
        // Lazily: a process that another trial is just starting has all descriptors of this one until it executes.
        assert!(succeeds("umount", &["--lazy".as_ref(), self.point.as_os_str()]));
        fs::remove_file(self.image).unwrap();
        fs::remove_dir(self.point).unwrap();
    }
}

/// A control group (cgroups(7), of either version) with a limit for the processes that join it.
pub(crate) struct ControlGroup(PathBuf);

impl ControlGroup {
    /// A limit on memory in bytes.
    pub(crate) fn of_memory(bytes: u64) -> Option<ControlGroup> {
        ControlGroup::make("memory", ["memory.limit_in_bytes", "memory.max"], bytes)
    }

    /// A limit on the number of processes and threads.
    pub(crate) fn of_processes(count: u64) -> Option<ControlGroup> {
        ControlGroup::make("pids", ["pids.max"; 2], count)
    }

    /// `files` are the names of the limit in version 1 and 2.
    fn make(controller: &str, files: [&str; 2], limit: u64) -> Option<ControlGroup> {
        static SERIAL: AtomicUsize = AtomicUsize::new(0);
        let name = format!("zcp-it-{}-{}", std::process::id(), SERIAL.fetch_add(1, Ordering::Relaxed));
        let roots = [Path::new("/sys/fs/cgroup").join(controller), PathBuf::from("/sys/fs/cgroup")];
        roots.into_iter().zip(files).find_map(|(root, file)| {
            let group = root.join(&name);
            fs::create_dir(&group).ok()?;
            let group = ControlGroup(group);
            // Only an existing file is opened: the group tells its version.
            let mut file = File::options().write(true).open(group.0.join(file)).ok()?;
            file.write_all(limit.to_string().as_bytes()).ok().map(|()| group)
        })
    }

    pub(crate) fn join(&self) -> PathBuf {
        self.0.join("cgroup.procs")
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

fn mount(fs: &str, place: &Path, options: &[&str]) -> Option<PathBuf> {
    let (image, point) = (place.join(format!("{fs}.img")), place.join(fs));
    File::create(&image).ok()?.set_len(IMAGE).ok()?;
    fs::create_dir(&point).ok()?;
    let arguments: Vec<_> = options.iter().map(OsStr::new).chain([image.as_os_str()]).collect();
    let made = succeeds(&format!("mkfs.{fs}"), &arguments);
    let mounted =
        made && succeeds("mount", &["-o".into(), "loop".into(), image.into(), point.clone().into_os_string()]);
    mounted.then(|| {
        read_little_ahead(&point);
        point
    })
}

/// Sets the read-ahead of a file system to 128 KiB, the kernel's default for disks. A loop device may read
/// megabytes ahead, depending on what holds its image.
fn read_little_ahead(point: &Path) {
    let device = fs::metadata(point).unwrap().dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    // btrfs has a device number to which no such file belongs.
    let _ = fs::write(format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb"), "128");
}

/// Mounts an overlay on `merged`, with the layers `lower` and `upper`, all in one directory.
pub(crate) fn mount_overlay(directory: &Path, options: &str) -> bool {
    let layer = |name| directory.join(name).display().to_string();
    let layers = format!("lowerdir={},upperdir={},workdir={}", layer("lower"), layer("upper"), layer("work"));
    succeeds("mount", &["-t", "overlay", "overlay", "-o", &(layers + options), &layer("merged")])
}

fn can_mount_overlay(options: &str) -> bool {
    if std::env::var_os(PLACE).is_none() {
        return false;
    }
    let dir = tempfile::tempdir().unwrap();
    for name in ["lower", "upper", "work", "merged"] {
        fs::create_dir(dir.path().join(name)).unwrap();
    }
    mount_overlay(dir.path(), options) && succeeds("umount", &[dir.path().join("merged")])
}

/// Starts the tests again in a private mount namespace, if that is possible, and returns their exit status.
pub(crate) fn run_with_mounts_of_our_own() -> Option<ExitCode> {
    if let Some(place) = std::env::var_os(PLACE) {
        let tmpfs: [OsString; 4] = ["-t".into(), "tmpfs".into(), "zcp-it".into(), place];
        assert!(succeeds("mount", &tmpfs), "cannot mount a tmpfs in a namespace of our own");
        return None;
    }
    if !is_root() || !succeeds("unshare", &["--mount", "true"]) {
        return None;
    }
    let place = tempfile::tempdir().unwrap();
    let mut again = Command::new("unshare");
    again.arg("--mount").arg(std::env::current_exe().unwrap()).args(std::env::args_os().skip(1));
    let status = again.env(PLACE, place.path()).status().unwrap();
    Some(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn succeeds(program: &str, args: &[impl AsRef<std::ffi::OsStr>]) -> bool {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
