//! The records of names: `--log`, one JSON object a line, and `--itemize`, one line for people.

use crate::needs::{Need, SHM, trial};
use crate::sandbox::{Sandbox, ZCP, assert_done, noise};
use crate::strace;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("log::names_of_any_bytes", &[], names_of_any_bytes),
        trial("log::every_action", &[], every_action),
        trial("log::failures_have_names", &[], failures_have_names),
        trial("log::dry_run", &[], dry_run),
        trial("log::resumed", &[], resumed),
        trial("log::of_a_job", &[], of_a_job),
        trial("log::vanished", &[Need::Shm, Need::Strace], vanished),
        trial("log::interrupted", &[Need::Strace], interrupted),
        trial("log::on_stdout", &[], on_stdout),
        trial("log::cannot_be_written", &[], cannot_be_written),
        trial("log::costs_few_calls", &[Need::Strace], costs_few_calls),
        trial("log::answers_questions", &[Need::Program("jq")], answers_questions),
        trial("log::itemize", &[], itemize),
    ]
}

/// The records of a log, by the names of their destinations.
fn records(log: &[u8]) -> BTreeMap<String, Value> {
    let lines = log.split_inclusive(|byte| *byte == b'\n');
    let read = |line: &[u8]| {
        assert!(line.ends_with(b"\n"));
        let record: Value = serde_json::from_slice(line).unwrap();
        (record["destination"].as_str().map_or_else(|| record["destination"].to_string(), str::to_owned), record)
    };
    lines.map(read).collect()
}

/// One line for each name, of any bytes, whether small files are copied together or not, and in whole lines.
fn names_of_any_bytes() {
    for options in [&["-r"][..], &["-r", "--atomic"], &["-r", "-j1"], &["-r", "-j8"]] {
        let sandbox = Sandbox::new();
        sandbox.dir("src/d").symlink("nowhere", "src/l");
        for number in 0..300 {
            sandbox.file(format!("src/d/{number}"), "12");
        }
        fs::write(sandbox.path("src").join(OsStr::from_bytes(b"\xff")), "3").unwrap();
        assert_done(&sandbox.zcp(options).args(["--log=log", "src", "dst"]).output().unwrap());
        let log = fs::read(sandbox.path("log")).unwrap();
        assert_eq!(log.iter().filter(|byte| **byte == b'\n').count(), 304, "{options:?}");
        let records = records(&log);
        assert_eq!(records.len(), 304);
        assert_eq!((&records["dst/l"]["action"], &records["dst/l"]["kind"]), (&json!("made"), &json!("symlink")));
        assert_eq!((&records["dst"]["action"], &records["dst/d"]["kind"]), (&json!("made"), &json!("directory")));
        let file = &records["dst/d/7"];
        assert_eq!(
            (&file["action"], &file["source"], &file["bytes"]),
            (&json!("copied"), &json!("src/d/7"), &json!(2))
        );
        assert!(file["strategy"].is_string() && file["ns"].as_u64() > Some(0), "{file}");
        assert!(records.contains_key("[100,115,116,47,255]"), "dst/\\xff");
    }
}

fn every_action() {
    let sandbox = Sandbox::new();
    sandbox.file("src/new", "1").file("src/old", "1").file("src/kept", "22").dir("src/refused").dir("dst/src");
    sandbox
        .file("src/refused/x", "1")
        .file("dst/src/old", "1")
        .file("dst/src/kept", "22")
        .file("dst/src/refused", "");
    fs::hard_link(sandbox.path("src/new"), sandbox.path("src/second")).unwrap();
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(60);
    OpenOptions::new().write(true).open(sandbox.path("dst/src/kept")).unwrap().set_modified(later).unwrap();
    let earlier = std::time::SystemTime::UNIX_EPOCH;
    OpenOptions::new().write(true).open(sandbox.path("dst/src/old")).unwrap().set_modified(earlier).unwrap();
    let output = sandbox.zcp(["-au", "-j1", "--log=-", "src", "dst"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let records = records(&output.stdout);
    let action = |name: &str| records[name]["action"].as_str().unwrap();
    assert_eq!((action("dst/src/old"), action("dst/src/kept")), ("updated", "skipped"));
    assert_eq!(records["dst/src/kept"]["why"], "not newer");
    let mut names = [action("dst/src/new"), action("dst/src/second")];
    names.sort();
    assert_eq!(names, ["copied", "linked"]);
    let failed = &records["dst/src/refused"];
    assert_eq!((&failed["action"], &failed["source"]), (&json!("failed"), &json!("src/refused")));
    assert_eq!(records.len(), 5);
}

/// The copy is made. An incomplete log is a failure, and a file that the copy needs is refused as a log.
fn cannot_be_written() {
    let sandbox = Sandbox::new();
    sandbox.file("a", "1");
    let output = sandbox.zcp(["--log=/dev/full", "a", "b"]).output().unwrap();
    let words = "zcp: cannot write log to '/dev/full': No space left on device\n".to_owned();
    assert_eq!((String::from_utf8(output.stderr).unwrap(), output.status.code()), (words, Some(1)));
    assert_eq!(fs::read(sandbox.path("b")).unwrap(), b"1");
    let output = sandbox.zcp(["--log=a", "a", "c"]).output().unwrap();
    assert_eq!((output.status.code(), fs::read(sandbox.path("a")).unwrap()), (Some(1), b"1".to_vec()));
    assert!(!sandbox.path("c").exists());
    sandbox.hard_link("a", "other");
    let output = sandbox.zcp(["--log=other", "b", "c"]).output().unwrap();
    let words = "zcp: cannot write log to 'other': it has other names, which the copy may need\n".to_owned();
    assert_eq!((String::from_utf8(output.stderr).unwrap(), output.status.code()), (words, Some(1)));
    assert_eq!(fs::read(sandbox.path("a")).unwrap(), b"1");
}

/// The blocks of code in a page, with the words behind the fence.
fn blocks(page: &str) -> Vec<(&str, &str)> {
    let odd = page.split("```").skip(1).step_by(2);
    odd.filter_map(|block| block.split_once('\n')).collect()
}

/// The lines for jq in the documentation print what it says, and answer for a real log and report as well.
fn answers_questions() {
    let sandbox = Sandbox::new();
    let blocks = blocks(include_str!("../../docs/formats.md"));
    let jq = |line: &str| {
        let output = Command::new("sh").args(["-c", line]).current_dir(sandbox.path("")).output().unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    for (words, text) in &blocks {
        if let Some(name) = words.strip_prefix("json ") {
            sandbox.file(name, text);
        }
    }
    let questions: Vec<_> = blocks.windows(2).filter(|pair| pair[0].0 == "sh").collect();
    assert!(questions.len() >= 7);
    for pair in &questions {
        assert_eq!(jq(pair[0].1), pair[1].1, "{}", pair[0].1);
    }
    sandbox.file("src/a", "1").file("src/b", "22").file("dst/a/x", "");
    let output = sandbox.zcp(["-rT", "--log=LOG", "--stats-file=report", "src", "dst"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    fs::rename(sandbox.path("report"), sandbox.path("STATS")).unwrap();
    for pair in &questions {
        let is_of_refusals = pair[0].1.contains("step_downs");
        assert!(is_of_refusals || !jq(pair[0].1).trim().is_empty(), "{}", pair[0].1);
    }
}

fn itemize() {
    let sandbox = Sandbox::new();
    sandbox.file("src/new", "1").file("src/old", "1").symlink("x", "src/l").file("dst/old", "123");
    let earlier = std::time::SystemTime::UNIX_EPOCH;
    OpenOptions::new().write(true).open(sandbox.path("dst/old")).unwrap().set_modified(earlier).unwrap();
    let output = sandbox.zcp(["-a", "-j1", "-T", "--itemize", "src", "dst"]).output().unwrap();
    assert_done(&output);
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort();
    assert_eq!(lines, [">f+++++++++ dst/new", ">f.st...... dst/old", "cL+++++++++ dst/l"]);
    let output = sandbox.zcp(["-n", "-T", "--itemize", "src/new", "dst/new"]).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), ".f          dst/new (exists)\n");
    sandbox.file("odd/a\n\u{1b}é", "1").dir("odd/b\n");
    let output = sandbox.zcp(["-r", "-j1", "-T", "--itemize", "odd", "dst"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(">f+++++++++ dst/a\\n\\033é\n") && text.contains("cd+++++++++ dst/b\\n/\n"), "{text}");
}

fn run(sandbox: &Sandbox, args: &[&str]) -> BTreeMap<String, Value> {
    let output = sandbox.zcp(["--log=log"].iter().chain(args)).output().unwrap();
    assert!(output.status.code().is_some(), "{output:?}");
    records(&fs::read(sandbox.path("log")).unwrap())
}

/// Operands, directories and files that failed have a source and a destination.
fn failures_have_names() {
    let sandbox = Sandbox::new();
    sandbox.file("src/sub/f", "1").file("src/file", "1").file("dst/sub", "").dir("dst/file");
    let log = run(&sandbox, &["-rT", "src", "dst"]);
    for name in ["sub", "file"] {
        let record = &log[&format!("dst/{name}")];
        assert_eq!((&record["action"], &record["source"]), (&json!("failed"), &json!(format!("src/{name}"))));
    }
    let log = run(&sandbox, &["missing", "dst"]);
    let missing = &log["dst/missing"];
    assert_eq!((&missing["source"], &missing["error"]["errno"]), (&json!("missing"), &json!("ENOENT")));
    let log = run(&sandbox, &["-l", "src/file", "./src/file"]);
    assert_eq!(log["./src/file"]["why"], "same file");
}

fn dry_run() {
    let sandbox = Sandbox::new();
    sandbox.file("src/d/f", "1").symlink("x", "src/l");
    let log = run(&sandbox, &["-r", "--dry-run", "src", "dst"]);
    assert_eq!(log.len(), 4);
    assert!(log.values().all(|record| record["dry_run"] == true), "{log:?}");
    assert_eq!((&log["dst/d/f"]["action"], &log["dst/l"]["action"]), (&json!("copied"), &json!("made")));
}

fn resumed() {
    let sandbox = Sandbox::new();
    sandbox.file("src/f", "1").symlink("x", "src/l").fifo("src/p").hard_link("src/f", "src/g");
    run(&sandbox, &["-aT", "src", "dst"]);
    fs::write(sandbox.path("src/new"), "1").unwrap();
    let log = run(&sandbox, &["-aT", "--resume", "src", "dst"]);
    assert_eq!(log["dst/new"]["action"], "copied");
    for name in ["f", "g", "l", "p"] {
        let record = &log[&format!("dst/{name}")];
        assert_eq!((&record["action"], &record["why"]), (&json!("skipped"), &json!("complete")), "{name}");
    }
}

/// Each range of a file is in the log of the part that copied it, the file itself in that of the last step.
fn of_a_job() {
    let sandbox = Sandbox::new();
    sandbox.file("src/large", noise(20_000_000)).file("src/small", "1").hard_link("src/large", "src/too");
    let step = |args: &[&str]| {
        let output = sandbox.zcp(args.iter().chain(&["--log=-"])).output().unwrap();
        assert_done(&output);
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(step(&["-a", "--plan=job", "--parts=2", "--split-over=8M", "src", "dst"]), "");
    let parts = step(&["--run=job", "--part=0"]) + &step(&["--run=job", "--part=1"]);
    let parts: Vec<Value> = parts.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let lengths = parts.iter().filter_map(|record| {
        let range = record["range"].as_array()?;
        assert!(record["strategy"].is_string(), "{record}");
        Some(range[1].as_u64().unwrap() - range[0].as_u64().unwrap())
    });
    assert_eq!(lengths.sum::<u64>(), 20_000_000);
    let is_small = |record: &&Value| record["destination"].as_str().unwrap().ends_with("dst/small");
    assert_eq!(parts.iter().filter(is_small).count(), 1);
    let last = step(&["--finish=job"]);
    let actions: Vec<Value> =
        last.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["action"].take()).collect();
    assert_eq!(actions, ["copied", "linked"]);
}

/// A file and a directory that vanish before they are copied, which is no failure.
fn vanished() {
    let sandbox = Sandbox::within(SHM);
    for n in 0..10 {
        sandbox.file(format!("src/{n}"), "1");
    }
    sandbox.file("src/sub/f", "f");
    let stop = ["-e", "inject=getdents64:signal=STOP:when=2"];
    let args = ["--ignore-vanished", "-r", "-j1", "--log=log", "src", "dst"];
    let output = strace::zcp_with_stops(&sandbox, &stop, &args, |_| {
        let _ = fs::remove_file(sandbox.path("src/4"));
        let _ = fs::remove_dir_all(sandbox.path("src/sub"));
    })
    .output;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let log = records(&fs::read(sandbox.path("log")).unwrap());
    for name in ["dst/4", "dst/sub"] {
        assert_eq!((&log[name]["action"], &log[name]["why"]), (&json!("skipped"), &json!("vanished")), "{name}");
    }
}

/// The log of an interrupted copy has exactly the names that were copied.
fn interrupted() {
    let sandbox = Sandbox::new();
    for n in 0..10 {
        sandbox.file(format!("src/{n}"), noise(100));
    }
    let inject = ["-e", "inject=pwrite64:signal=TERM:when=4"];
    let args = ["-r", "-j1", "--strategy=read_write", "--log=log", "src", "dst"];
    let output = strace::zcp(&sandbox, &inject, &args).output;
    assert_eq!(output.status.signal(), Some(15), "{output:?}");
    let log = records(&fs::read(sandbox.path("log")).unwrap());
    let there = fs::read_dir(sandbox.path("dst")).unwrap().count();
    assert!((1..10).contains(&there), "{there}");
    assert_eq!(log.values().filter(|record| record["action"] == "copied").count(), there);
}

/// The log shares stdout with the lines of `-v`, and stops the copy when its reader goes away. It does not get
/// between the bytes of a copy.
fn on_stdout() {
    let sandbox = Sandbox::new();
    for n in 0..3000 {
        sandbox.file(format!("src/{n}"), "");
    }
    let output = sandbox.zcp(["-rv", "-j4", "--log=-", "src", "dst"]).output().unwrap();
    assert_done(&output);
    let text = String::from_utf8(output.stdout).unwrap();
    let (json, lines): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.starts_with('{'));
    assert!(json.iter().all(|line| serde_json::from_str::<Value>(line).is_ok()));
    assert_eq!((json.len(), lines.len()), (3001, 3001));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(ZCP);
    command.args(["-r", "-j1", "--log=/dev/stdout", "src", "other"]).current_dir(sandbox.path(""));
    let status = command.stdout(writer).stderr(Stdio::null()).status().unwrap();
    assert_eq!(status.signal(), Some(13), "{status}");
    assert!(fs::read_dir(sandbox.path("other")).unwrap().count() < 3000);
    let output = sandbox.zcp(["--log=-", "src/1", "/dev/stdout"]).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
}

/// A log adds calls for itself, but none for each name.
fn costs_few_calls() {
    let calls = |options: &[&str]| {
        let sandbox = Sandbox::new();
        for n in 0..100 {
            sandbox.file(format!("src/{n}"), "1");
        }
        let trace = strace::zcp(&sandbox, &[] as &[&str], &[options, &["-r", "-j1", "src", "dst"]].concat());
        assert_done(&trace.output);
        trace.lines().count()
    };
    let (without, with) = (calls(&[]), calls(&["--log=log"]));
    assert!(with < without + 60, "{without} {with}");
}
