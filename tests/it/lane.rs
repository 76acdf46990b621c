//! Small files of one directory, which are copied many at a time. A file that fails is reported alone, an
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
        trial("lane::one_fails_verification", &needs, one_fails_verification),
        trial("lane::stopped", &needs, stopped),
        trial("lane::stopped_in_verification", &needs, stopped_in_verification),
        trial("lane::name_is_taken", &needs, name_is_taken),
        trial("lane::existing_names", &[Need::Shm], existing_names),
        trial("lane::link_in_the_way", &needs, link_in_the_way),
        trial("lane::existing_directory", &needs, existing_directory),
        trial("lane::operands", &needs, operands),
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
    for ((path, call, fault, words), exists) in cases.into_iter().flat_map(|case| [(case, false), (case, true)]) {
        let sandbox = tree();
        if exists {
            sandbox.dir("dst");
        }
        let path = if path.contains('/') { sandbox.path(path) } else { path.into() };
        let inject = format!("inject={call}:{fault}");
        let options = ["-P", path.to_str().unwrap(), "-e", &inject];
        let trace = strace::zcp(&sandbox, &options, &["-rTj1", "-p", "src", "dst"]);
        assert_one_failed(&sandbox, &trace.output, words);
    }
}

/// A file that differs, or cannot be read back, is neither counted as copied nor as verified.
fn one_fails_verification() {
    let cases = [
        ("error=EIO", "cannot read back 'dst/f07': Input/output error"),
        ("retval=0", "verification failed: 'src/f07' and 'dst/f07' differ at offset 0"),
    ];
    for (fault, words) in cases {
        let sandbox = tree();
        let path = sandbox.path("dst/f07");
        let inject = format!("inject=pread64:{fault}");
        let options = ["-P", path.to_str().unwrap(), "-e", &inject];
        let trace = strace::zcp(&sandbox, &options, &["-rj1", "--verify", "--stats=json", "src", "dst"]);
        let errors = String::from_utf8_lossy(&trace.output.stderr);
        assert!(errors.contains(words), "{errors}");
        assert_eq!(trace.output.status.code(), Some(1));
        let totals = &stats(&trace.output)["totals"];
        assert_eq!(totals["files"], FILES as u64 - 1);
        assert_eq!(totals["verified"], FILES as u64 - 1, "{totals}");
        assert_same_content(&sandbox);
    }
}

/// Files that are not verified yet when a signal comes are removed.
fn stopped_in_verification() {
    let sandbox = tree();
    let path = sandbox.path("dst/f07");
    let options = ["-P", path.to_str().unwrap(), "-e", "inject=pread64:signal=INT:when=1"];
    let trace = strace::zcp(&sandbox, &options, &["-rj1", "--verify", "src", "dst"]);
    assert!(!trace.output.status.success());
    let copied = sandbox.snapshot("dst").plain().0;
    let source = sandbox.snapshot("src").plain().0;
    let files: Vec<_> = copied.iter().filter(|(_, node)| node.bytes.is_some()).collect();
    assert!((7..=8).contains(&files.len()), "{}", files.len());
    assert!(files.iter().all(|(name, node)| node.bytes == source[*name].bytes));
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

/// At each position of a lane, and on both sides of its end.
fn existing_names() {
    let run = |options: &[&str], taken: &[usize]| {
        let sandbox = tree();
        sandbox.dir("dst");
        for number in taken {
            sandbox.file(format!("dst/{}", name(*number)), "here before");
        }
        let args = [options, &["-rTj1", "--stats=json", "src", "dst"]].concat();
        let output = sandbox.zcp(args).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{options:?} {taken:?}");
        (sandbox, stats(&output)["totals"]["files"].as_u64().unwrap())
    };
    for position in 0..FILES {
        let (sandbox, files) = run(&[], &[position]);
        assert_same_content(&sandbox);
        assert_eq!(files, FILES as u64, "{position}");
        let (sandbox, files) = run(&["-n"], &[position]);
        assert_eq!(fs::read(sandbox.path(format!("dst/{}", name(position)))).unwrap(), b"here before");
        fs::remove_file(sandbox.path(format!("src/{}", name(position)))).unwrap();
        fs::remove_file(sandbox.path(format!("dst/{}", name(position)))).unwrap();
        assert_same_content(&sandbox);
        assert_eq!(files, FILES as u64 - 1, "{position}");
    }
    let all: Vec<usize> = (0..FILES).collect();
    for taken in [&all[..FILES / 2], &all[FILES / 2..], &all] {
        let (sandbox, files) = run(&["-b"], taken);
        assert_eq!(files, FILES as u64);
        for number in taken {
            assert_eq!(fs::read(sandbox.path(format!("dst/{}~", name(*number)))).unwrap(), b"here before");
            fs::remove_file(sandbox.path(format!("dst/{}~", name(*number)))).unwrap();
        }
        assert_same_content(&sandbox);
    }
}

/// Another process makes symbolic links in an existing directory, when the sources are open.
fn link_in_the_way() {
    let sandbox = tree();
    sandbox.dir("dst").file("victim", "untouched");
    let inject = ["-P", "f07", "-e", "inject=openat:signal=STOP:when=1"];
    let trace = strace::zcp_with_stops(&sandbox, &inject, &["-rTj1", "src", "dst"], |_| {
        sandbox.next_tick().symlink("../victim", "dst/f07").symlink("nowhere", "dst/f08");
    });
    let words = String::from_utf8_lossy(&trace.output.stderr);
    assert!(words.contains("not writing through untrusted symlink 'dst/f07'"), "{words}");
    assert!(words.contains("not writing through dangling symlink 'dst/f08'"), "{words}");
    assert_eq!(trace.output.status.code(), Some(1));
    assert_eq!(fs::read(sandbox.path("victim")).unwrap(), b"untouched");
    assert!(!sandbox.path("dst/nowhere").exists());
    let copied = fs::read_dir(sandbox.path("dst"))
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_type().unwrap().is_file());
    assert_eq!(copied.count(), FILES - 2);
}

/// A new file in an existing directory takes as few calls as one in a new directory; existing files take one more in
/// a directory, not each.
fn existing_directory() {
    let sandbox = tree();
    sandbox.dir("dst");
    let calls = |options: &[&str], call: &str, what: &str| {
        let args = [options, &["-rTj1", "src", "dst"]].concat();
        let trace = strace::zcp(&sandbox, &["-e", "signal=none"], &args);
        assert_done(&trace.output);
        assert_same_content(&sandbox);
        trace.lines().filter(|line| line.starts_with(call) && line.contains(what)).count()
    };
    assert_eq!(calls(&[], "newfstatat(", "\"f"), 0);
    assert!(calls(&[], "openat(", "EEXIST") <= 32);
    let more = FILES * 2;
    for number in FILES..more {
        sandbox.file(format!("src/{}", name(number)), noise(100));
    }
    assert!(calls(&[], "openat(", "EEXIST") <= FILES);
}

/// Each operand is inspected once before it is opened.
fn operands() {
    let sandbox = tree();
    sandbox.dir("dst");
    let names: Vec<String> = (0..FILES).map(|number| format!("src/{}", name(number))).collect();
    let args: Vec<&str> = ["-j2", "-t", "dst"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let trace = strace::zcp(&sandbox, &["-e", "signal=none"], &args);
    assert_done(&trace.output);
    assert_same_content(&sandbox);
    let stats = trace.lines().filter(|line| line.contains("newfstatat(") && line.contains("\"src/f"));
    assert_eq!(stats.count(), FILES);
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
