//! Several zcp copy one tree to one place at the same time: each reports success, and the tree is right.
//!
//! In some trials one run is stopped after each call that looks at, makes or names a file, and another run does
//! the whole copy meanwhile. In others two or three runs work freely, often enough to show rare faults.

use crate::needs::{Need, SHM, trial};
use crate::sandbox::{Sandbox, ZCP, assert_done, noise};
use crate::snapshot::Snapshot;
use crate::strace;
use filetime::FileTime;
use libtest_mimic::Trial;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A name for each setting, and the options of its runs.
const SETTINGS: [(&str, &[&str]); 17] = [
    ("plain", &["-r"]),
    ("archive", &["-a"]),
    ("update", &["-a", "-u"]),
    ("backup", &["-a", "-b"]),
    ("numbered_backup", &["-r", "--backup=numbered"]),
    ("atomic", &["-r", "--atomic"]),
    ("atomic_archive", &["-a", "--atomic"]),
    ("resume", &["-a", "--resume"]),
    ("atomic_resume", &["-a", "--resume", "--atomic"]),
    ("remove_destination", &["-a", "--remove-destination"]),
    ("atomic_remove_destination", &["-a", "--atomic", "--remove-destination"]),
    ("force", &["-r", "-f"]),
    ("hard_links", &["-r", "-l", "-P"]),
    ("no_clobber", &["-r", "-n"]),
    ("parents", &["-a", "--parents"]),
    ("files_from", &["-r", "--files-from=list"]),
    ("fsync", &["-a", "--fsync"]),
];

/// Settings that make no other system calls where runs can meet. They are tried only with free runs.
const ONLY_FREELY: [&str; 6] =
    ["numbered_backup", "atomic", "atomic_resume", "atomic_remove_destination", "force", "fsync"];

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial("concurrent::leading_directories", &[Need::Strace, Need::Shm], leading_directories),
        trial("concurrent::existing_are_left_alone", &[Need::Strace], existing_are_left_alone),
        trial("concurrent::links_keep_cps_rules", &[Need::Strace], links_keep_cps_rules),
        trial("concurrent::names_of_others_are_refused", &[Need::Strace, Need::Root], names_of_others_are_refused),
        trial("concurrent::one_reading_is_enough", &[Need::Strace], one_reading_is_enough),
    ];
    for (name, options) in SETTINGS {
        let (traced, free) = ("concurrent::stopped_at_each_call", "concurrent::two_and_three");
        if !ONLY_FREELY.contains(&name) {
            let needs = [Need::Strace, Need::Shm];
            trials.push(trial(format!("{traced}::{name}"), &needs, || stopped_at_each_call(options)));
        }
        trials.push(trial(format!("{free}::{name}"), &[Need::Shm], || two_and_three(options)));
    }
    trials
}

/// The operands: from `src` to the place where all runs copy to.
fn operands(options: &[&str]) -> [&'static str; 2] {
    if options.contains(&"--parents") {
        return ["src/0", "dst"];
    }
    [if options.contains(&"--files-from=list") { "src" } else { "src/." }, "dst"]
}

fn tree(directories: usize) -> Sandbox {
    let sandbox = Sandbox::within(SHM);
    for index in 0..directories {
        let name = |rest: &str| format!("src/{index}/{rest}");
        sandbox.file(name("file"), noise(5000 + index)).file(name("in/empty"), "").fifo(name("fifo"));
        sandbox.file(name("in/large"), noise(150_000)).mode(name("in/large"), 0o640).symlink("file", name("link"));
        sandbox.symlink("nowhere", name("dangling")).hard_link(name("file"), name("in/again"));
        sandbox.file(name("in/other"), "x").hard_link(name("in/other"), name("another"));
        sandbox.dir(name("in")).mode(name("in"), 0o750).dir(format!("src/{index}"));
    }
    sandbox.dir("src");
    let mut list = Vec::new();
    paths(&sandbox.path("src"), Path::new(""), &mut list);
    sandbox.file("list", list.join("\n"));
    sandbox
}

fn paths(dir: &Path, name: &Path, list: &mut Vec<String>) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let name = name.join(entry.file_name());
        list.push(name.to_str().unwrap().to_owned());
        if entry.file_type().unwrap().is_dir() {
            paths(&entry.path(), &name, list);
        }
    }
}

/// Another name of a file that is to be overwritten.
const OLD: &str = "old name";

/// The attributes of a tree that the options preserve, without backups.
fn kept(mut snapshot: Snapshot, options: &[&str]) -> Snapshot {
    let keeps = options.contains(&"-a");
    let links = keeps || options.contains(&"-l");
    snapshot.0.retain(|path, _| !path.to_str().unwrap().ends_with('~') && !path.ends_with(OLD));
    // Backups are further names of an inode, which a snapshot does not show.
    let is_backed_up = options.iter().any(|option| option.contains("-b"));
    snapshot.without(|node| {
        node.spans.clear();
        node.mtime = node.mtime.filter(|_| keeps && !is_backed_up);
        node.links = node.links.take().filter(|_| links && !is_backed_up);
    })
}

/// Checks that the copy equals the source.
fn assert_copied(sandbox: &Sandbox, options: &[&str], when: &str) {
    let (from, to) = if options.contains(&"--parents") { ("src/0", "dst/src/0") } else { ("src", "dst") };
    let (source, copy) = (sandbox.snapshot(from), sandbox.snapshot(to));
    let (source, copy) = (kept(source, options), kept(copy, options));
    assert!(source == copy, "{when}:\n{}", source.diff(&copy));
    let left = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".zcp-"));
    assert!(!copy.0.keys().any(|path| left(path)), "{when}: {copy:?}");
}

/// The calls that look at, make, change or name files, or directly precede such a call.
const CALLS: [&str; 16] = [
    "newfstatat",
    "openat",
    "mkdirat",
    "symlinkat",
    "mknodat",
    "linkat",
    "unlinkat",
    "renameat",
    "renameat2",
    "ftruncate",
    "copy_file_range",
    "splice",
    "sendfile",
    "utimensat",
    "fchmod",
    "fchown",
];

fn stopped_at_each_call(options: &[&'static str]) {
    let sandbox = tree(1);
    let args = [options, &operands(options)].concat();
    let slow = [&["-j1"], args.as_slice()].concat();
    let mut stopped = 0;
    for over in [false, true] {
        for call in CALLS {
            for moment in 1.. {
                sandbox.dir("dst");
                if over && !options.contains(&"-l") && !options.contains(&"-n") {
                    let below = if options.contains(&"--parents") { "dst/src/0" } else { "dst/0" };
                    sandbox
                        .file(format!("{below}/file"), "old")
                        .hard_link(format!("{below}/file"), format!("{below}/{OLD}"));
                    sandbox.symlink("elsewhere", format!("{below}/link"));
                    for name in ["file", "link"] {
                        sandbox.time(format!("{below}/{name}"), FileTime::from_unix_time(1, 0));
                    }
                }
                let inject = format!("inject={call}:signal=STOP:when={moment}");
                let mut stops = 0;
                let mut other = None;
                let trace = strace::zcp_with_stops(
                    &sandbox,
                    &["-e", &format!("trace={call}"), "-e", &inject],
                    &slow,
                    |stop| {
                        stops = stop;
                        other = Some(sandbox.zcp(&args).output().unwrap());
                    },
                );
                let when = format!("stopped at {call} {moment}, over {over}");
                for output in other.iter().chain([&trace.output]) {
                    assert!(output.status.success() && output.stderr.is_empty(), "{when}: {output:?}");
                }
                assert_copied(&sandbox, options, &when);
                fs::remove_dir_all(sandbox.path("dst")).unwrap();
                stopped += stops;
                if stops == 0 {
                    break;
                }
            }
        }
    }
    assert!(stopped > 40, "{stopped}");
}

fn start(sandbox: &Sandbox, args: &[&str]) -> std::process::Child {
    let mut command = Command::new(ZCP);
    command.args(args).current_dir(sandbox.path("")).env_clear().env("LC_ALL", "C");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

fn rounds() -> usize {
    std::env::var("ZCP_CONCURRENT_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(8)
}

fn two_and_three(options: &[&'static str]) {
    let sandbox = tree(8);
    let args = [options, &operands(options)].concat();
    for round in 0..rounds() {
        sandbox.dir("dst");
        let runs: Vec<_> = (0..2 + round % 2).map(|_| start(&sandbox, &args)).collect();
        let outputs: Vec<Output> = runs.into_iter().map(|run| run.wait_with_output().unwrap()).collect();
        outputs.iter().for_each(assert_done);
        assert_copied(&sandbox, options, &format!("round {round}"));
        fs::remove_dir_all(sandbox.path("dst")).unwrap();
    }
}

/// Runs with different operands make the same leading directories.
fn leading_directories() {
    let sandbox = tree(1);
    let (one, others) = ("src/0/in/large", ["src/0/file", "src/0/in/other"]);
    let mut stopped = 0;
    for call in ["newfstatat", "openat", "mkdirat"] {
        for moment in 1.. {
            sandbox.dir("dst");
            let inject = format!("inject={call}:signal=STOP:when={moment}");
            let trace = ["-e", &format!("trace={call}"), "-e", &inject];
            let mut stops = 0;
            let run = strace::zcp_with_stops(&sandbox, &trace, &["--parents", one, "dst"], |stop| {
                stops = stop;
                assert_done(&sandbox.zcp(["--parents", "-t", "dst"]).args(others).output().unwrap());
            });
            assert_done(&run.output);
            for name in others.iter().filter(|_| stops > 0).chain([&one]) {
                let read = |name: &str| fs::read(sandbox.path(name)).unwrap();
                assert_eq!(read(name), read(&format!("dst/{name}")), "stopped at {call} {moment}");
            }
            fs::remove_dir_all(sandbox.path("dst")).unwrap();
            stopped += stops;
            if stops == 0 {
                break;
            }
        }
    }
    assert!(stopped > 10, "{stopped}");
}

/// Runs zcp, and calls `act` when it has made the directory that it copies into.
fn meanwhile(sandbox: &Sandbox, args: &[&str], act: impl Fn()) -> Output {
    let mut stops = 0;
    let inject = ["-e", "trace=mkdirat", "-e", "inject=mkdirat:signal=STOP:when=1"];
    let trace = strace::zcp_with_stops(sandbox, &inject, args, |stop| {
        stops = stop;
        act();
    });
    assert_eq!(stops, 1);
    trace.output
}

/// A file that another process makes meanwhile is skipped or refused, as if it had existed before.
fn existing_are_left_alone() {
    for (option, status, words) in [
        ("-n", 0, ""),
        ("--update=none", 0, ""),
        ("--update=none-fail", 1, "zcp: not replacing 'dst/file'\n"),
        ("-u", 0, ""),
    ] {
        for atomic in [&[][..], &["--atomic"]] {
            let sandbox = Sandbox::new();
            sandbox.file("src/file", "new");
            let args = [&["-r", option], atomic, &["src", "dst"]].concat();
            let output = meanwhile(&sandbox, &args, || fs::write(sandbox.path("dst/file"), "another's").unwrap());
            assert_eq!(output.status.code(), Some(status), "{option} {output:?}");
            assert_eq!(String::from_utf8_lossy(&output.stderr), words, "{option}");
            assert_eq!(fs::read(sandbox.path("dst/file")).unwrap(), b"another's", "{option}");
            assert_eq!(fs::read_dir(sandbox.path("dst")).unwrap().count(), 1);
        }
    }
}

/// `-l` and `-s` do not replace existing names without `-f`. An existing link that is the wanted one is
/// accepted.
fn links_keep_cps_rules() {
    for (options, made, words) in [
        (&["-rl"][..], "other", "zcp: cannot create hard link 'dst/file' to 'src/file': File exists\n"),
        (&["-rl"], "same", ""),
        (&["-rlf"], "other", ""),
    ] {
        let sandbox = Sandbox::new();
        sandbox.file("src/file", "new");
        let args = [options, &["src", "dst"]].concat();
        let output = meanwhile(&sandbox, &args, || match made {
            "same" => fs::hard_link(sandbox.path("src/file"), sandbox.path("dst/file")).unwrap(),
            _ => fs::write(sandbox.path("dst/file"), "another's").unwrap(),
        });
        assert_eq!(String::from_utf8_lossy(&output.stderr), words, "{options:?}");
        assert_eq!(output.status.success(), words.is_empty());
        let wanted: &[u8] = if words.is_empty() { b"new" } else { b"another's" };
        assert_eq!(fs::read(sandbox.path("dst/file")).unwrap(), wanted);
    }
}

/// A symbolic link, or another name of an unrelated file, that appears meanwhile is not written through.
fn names_of_others_are_refused() {
    for options in [&["-r"][..], &["-r", "--atomic"], &["-r", "--resume"]] {
        for dangling in [false, true] {
            let sandbox = Sandbox::new();
            sandbox.file("src/file", "new").file("victim", "precious");
            let args = [options, &["src", "dst"]].concat();
            let target = if dangling { "../nowhere" } else { "../victim" };
            let output = meanwhile(&sandbox, &args, || {
                std::os::unix::fs::symlink(target, sandbox.path("dst/file")).unwrap();
            });
            // `--resume` makes the destination like the source, and replaces the link.
            let is_replaced = options.contains(&"--resume") && output.status.success();
            assert!(is_replaced || output.status.code() == Some(1), "{output:?}");
            assert!(!sandbox.path("nowhere").exists());
            assert_eq!(fs::read(sandbox.path("victim")).unwrap(), b"precious");
        }
        let sandbox = Sandbox::new();
        sandbox.file("src/file", "new").file("victim", "precious");
        let args = [options, &["src", "dst"]].concat();
        meanwhile(&sandbox, &args, || fs::hard_link(sandbox.path("victim"), sandbox.path("dst/file")).unwrap());
        assert_eq!(fs::read(sandbox.path("victim")).unwrap(), b"precious");
    }
}

/// Data from a pipe cannot be read again when the destination's name turns out to be taken.
fn one_reading_is_enough() {
    let sandbox = Sandbox::new();
    sandbox.file("input", noise(5000));
    let inject = ["-e", "trace=fsync", "-e", "inject=fsync:signal=STOP:when=1"];
    sandbox.fifo("fifo");
    let (fifo, bytes) = (sandbox.path("fifo"), noise(5000));
    let writer = std::thread::spawn(move || fs::write(fifo, bytes).unwrap());
    let mut stops = 0;
    let args = ["--atomic", "--fsync", "fifo", "copy"];
    let trace = strace::zcp_with_stops(&sandbox, &inject, &args, |stop| {
        stops = stop;
        sandbox.file("copy", "another's");
    });
    writer.join().unwrap();
    assert_eq!(stops, 1);
    assert_done(&trace.output);
    assert_eq!(fs::read(sandbox.path("copy")).unwrap(), noise(5000));
}
