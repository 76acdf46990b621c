//! File systems that are full, out of inodes, over quota, read-only or gone, and limits of the process: real
//! ones, on small images.

use crate::law;
use crate::needs::{Image, Need, trial};
use crate::sandbox::{Sandbox, ZCP, assert_done, noise};
use crate::strace;
use crate::strategies::STRATEGIES;
use libtest_mimic::Trial;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for fs in ["ext4", "xfs", "btrfs"] {
        trials.push(trial(format!("disks::full::{fs}"), &[Need::Mount(fs)], move || full(fs)));
    }
    trials.extend([
        trial("disks::no_inodes", &[Need::Mount("ext4")], no_inodes),
        trial("disks::quota", &[Need::Mount("btrfs"), Need::Program("btrfs")], quota),
        trial("disks::read_only_between_files", &[Need::Mount("ext4"), Need::Strace], read_only_between_files),
        trial("disks::broken_midway", &[Need::Mount("ext4"), Need::Strace], broken_midway),
        trial("disks::unmounted_lazily", &[Need::Mount("ext4"), Need::Strace], unmounted_lazily),
        trial("disks::few_descriptors", &[], few_descriptors),
        trial("disks::deep_with_few_descriptors", &[], deep_with_few_descriptors),
        trial("disks::little_address_space", &[], little_address_space),
        trial("disks::little_memory", &[Need::Root, Need::MemoryGroup], little_memory),
    ]);
    trials
}

/// A tree that does not fit: small files in two directories, and large ones, one of them with a hole.
fn too_much(sandbox: &Sandbox) {
    let bytes = noise(3 << 20);
    for index in 0..150 {
        sandbox.file(format!("src/small{}/{index}", index % 2), &bytes[index * 1000..][..index * 100]);
    }
    for index in 0..4 {
        sandbox.file(format!("src/large/{index}"), &bytes[index..]);
    }
    sandbox.sparse("src/large/sparse", 5 << 20, &[(1 << 20, &bytes[..1 << 20]), (3 << 20, &bytes[7..1 << 20])]);
}

/// A file system with room for about 4 MiB, so that only some files fit, with each strategy and with several
/// workers.
fn full(fs: &str) {
    // `-m 0` reserves no blocks for root.
    let disk = Image::new(fs, if fs == "ext4" { &["-m", "0"] } else { &[] });
    let source = Sandbox::new();
    too_much(&source);
    let sandbox = Sandbox::within(disk.path());
    assert_done(&source.command("cp").args(["-r", "src"]).arg(sandbox.path("")).output().unwrap());
    fill(&sandbox, 4 << 20);
    let ways = STRATEGIES
        .into_iter()
        .filter(|strategy| *strategy != "reflink")
        .map(|strategy| format!("--strategy={strategy}"));
    let mut failed = 0;
    for way in ways.chain(["-j1", "-j4", "-a", "--atomic"].map(String::from)) {
        let output = sandbox.zcp(["-r", "--keep-going", "--reflink=never", &way, "-T", "src", "dst"]).output();
        let output = output.unwrap();
        law::assert_kept(&sandbox, "src", "dst", &output);
        failed += usize::from(String::from_utf8_lossy(&output.stderr).contains(": No space left on device\n"));
        fs::remove_dir_all(sandbox.path("dst")).unwrap();
        rustix::fs::syncfs(File::open(disk.path()).unwrap()).unwrap();
    }
    assert!(failed >= 7, "the disk was full for {failed} ways only");
}

/// Fills the file system until about `room` bytes are left.
fn fill(sandbox: &Sandbox, room: u64) {
    let free = |path: &Path| {
        let stat = rustix::fs::statvfs(path).unwrap();
        stat.f_bavail * stat.f_frsize
    };
    let mut index = 0;
    let mut size = free(&sandbox.path(""));
    while size >= 64 << 10 && index < 200 {
        let left = free(&sandbox.path(""));
        if left <= room {
            break;
        }
        size = size.min(left - room);
        let file = File::create(sandbox.path(format!("fill{index}"))).unwrap();
        if rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, size.max(4096)).is_err() {
            size /= 2;
        }
        index += 1;
    }
    rustix::fs::syncfs(File::open(sandbox.path("")).unwrap()).unwrap();
}

fn no_inodes() {
    let disk = Image::new("ext4", &["-N", "64"]);
    let source = Sandbox::new();
    for index in 0..200 {
        source.file(format!("src/{}/{index}", index % 20), noise(index));
    }
    let sandbox = Sandbox::within(disk.path());
    std::os::unix::fs::symlink(source.path("src"), sandbox.path("src")).unwrap();
    for way in ["-j1", "-j4", "--atomic"] {
        let output = sandbox.zcp(["-r", "--keep-going", way, "-T", "src/", "dst"]).output().unwrap();
        law::assert_kept(&sandbox, "src", "dst", &output);
        let errors = String::from_utf8_lossy(&output.stderr);
        for words in ["cannot create regular file", "cannot create directory"] {
            let said =
                errors.lines().any(|line| line.contains(words) && line.ends_with(": No space left on device"));
            assert!(said, "{errors}");
        }
        fs::remove_dir_all(sandbox.path("dst")).unwrap();
    }
}

/// btrfs has its own quotas, whatever the kernel's configuration.
fn quota() {
    let disk = Image::new("btrfs", &[]);
    let btrfs = |args: &[&str]| {
        let done = Command::new("btrfs").args(args).arg(disk.path()).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    };
    let source = Sandbox::new();
    too_much(&source);
    btrfs(&["quota", "enable"]);
    btrfs(&["qgroup", "limit", "4M"]);
    let sandbox = Sandbox::within(disk.path());
    std::os::unix::fs::symlink(source.path("src"), sandbox.path("src")).unwrap();
    let output = sandbox.zcp(["-r", "--keep-going", "-T", "src/", "dst"]).output().unwrap();
    law::assert_kept(&sandbox, "src", "dst", &output);
    assert!(String::from_utf8_lossy(&output.stderr).contains(": Disk quota exceeded\n"), "{output:?}");
}

/// Runs zcp from another file system onto the image. `at_stop` runs when zcp has listed the first directory, or
/// has written to the first file.
fn disturbed(disk: &Image, call: &str, args: &[&str], at_stop: impl Fn()) -> (Sandbox, std::process::Output) {
    let source = Sandbox::new();
    too_much(&source);
    let dst = disk.path().join("dst");
    std::os::unix::fs::symlink(&dst, source.path("dst")).unwrap();
    let inject = format!("inject={call}:signal=STOP:when=1");
    let args = [args, &["--keep-going", "-j1", "-T", "src", dst.to_str().unwrap()]].concat();
    let trace = strace::zcp_with_stops(&source, &["-e", &inject], &args, |_| at_stop());
    (source, trace.output)
}

fn mount(args: &[&str], path: &Path) {
    let done = Command::new("mount").args(args).arg(path).output().unwrap();
    assert!(done.status.success(), "{done:?}");
}

fn read_only_between_files() {
    let disk = Image::new("ext4", &[]);
    let (_, output) = disturbed(&disk, "getdents64", &["-r"], || mount(&["-o", "remount,ro"], disk.path()));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(law::failures(&errors).all(|line| line.ends_with(": Read-only file system")), "{errors}");
    assert!(errors.contains("cannot create directory '") && !errors.contains("panicked"), "{errors}");
}

/// The journal aborts while a file is half written, so the file system becomes read-only.
fn broken_midway() {
    for strategy in STRATEGIES.into_iter().filter(|strategy| !["reflink", "copy_file_range"].contains(strategy)) {
        let disk = Image::new("ext4", &[]);
        let call = match strategy {
            "splice" | "sendfile" => strategy,
            _ => "pwrite64",
        };
        let strategy = format!("--strategy={strategy}");
        // mount may report a failure, although the abort takes place.
        let abort =
            || drop(Command::new("mount").args(["-o", "remount,abort"]).arg(disk.path()).output().unwrap());
        let (source, output) = disturbed(&disk, call, &["-r", &strategy], abort);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{strategy}: {errors}");
        assert!(errors.contains("Read-only file system") || errors.contains("Input/output error"), "{errors}");
        assert!(!errors.contains("panicked"), "{errors}");
        drop(source);
    }
}

/// The file system is unmounted lazily. The copy continues through its descriptors into the same place.
fn unmounted_lazily() {
    let disk = Image::new("ext4", &[]);
    let root = File::open(disk.path()).unwrap();
    let unmount = || {
        let done = Command::new("umount").arg("--lazy").arg(disk.path()).status().unwrap();
        assert!(done.success());
    };
    let (source, output) = disturbed(&disk, "splice", &["-r"], unmount);
    assert_done(&output);
    let there = format!("/proc/{}/fd/{}/dst", std::process::id(), root.as_raw_fd());
    let done = Command::new("diff").arg("-r").arg(source.path("src")).arg(there).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    assert!(!disk.path().join("dst").exists());
}

/// Runs zcp in a shell that first sets a limit.
fn limited(sandbox: &Sandbox, limit: &str, args: &[&str]) -> std::process::Output {
    let script = format!("ulimit {limit}; exec \"$0\" \"$@\"");
    sandbox.command("sh").args(["-c", &script, ZCP]).args(args).output().unwrap()
}

fn few_descriptors() {
    let sandbox = Sandbox::new();
    for index in 0..300 {
        sandbox.file(format!("src/{}/{}/{index}", index % 7, index % 11), noise(index * 300));
    }
    for limit in ["-n 24", "-n 32", "-n 64"] {
        for jobs in ["-j1", "-j8", "-j64"] {
            assert_done(&limited(&sandbox, limit, &["-a", jobs, "src", "dst"]));
            sandbox.snapshot("src").assert_same(&sandbox.snapshot("dst"));
            fs::remove_dir_all(sandbox.path("dst")).unwrap();
        }
    }
    // Too few descriptors to copy anything: each file is reported.
    let output = limited(&sandbox, "-n 6", &["-a", "-T", "src", "dst"]);
    law::assert_kept(&sandbox, "src", "dst", &output);
}

/// zcp returns from the bottom of a deep tree step by step, not by a new search from the top for each level. The
/// number of calls shows it.
fn deep_with_few_descriptors() {
    const DEPTH: usize = 700;
    let sandbox = Sandbox::new();
    let mut name = String::from("src");
    for level in 0..DEPTH {
        sandbox.file(format!("{name}/f"), level.to_string());
        name.push_str("/d");
    }
    let counted = |jobs: &str| {
        let script = "ulimit -n 32; exec strace -f -c -e trace=openat -o log \"$0\" \"$@\"";
        let args = ["-c", script, ZCP, "-a", jobs, "src", "dst"];
        assert_done(&sandbox.command("sh").args(args).output().unwrap());
        sandbox.snapshot("src").assert_same(&sandbox.snapshot("dst"));
        fs::remove_dir_all(sandbox.path("dst")).unwrap();
        let log = fs::read_to_string(sandbox.path("log")).unwrap();
        let line = log.lines().find(|line| line.ends_with("openat")).unwrap().to_owned();
        line.split_whitespace().nth(3).unwrap().parse::<usize>().unwrap()
    };
    assert_done(&limited(&sandbox, "-n 32", &["-a", "-j8", "src", "dst"]));
    sandbox.snapshot("src").assert_same(&sandbox.snapshot("dst"));
    fs::remove_dir_all(sandbox.path("dst")).unwrap();
    if std::env::var_os("CI").is_some() || Command::new("strace").arg("-V").output().is_ok() {
        for jobs in ["-j1", "-j8"] {
            let opens = counted(jobs);
            assert!(opens < 12 * DEPTH, "{jobs}: {opens} directories and files opened for {DEPTH} levels");
        }
    }
}

fn little_address_space() {
    let sandbox = Sandbox::new();
    too_much(&sandbox);
    for kib in [65_536, 32_768, 16_384, 8192] {
        for jobs in ["-j1", "-j4"] {
            let output = limited(&sandbox, &format!("-v {kib}"), &["-r", jobs, "-T", "src", "dst"]);
            assert!(output.status.success() || kib < 65_536, "{output:?}");
            // With less memory the loader or the allocator may give up. Then zcp must not report success.
            if output.status.success() {
                sandbox.snapshot("src").plain().assert_same(&sandbox.snapshot("dst").plain());
            }
            let _ = fs::remove_dir_all(sandbox.path("dst"));
        }
    }
}

/// 64 MiB for everything, the page cache included.
fn little_memory() {
    let group = crate::needs::ControlGroup::of_memory(64 << 20).unwrap();
    let sandbox = Sandbox::new();
    let bytes = noise(1 << 20).repeat(100);
    sandbox.file("src/large", &bytes);
    for index in 0..20_000 {
        File::create(sandbox.path(format!("src/{index}-{}", "x".repeat(100)))).unwrap();
    }
    for jobs in ["-j1", "-j8"] {
        let script = format!("echo $$ > {}; exec \"$0\" \"$@\"", group.join().display());
        assert_done(&sandbox.command("sh").args(["-c", &script, ZCP, "-r", jobs, "src", "dst"]).output().unwrap());
        assert!(fs::read(sandbox.path("dst/large")).unwrap() == bytes);
        assert_eq!(fs::read_dir(sandbox.path("dst")).unwrap().count(), 20_001);
        fs::remove_dir_all(sandbox.path("dst")).unwrap();
    }
}
