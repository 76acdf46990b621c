//! What a trial needs of the machine, and what becomes of it where that is missing.
//!
//! Run by root, the whole binary starts itself again in a mount namespace of its own: there it can
//! mount images of real file systems, which nobody else sees and which are gone when it ends.

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

/// Where the second start finds its directory for mounts.
const PLACE: &str = "ZCP_IT_MOUNTS";
/// The size of an image: mkfs.xfs refuses less than 300 MiB. It is sparse.
const IMAGE: u64 = 512 << 20;

/// Where a tmpfs is mounted.
pub(crate) const SHM: &str = "/dev/shm";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// strace, and the right to trace.
    Strace,
    /// To be root.
    Root,
    /// A tmpfs on [`SHM`], as every Linux has it.
    Shm,
    /// GNU cp as `tests/reference-cp` fetches it.
    ReferenceCp,
    /// A program in PATH.
    Program(&'static str),
    /// A file system of this type, see [`mounted`] and [`Image`].
    Mount(&'static str),
    /// A FUSE server of our own.
    Fuse,
    /// An overlay with these mount options beside its layers, see [`mount_overlay`].
    Overlay(&'static str),
    /// Namespaces of mounts and host names for single processes.
    Namespaces,
    /// A group of processes with a limit on memory, see [`MemoryGroup`].
    MemoryGroup,
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
            Need::Namespaces => *NAMESPACES.get_or_init(|| succeeds("unshare", &["-mnu", "true"])),
            Need::MemoryGroup => MemoryGroup::make(1 << 30).is_some(),
        }
    }
}

/// A trial that is run where all its needs are met.
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

/// An empty file system of the given type, the same one for all trials that ask for it.
pub(crate) fn mounted(fs: &'static str) -> Option<PathBuf> {
    static MOUNTS: Mutex<BTreeMap<&str, Option<PathBuf>>> = Mutex::new(BTreeMap::new());
    let mut mounts = MOUNTS.lock().unwrap();
    mounts.entry(fs).or_insert_with(|| mount(fs, &PathBuf::from(std::env::var_os(PLACE)?), &[])).clone()
}

/// A file system of one trial's own, to be filled or broken.
pub(crate) struct Image {
    point: PathBuf,
    _dir: tempfile::TempDir,
}

impl Image {
    /// Made with further options of mkfs.
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
        // The directory with the image goes next; the device lets go of it when it is closed.
        succeeds("umount", &["--lazy".as_ref(), self.point.as_os_str()]);
    }
}

/// The same, whose image a power cut or a broken disk can be played with.
pub(crate) struct Mounted {
    pub(crate) image: PathBuf,
    pub(crate) point: PathBuf,
}

impl Mounted {
    /// A new one, where images can be mounted. It stays until the tests end.
    pub(crate) fn make(fs: &str) -> Option<Mounted> {
        Mounted::mount(fs, Mounted::image(fs)?)
    }

    /// An ext4 that writes data to its journal, too (data=journal).
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
        // A copy of an image has the same identity, which xfs minds.
        let options = if fs == "xfs" { "loop,nouuid" } else { "loop" };
        let args = ["-o".into(), options.into(), image.clone().into_os_string(), point.clone().into_os_string()];
        if !succeeds("mount", &args) {
            return None;
        }
        read_little_ahead(&point);
        Some(Mounted { image, point })
    }

    /// What a power cut would leave: a copy of the image as it is now, mounted anew.
    pub(crate) fn after_power_cut(&self, fs: &str) -> Mounted {
        let image = self.image.with_extension("cut.img");
        assert!(succeeds("cp", &[&self.image, &image]));
        Mounted::mount(fs, image).unwrap()
    }

    /// Takes it away.
    pub(crate) fn end(self) {
        assert!(succeeds("umount", &[&self.point]));
        fs::remove_file(self.image).unwrap();
        fs::remove_dir(self.point).unwrap();
    }
}

/// A control group (cgroups(7), of either version) that whoever joins may use so much memory in.
pub(crate) struct MemoryGroup(PathBuf);

impl MemoryGroup {
    pub(crate) fn new(bytes: u64) -> MemoryGroup {
        MemoryGroup::make(bytes).unwrap()
    }

    fn make(bytes: u64) -> Option<MemoryGroup> {
        static SERIAL: AtomicUsize = AtomicUsize::new(0);
        let name = format!("zcp-it-{}-{}", std::process::id(), SERIAL.fetch_add(1, Ordering::Relaxed));
        let kinds = [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];
        kinds.into_iter().find_map(|(root, limit)| {
            let group = Path::new(root).join(&name);
            fs::create_dir(&group).ok()?;
            let group = MemoryGroup(group);
            // Only a file that is there is opened: the group says which kind it is.
            let mut limit = File::options().write(true).open(group.0.join(limit)).ok()?;
            limit.write_all(bytes.to_string().as_bytes()).ok().map(|()| group)
        })
    }

    /// The file to write the number of a process to.
    pub(crate) fn join(&self) -> PathBuf {
        self.0.join("cgroup.procs")
    }
}

impl Drop for MemoryGroup {
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

/// Has the kernel read 128 KiB ahead in a file system, its default for disks. A loop device may read megabytes ahead,
/// depending on what holds its image.
fn read_little_ahead(point: &Path) {
    let device = fs::metadata(point).unwrap().dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    // btrfs has a number of its own, which no such file belongs to.
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

/// Starts the tests again where mounts are private, if that is possible; their exit status.
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
