//! `--verify`: a copy that differs from its source is never reported as a success.

use crate::needs::{Mounted, Need, SHM, mounted, trial};
use crate::sandbox::{LONG_AGO, Sandbox, assert_done, noise, stats};
use crate::strace;
use crate::strategies::STRATEGIES;
use filetime::FileTime;
use libtest_mimic::Trial;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The offset that is corrupted: not the start of any block or chunk.
const OFFSET: usize = 1_234_567;
/// The kernel does not permit reading ahead.
const NOTHING_AHEAD: &str = "inject=io_uring_setup:error=EPERM";

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial("verify::sparse_terabyte", &[], sparse_terabyte),
        trial("verify::hole_for_data", &[], hole_for_data),
        trial("verify::streams_are_refused", &[], streams_are_refused),
        trial("verify::resumed_by_content", &[], resumed_by_content),
        trial("verify::cannot_read_back", &[Need::Strace, Need::Mount("ext4")], cannot_read_back),
        trial("verify::file_flipped", &[Need::Strace, Need::Shm], file_flipped),
        trial("verify::ranges_of_a_job", &[Need::Strace, Need::Shm], ranges_of_a_job),
        trial("verify::longest_file", &[Need::Mount("xfs")], longest_file),
        trial("verify::reads_no_more_than_the_file", &[Need::Strace, Need::Mount("ext4")], reads_no_more),
        trial("verify::direct_reads_refused_midway", &[Need::Strace, Need::Mount("ext4")], direct_refused_midway),
        trial(
            "verify::copies_are_read_ahead",
            &[Need::Strace, Need::IoUring, Need::Mount("ext4")],
            copies_are_read_ahead,
        ),
        trial(
            "verify::reading_ahead_fails",
            &[Need::Strace, Need::IoUring, Need::Mount("ext4")],
            reading_ahead_fails,
        ),
        trial("verify::disk_flipped::small_file", &[Need::Strace, Need::Mount("ext4")], small_file_flipped),
        trial("verify::disk_flipped::journaled_data", &[Need::Strace, Need::Mount("ext4")], journaled_data),
    ];
    for fs in ["ext4", "xfs", "btrfs"] {
        trials.push(trial(format!("verify::tree_on_{fs}"), &[Need::Mount(fs)], move || {
            tree(mounted(fs).unwrap(), 0)
        }));
    }
    trials.push(trial("verify::good_copy_stays", &[Need::Strace], good_copy_stays));
    trials.push(trial(
        "verify::interrupted_overwriting_is_repeated",
        &[Need::Strace],
        interrupted_overwriting_is_repeated,
    ));
    trials.push(trial("verify::counts_a_file_once", &[Need::Strace], counts_a_file_once));
    trials.push(trial("verify::tree_on_tmpfs", &[Need::Shm], || tree(SHM, 10)));
    for strategy in STRATEGIES.into_iter().filter(|strategy| *strategy != "reflink") {
        let needs = [Need::Strace, Need::Mount("ext4")];
        trials.push(trial(format!("verify::disk_flipped::{strategy}"), &needs, move || {
            disk_flipped("ext4", strategy)
        }));
    }
    let needs = [Need::Strace, Need::Mount("xfs")];
    trials.push(trial("verify::disk_flipped::on_xfs", &needs, || disk_flipped("xfs", "splice")));
    let needs = [Need::Strace, Need::Mount("btrfs")];
    trials.push(trial("verify::file_flipped_on_btrfs", &needs, || flip(mounted("btrfs").unwrap(), 3 << 20)));
    trials
}

/// All sizes and shapes are verified, by one worker and by several. `in_cache` is the expected number of files
/// that were read from the page cache.
fn tree(place: impl AsRef<Path>, in_cache: u64) {
    let sandbox = Sandbox::within(place);
    for size in [0, 1, 511, 4095, 4096, 4097, 1_048_575, 1_048_576, 1_048_577, 3_000_000] {
        sandbox.file(format!("src/{size}"), noise(size));
    }
    sandbox.sparse("src/holes", (8 << 20) + 5, &[(5000, b"data"), (4 << 20, &noise(10_000))]);
    for options in ["-rj1", "-rj4", "-r --sparse=always", "-r --sparse=never", "-r --atomic --fsync"] {
        let _ = fs::remove_dir_all(sandbox.path("dst"));
        let args = options.split(' ').chain(["--verify", "--stats=json", "src", "dst"]);
        let output = sandbox.zcp(args).output().unwrap();
        assert_done(&output);
        let totals = &stats(&output)["totals"];
        assert_eq!(
            (&totals["verified"], &totals["verified_in_cache"]),
            (&11.into(), &in_cache.into()),
            "{options}"
        );
        sandbox.snapshot("src").plain().assert_same(&sandbox.snapshot("dst").plain());
    }
}

/// The number of the openat(2) that opens the copy to read it back.
fn second_opening(sandbox: &Sandbox, args: &[&str]) -> usize {
    let trace = strace::zcp(sandbox, &["-e", "trace=openat"], args);
    assert_done(&trace.output);
    // The thread of the progress bar has a log of its own, in any order.
    let mut openings = trace.lines().filter(|line| line.starts_with("openat("));
    openings.position(|line| line.contains("\"/proc/thread-self/fd/")).unwrap() + 1
}

/// Stops zcp between writing and reading back, and returns its output.
fn stopped_before_reading(
    sandbox: &Sandbox,
    args: &[&str],
    dst: &str,
    corrupt: impl FnMut(usize),
) -> strace::Trace {
    let with = |dst| args.iter().copied().chain(["--verify", "src", dst]).collect::<Vec<_>>();
    let probe = format!("{dst}-probe");
    let number = second_opening(sandbox, &with(&probe));
    let inject = format!("inject=openat:signal=STOP:when={number}");
    strace::zcp_with_stops(sandbox, &["-e", "trace=openat", "-e", &inject], &with(dst), corrupt)
}

fn assert_differs(trace: &strace::Trace, dst: &str) {
    let errors = String::from_utf8_lossy(&trace.output.stderr);
    assert_eq!(errors, format!("zcp: verification failed: 'src' and '{dst}' differ at offset {OFFSET}\n"));
    assert_eq!(trace.output.status.code(), Some(1));
}

/// One bit of the disk itself changes, while the page cache still has the right copy.
fn disk_flipped(fs: &'static str, strategy: &str) {
    let disk = Mounted::make(fs).unwrap();
    let sandbox = Sandbox::within(&disk.point);
    flip_on_disk(disk, sandbox, strategy);
}

/// ext4 accepts O_DIRECT for a file whose data it journals, but reads through the page cache.
fn journaled_data() {
    let disk = Mounted::journaling_data().unwrap();
    let sandbox = Sandbox::within(&disk.point);
    flip_on_disk(disk, sandbox, "splice");
}

fn flip_on_disk(disk: Mounted, sandbox: Sandbox, strategy: &str) {
    let bytes = noise(3 << 20);
    sandbox.file("src", &bytes);
    let strategy = format!("--strategy={strategy}");
    let trace = stopped_before_reading(&sandbox, &[&strategy], "dst", |_| {
        flip_block(&disk, &bytes, OFFSET);
        // The page cache does not see the change.
        assert!(["src", "dst"].iter().all(|name| fs::read(sandbox.path(name)).unwrap() == bytes));
    });
    assert_differs(&trace, "dst");
    drop(sandbox);
    disk.end();
}

/// Changes a bit of a file's content on the disk, wherever the disk has it.
fn flip_block(disk: &Mounted, bytes: &[u8], offset: usize) {
    rustix::fs::syncfs(File::open(&disk.point).unwrap()).unwrap();
    let start = offset - offset % 4096;
    let image = File::options().read(true).write(true).open(&disk.image).unwrap();
    for place in places(&disk.image, &bytes[start..start + 4096]) {
        let at = place + (offset % 4096) as u64;
        let mut byte = [0];
        image.read_exact_at(&mut byte, at).unwrap();
        image.write_all_at(&[byte[0] ^ 4], at).unwrap();
    }
}

/// One of several small files that are copied together changes on the disk before they are read back.
fn small_file_flipped() {
    let disk = Mounted::make("ext4").unwrap();
    let sandbox = Sandbox::within(&disk.point);
    let content = |number: usize| noise(5000 + number)[number..].to_vec();
    (0..9).for_each(|number| _ = sandbox.file(format!("src/{number}"), content(number)));
    let options = ["-e", "trace=io_uring_setup", "-e", "inject=io_uring_setup:signal=STOP:when=1"];
    let args = ["-rj1", "--verify", "src", "dst"];
    let trace = strace::zcp_with_stops(&sandbox, &options, &args, |_| flip_block(&disk, &content(6), 4000));
    let errors = String::from_utf8_lossy(&trace.output.stderr);
    assert_eq!(errors, "zcp: verification failed: 'src/6' and 'dst/6' differ at offset 4000\n");
    assert_eq!(trace.output.status.code(), Some(1));
    drop(sandbox);
    disk.end();
}

/// The offsets at which an image contains the block.
fn places(image: &Path, block: &[u8]) -> Vec<u64> {
    let image = File::open(image).unwrap();
    let mut found = Vec::new();
    for span in crate::snapshot::spans(&image) {
        let mut bytes = vec![0; (span.end - span.start) as usize];
        image.read_exact_at(&mut bytes, span.start).unwrap();
        let blocks = bytes.chunks(block.len()).enumerate().filter(|(_, bytes)| *bytes == block);
        found.extend(blocks.map(|(index, _)| span.start + (index * block.len()) as u64));
    }
    assert!(!found.is_empty());
    found
}

/// A byte of the copy changes in the usual way, through the file system.
fn flip(place: impl AsRef<Path>, size: usize) {
    let sandbox = Sandbox::within(place);
    sandbox.file("src", noise(size)).dir("to");
    let trace = stopped_before_reading(&sandbox, &[], "to/dst", |_| {
        let dst = File::options().write(true).open(sandbox.path("to/dst")).unwrap();
        dst.write_all_at(&[noise(OFFSET + 1)[OFFSET] ^ 4], OFFSET as u64).unwrap();
    });
    assert_differs(&trace, "to/dst");
    assert_eq!(fs::metadata(sandbox.path("to/dst")).unwrap().len(), size as u64);
}

/// A changed byte on tmpfs, also in a file that two threads read, and with `--atomic` over an old file, which then stays.
fn file_flipped() {
    flip(SHM, 3 << 20);
    flip(SHM, 16 << 20);
    let sandbox = Sandbox::within(SHM);
    sandbox.file("src", noise(3 << 20)).file("to/dst", "old").file("to/dst-probe", "old");
    let trace = stopped_before_reading(&sandbox, &["--atomic"], "to/dst", |_| {
        let names = fs::read_dir(sandbox.path("to")).unwrap().map(|entry| entry.unwrap().path());
        let temporary = names.into_iter().find(|path| path.to_str().unwrap().contains("/.zcp-")).unwrap();
        let dst = File::options().write(true).open(temporary).unwrap();
        dst.write_all_at(&[noise(OFFSET + 1)[OFFSET] ^ 4], OFFSET as u64).unwrap();
    });
    assert_differs(&trace, "to/dst");
    assert_eq!(fs::read(sandbox.path("to/dst")).unwrap(), b"old");
    assert_eq!(fs::read_dir(sandbox.path("to")).unwrap().count(), 2);
}

/// A part of a job compares the ranges that it copies. A range that differs is copied again.
fn ranges_of_a_job() {
    let sandbox = Sandbox::within(SHM);
    let bytes = noise(16 << 20);
    sandbox.file("src", &bytes);
    let plan = |job: &str, dst: &str| {
        let job = format!("--plan={job}");
        let args = ["--verify", &job, "--parts=1", "--split-over=8M", "src", dst];
        sandbox.zcp(args).assert().success();
    };
    plan("probe", "dst-probe");
    let number = second_opening(&sandbox, &["--run=probe", "--part=0", "-j1"]);
    plan("job", "dst");
    let run = ["--run=job", "--part=0", "-j1"];
    let inject = format!("inject=openat:signal=STOP:when={number}");
    let trace = strace::zcp_with_stops(&sandbox, &["-e", "trace=openat", "-e", &inject], &run, |_| {
        let names = fs::read_dir(sandbox.path("")).unwrap().map(|entry| entry.unwrap().path());
        let ours = |path: &Path| path.to_string_lossy().contains(".zcp-job-");
        for path in names.filter(|path| ours(path) && fs::metadata(path).unwrap().len() == bytes.len() as u64) {
            let copy = File::options().write(true).open(path).unwrap();
            copy.write_all_at(&[bytes[OFFSET] ^ 4], OFFSET as u64).unwrap();
        }
    });
    assert_eq!(trace.output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&trace.output.stderr).into_owned();
    assert!(errors.contains(&format!("/dst' differ at offset {OFFSET}")), "{errors}");
    sandbox.zcp(run).assert().success().stderr("");
    let output = sandbox.zcp(["--finish=job", "--stats=json"]).output().unwrap();
    assert_done(&output);
    assert_eq!(stats(&output)["totals"]["verified"], 1);
    assert!(fs::read(sandbox.path("dst")).unwrap() == bytes);
}

/// A terabyte of holes is not read; otherwise the trial would not end in time.
fn sparse_terabyte() {
    let sandbox = Sandbox::new();
    sandbox.sparse("src", 1 << 40, &[(1 << 30, b"data"), ((1 << 40) - 5, b"end")]);
    let output = sandbox.zcp(["--verify", "--stats=json", "src", "dst"]).output().unwrap();
    assert_done(&output);
    assert_eq!(stats(&output)["totals"]["verified"], 1);
}

/// A hole where the source has data, and the reverse: different, unless the data is zeros.
fn hole_for_data() {
    let sandbox = Sandbox::new();
    let (size, mut zeros) = (4 << 20, noise(4 << 20));
    zeros[1 << 20..3 << 20].fill(0);
    let complete = || {
        let output = sandbox.zcp(["--resume", "--verify", "--stats=json", "src", "dst"]).output().unwrap();
        assert_done(&output);
        assert_eq!(fs::read(sandbox.path("src")).unwrap(), fs::read(sandbox.path("dst")).unwrap());
        stats(&output)["totals"]["complete"] == 1
    };
    let half = 1_usize << 20;
    sandbox.file("src", noise(size)).sparse("dst", size as u64, &[(0, &noise(half))]);
    assert!(!complete());
    sandbox.sparse("src", size as u64, &[(0, &noise(half))]).file("dst", noise(size));
    assert!(!complete());
    sandbox.file("src", &zeros).sparse("dst", size as u64, &[(0, &zeros[..half]), (3 << 20, &zeros[3 << 20..])]);
    assert!(complete());
}

fn streams_are_refused() {
    let sandbox = Sandbox::new();
    sandbox.file("src", "text").fifo("fifo");
    let output = sandbox.zcp(["--verify", "/dev/zero", "dst"]).output().unwrap();
    let words = "zcp: cannot verify a copy of '/dev/zero': it can be read only once\n";
    assert_eq!((String::from_utf8_lossy(&output.stderr), output.status.code()), (words.into(), Some(1)));
    let output = sandbox.zcp(["--verify", "src", "/dev/null"]).output().unwrap();
    let words = "zcp: cannot verify '/dev/null': it cannot be read back\n";
    assert_eq!((String::from_utf8_lossy(&output.stderr), output.status.code()), (words.into(), Some(1)));
    assert!(!sandbox.path("dst").exists());
    // A fifo that is copied as a fifo has no content to compare.
    assert_done(&sandbox.zcp(["-r", "--verify", "fifo", "dst"]).output().unwrap());
}

/// With `--resume --verify`, the content decides, not the times.
fn resumed_by_content() {
    let sandbox = Sandbox::new();
    let mut wrong = noise(300_000);
    wrong[200_000] ^= 1;
    sandbox.file("src/wrong", noise(300_000)).file("dst/wrong", &wrong);
    sandbox.file("src/late", noise(300_000)).file("dst/late", noise(300_000)).time("dst/late", FileTime::now());
    sandbox.dir("src");
    // Without `--verify`, the difference is not noticed.
    let run = |options: &[&str]| {
        let args = options.iter().chain(&["-r", "--resume", "--stats=json", "-T", "src", "dst"]);
        let output = sandbox.zcp(args).output().unwrap();
        assert_done(&output);
        let totals = stats(&output)["totals"].clone();
        (totals["complete"].as_u64().unwrap(), totals["files"].as_u64().unwrap())
    };
    assert_eq!(run(&["--verify"]), (1, 1));
    sandbox.snapshot("src").assert_same(&sandbox.snapshot("dst"));
    let time = FileTime::from_last_modification_time(&fs::metadata(sandbox.path("dst/late")).unwrap());
    assert_eq!(time, LONG_AGO);
    sandbox.file("dst/wrong", &wrong);
    assert_eq!(run(&[]), (2, 0));
}

/// With `--resume --verify`, a good copy stays if its source cannot be read, or if a signal comes while they are compared.
fn good_copy_stays() {
    for fault in ["error=EIO:when=6+", "signal=INT:when=3"] {
        let sandbox = Sandbox::new();
        sandbox.file("src", noise(7 << 20));
        assert_done(&sandbox.zcp(["-a", "src", "dst"]).output().unwrap());
        let source = sandbox.path("src");
        let inject = format!("inject=pread64,splice,sendfile,copy_file_range:{fault}");
        let options = ["-P", source.to_str().unwrap(), "-e", &inject];
        let output = strace::zcp(&sandbox, &options, &["-aT", "--resume", "--verify", "src", "dst"]).output;
        assert!(!output.status.success(), "{output:?}");
        assert_eq!(fs::read(sandbox.path("dst")).unwrap(), noise(7 << 20), "{fault}");
    }
}

/// An existing file that was overwritten, but not verified because of a signal, does not look complete to `-u`.
fn interrupted_overwriting_is_repeated() {
    let sandbox = Sandbox::new();
    sandbox.file("src", noise(7 << 20)).mode("src", 0o640).file("dst", "old");
    let source = sandbox.path("src");
    let options = ["-P", source.to_str().unwrap(), "-e", "inject=pread64:signal=INT:when=3"];
    let output = strace::zcp(&sandbox, &options, &["-aT", "--verify", "src", "dst"]).output;
    assert!(!output.status.success(), "{output:?}");
    assert_done(&sandbox.zcp(["-auT", "src", "dst"]).output().unwrap());
    sandbox.snapshot("src").assert_same(&sandbox.snapshot("dst"));
}

/// A file that is copied again, because it could not get its name, is verified once in the statistics.
fn counts_a_file_once() {
    let sandbox = Sandbox::new();
    sandbox.file("src", noise(5000));
    let options = ["-e", "inject=linkat:error=EPERM"];
    let trace = strace::zcp(&sandbox, &options, &["--atomic", "--verify", "--stats=json", "src", "dst"]);
    assert_done(&trace.output);
    assert_eq!(trace.injected(), 1);
    let totals = &stats(&trace.output)["totals"];
    assert_eq!((&totals["files"], &totals["verified"]), (&1.into(), &1.into()));
}

/// Nothing can be read ahead, and the second read of the copy of a large file fails: source and copy take turns.
fn second_read_fails(errno: &str) -> [String; 4] {
    let second = format!("inject=pread64:error={errno}:when=4");
    ["-e".into(), NOTHING_AHEAD.into(), "-e".into(), second]
}

/// The copy is read from the disk, and a read error is reported.
fn cannot_read_back() {
    let sandbox = Sandbox::within(mounted("ext4").unwrap());
    sandbox.file("src", noise(3 << 20));
    let trace = strace::zcp(&sandbox, &second_read_fails("EIO"), &["--verify", "src", "dst"]);
    assert_eq!(String::from_utf8_lossy(&trace.output.stderr), "zcp: cannot read back 'dst': Input/output error\n");
    assert_eq!(trace.output.status.code(), Some(1));
}

/// The kernel would fill what a direct read asks for beyond the end of the file with zeros.
fn reads_no_more() {
    let sandbox = Sandbox::within(mounted("ext4").unwrap());
    sandbox.file("src/one", noise(5000)).file("src/page", noise(4096));
    let options = ["-e", "trace=pread64,io_uring_setup", "-e", NOTHING_AHEAD];
    let trace = strace::zcp(&sandbox, &options, &["-r", "--verify", "src", "dst"]);
    assert_done(&trace.output);
    let reads: Vec<_> = trace.lines().filter(|line| line.contains("/dst/")).collect();
    assert_eq!(reads.iter().filter(|line| line.contains(", 8192, 0) = ")).count(), 2, "{reads:?}");
}

/// Small and larger files, which are read ahead.
fn to_read_ahead() -> Sandbox {
    let sandbox = Sandbox::within(mounted("ext4").unwrap());
    (0..9).for_each(|number| _ = sandbox.file(format!("src/{number}"), noise(number * 1000)));
    sandbox.file("src/large", noise(3 << 20));
    sandbox
}

/// No copy is read by a call of its own.
fn copies_are_read_ahead() {
    let sandbox = to_read_ahead();
    let options = ["-e", "trace=pread64"];
    let trace = strace::zcp(&sandbox, &options, &["-r", "--verify", "--stats=json", "src", "dst"]);
    assert_done(&trace.output);
    assert_eq!(stats(&trace.output)["totals"]["verified"], 10);
    let reads = |tree: &str| trace.lines().filter(|line| line.contains(tree)).count();
    assert!(reads("/src/") >= 10 && reads("/dst/") == 0);
}

/// If the kernel ends what was begun, at any call, all is read in the ordinary way.
fn reading_ahead_fails() {
    let sandbox = to_read_ahead();
    let mut failed = 0;
    loop {
        let inject = format!("inject=io_uring_enter:error=EBUSY:when={}", failed + 1);
        let args = ["-rj1", "--verify", "--stats=json", "-T", "src", "dst"];
        let trace = strace::zcp(&sandbox, &["-e", &inject], &args);
        assert_done(&trace.output);
        assert_eq!(stats(&trace.output)["totals"]["verified"], 10);
        sandbox.snapshot("src").plain().assert_same(&sandbox.snapshot("dst").plain());
        fs::remove_dir_all(sandbox.path("dst")).unwrap();
        if trace.injected() == 0 {
            break;
        }
        failed += 1;
    }
    assert!(failed > 2, "{failed}");
}

/// If O_DIRECT is refused in the middle of a file, the rest is read without it, still from the disk.
fn direct_refused_midway() {
    let sandbox = Sandbox::within(mounted("ext4").unwrap());
    sandbox.file("src", noise(3 << 20));
    let options = second_read_fails("EINVAL");
    let trace = strace::zcp(&sandbox, &options, &["--verify", "--stats=json", "src", "dst"]);
    assert_done(&trace.output);
    assert_eq!(trace.injected(), 2);
    let totals = &stats(&trace.output)["totals"];
    assert_eq!((&totals["verified"], &totals["verified_in_cache"]), (&1.into(), &0.into()));
}

/// No read goes beyond the largest possible offset.
fn longest_file() {
    let sandbox = Sandbox::within(mounted("xfs").unwrap());
    let longest = i64::MAX as u64;
    sandbox.sparse("src", longest, &[(1 << 30, b"data"), (longest - 10, b"end")]);
    for strategy in STRATEGIES.into_iter().filter(|strategy| *strategy != "mmap") {
        let strategy = format!("--strategy={strategy},read_write");
        assert_done(&sandbox.zcp([&strategy, "--verify", "src", "dst"]).output().unwrap());
        let copy = File::open(sandbox.path("dst")).unwrap();
        assert_eq!(copy.metadata().unwrap().len(), longest);
        for (offset, data) in [(1 << 30, "data"), (longest - 10, "end")] {
            let mut read = vec![0; data.len()];
            copy.read_exact_at(&mut read, offset).unwrap();
            assert_eq!(read, data.as_bytes(), "{strategy}");
        }
        fs::remove_file(sandbox.path("dst")).unwrap();
    }
}
