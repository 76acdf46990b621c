//! The ladder with injected faults: whichever call fails, at the start or in the middle of a file, the next
//! strategy continues from the same byte. A fault that no strategy can avoid ends the file with a clear message.

use crate::needs::{Need, mounted, trial};
use crate::sandbox::{Sandbox, assert_done, bytes_by, noise, stats};
use crate::strace;
use crate::strategies::STRATEGIES;
use libtest_mimic::Trial;
use rustix::io::Errno;

/// A call that moves data, and the file by which strace recognises it.
#[derive(Clone, Copy, Debug)]
struct Site {
    strategy: &'static str,
    call: &'static str,
    file: &'static str,
    /// The message when this call meets a full disk. `None` if that does not end the file.
    words: Option<&'static str>,
}

const fn site(strategy: &'static str, call: &'static str, file: &'static str, words: &'static str) -> Site {
    Site { strategy, call, file, words: Some(words) }
}

const SITES: [Site; 7] = [
    site("reflink", "ioctl", "into/src", "failed to clone 'into/src' from 'src'"),
    site("copy_file_range", "copy_file_range", "src", "error copying 'src' to 'into/src'"),
    site("splice", "splice", "src", "error reading 'src'"),
    site("splice", "splice", "into/src", "error writing 'into/src'"),
    site("sendfile", "sendfile", "src", "error copying 'src' to 'into/src'"),
    // Lack of address space does not end the file.
    Site { strategy: "mmap", call: "mmap", file: "src", words: None },
    site("mmap", "pwrite64", "into/src", "error writing 'into/src'"),
];

const READ_WRITE: [Site; 2] = [
    site("read_write", "pread64", "src", "error reading 'src'"),
    site("read_write", "pwrite64", "into/src", "error writing 'into/src'"),
];

/// Errors that concern the call, and whether they are remembered for other files.
const REFUSALS: [(&str, Errno, bool); 7] = [
    ("EXDEV", Errno::XDEV, true),
    ("EINVAL", Errno::INVAL, false),
    ("ENOSYS", Errno::NOSYS, true),
    ("EOPNOTSUPP", Errno::OPNOTSUPP, true),
    ("EPERM", Errno::PERM, false),
    ("ETXTBSY", Errno::TXTBSY, false),
    ("EBADF", Errno::BADF, false),
];

/// Errors that concern the disk.
const ENDS: [(&str, Errno); 4] =
    [("ENOSPC", Errno::NOSPC), ("EIO", Errno::IO), ("EDQUOT", Errno::DQUOT), ("EROFS", Errno::ROFS)];

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    let mut add = |name: String, run: Box<dyn FnOnce() + Send>| {
        trials.push(trial(format!("faults::{name}"), &[Need::Strace], run));
    };
    for site in SITES {
        let Site { strategy, call, file, .. } = site;
        let place = format!("{strategy}::{call}({})", file.trim_end_matches("/src"));
        for (name, errno, remembered) in REFUSALS {
            let fault = format!("error={name}");
            for when in moments(strategy) {
                let fault = fault.clone();
                add(
                    format!("steps_down::{place}::{name}@{when}"),
                    Box::new(move || steps_down(site, &fault, name, when)),
                );
            }
            add(format!("forced::{place}::{name}"), Box::new(move || forced_alone(site, name, errno)));
            add(format!("learns::{place}::{name}"), Box::new(move || learns(site, name, remembered)));
        }
        for when in moments(strategy).filter(|_| !matches!(call, "ioctl" | "mmap")) {
            let run = move || steps_down(site, "retval=0", "EARLY_END", when);
            add(format!("early_end::{place}@{when}"), Box::new(run));
        }
    }
    for site in SITES.into_iter().chain(READ_WRITE) {
        for (name, errno) in ENDS.into_iter().filter(|_| site.words.is_some()) {
            let place = format!("{}::{}({})", site.strategy, site.call, site.file.trim_end_matches("/src"));
            add(format!("ends::{place}::{name}"), Box::new(move || ends_the_file(site, name, errno)));
        }
    }
    for site in READ_WRITE {
        for name in ["EINTR", "EAGAIN"] {
            add(format!("retried::{}::{name}", site.call), Box::new(move || retried(site, name)));
        }
    }
    for strategy in STRATEGIES.into_iter().filter(|strategy| *strategy != "reflink") {
        add(format!("dense::{strategy}"), Box::new(move || dense(strategy)));
        add(format!("file_size_limit::{strategy}"), Box::new(move || file_size_limit(strategy)));
    }
    add("staircase".into(), Box::new(staircase));
    add("down_to_read_write".into(), Box::new(down_to_read_write));
    add("small_pipe".into(), Box::new(small_pipe));
    add("no_offsets".into(), Box::new(no_offsets));
    add("denied_data".into(), Box::new(denied_data));
    add("leased".into(), Box::new(leased));
    let needs = [Need::Strace, Need::Mount("btrfs")];
    trials.push(trial("faults::clone_after_another_strategy", &needs, clone_after_another_strategy));
    trials
}

/// Which calls of the strategy are to fail. A clone is one call for the whole file.
fn moments(strategy: &str) -> impl Iterator<Item = u32> + use<> {
    let moments: &[u32] = if strategy == "reflink" { &[1] } else { &[1, 3] };
    moments.iter().copied()
}

/// The number of data bytes in [`in_pieces`].
const DATA: u64 = 5 * 102_400;

/// A file with five pieces of data between holes, so that each strategy makes five calls.
fn in_pieces() -> Sandbox {
    let sandbox = Sandbox::new();
    let bytes = noise(DATA as usize);
    let pieces: Vec<_> = (0..5).map(|i| (i << 20, &bytes[i as usize * 102_400..][..102_400])).collect();
    sandbox.sparse("src", (5 << 20) + 7, &pieces).file("other", "other").dir("into");
    sandbox
}

/// Runs zcp with one worker and the fault injected into the call.
fn sabotage(sandbox: &Sandbox, site: Site, fault: &str, args: &[&str]) -> strace::Trace {
    let path = sandbox.path(site.file);
    let inject = format!("inject={}:{fault}", site.call);
    let args = [&["-j1", "--stats=json"], args].concat();
    strace::zcp(sandbox, &["-P", path.to_str().unwrap(), "-e", &inject], &args)
}

/// The strategy and all that follow it.
fn ladder_from(strategy: &str) -> String {
    let index = STRATEGIES.iter().position(|name| *name == strategy).unwrap();
    format!("--strategy={}", STRATEGIES[index..].join(","))
}

fn assert_copied(sandbox: &Sandbox) {
    let [source, copy] = ["src", "into/src"].map(|name| std::fs::read(sandbox.path(name)).unwrap());
    assert!(source == copy, "the copy differs ({} and {} bytes)", source.len(), copy.len());
}

fn words(errno: Errno) -> String {
    let text = std::io::Error::from(errno).to_string();
    text.split(" (os error").next().unwrap().to_owned()
}

/// The next strategy continues from the same byte, and the reason is recorded.
fn steps_down(site: Site, fault: &str, reason: &str, when: u32) {
    let sandbox = in_pieces();
    let trace =
        sabotage(&sandbox, site, &format!("{fault}:when={when}"), &[&ladder_from(site.strategy), "src", "into"]);
    assert_eq!(trace.injected(), 1);
    assert_done(&trace.output);
    assert_copied(&sandbox);
    let stats = stats(&trace.output);
    let left = &stats["strategies"][site.strategy]["step_downs"];
    assert_eq!((&left[0]["errno"], &left[0]["count"]), (&reason.into(), &1.into()), "{stats}");
    assert_eq!(left.as_array().unwrap().len(), 1, "{stats}");
    let next = STRATEGIES[STRATEGIES.iter().position(|strategy| *strategy == site.strategy).unwrap() + 1];
    let before = u64::from(when - 1) * 102_400;
    assert_eq!((bytes_by(&stats, site.strategy), bytes_by(&stats, next)), (before, DATA - before), "{stats}");
}

/// Without another strategy, there is an error that names the reason, no file, and no other strategy is used.
fn forced_alone(site: Site, name: &str, errno: Errno) {
    for when in moments(site.strategy) {
        let sandbox = in_pieces();
        let only = format!("--strategy={}", site.strategy);
        let fault = format!("error={name}:when={when}");
        let trace = sabotage(&sandbox, site, &fault, &[&only, "src", "other", "into"]);
        let stats = stats(&trace.output);
        let errors = String::from_utf8_lossy(&trace.output.stderr);
        let said = match site.strategy {
            "reflink" => "failed to clone 'into/src' from 'src'".to_owned(),
            strategy => format!("cannot copy 'src' to 'into/src' by {strategy}"),
        };
        let line = format!("zcp: {said}: {}\n", words(errno));
        assert!(errors.starts_with(&line), "{errors}");
        assert_eq!(trace.output.status.code(), Some(1));
        assert_eq!(stats["errors"][0]["errno"], name);
        assert!(stats["strategies"].as_object().unwrap().keys().all(|path| path == site.strategy), "{stats}");
        assert!(!sandbox.path("into/src").exists());
    }
}

/// A file that reports to have no offsets is read and written at its current position, which SEEK_DATA has
/// moved.
fn no_offsets() {
    for site in READ_WRITE {
        for when in ["1", "2+"] {
            let sandbox = in_pieces();
            let fault = format!("error=ESPIPE:when={when}");
            let trace = sabotage(&sandbox, site, &fault, &["--strategy=read_write", "src", "into"]);
            assert!(trace.injected() > 0);
            assert_done(&trace.output);
            assert_copied(&sandbox);
        }
    }
}

/// Data that is reported to be a hole is found, and data that was copied before is not copied again.
fn denied_data() {
    let sandbox = in_pieces();
    let path = sandbox.path("src");
    // After the first piece (SEEK_DATA, SEEK_HOLE), no more data is reported.
    let options = ["-P", path.to_str().unwrap(), "-e", "inject=lseek:error=ENXIO:when=3+"];
    let args = ["--stats=json", "--strategy=splice,read_write", "src", "into"];
    let trace = strace::zcp(&sandbox, &options, &args);
    assert!(trace.injected() > 0);
    assert_done(&trace.output);
    assert_copied(&sandbox);
    let stats = stats(&trace.output);
    assert_eq!((bytes_by(&stats, "splice"), bytes_by(&stats, "read_write")), (102_400, DATA - 102_400), "{stats}");
    assert_eq!(stats["totals"]["bytes_holes"], (5 << 20) + 7 - DATA, "{stats}");
}

/// open(2) of a file on which a server holds a lease fails with EWOULDBLOCK; zcp opens it again and waits.
fn leased() {
    // First the source, then the destination, which has the same name in its directory.
    for when in 1..=2 {
        let sandbox = in_pieces();
        sandbox.file("into/src", "old");
        let inject = format!("inject=openat:error=EAGAIN:when={when}");
        let trace = strace::zcp(&sandbox, &["-P", "src", "-e", &inject], &["src", "into"]);
        assert_eq!(trace.injected(), 1);
        assert!(trace.output.status.success(), "{:?}", trace.output);
        assert_copied(&sandbox);
        let opened: Vec<_> = trace.lines().filter(|line| line.starts_with("openat(")).collect();
        assert!(opened.len() == 3 && !opened[when].contains("O_NONBLOCK"), "{opened:?}");
    }
}

/// An error that concerns the kernel or the pair of devices is met once; an error that concerns a file is met
/// for each.
fn learns(site: Site, name: &str, remembered: bool) {
    let sandbox = Sandbox::new();
    let names = ["a", "b", "c"];
    let mut options = vec!["-e".to_owned(), format!("inject={}:error={name}:when=1+", site.call)];
    for file in names {
        sandbox.file(format!("src/{file}"), noise(5000));
        let tree = if site.file == "src" { "src" } else { "dst" };
        options.extend(["-P".into(), sandbox.path(format!("{tree}/{file}")).to_str().unwrap().into()]);
    }
    let last_is_another_call = if site.call == "pwrite64" { "sendfile" } else { "read_write" };
    let ladder = format!("--strategy={},{last_is_another_call}", site.strategy);
    let trace = strace::zcp(&sandbox, &options, &["-rj1", "--stats=json", &ladder, "src", "dst"]);
    assert_done(&trace.output);
    sandbox.snapshot("src").plain().assert_same(&sandbox.snapshot("dst").plain());
    let asked = if remembered { 1 } else { 3 };
    let stats = stats(&trace.output);
    assert_eq!(trace.injected(), asked, "{stats}");
    assert_eq!(stats["strategies"][site.strategy]["step_downs"][0]["count"], asked, "{stats}");
    assert_eq!(bytes_by(&stats, last_is_another_call), 15_000, "{stats}");
}

/// A full or broken disk: the file fails in cp's words, and the others are copied.
fn ends_the_file(site: Site, name: &str, errno: Errno) {
    for when in moments(site.strategy) {
        let sandbox = in_pieces();
        let fault = format!("error={name}:when={when}");
        let args = ["--keep-going", &ladder_from(site.strategy), "src", "other", "into"];
        let trace = sabotage(&sandbox, site, &fault, &args);
        let line = format!("zcp: {}: {}\n", site.words.unwrap(), words(errno));
        assert_eq!(String::from_utf8_lossy(&trace.output.stderr), line);
        assert_eq!(trace.output.status.code(), Some(1));
        assert_eq!(trace.injected(), 1);
        let stats = stats(&trace.output);
        assert_eq!((&stats["errors"][0]["errno"], &stats["totals"]["failed"]), (&name.into(), &1.into()));
        assert_eq!(std::fs::read(sandbox.path("into/other")).unwrap(), b"other");
    }
}

/// EINTR and EAGAIN do not end a copy.
fn retried(site: Site, name: &str) {
    let sandbox = in_pieces();
    let args = ["--strategy=read_write", "src", "into"];
    let trace = sabotage(&sandbox, site, &format!("error={name}:when=2..3"), &args);
    assert_eq!(trace.injected(), 2);
    assert_done(&trace.output);
    assert_copied(&sandbox);
}

/// The middle of a file without holes, beyond the most bytes that one call is asked for.
fn dense(strategy: &'static str) {
    let sandbox = Sandbox::new();
    let mut bytes = noise((1 << 20) + 1).repeat(64);
    bytes.extend_from_slice(b"the end");
    sandbox.file("src", &bytes).dir("into");
    let calls = SITES.into_iter().chain(READ_WRITE).find(|site| site.strategy == strategy).unwrap();
    let (fault, args) = match strategy {
        "read_write" => ("error=EINTR:when=2", vec!["--strategy=read_write".to_owned()]),
        _ => ("error=EINVAL:when=2", vec![ladder_from(strategy)]),
    };
    let args: Vec<_> = args.iter().map(String::as_str).chain(["src", "into"]).collect();
    let trace = sabotage(&sandbox, calls, fault, &args);
    assert_eq!(trace.injected(), 1);
    assert_done(&trace.output);
    assert_copied(&sandbox);
    let stats = stats(&trace.output);
    assert!(bytes_by(&stats, strategy) > 0, "{stats}");
    assert_eq!(stats["totals"]["bytes_moved"], bytes.len());
}

/// RLIMIT_FSIZE makes the kernel write fewer bytes than asked for, and then refuse.
fn file_size_limit(strategy: &str) {
    let sandbox = Sandbox::new();
    sandbox.file("src", noise(300_000));
    let script = "trap '' XFSZ; ulimit -f 100; exec \"$0\" \"$@\"";
    let ladder = ladder_from(strategy);
    let args = ["-c", script, crate::sandbox::ZCP, "--stats=json", &ladder, "src", "dst"];
    let output = sandbox.command("sh").args(args).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.ends_with("error writing 'dst': File too large\n"), "{errors}");
    // `ulimit -f` counts in units of 512 or 1024 bytes, depending on the shell.
    let copy = std::fs::read(sandbox.path("dst")).unwrap();
    assert!([51_200, 102_400].contains(&copy.len()) && noise(300_000).starts_with(&copy));
    // read_write does not count the bytes that a failed series of writes had written before the failure.
    let moved = stats(&output)["totals"]["bytes_moved"].as_u64().unwrap() as usize;
    assert!(moved == copy.len() || (strategy == "read_write" && moved < copy.len()), "{moved}");
}

/// Each strategy copies one piece and is refused at the second: the file changes its strategy five times.
fn staircase() {
    let sandbox = in_pieces();
    let path = sandbox.path("src");
    let mut options = vec!["-P".to_owned(), path.to_str().unwrap().to_owned()];
    for call in ["copy_file_range", "splice", "sendfile", "mmap"] {
        options.extend(["-e".to_owned(), format!("inject={call}:error=EINVAL:when=2")]);
    }
    let ladder = ladder_from("copy_file_range");
    let trace = strace::zcp(&sandbox, &options, &["--stats=json", &ladder, "src", "into"]);
    assert_eq!(trace.injected(), 4);
    assert_done(&trace.output);
    assert_copied(&sandbox);
    let stats = stats(&trace.output);
    assert!(STRATEGIES[1..].iter().all(|strategy| bytes_by(&stats, strategy) == DATA / 5), "{stats}");
}

/// The default ladder if the kernel supports only read and write.
fn down_to_read_write() {
    for (name, ..) in REFUSALS {
        let sandbox = in_pieces();
        let path = sandbox.path("src");
        let inject = format!("inject=copy_file_range,splice,sendfile,mmap:error={name}");
        let options = ["-P", path.to_str().unwrap(), "-e", &inject];
        let trace = strace::zcp(&sandbox, &options, &["--reflink=never", "--stats=json", "src", "into"]);
        assert_done(&trace.output);
        assert_copied(&sandbox);
        let stats = stats(&trace.output);
        assert!(trace.injected() >= 3, "{stats}");
        assert_eq!(bytes_by(&stats, "read_write"), DATA, "{stats}");
    }
}

/// If the kernel grants no large pipe, calls move fewer bytes, and the copy is still complete.
fn small_pipe() {
    let sandbox = in_pieces();
    let options = ["-e", "inject=fcntl:error=EPERM"];
    let trace = strace::zcp(&sandbox, &options, &["--strategy=splice", "--stats=json", "src", "into"]);
    assert!(trace.injected() >= 4);
    assert_done(&trace.output);
    assert_copied(&sandbox);
    let calls = stats(&trace.output)["strategies"]["splice"]["calls"]["splice"].as_u64().unwrap();
    assert!(calls > 10, "{calls} calls, as with a large pipe");
}

/// A clone copies a file completely or not at all. A clone that another strategy precedes says nothing about the
/// next file.
fn clone_after_another_strategy() {
    let sandbox = Sandbox::within(mounted("btrfs").unwrap());
    let len = 3_000_000;
    sandbox.file("src/a", noise(len)).file("src/b", noise(len));
    // The first file leaves splice after one call into the pipe and one out of it, the second at once.
    let options = ["-e", "inject=splice:error=EINVAL:when=3+"];
    let args = ["-rj1", "--stats=json", "--strategy=splice,reflink,read_write", "src", "dst"];
    let trace = strace::zcp(&sandbox, &options, &args);
    assert_done(&trace.output);
    sandbox.snapshot("src").plain().assert_same(&sandbox.snapshot("dst").plain());
    let stats = stats(&trace.output);
    let by = |strategy: &str| bytes_by(&stats, strategy);
    assert_eq!((by("reflink"), by("splice") + by("read_write")), (len as u64, len as u64), "{stats}");
}
