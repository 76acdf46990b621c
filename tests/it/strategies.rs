//! Each strategy alone, on each file system that is available: it copies all bytes, or reports that it cannot
//! and leaves no file.

use crate::needs::{Need, SHM, mounted, trial};
use crate::sandbox::{Sandbox, assert_done, noise, stats};
use crate::strace;
use libtest_mimic::Trial;
use std::path::Path;

/// The strategies, in the ladder's order.
pub(crate) const STRATEGIES: [&str; 6] =
    ["reflink", "copy_file_range", "splice", "sendfile", "mmap", "read_write"];

const SIZES: [usize; 10] =
    [0, 1, 4095, 4096, 4097, (64 << 10) - 1, 64 << 10, (64 << 10) + 1, (1 << 20) + 1, 5 << 20];

/// A file system to copy on.
#[derive(Clone, Copy, Debug)]
enum Place {
    Temporary,
    Shm,
    Image(&'static str),
}

impl Place {
    const ALL: [Place; 5] =
        [Place::Temporary, Place::Shm, Place::Image("ext4"), Place::Image("xfs"), Place::Image("btrfs")];

    fn name(self) -> &'static str {
        match self {
            Place::Temporary => "tmp",
            Place::Shm => "shm",
            Place::Image(fs) => fs,
        }
    }

    fn needs(self) -> Vec<Need> {
        match self {
            Place::Temporary => vec![],
            Place::Shm => vec![Need::Shm],
            Place::Image(fs) => vec![Need::Mount(fs)],
        }
    }

    fn sandbox(self) -> Sandbox {
        match self {
            Place::Temporary => Sandbox::new(),
            Place::Shm => Sandbox::within(SHM),
            Place::Image(fs) => Sandbox::within(mounted(fs).unwrap()),
        }
    }

    /// Whether files on it can share blocks.
    fn clones(self) -> bool {
        matches!(self, Place::Image("xfs" | "btrfs"))
    }
}

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for place in Place::ALL {
        for strategy in STRATEGIES.into_iter().filter(|strategy| *strategy != "reflink" || place.clones()) {
            let name = format!("strategies::alone::{}::{strategy}", place.name());
            trials.push(trial(name, &place.needs(), move || moves_everything(place, strategy)));
        }
        let name = format!("strategies::default::{}", place.name());
        trials.push(trial(name, &place.needs(), move || default_ladder(place)));
        for strategy in STRATEGIES.into_iter().filter(|strategy| *strategy != "reflink" || place.clones()) {
            let name = format!("strategies::unknown_file_system::{}::{strategy}", place.name());
            let needs = [place.needs(), vec![Need::Strace]].concat();
            trials.push(trial(name, &needs, move || unknown_file_system(place, strategy)));
        }
    }
    let images = [Need::Mount("xfs"), Need::Mount("btrfs")];
    trials.push(trial("strategies::no_clone_on_tmpfs", &[Need::Shm], no_clone_on_tmpfs));
    trials.push(trial("strategies::no_clone_across", &images, no_clone_across));
    trials.push(trial("strategies::streams_refuse", &[], streams_refuse));
    trials.push(trial("strategies::small_files_share_blocks", &images, small_files_share_blocks));
    trials.push(trial("strategies::reflink_modes", &images, reflink_modes));
    trials
}

/// A sandbox with a file of each size, and two files with holes.
fn sizes(place: Place) -> Sandbox {
    let sandbox = place.sandbox();
    for size in SIZES {
        sandbox.file(format!("src/{size}"), noise(size));
    }
    let piece = noise(200_000);
    let pieces: [(u64, &[u8]); 3] = [(0, b"head"), (1 << 20, &piece), (3 << 20, &piece)];
    sandbox.sparse("src/sparse", 8 << 20, &pieces).sparse("src/hole", 1 << 20, &[]);
    sandbox
}

fn moves_everything(place: Place, strategy: &str) {
    let sandbox = sizes(place);
    let args = ["-r", "--stats=json", &format!("--strategy={strategy}"), "src", "dst"];
    let output = sandbox.zcp(args).output().unwrap();
    assert_done(&output);
    sandbox.snapshot("src").plain().assert_same(&sandbox.snapshot("dst").plain());
    let stats = stats(&output);
    let paths: Vec<_> = stats["strategies"].as_object().unwrap().keys().collect();
    assert_eq!(paths, [strategy], "{stats}");
    let logical = (SIZES.iter().sum::<usize>() as u64) + (8 << 20) + (1 << 20);
    assert_eq!(stats["totals"]["bytes_logical"], logical);
    let holes = stats["totals"]["bytes_holes"].as_u64().unwrap();
    assert_eq!(stats["strategies"][strategy]["bytes"], logical - holes);
    if strategy == "reflink" {
        assert_eq!(stats["totals"]["bytes_shared"], logical);
    } else {
        assert!(holes > 7 << 20, "{stats}");
        // Compares where data begins, because xfs may allocate more blocks behind its end than were written.
        let data = |tree: &str| {
            let spans = sandbox.snapshot(tree).0[Path::new("sparse")].spans.clone();
            spans.into_iter().map(|span| span.start).collect::<Vec<_>>()
        };
        assert_eq!(data("src"), data("dst"));
    }
}

fn default_ladder(place: Place) {
    let sandbox = sizes(place);
    let output = sandbox.zcp(["-r", "--stats=json", "src", "dst"]).output().unwrap();
    assert_done(&output);
    sandbox.snapshot("src").plain().assert_same(&sandbox.snapshot("dst").plain());
    let stats = stats(&output);
    for route in stats["routes"].as_array().unwrap() {
        let strategies: Vec<_> =
            route["strategies"].as_array().unwrap().iter().map(|strategy| strategy.as_str().unwrap()).collect();
        let all = STRATEGIES.iter().skip(1).all(|strategy| strategies.contains(strategy));
        assert!(all && strategies.last() == Some(&"read_write"), "not the whole ladder: {route}");
    }
}

/// On an unknown file system, sizes are not trusted: each strategy reads to the end of the file, asks an empty
/// file for bytes, and a clone after another strategy has to recognise that it is finished.
fn unknown_file_system(place: Place, strategy: &str) {
    let sandbox = sizes(place);
    let options = ["-e", "inject=fstatfs:error=ENOSYS"];
    for (to, strategy) in [("dst", strategy.to_owned()), ("dst2", format!("mmap,{strategy},read_write"))] {
        let strategy = format!("--strategy={strategy}");
        let trace = strace::zcp(&sandbox, &options, &["-rj1", "--stats=json", &strategy, "src", to]);
        assert_done(&trace.output);
        assert!(trace.injected() > 0);
        assert_eq!(stats(&trace.output)["routes"][0]["source"], "other");
        sandbox.snapshot("src").plain().assert_same(&sandbox.snapshot(to).plain());
    }
}

/// With `--strategy`, a strategy that cannot copy the file is an error that says why. There is no file, and no
/// other strategy is used.
fn assert_refused(sandbox: &Sandbox, args: &[&str], strategy: &str, errno: &str, words: &str) {
    let output = sandbox.zcp(args).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text.starts_with("zcp: ") && text.ends_with(&format!(": {words}\n")), "{text}");
    let stats = stats(&output);
    assert_eq!(stats["errors"][0]["errno"], errno, "{stats}");
    let others: Vec<_> =
        stats["strategies"].as_object().unwrap().keys().filter(|path| *path != strategy).collect();
    assert!(others.is_empty() && stats["totals"]["bytes_moved"] == 0, "{stats}");
    assert!(!sandbox.path("dst").exists());
}

fn no_clone_on_tmpfs() {
    let sandbox = Sandbox::within(SHM);
    sandbox.file("a", noise(100_000));
    let words = "Operation not supported";
    for how in ["--strategy=reflink", "--reflink=always", "--reflink"] {
        assert_refused(&sandbox, &["--stats=json", how, "a", "dst"], "reflink", "EOPNOTSUPP", words);
    }
}

fn no_clone_across() {
    let (xfs, btrfs) = (Place::Image("xfs").sandbox(), Place::Image("btrfs").sandbox());
    xfs.file("a", noise(100_000));
    let source = xfs.path("a");
    let args = ["--stats=json", "--strategy=reflink", source.to_str().unwrap(), "dst"];
    assert_refused(&btrfs, &args, "reflink", "EXDEV", "Invalid cross-device link");
}

/// Streams cannot be cloned or mapped, and not all calls accept them.
fn streams_refuse() {
    let sandbox = Sandbox::new();
    sandbox.file("a", noise(10));
    for (strategy, errno, words) in [
        ("reflink", "EXDEV", "Invalid cross-device link"),
        ("copy_file_range", "EINVAL", "Invalid argument"),
        ("splice", "EINVAL", "Invalid argument"),
        ("sendfile", "EINVAL", "Invalid argument"),
        ("mmap", "ENODEV", "No such device"),
    ] {
        let args = ["--stats=json", &format!("--strategy={strategy}"), "/dev/null", "dst"];
        assert_refused(&sandbox, &args, strategy, errno, words);
    }
    for strategy in ["splice,read_write", "sendfile,read_write", "read_write"] {
        sandbox.zcp([&format!("--strategy={strategy}"), "/dev/null", "dst"]).assert().success();
        assert_eq!(std::fs::read(sandbox.path("dst")).unwrap(), b"", "{strategy}");
    }
}

/// `--reflink=never` shares no blocks, and copy_file_range must not do so either.
fn reflink_modes() {
    for place in [Place::Image("xfs"), Place::Image("btrfs")] {
        let sandbox = place.sandbox();
        sandbox.file("a", noise(1 << 20));
        for (how, shared) in [("--reflink=auto", 1 << 20), ("--reflink=always", 1 << 20), ("--reflink=never", 0)] {
            let output = sandbox.zcp(["--stats=json", how, "a", "b"]).output().unwrap();
            assert_done(&output);
            let stats = stats(&output);
            assert_eq!(stats["totals"]["bytes_shared"], shared, "{how} {stats}");
            assert!(stats["strategies"].get("copy_file_range").is_none(), "{how} {stats}");
            assert_eq!(std::fs::read(sandbox.path("b")).unwrap(), noise(1 << 20));
        }
    }
}

/// Files of all sizes share blocks with their sources by default, as with cp, whether the copies are new or
/// overwritten.
fn small_files_share_blocks() {
    for place in [Place::Image("xfs"), Place::Image("btrfs")] {
        let sandbox = place.sandbox();
        for size in [1, 4096, 10_000, 60_000] {
            sandbox.file(format!("src/{size}"), noise(size));
        }
        for _ in 0..2 {
            let output = sandbox.zcp(["-rT", "--stats=json", "src", "dst"]).output().unwrap();
            assert_done(&output);
            assert_eq!(stats(&output)["totals"]["bytes_shared"], 74_097, "{place:?}");
            sandbox.snapshot("src").plain().assert_same(&sandbox.snapshot("dst").plain());
        }
    }
}
