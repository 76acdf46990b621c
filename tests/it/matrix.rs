//! The fault matrix: each system call that zcp makes on a file or directory fails with each plausible errno, at
//! the first call, in the middle, and from some call on. Either the copy is right to the byte and the exit
//! status is 0, or it is 1, and stderr says what failed, on which file, and why. Everything that stderr does not
//! name is right in any case.
//!
//! The result of each cell is written to `fault-matrix.tsv` in the target directory.

mod judge;
mod stage;

use crate::needs::{Need, trial};
use libtest_mimic::Trial;
use stage::{Fault, Site, Stage};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};

/// The errors that any call may return.
const ERRNOS: [&str; 17] = [
    "ENOSYS",
    "EXDEV",
    "EINVAL",
    "EOPNOTSUPP",
    "EPERM",
    "EACCES",
    "EIO",
    "ENOSPC",
    "EDQUOT",
    "ENOMEM",
    "EINTR",
    "EAGAIN",
    "ETXTBSY",
    "EFBIG",
    "EMFILE",
    "ESTALE",
    "EBADF",
];

/// Calls that move data. They also fail from some call on, and return 0 too early.
const DATA: [&str; 8] =
    ["ioctl", "copy_file_range", "splice", "sendfile", "mmap", "pread64", "pwrite64", "fallocate"];
/// Calls that open, inspect and close.
const NAMES: [&str; 7] = ["openat", "fstat", "newfstatat", "statx", "close", "fstatfs", "statfs"];
/// Calls that list and make names.
const MAKES: [&str; 5] = ["getdents64", "mkdirat", "symlinkat", "readlinkat", "mknodat"];
/// Calls that preserve attributes.
const KEEPS: [&str; 8] =
    ["fchown", "fchownat", "fchmod", "fchmodat", "utimensat", "flistxattr", "fgetxattr", "getxattr"];
const XATTRS: [&str; 5] = ["flistxattr", "llistxattr", "fgetxattr", "lgetxattr", "fsetxattr"];
/// Calls that are made only over an existing tree.
const REPLACES: [&str; 3] = ["renameat", "linkat", "fremovexattr"];

/// A command line of zcp, and the calls that fail in it.
pub(crate) struct Setting {
    name: &'static str,
    args: &'static [&'static str],
    calls: &'static [&'static [&'static str]],
    /// Whether attributes are preserved and compared too.
    full: bool,
    /// Whether the destination exists.
    occupied: bool,
    fs: &'static str,
}

const fn setting(
    name: &'static str,
    args: &'static [&'static str],
    calls: &'static [&'static [&'static str]],
) -> Setting {
    Setting { name, args, calls, full: false, occupied: false, fs: "ext4" }
}

const SETTINGS: [Setting; 20] = [
    setting(
        "default",
        &["-r"],
        &[&["pipe2", "ftruncate", "lseek", "splice", "sendfile", "fallocate"], &NAMES, &MAKES],
    ),
    Setting { fs: "btrfs", ..setting("reflink", &["-r", "--strategy=reflink"], &[&["ioctl", "openat", "close"]]) },
    Setting { fs: "btrfs", ..setting("btrfs", &["-r"], &[&["ioctl"]]) },
    setting(
        "copy_file_range",
        &["-r", "--strategy=copy_file_range"],
        &[&["copy_file_range", "openat", "close", "ftruncate", "lseek"]],
    ),
    setting(
        "splice",
        &["-r", "--strategy=splice"],
        &[&["splice", "pipe2", "openat", "close", "ftruncate", "lseek"]],
    ),
    setting("sendfile", &["-r", "--strategy=sendfile"], &[&["sendfile", "openat", "close", "ftruncate", "lseek"]]),
    setting(
        "mmap",
        &["-r", "--strategy=mmap"],
        &[&["mmap", "pwrite64", "fstat", "newfstatat", "openat", "close", "ftruncate"]],
    ),
    setting(
        "read_write",
        &["-r", "--strategy=read_write"],
        &[&["pread64", "pwrite64", "openat", "close", "ftruncate", "lseek"]],
    ),
    Setting {
        full: true,
        ..setting("archive", &["-a"], &[&KEEPS, &XATTRS, &MAKES, &NAMES, &["linkat", "splice"]])
    },
    Setting { full: true, ..setting("attributes", &["-a", "--preserve=xattr"], &[&XATTRS]) },
    setting("holes", &["-r", "--sparse=always"], &[&["pread64", "pwrite64", "ftruncate", "lseek", "close"]]),
    Setting {
        full: true,
        occupied: true,
        ..setting("backup", &["-ab"], &[&REPLACES, &["openat", "newfstatat", "fchmod", "close"]])
    },
    Setting {
        full: true,
        occupied: true,
        ..setting("remove", &["-a", "--remove-destination"], &[&["unlinkat", "openat", "newfstatat", "symlinkat"]])
    },
    Setting {
        full: true,
        ..setting(
            "atomic",
            &["-a", "--atomic"],
            &[&["openat", "linkat", "fchown", "utimensat", "close", "splice"]],
        )
    },
    Setting {
        full: true,
        occupied: true,
        ..setting(
            "atomic over",
            &["-a", "--atomic"],
            &[&[
                "openat",
                "flock",
                "renameat",
                "unlinkat",
                "fchown",
                "fchmod",
                "fstat",
                "newfstatat",
                "readlinkat",
                "faccessat2",
            ]],
        )
    },
    Setting { full: true, ..setting("fsync", &["-a", "--fsync"], &[&["syncfs", "openat"]]) },
    Setting { full: true, occupied: true, ..setting("durable", &["-a", "--atomic", "--fsync"], &[&["fsync"]]) },
    Setting {
        full: true,
        occupied: true,
        ..setting(
            "resume",
            &["-a", "--resume"],
            &[&["openat", "fstat", "newfstatat", "utimensat", "linkat", "unlinkat"]],
        )
    },
    setting(
        "verify",
        &["-r", "--verify"],
        &[&["pread64", "openat", "fstat", "newfstatat", "fstatfs", "lseek", "close"]],
    ),
    Setting {
        fs: "btrfs",
        ..setting("verify btrfs", &["-r", "--verify"], &[&["pread64", "fdatasync", "fadvise64"]])
    },
];

/// Calls that a setting lists because other file systems, kernels or libcs need them: fstat(3) of glibc 2.33 to
/// 2.38 calls newfstatat(2).
const MAY_BE_MISSING: [&str; 5] = ["statx", "fallocate", "lseek", "statfs", "fstat"];

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    let mut stages = Vec::new();
    for setting in &SETTINGS {
        let needs = [Need::Strace, Need::Mount(setting.fs)];
        let stage: Arc<LazyLock<Stage, _>> = Arc::new(LazyLock::new(|| Stage::set(setting)));
        let mut calls = setting.calls.concat();
        calls.sort_unstable();
        calls.dedup();
        for call in calls {
            let stage = Arc::clone(&stage);
            let name = format!("matrix::{}::{call}", setting.name);
            trials.push(trial(name, &needs, move || sabotage(&stage, call)));
        }
        stages.push(stage);
    }
    let needs = [Need::Strace, Need::Mount("ext4"), Need::Mount("btrfs")];
    trials.push(trial("matrix::enough", &needs, move || {
        enough(&stages.iter().map(|stage| &***stage).collect::<Vec<_>>())
    }));
    trials
}

/// Runs all cells of one call in one setting, and then reports all that are wrong.
fn sabotage(stage: &Stage, call: &str) {
    let sites: Vec<_> = stage.sites().iter().filter(|site| site.call == call).collect();
    assert!(!sites.is_empty() || MAY_BE_MISSING.contains(&call), "{call} is not made any more");
    let mut wrong = Vec::new();
    for site in sites {
        for fault in faults(site) {
            let decision = stage.run(site, &fault);
            let did = decision.as_deref().unwrap_or("WRONG");
            let cell = format!("{}\t{}\t{fault}\t{did}", stage.setting.name, site.label);
            record(&cell);
            wrong.extend(decision.err().map(|why| format!("{cell}: {why}")));
        }
    }
    assert!(wrong.is_empty(), "{} cells are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// The cells of one site.
fn faults(site: &Site) -> Vec<Fault> {
    let mut faults = Vec::new();
    for when in &site.moments {
        faults.extend(ERRNOS.map(|errno| Fault {
            what: format!("error={errno}"),
            errno: Some(errno),
            when: when.to_string(),
        }));
        // For these calls, 0 means that nothing was moved. For other calls a wrong count would be a false
        // report.
        if matches!(site.call.as_str(), "copy_file_range" | "splice" | "sendfile" | "pread64" | "pwrite64") {
            faults.push(Fault { what: "retval=0".into(), errno: None, when: when.to_string() });
        }
    }
    // For lseek, ENXIO is an answer: only a hole is left.
    if site.call == "lseek" {
        let moments = site.moments.iter().flat_map(|when| [when.to_string(), format!("{when}+")]);
        faults.extend(moments.map(|when| Fault { what: "error=ENXIO".into(), errno: Some("ENXIO"), when }));
    }
    // EINTR and EAGAIN ask for a repetition, so calls that always return them are not tried here.
    let lasting = ERRNOS.into_iter().filter(|errno| !matches!(*errno, "EINTR" | "EAGAIN"));
    if DATA.contains(&site.call.as_str()) {
        let from = format!("{}+", site.moments[0]);
        faults.extend(lasting.map(|errno| Fault {
            what: format!("error={errno}"),
            errno: Some(errno),
            when: from.clone(),
        }));
    }
    faults
}

/// The matrix has not shrunk, and zcp makes no call on files that the matrix does not know.
fn enough(stages: &[&Stage]) {
    let mut cells = 0;
    for stage in stages {
        let known = stage.setting.calls.concat();
        cells += stage
            .sites()
            .iter()
            .filter(|site| known.contains(&site.call.as_str()))
            .map(|site| faults(site).len())
            .sum::<usize>();
    }
    assert!(cells >= 1500, "only {cells} cells");
    let known: Vec<_> = SETTINGS.iter().flat_map(|setting| setting.calls.concat()).collect();
    let strange = |site: &&Site| !known.contains(&site.call.as_str());
    let strange: Vec<_> =
        stages.iter().flat_map(|stage| stage.sites()).filter(strange).map(|site| &site.label).collect();
    assert!(strange.is_empty(), "nobody sabotages {strange:?}");
}

/// Adds a line to the table of results.
fn record(line: &str) {
    static TABLE: LazyLock<Mutex<File>> = LazyLock::new(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let mut table = File::create(target.join("fault-matrix.tsv")).unwrap();
        writeln!(table, "setting\tcall\tfault\tdid").unwrap();
        Mutex::new(table)
    });
    writeln!(TABLE.lock().unwrap(), "{line}").unwrap();
}
