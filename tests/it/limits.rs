//! Limits on a copy: bandwidth (`--bwlimit`) and the page cache (`--cache`).

use crate::needs::{Need, SHM, mounted, trial};
use crate::sandbox::{Sandbox, assert_done, noise, stats};
use libtest_mimic::Trial;
use std::fs::File;
use std::path::Path;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("limits::bandwidth", &[Need::Shm], bandwidth),
        trial("limits::bandwidth_of_a_pipe", &[Need::Shm], bandwidth_of_a_pipe),
        trial("limits::bandwidth_can_be_stopped", &[Need::Shm], bandwidth_can_be_stopped),
        trial("limits::refusals", &[], refusals),
        trial("limits::cache", &[Need::Mount("ext4"), Need::Program("fincore")], cache),
        trial("limits::cache_of_many", &[Need::Mount("ext4"), Need::Program("fincore")], cache_of_many),
        trial("limits::cache_of_ranges", &[Need::Mount("ext4"), Need::Program("fincore")], cache_of_ranges),
        trial("limits::cache_by_the_kernel", &[Need::Mount("ext4"), Need::Strace], cache_by_the_kernel),
    ]
}

/// The copy is not faster than the limit, with any strategy and any number of workers. How much slower it is
/// does not matter here.
fn bandwidth() {
    let sandbox = Sandbox::within(SHM);
    for n in 0..8 {
        sandbox.file(format!("src/{n}"), noise(256 << 10));
    }
    for told in
        [&["-j1"][..], &["-j4"], &["--strategy=sendfile"], &["--strategy=read_write"], &["--sparse=always"]]
    {
        let output = sandbox
            .zcp(["-r", "--stats=json", "--bwlimit=4MiB"])
            .args(told)
            .args(["src", "dst"])
            .output()
            .unwrap();
        assert_done(&output);
        let elapsed = stats(&output)["elapsed_ns"].as_f64().unwrap() / 1e9;
        // 2 MiB at 4 MiB/s, less the bytes that the limit allows to catch up.
        assert!(elapsed >= 0.39, "{told:?}: {elapsed} s");
        sandbox.snapshot("src").plain().assert_same(&sandbox.snapshot("dst").plain());
        std::fs::remove_dir_all(sandbox.path("dst")).unwrap();
    }
}

/// A source without a length is limited as well.
fn bandwidth_of_a_pipe() {
    let sandbox = Sandbox::within(SHM);
    let mut command = sandbox.zcp(["--stats=json", "--bwlimit=2MiB", "/dev/stdin", "dst"]);
    let output = command.write_stdin(noise(1 << 20)).output().unwrap();
    assert_done(&output);
    assert!(stats(&output)["elapsed_ns"].as_f64().unwrap() / 1e9 >= 0.39, "{output:?}");
    assert_eq!(std::fs::read(sandbox.path("dst")).unwrap(), noise(1 << 20));
}

/// At one byte per second the file would take a day.
fn bandwidth_can_be_stopped() {
    let sandbox = Sandbox::within(SHM);
    sandbox.file("src", noise(100_000));
    let cancel = zcp::Cancel::new();
    let canceller = cancel.clone();
    let mut options = zcp::CopyOptions::new();
    options.bandwidth_limit(1).cancel_by(&cancel);
    let told = options.on_progress(move |progress| {
        if progress.bytes > 0 {
            canceller.cancel();
        }
    });
    let error = told.copy([sandbox.path("src")], sandbox.path("dst")).unwrap_err();
    assert!(matches!(error, zcp::Error::Cancelled(_)), "{error:?}");
}

fn refusals() {
    let sandbox = Sandbox::new();
    sandbox.file("a", "");
    for (arg, words) in [
        ("--bwlimit=fast", "zcp: invalid rate: 'fast' (bytes a second, such as 500K, 20MiB, 1.5GB)\n"),
        (
            "--cache=lose",
            "zcp: invalid argument 'lose' for '--cache'\nValid arguments are:\n  - 'keep'\n  - 'drop'\n",
        ),
    ] {
        let output = sandbox.zcp([arg, "a", "b"]).output().unwrap();
        let hint = "Try 'zcp --help' for more information.\n";
        assert_eq!(String::from_utf8_lossy(&output.stderr), format!("{words}{hint}"));
    }
}

/// The bytes of a file that are in the page cache.
fn cached(path: &Path) -> u64 {
    let output = std::process::Command::new("fincore").args(["-b", "-n", "-o", "RES"]).arg(path).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

/// Makes a file on the disk of which nothing is in the page cache.
fn cold(sandbox: &Sandbox, name: &str, bytes: Vec<u8>) {
    sandbox.file(name, bytes);
    let file = File::open(sandbox.path(name)).unwrap();
    file.sync_all().unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    assert_eq!(cached(&sandbox.path(name)), 0, "the cache keeps what it is told to forget");
}

/// Like [`cached`], after a sync: pages that were written past the cache (RWF_DONTCACHE) leave it when they are
/// on the disk. A few pages that the kernel is using at that moment may stay.
fn cached_after_sync(path: &Path) -> u64 {
    let file = File::open(path).unwrap();
    file.sync_all().unwrap();
    let left = cached(path);
    if left <= file.metadata().unwrap().len() / 100 { 0 } else { left }
}

/// A file of several windows, with each strategy: only pages that were there before remain in the cache.
fn cache() {
    let sandbox = Sandbox::within(mounted("ext4").unwrap());
    const SIZE: u64 = 12 << 20;
    let copy = |told: &[&str]| {
        let output = sandbox.zcp(told).args(["src", "dst"]).output().unwrap();
        assert_done(&output);
        let left = (cached(&sandbox.path("src")), cached_after_sync(&sandbox.path("dst")));
        assert_eq!(std::fs::read(sandbox.path("dst")).unwrap(), noise(SIZE as usize));
        std::fs::remove_file(sandbox.path("dst")).unwrap();
        left
    };
    let all = "--strategy=copy_file_range,splice,sendfile,mmap,read_write";
    let one = ["copy_file_range", "splice", "sendfile", "mmap", "read_write"].map(|s| format!("--strategy={s}"));
    for strategy in one.iter().map(String::as_str).chain([all, "--sparse=always", "--reflink=auto"]) {
        let told = ["--cache=drop", strategy];
        // To look whether a page is there starts read-ahead, and a fast disk may have read it by then.
        let left: Vec<_> = (0..5)
            .map(|_| {
                cold(&sandbox, "src", noise(SIZE as usize));
                copy(&told)
            })
            .take_while(|left| *left != (0, 0))
            .collect();
        assert!(left.len() < 5, "{strategy}: {left:?}");
        // The kernel may reclaim a page meanwhile.
        let left: Vec<_> = (0..3)
            .map(|_| {
                std::fs::read(sandbox.path("src")).unwrap();
                copy(&told)
            })
            .take_while(|left| *left != (SIZE, 0))
            .collect();
        assert!(left.len() < 3, "{strategy}, and the source was there before: {left:?}");
    }
    cold(&sandbox, "src", noise(SIZE as usize));
    assert_eq!(copy(&["--cache=keep"]), (SIZE, SIZE), "else the figures above say nothing");
}

/// Small files are collected and flushed together, the last of them at the end.
fn cache_of_many() {
    let sandbox = Sandbox::within(mounted("ext4").unwrap());
    for n in 0..150 {
        cold(&sandbox, &format!("src/{n}"), noise(5000 + 100 * n));
    }
    let output = sandbox.zcp(["-a", "-j2", "--cache=drop", "src", "dst"]).output().unwrap();
    assert_done(&output);
    for n in 0..150 {
        let left = ["src", "dst"].map(|dir| cached_after_sync(&sandbox.path(format!("{dir}/{n}"))));
        assert_eq!(left, [0, 0], "{n}");
    }
    sandbox.snapshot("src").assert_same(&sandbox.snapshot("dst"));
}

/// The ranges of a large file that parts of a job copy: at most the read-ahead remains in the cache.
fn cache_of_ranges() {
    let sandbox = Sandbox::within(mounted("ext4").unwrap());
    const SIZE: u64 = 80 << 20;
    cold(&sandbox, "src/large", noise(SIZE as usize));
    let run = |args: &[&str]| assert_done(&sandbox.zcp(args).output().unwrap());
    run(&["-a", "--plan=job", "--parts=2", "--split-over=16M", "src", "dst"]);
    for part in ["--part=0", "--part=1"] {
        run(&["--run=job", part, "-j1", "--cache=drop"]);
    }
    run(&["--finish=job"]);
    let left = ["src/large", "dst/large"].map(|name| cached(&sandbox.path(name)));
    assert!(left.iter().all(|left| *left < SIZE / 8), "{left:?}");
    sandbox.snapshot("src").assert_same(&sandbox.snapshot("dst"));
}

/// Where the kernel can, read and write go past the cache. Otherwise pages are dropped afterwards. The
/// destination is complete in both cases, holes included.
fn cache_by_the_kernel() {
    let sandbox = Sandbox::within(mounted("ext4").unwrap());
    let pieces: [(u64, &[u8]); 2] = [(64 << 10, &[1; 5000]), (20 << 20, &[2; 70_000])];
    sandbox.sparse("src/sparse", 30 << 20, &pieces).file("src/empty", "").file("src/small", "small");
    sandbox.file("src/large", noise(5 << 20));
    for (inject, dontcache) in [(None, true), (Some("preadv2"), false), (Some("pwritev2"), false)] {
        let inject = inject.map(|call| format!("inject={call}:error=EOPNOTSUPP"));
        let mut strace = vec!["-e", "trace=preadv2,pwritev2,fadvise64,sendfile,splice"];
        strace.extend(inject.iter().flat_map(|inject| ["-e", inject.as_str()]));
        let trace =
            crate::strace::zcp(&sandbox, &strace, &["-a", "-j1", "--stats=json", "--cache=drop", "src", "dst"]);
        assert_done(&trace.output);
        let lines: Vec<_> = trace.lines().collect();
        let lines: Vec<_> = lines.into_iter().filter(|line| !line.contains("RWF_NOWAIT")).collect();
        let count = |words: &str| lines.iter().filter(|line| line.contains(words)).count();
        if dontcache && count("EOPNOTSUPP") == 0 {
            assert_eq!((count("fadvise64"), count("sendfile"), count("splice")), (0, 0, 0), "{lines:#?}");
            let calls = &stats(&trace.output)["strategies"]["read_write"]["calls"];
            for call in ["preadv2", "pwritev2"] {
                assert_eq!(calls[call], count(&format!("{call}(")), "{calls}: {lines:#?}");
            }
        } else {
            assert!(count("fadvise64") > 0 && count("sendfile") > 0 && count("EOPNOTSUPP") == 1, "{lines:#?}");
        }
        sandbox.snapshot("src").assert_same(&sandbox.snapshot("dst"));
        std::fs::remove_dir_all(sandbox.path("dst")).unwrap();
    }
    // An empty file has no byte with which to try whether the kernel can.
    let options = ["-e", "inject=ftruncate:error=EIO"];
    let trace = crate::strace::zcp(&sandbox, &options, &["--cache=drop", "src/empty", "src/small", "."]);
    assert_done(&trace.output);
    assert_eq!(std::fs::read(sandbox.path("empty")).unwrap(), b"");
    assert_eq!(std::fs::read(sandbox.path("small")).unwrap(), b"small");
}
