//! The output of zcp about its work: `--stats` as text and as JSON, and progress, which appears only on a
//! terminal and only if the copy lasts.

use crate::needs::{Need, trial};
use crate::sandbox::{LONGEST, Sandbox, ZCP, assert_done, stats};
use crate::smoke;
use libtest_mimic::Trial;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, Command, Stdio};

pub(crate) fn trials() -> Vec<Trial> {
    let pty = [Need::Program("script")];
    vec![
        trial("report::schema", &[], schema),
        trial("report::totals", &[], totals),
        trial("report::skipped_and_failed", &[], skipped_and_failed),
        trial("report::odd_path", &[], odd_path),
        trial("report::text_agrees_with_json", &[], text_agrees_with_json),
        trial("report::stats_file", &[], stats_file),
        trial("report::stats_file_behind_a_link", &[], stats_file_behind_a_link),
        trial("report::stats_file_on_stdout", &[], stats_file_on_stdout),
        trial("report::stats_file_is_checked_first", &[], stats_file_is_checked_first),
        trial("report::stats_file_is_no_operand", &[], stats_file_is_no_operand),
        trial("report::outputs_spare_the_tree", &[], outputs_spare_the_tree),
        trial("report::nothing_unasked", &[], nothing_unasked),
        trial("report::full_stdout", &[], full_stdout),
        trial("report::no_progress_if_quick", &pty, no_progress_if_quick),
        trial("report::progress_if_slow", &pty, progress_if_slow),
        trial("report::progress_as_json", &[], progress_as_json),
        trial("report::no_progress_without_terminal", &[], no_progress_without_terminal),
    ]
}

/// The report replaces the file that a link leads to, and the link stays.
fn stats_file_behind_a_link() {
    let sandbox = Sandbox::new();
    sandbox.file("a", "1").dir("far").symlink("far/report", "link").symlink("link", "further");
    for _ in ["a name that is free", "an old report"] {
        assert_done(&sandbox.zcp(["--stats-file=further", "a", "b"]).output().unwrap());
        assert!(sandbox.path("link").is_symlink() && sandbox.path("further").is_symlink());
        let report: Value = serde_json::from_slice(&fs::read(sandbox.path("far/report")).unwrap()).unwrap();
        assert_eq!(report["totals"]["files"], 1);
    }
    assert_eq!(fs::read_dir(sandbox.path("far")).unwrap().count(), 1);
}

/// Names of stdout, links to it and `-` mean the descriptor. A link to it stays.
fn stats_file_on_stdout() {
    let sandbox = Sandbox::new();
    sandbox.file("a", "1").symlink("/proc/self/fd/1", "link").symlink("/dev/stdout", "device");
    for name in ["-", "link", "device", "/dev/stdout", "/dev/fd/1"] {
        let output = sandbox.zcp(["-v", &format!("--stats-file={name}"), "a", "b"]).output().unwrap();
        assert_done(&output);
        let text = String::from_utf8(output.stdout).unwrap();
        let (line, json) = text.split_once('\n').unwrap();
        assert_eq!(line, "'a' -> 'b'", "{name}");
        let report: Value = serde_json::from_str(json).unwrap();
        assert_eq!(report["totals"]["files"], 1, "{name}");
    }
    assert!(sandbox.path("link").is_symlink() && sandbox.path("device").is_symlink());
    assert!(!sandbox.path("-").exists());
    // stdout received the copy, so the report goes to stderr.
    let output = sandbox.zcp(["--stats-file=-", "a", "/dev/stdout"]).output().unwrap();
    assert!(output.status.success() && output.stdout == b"1" && output.stderr.starts_with(b"{"), "{output:?}");
}

/// A report that cannot be written is an error before anything is copied, and an old report does not survive a
/// failed run.
fn stats_file_is_checked_first() {
    let sandbox = Sandbox::new();
    sandbox.file("a", "1").dir("dir");
    for (name, reason) in
        [("no/such", "No such file or directory"), ("dir", "Is a directory"), ("a/b", "Not a directory")]
    {
        let output = sandbox.zcp([&format!("--stats-file={name}"), "a", "b"]).output().unwrap();
        let words = format!("zcp: cannot write statistics to '{name}': {reason}\n");
        assert_eq!((String::from_utf8_lossy(&output.stderr), output.status.code()), (words.into(), Some(1)));
        assert!(!sandbox.path("b").exists());
    }
    assert_done(&sandbox.zcp(["--stats-file=report", "a", "b"]).output().unwrap());
    assert_eq!(sandbox.zcp(["--stats-file=report", "a", "b", "no"]).output().unwrap().status.code(), Some(1));
    assert!(!sandbox.path("report").exists());
    // A file that is not a report is not removed by a run that did nothing.
    sandbox.file("notes", "precious");
    assert_eq!(sandbox.zcp(["--stats-file=notes", "a", "b", "no"]).output().unwrap().status.code(), Some(1));
    assert_eq!(fs::read(sandbox.path("notes")).unwrap(), b"precious");
}

/// The report would replace the source or the copy.
fn stats_file_is_no_operand() {
    let sandbox = Sandbox::new();
    sandbox.file("a", "1").file("old", "2").dir("into").symlink("a", "link");
    for (file, destination) in [("a", "b"), ("link", "b"), ("old", "old"), ("new", "new"), ("into/a", "into")] {
        let output = sandbox.zcp([&format!("--stats-file={file}"), "a", destination]).output().unwrap();
        let words = format!("zcp: cannot write statistics to '{file}': the copy needs it\n");
        assert_eq!((String::from_utf8_lossy(&output.stderr), output.status.code()), (words.into(), Some(1)));
        assert_eq!(fs::read(sandbox.path("a")).unwrap(), b"1");
        assert!(!sandbox.path("b").exists() && !sandbox.path("into/a").exists(), "{file}");
    }
    assert_done(&sandbox.zcp(["--stats-file=-", "a", "-"]).output().unwrap());
}

/// The report or the log would overwrite a file that is copied, or its copy. A report of an earlier run is replaced.
fn outputs_spare_the_tree() {
    let sandbox = Sandbox::new();
    sandbox.file("s/a", "1").file("s/t/a", "2").file("d/s/a", "old").file("e/a", "old").file("e/own", "own");
    sandbox.symlink("s/t/a", "link").symlink("s", "l");
    for (file, line) in [
        ("s/a", "-r s new"),
        ("s/t/a", "-r s new"),
        ("link", "-r l/ new"),
        ("l/a", "-r s new"),
        ("s/a", "--plan=job --parts=2 -r s new"),
        ("d/s/a", "-r s d"),
        ("e/a", "-rT s e"),
        ("e/a", "-r s/. e"),
    ] {
        for (option, words) in [("--stats-file", "statistics"), ("--log", "log")] {
            let output = sandbox.zcp([&format!("{option}={file}")]).args(line.split(' ')).output().unwrap();
            let words = format!("zcp: cannot write {words} to '{file}': the copy needs it\n");
            assert_eq!((String::from_utf8_lossy(&output.stderr), output.status.code()), (words.into(), Some(1)));
        }
    }
    assert_done(&sandbox.zcp(["--plan=job", "--parts=1", "-r", "s", "new"]).output().unwrap());
    for step in ["--run=job --part=0", "--finish=job"] {
        for option in ["--stats-file=s/a", "--log=s/t/a"] {
            let output = sandbox.zcp(step.split(' ').chain([option])).output().unwrap();
            assert!(String::from_utf8_lossy(&output.stderr).ends_with("': the copy needs it\n"), "{output:?}");
        }
    }
    // A job that copies a single file.
    assert_done(&sandbox.zcp(["--plan=one", "--parts=1", "s/a", "d/s/a"]).output().unwrap());
    for step in ["--run=one --part=0", "--finish=one"] {
        for option in ["--stats-file=s/a", "--log=s/a", "--stats-file=d/s/a", "--log=d/s/a"] {
            let output = sandbox.zcp(step.split(' ').chain([option])).output().unwrap();
            assert!(String::from_utf8_lossy(&output.stderr).ends_with("': the copy needs it\n"), "{output:?}");
        }
    }
    fs::remove_dir_all(sandbox.path("new")).unwrap();
    let content = |name: &str| fs::read_to_string(sandbox.path(name)).unwrap();
    assert_eq!(["s/a", "s/t/a", "d/s/a", "e/a"].map(content), ["1", "2", "old", "old"]);
    assert!(!sandbox.path("new").exists());
    for _ in 0..2 {
        assert_done(&sandbox.zcp(["--stats-file=s/report", "--log=e/own", "-rT", "s", "e"]).output().unwrap());
        assert!(content("s/report").starts_with('{') && content("e/own").starts_with('{'));
    }
}

/// The JSON of a copy with `-a` of a tree with all kinds of files.
fn archived(options: &[&str]) -> (Sandbox, Value) {
    let sandbox = smoke::mixed("src");
    let output =
        sandbox.zcp(["-a", "--stats=json"].iter().chain(options).chain(&["src", "dst"])).output().unwrap();
    assert_done(&output);
    (sandbox, stats(&output))
}

/// Every documented field, with its type.
fn schema() {
    let (_, stats) = archived(&["--strategy=reflink,splice,read_write"]);
    assert_eq!(stats["schema"], 2);
    assert_eq!(stats["version"], env!("CARGO_PKG_VERSION"));
    for field in ["elapsed_ns", "workers", "peak_in_flight"] {
        assert!(stats[field].as_u64() > Some(0), "{field} in {stats}");
    }
    for field in [
        "files",
        "directories",
        "symlinks",
        "hard_links",
        "special",
        "skipped",
        "failed",
        "bytes_logical",
        "bytes_moved",
        "bytes_holes",
        "bytes_shared",
    ] {
        assert!(stats["totals"][field].is_u64(), "{field} in {stats}");
    }
    for path in stats["strategies"].as_object().unwrap().values() {
        assert!(["files", "bytes", "ns", "mode_switches"].iter().all(|field| path[field].is_u64()), "{path}");
        let calls: u64 = path["calls"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
        assert_eq!(path["mode_switches"], 2 * calls);
        for left in path["step_downs"].as_array().unwrap() {
            assert!(left["errno"].is_string() && left["reason"].is_string() && left["count"].is_u64(), "{left}");
        }
    }
    for route in stats["routes"].as_array().unwrap() {
        assert!(["source", "destination", "size", "why"].iter().all(|field| route[field].is_string()), "{route}");
        assert!(
            route["same_device"].is_boolean() && route["files"].is_u64() && route["strategies"].is_array(),
            "{route}"
        );
    }
    assert_eq!((&stats["errors"], &stats["warnings"]), (&json!([]), &json!([])));
    assert_eq!((&stats["sources"], &stats["destination"]), (&json!(["src"]), &json!("dst")));
    assert_eq!((&stats["interrupted"], &stats["exit_status"]), (&json!(false), &json!(0)));
    assert!(stats["started"].as_f64() > Some(1e9) && stats["signal"].is_null(), "{stats}");
    assert!(stats["routes"].as_array().unwrap().iter().all(|route| route["min_bytes"].is_u64()), "{stats}");
}

fn totals() {
    for jobs in ["-j1", "-j4"] {
        let (sandbox, stats) = archived(&[jobs]);
        let tree = sandbox.snapshot("src");
        let files = tree.0.values().filter_map(|node| node.bytes.as_ref());
        let links: u64 =
            tree.0.iter().filter(|(path, node)| node.links.as_ref().is_some_and(|first| first != *path)).count()
                as u64;
        let count = |kind: u32| tree.0.values().filter(|node| node.mode & 0o170_000 == kind).count();
        let totals = &stats["totals"];
        assert_eq!(totals["files"].as_u64().unwrap() + links, files.clone().count() as u64, "{totals}");
        assert_eq!((&totals["hard_links"], links), (&1.into(), 1));
        assert_eq!(totals["directories"], count(0o040_000));
        assert_eq!(totals["symlinks"], count(0o120_000));
        assert_eq!(totals["special"], count(0o010_000));
        let twice = tree.0[std::path::Path::new("small")].bytes.as_ref().unwrap().len();
        assert_eq!(totals["bytes_logical"], files.map(Vec::len).sum::<usize>() - twice);
    }
}

fn skipped_and_failed() {
    let sandbox = Sandbox::new();
    sandbox.file("src/a", "new").file("src/b", "new").file("dst/a", "old").dir("dst/b");
    let output = sandbox.zcp(["-rnT", "--stats=json", "src", "dst"]).output().unwrap();
    assert_eq!(stats(&output)["totals"]["skipped"], 2);
    let output = sandbox.zcp(["-rT", "--stats=json", "src", "dst"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stats = stats(&output);
    let [files, failed, skipped] = ["files", "failed", "skipped"].map(|field| stats["totals"][field].as_u64());
    assert_eq!((files, failed, skipped), (Some(1), Some(1), Some(0)));
    assert_eq!(stats["errors"].as_array().unwrap().len(), 1);
    assert_eq!((&stats["errors"][0]["path"], &stats["errors"][0]["errno"]), (&json!("dst/b"), &Value::Null));
    let [source, destination] = ["source", "destination"].map(|name| &stats["errors"][0][name]);
    assert_eq!((source, destination, &stats["exit_status"]), (&json!("src/b"), &json!("dst/b"), &json!(1)));
    assert_eq!(stats["errors"][0]["message"], "cannot overwrite directory 'dst/b' with non-directory 'src/b'");
}

/// A path that is not UTF-8 is an array of bytes.
fn odd_path() {
    let sandbox = Sandbox::new();
    let name = OsStr::from_bytes(b"\xFFmissing");
    let output = sandbox.zcp([OsStr::new("--stats=json"), name, OsStr::new(".")]).output().unwrap();
    assert_eq!(stats(&output)["errors"][0]["path"], json!(name.as_bytes()));
    assert_eq!(stats(&output)["errors"][0]["errno"], "ENOENT");
}

/// The table has a row for each strategy that was used, with the same figures.
fn text_agrees_with_json() {
    let options = ["-j1", "--strategy=mmap,splice,read_write"];
    let (_, json) = archived(&options);
    let sandbox = smoke::mixed("src");
    let output = sandbox.zcp(["-a", "--stats"].iter().chain(&options).chain(&["src", "dst"])).output().unwrap();
    assert_done(&output);
    let text = String::from_utf8(output.stdout).unwrap();
    let total = |field: &str| json["totals"][field].to_string();
    assert!(text.starts_with(&format!("copied {} files, ", total("files"))), "{text}");
    let line = format!(
        "  {} directories, {} symbolic links, {} hard link, {} special file\n",
        total("directories"),
        total("symlinks"),
        total("hard_links"),
        total("special")
    );
    assert!(text.contains(&line), "{text}");
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    for strategy in crate::strategies::STRATEGIES {
        let row = rows.iter().find(|row| row.first() == Some(&strategy));
        let files = row.and_then(|row| row.get(4)?.parse().ok());
        let moved = json["strategies"][strategy]["files"].as_u64().filter(|files| *files > 0);
        assert_eq!(files.filter(|files| *files > 0), moved, "{strategy} in {text}");
    }
}

/// The file contains what stdout would, even if something failed.
fn stats_file() {
    let sandbox = Sandbox::new();
    sandbox.file("a", "a").dir("into");
    let output = sandbox.zcp(["--stats-file=stats", "--stats=json", "a", "missing", "into"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let file: Value = serde_json::from_slice(&fs::read(sandbox.path("stats")).unwrap()).unwrap();
    assert_eq!(file, stats(&output));
}

fn nothing_unasked() {
    let sandbox = smoke::mixed("src");
    for (option, to) in [("-r", "1"), ("--progress", "2"), ("--progress=always", "3"), ("--progress=auto", "4")] {
        sandbox.zcp(["-r", option, "src", to]).assert().success().stdout("").stderr("");
    }
}

/// A report that could not be printed is an error.
fn full_stdout() {
    let sandbox = smoke::mixed("src");
    let script = "exec \"$0\" -r --stats=json src dst >/dev/full";
    let output = sandbox.command("sh").args(["-c", script, ZCP]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).ends_with("write error: No space left on device\n"));
}

/// Starts zcp in a terminal whose output this process reads from a pipe.
fn in_terminal(sandbox: &Sandbox, args: &str) -> Child {
    let mut command = Command::new("script");
    command.args(["-qec", &format!("exec '{ZCP}' {args}"), "/dev/null"]).current_dir(sandbox.path(""));
    command.env("TERM", "xterm").stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap()
}

fn no_progress_if_quick() {
    let sandbox = smoke::mixed("src");
    for option in ["", "--progress=auto", "--progress=always", "--progress=never"] {
        let args = format!("-r --stats-file=stats {option} src 'dst{option}'");
        let output = in_terminal(&sandbox, &args).wait_with_output().unwrap();
        let stats: Value = serde_json::from_slice(&fs::read(sandbox.path("stats")).unwrap()).unwrap();
        // On a very busy machine the copy may take long enough for a bar.
        let slow = stats["elapsed_ns"].as_u64().unwrap() > 400_000_000;
        assert!(output.stdout.is_empty() || slow, "{output:?}");
    }
}

/// A tree with a fifo: the copy of the fifo's content lasts until somebody writes. If the test does not get what
/// it waits for, the fifo is opened after a while, so that the test fails instead of hanging.
fn with_fifo() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.file("src/a", "a").fifo("src/fifo");
    let fifo = sandbox.path("src/fifo");
    std::thread::spawn(|| {
        std::thread::sleep(LONGEST);
        OpenOptions::new().read(true).write(true).open(fifo)
    });
    sandbox
}

fn write_to_fifo(sandbox: &Sandbox) {
    OpenOptions::new().write(true).open(sandbox.path("src/fifo")).unwrap().write_all(b"at last").unwrap();
}

fn assert_arrived(sandbox: &Sandbox, mut child: Child) {
    assert!(child.wait().unwrap().success());
    assert_eq!(fs::read(sandbox.path("dst/fifo")).unwrap(), b"at last");
}

/// The copy waits for the test, and the test for the bar.
fn progress_if_slow() {
    let sandbox = with_fifo();
    let mut child = in_terminal(&sandbox, "-r --copy-contents src dst");
    let mut drawn = [0; 4096];
    let mut terminal = child.stdout.take().unwrap();
    let len = terminal.read(&mut drawn).unwrap();
    assert!(len > 0, "zcp ended without a word");
    write_to_fifo(&sandbox);
    let mut rest = Vec::new();
    terminal.read_to_end(&mut rest).unwrap();
    assert_arrived(&sandbox, child);
    let last = rest.rsplit(|byte| *byte == b'\r').next().unwrap();
    assert!(!last.windows(5).any(|word| word == b"files"), "the bar stays: {:?}", String::from_utf8_lossy(last));
}

/// Without a terminal there is no bar, however long the copy takes. A signal is answered.
fn no_progress_without_terminal() {
    let sandbox = with_fifo();
    let mut command = Command::new(ZCP);
    command.args(["-r", "--copy-contents", "src", "dst"]).current_dir(sandbox.path(""));
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    // Before zcp has set its handler, the signal might end it; the destination is made later.
    while !sandbox.path("dst").exists() {
        std::thread::yield_now();
    }
    kill_process(Pid::from_child(&child), Signal::USR1).unwrap();
    let mut errors = child.stderr.take().unwrap();
    let mut answer = [0; 4096];
    let len = errors.read(&mut answer).unwrap();
    write_to_fifo(&sandbox);
    let mut rest = String::new();
    errors.read_to_string(&mut rest).unwrap();
    assert_arrived(&sandbox, child);
    let answer = String::from_utf8_lossy(&answer[..len]);
    assert!(answer.contains(" file") && answer.ends_with('\n'), "{answer:?}");
    assert!(answer.lines().count() == 1 && rest.is_empty(), "{answer:?} {rest:?}");
}

/// A line a second, and one at the end, however short the copy is.
fn progress_as_json() {
    let sandbox = Sandbox::new();
    sandbox.file("src/a", vec![7; 300_000]).file("src/b", "").sparse("src/hole", 1 << 20, &[]);
    for (limit, least) in [("--bwlimit=150K", 2), ("--bwlimit=1G", 1)] {
        let output =
            sandbox.zcp(["-rT", "--progress=json", limit, "src", &format!("dst{least}")]).output().unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0));
        let text = String::from_utf8(output.stderr).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(lines.len() >= least, "{text}");
        let last = lines.last().unwrap();
        let [bytes, moved, files] = ["bytes", "bytes_moved", "files"].map(|key| last[key].as_u64().unwrap());
        assert_eq!((bytes, moved, files), (300_000 + (1 << 20), 300_000, 3));
        let ended: Vec<_> = lines.iter().map(|line| line["ended"].as_bool().unwrap()).collect();
        assert_eq!(ended.iter().filter(|ended| **ended).count(), 1);
        assert_eq!(ended.last(), Some(&true));
        let page = include_str!("../../docs/formats.md");
        for key in last.as_object().unwrap().keys() {
            assert!(page.contains(&format!("`{key}`")), "{key} is not in docs/formats.md");
        }
    }
}
