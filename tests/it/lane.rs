//! Small files of a new directory, which are copied many at a time. A file that fails is reported alone, an
//! interruption leaves no incomplete file, and all other kinds of files are copied as usual.

use crate::needs::{Need, SHM, trial};
use crate::sandbox::{LONGEST, Sandbox, ZCP, assert_done, noise, stats};
use crate::strace;
use libtest_mimic::Trial;
use std::fs;
use std::process::Output;
use std::time::Instant;

/// More files than are copied at a time.
const FILES: usize = 40;

pub(crate) fn trials() -> Vec<Trial> {
    let needs = [Need::Strace, Need::Shm];
    vec![
        trial("lane::closed_together", &needs, closed_together),
        trial("lane::one_fails_alone", &needs, one_fails_alone),
        trial("lane::stopped", &needs, stopped),
        trial("lane::name_is_taken", &needs, name_is_taken),
        trial("lane::order_of_names", &[Need::Shm], order_of_names),
        trial("lane::busy_worker_holds_no_names", &[Need::Shm], busy_worker_holds_no_names),
        trial("lane::few_descriptors", &[Need::Shm], few_descriptors),
    ]
}

fn name(number: usize) -> String {
    format!("f{number:02}")
}

fn tree() -> Sandbox {
    let sandbox = Sandbox::within(SHM);
    for number in 0..FILES {
        sandbox.file(format!("src/{}", name(number)), noise(1000 + 37 * number));
    }
    sandbox
}

fn assert_same_content(sandbox: &Sandbox) {
    sandbox.snapshot("src").plain().assert_same(&sandbox.snapshot("dst").plain());
}

/// A fifo, like a large file, keeps the worker that copies it busy; another worker takes the names behind it.
fn busy_worker_holds_no_names() {
    let sandbox = Sandbox::within(SHM);
    // In the middle, whichever end of the directory is listed first.
    for number in 0..FILES {
        if number == FILES / 2 {
            sandbox.fifo("src/fifo");
        }
        sandbox.file(format!("src/{}", name(number)), noise(1000 + 37 * number));
    }
    // A process that has both ends open lets readers wait.
    let both = fs::File::options().read(true).write(true).open(sandbox.path("src/fifo")).unwrap();
    let mut command = sandbox.std_command(ZCP, "zcp");
    command.args(["-r", "-j2", "--copy-contents", "src", "dst"]);
    let mut copy = command.spawn().unwrap();
    let is_whole = |number: usize| {
        fs::metadata(sandbox.path(format!("dst/{}", name(number))))
            .is_ok_and(|file| file.len() == 1000 + 37 * number as u64)
    };
    let start = Instant::now();
    while !(0..FILES).all(is_whole) && start.elapsed() < LONGEST {
        std::thread::yield_now();
    }
    let all_came = (0..FILES).all(is_whole);
    drop(both);
    assert!(copy.wait().unwrap().success() && all_came);
}

/// Two files of a directory have adjacent descriptors.
fn closed_together() {
    for options in [&["-r"][..], &["-a"], &["-rv"]] {
        let sandbox = tree();
        let args = [options, &["-j1", "--stats=json", "src", "dst"]].concat();
        let trace = strace::zcp(&sandbox, &["-e", "signal=none"], &args);
        assert_eq!(trace.output.status.code(), Some(0), "{options:?}");
        let calls = |start: &str| trace.lines().filter(|line| line.starts_with(start)).count();
        assert!((2..6).contains(&calls("close_range(")), "{options:?}");
        let closes = trace.lines().filter(|line| line.starts_with("close(") && line.contains("st/f"));
        assert_eq!(closes.count(), 0, "{options:?}");
        assert_same_content(&sandbox);
    }
    let sandbox = tree();
    let trace = strace::zcp(&sandbox, &["-e", "inject=close_range:error=ENOSYS"], &["-rj1", "src", "dst"]);
    assert_done(&trace.output);
    assert_same_content(&sandbox);
}

/// Checks for exit status 1, this message, and all files except one.
fn assert_one_failed(sandbox: &Sandbox, output: &Output, words: &str) {
    assert_eq!(String::from_utf8_lossy(&output.stderr), format!("zcp: {words}\n"));
    assert_eq!(output.status.code(), Some(1));
    for number in (0..FILES).filter(|number| *number != 7) {
        let name = name(number);
        let bytes = ["src", "dst"].map(|dir| fs::read(sandbox.path(format!("{dir}/{name}"))).unwrap());
        assert!(bytes[0] == bytes[1], "{name}: {words}");
    }
}

fn one_fails_alone() {
    let cases = [
        ("f07", "openat", "error=EIO", "cannot open 'src/f07' for reading: Input/output error"),
        ("f07", "openat", "error=EIO:when=2+", "cannot create regular file 'dst/f07': Input/output error"),
        ("src/f07", "sendfile", "error=EIO", "error copying 'src/f07' to 'dst/f07': Input/output error"),
        ("dst/f07", "fchmod", "error=EIO", "preserving permissions for 'dst/f07': Input/output error"),
        ("dst/f07", "utimensat", "error=EIO", "preserving times for 'dst/f07': Input/output error"),
    ];
    for (path, call, fault, words) in cases {
        let sandbox = tree();
        let path = if path.contains('/') { sandbox.path(path) } else { path.into() };
        let inject = format!("inject={call}:{fault}");
        let options = ["-P", path.to_str().unwrap(), "-e", &inject];
        let trace = strace::zcp(&sandbox, &options, &["-rj1", "-p", "src", "dst"]);
        assert_one_failed(&sandbox, &trace.output, words);
    }
}

/// Files that have no content yet when a signal comes are removed.
fn stopped() {
    for moment in [1, 20, FILES] {
        let sandbox = tree();
        let inject = format!("inject=sendfile:signal=INT:when={moment}");
        let trace = strace::zcp(&sandbox, &["-e", &inject], &["-rj1", "src", "dst"]);
        assert!(!trace.output.status.success());
        let copied = sandbox.snapshot("dst").plain().0;
        let source = sandbox.snapshot("src").plain().0;
        let files = copied.iter().filter(|(_, node)| node.bytes.is_some());
        assert!(files.clone().count() >= moment - 1 && files.clone().count() <= FILES);
        for (name, node) in files {
            assert!(node.bytes == source[name].bytes, "{name:?} at {moment}");
        }
    }
}

/// Another process makes a file in the new directory.
fn name_is_taken() {
    let sandbox = tree();
    let inject = "inject=mkdirat:signal=STOP:when=1";
    let trace = strace::zcp_with_stops(&sandbox, &["-e", inject], &["-rj1", "--stats=json", "src", "dst"], |_| {
        sandbox.file("dst/f07", "in the way").dir("dst/f09");
    });
    let words = "zcp: cannot overwrite directory 'dst/f09' with non-directory 'src/f09'\n";
    assert!(String::from_utf8_lossy(&trace.output.stderr).starts_with(words), "{:?}", trace.output);
    assert_eq!(stats(&trace.output)["totals"]["files"], FILES as u64 - 1);
    assert!(fs::read(sandbox.path("dst/f07")).unwrap() == fs::read(sandbox.path("src/f07")).unwrap());
}

/// Among others, and as where each file is copied by itself (`--resume`).
fn order_of_names() {
    let sandbox = tree();
    let piece = noise(5000);
    sandbox.file("src/large", noise(300_000)).sparse("src/sparse", 60_000, &[(40_000, &piece)]);
    sandbox.symlink("f01", "src/link").hard_link("src/f02", "src/other").fifo("src/fifo").dir("src/sub");
    let run = |options: &[&str]| {
        let output = sandbox.zcp([options, &["-avj1", "src", "dst"]].concat()).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        sandbox.snapshot("src").assert_same(&sandbox.snapshot("dst").without(|_| ()));
        fs::remove_dir_all(sandbox.path("dst")).unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let together = run(&[]);
    assert_eq!(together, run(&["--resume"]));
    assert_eq!(together.lines().count(), FILES + 7);
}

fn few_descriptors() {
    let sandbox = tree();
    for limit in [20, 32, 48, 64, 100] {
        for jobs in ["-j1", "-j4"] {
            let script = format!("ulimit -n {limit} && exec \"$0\" \"$@\"");
            let program = crate::sandbox::ZCP;
            let args = ["-c", &script, program, "-r", jobs, "src", "dst"];
            assert_done(&sandbox.command("sh").args(args).output().unwrap());
            assert_same_content(&sandbox);
            fs::remove_dir_all(sandbox.path("dst")).unwrap();
        }
    }
}
