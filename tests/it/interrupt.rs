//! Signals that end a copy: which files remain, what is printed, and how soon the process ends.

use crate::needs::{Need, SHM, trial};
use crate::sandbox::{Sandbox, noise};
use crate::strace::{self, Trace};
use libtest_mimic::Trial;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("interrupt::new_file_goes", &[Need::Strace], new_file_goes),
        trial(
            "interrupt::file_of_another_process_stays",
            &[Need::Program("mkfifo")],
            file_of_another_process_stays,
        ),
        trial("interrupt::half_overwritten_goes", &[Need::Strace], half_overwritten_goes),
        trial("interrupt::backup_comes_back", &[Need::Strace], backup_comes_back),
        trial("interrupt::what_is_done_stays", &[Need::Strace], what_is_done_stays),
        trial("interrupt::nothing_is_executed", &[Need::Strace, Need::Shm], nothing_is_executed),
        trial("interrupt::second_ends_at_once", &[Need::Strace], second_ends_at_once),
        trial("interrupt::ignored_stays_ignored", &[Need::Strace, Need::Program("sh")], ignored_stays_ignored),
        trial("interrupt::slow_disk_is_asked_for_little", &[Need::Strace], slow_disk_is_asked_for_little),
        trial("interrupt::flushes_are_short", &[Need::Strace], flushes_are_short),
        trial("interrupt::between_flushes", &[Need::Strace], between_flushes),
        trial("interrupt::reader_goes_away", &[], reader_goes_away),
        trial("interrupt::question_ends", &[], question_ends),
        trial("interrupt::too_long_for_the_limit", &[Need::Program("sh")], too_long_for_the_limit),
    ]
}

/// If the reader of stdout or stderr goes away, no file is left half-written, and the report says what was
/// copied.
fn reader_goes_away() {
    for stream in ["stdout", "stderr"] {
        let sandbox = Sandbox::new();
        let long = "n".repeat(200);
        for index in 0..200 {
            sandbox.file(format!("src/{index}{long}"), noise(100_000 + index));
            sandbox.file(format!("dst/{index}{long}"), "old");
        }
        // Each of these files fails with a message.
        for index in 0..200 {
            sandbox.file(format!("src/{index}{long}-"), "").dir(format!("dst/{index}{long}-"));
        }
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = std::process::Command::new(crate::sandbox::ZCP);
        command.args(["-rvT", "--stats-file=stats", "src", "dst"]).current_dir(sandbox.path(""));
        match stream {
            "stdout" => command.stdout(writer).stderr(std::process::Stdio::null()),
            _ => command.stderr(writer).stdout(std::process::Stdio::null()),
        };
        let status = command.status().unwrap();
        assert_eq!(status.signal(), Some(13), "{stream}: {status}");
        // The report counts the copied files, and shows that the others were not begun.
        let report: serde_json::Value = serde_json::from_slice(&fs::read(sandbox.path("stats")).unwrap()).unwrap();
        assert!(report["totals"]["files"].as_u64() < Some(200), "{stream}: {report}");
        for index in 0..200 {
            let copy = fs::read(sandbox.path(format!("dst/{index}{long}")));
            // The file that was being copied is removed.
            let whole = copy.map_or(true, |copy| copy == b"old" || copy == noise(100_000 + index));
            assert!(whole, "{stream}: {index}");
        }
    }
}

/// A signal ends a copy that waits for an answer, and no answer is needed.
fn question_ends() {
    let sandbox = Sandbox::new();
    sandbox.file("src/a", "new").file("src/b", "new").file("dst/a", "old").file("dst/b", "old");
    let mut command = std::process::Command::new(crate::sandbox::ZCP);
    command.args(["-riT", "src", "dst"]).current_dir(sandbox.path(""));
    let piped = std::process::Stdio::piped;
    let mut zcp = command.stdin(piped()).stderr(piped()).spawn().unwrap();
    let mut errors = zcp.stderr.take().unwrap();
    let mut prompt = [0; "zcp: overwrite 'dst/a'? ".len()];
    errors.read_exact(&mut prompt).unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_child(&zcp), rustix::process::Signal::INT).unwrap();
    let mut rest = String::new();
    errors.read_to_string(&mut rest).unwrap();
    assert!(rest.starts_with("zcp: interrupted: copied 0 files"), "{rest}");
    assert_eq!(zcp.wait().unwrap().signal(), Some(2));
    for name in ["dst/a", "dst/b"] {
        assert_eq!(fs::read(sandbox.path(name)).unwrap(), b"old");
    }
}

/// A file that another process has put in place of the half-written one is not removed.
fn file_of_another_process_stays() {
    let sandbox = Sandbox::new();
    sandbox.file("other", "whole").fifo("fifo");
    let mut command = std::process::Command::new(crate::sandbox::ZCP);
    command.args(["-R", "--copy-contents", "fifo", "copy"]).current_dir(sandbox.path(""));
    let mut zcp = command.stderr(std::process::Stdio::null()).spawn().unwrap();
    let mut writer = fs::OpenOptions::new().write(true).open(sandbox.path("fifo")).unwrap();
    writer.write_all(b"half").unwrap();
    while fs::metadata(sandbox.path("copy")).map_or(0, |copy| copy.len()) < 4 {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    fs::rename(sandbox.path("other"), sandbox.path("copy")).unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_child(&zcp), rustix::process::Signal::INT).unwrap();
    assert_eq!(zcp.wait().unwrap().signal(), Some(2));
    assert_eq!(fs::read(sandbox.path("copy")).unwrap(), b"whole");
}

/// A file that exceeds RLIMIT_FSIZE is an ordinary failure, and the copy continues.
fn too_long_for_the_limit() {
    let sandbox = Sandbox::new();
    sandbox.file("src/a", noise(3 << 20)).file("src/b", "b").dir("dst");
    let script = "ulimit -f 100; exec \"$0\" -rj1 src/a src/b dst";
    let output = sandbox.command("sh").args(["-c", script, crate::sandbox::ZCP]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "zcp: error writing 'dst/a': File too large\n");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(fs::read(sandbox.path("dst/b")).unwrap(), b"b");
}

/// Runs zcp and sends it the signal at some call.
fn interrupt(sandbox: &Sandbox, inject: &[&str], args: &[&str]) -> (Trace, String) {
    let options: Vec<_> = inject.iter().flat_map(|inject| ["-e", inject]).collect();
    let trace = strace::zcp(sandbox, &options, args);
    let errors = String::from_utf8_lossy(&trace.output.stderr).into_owned();
    (trace, errors)
}

/// A new file that is half-written is removed, and the process ends by the signal.
fn new_file_goes() {
    let others = [("QUIT", 3), ("USR2", 12), ("ALRM", 14), ("XCPU", 24)];
    for (signal, number) in [("INT", 2), ("TERM", 15), ("HUP", 1)].into_iter().chain(others) {
        for size in [2 << 20, 20 << 20] {
            let sandbox = Sandbox::new();
            sandbox.file("src", noise(size));
            let inject = format!("inject=splice:signal={signal}:when=3");
            let (trace, errors) = interrupt(&sandbox, &[&inject], &["--strategy=splice", "src", "dst"]);
            assert_eq!(trace.output.status.signal(), Some(number), "{errors}");
            assert!(errors.starts_with("zcp: interrupted: copied 0 files, 0 B, and "), "{errors}");
            assert!(errors.contains(" KiB of unfinished files, in ") && !errors.contains("(0 B/s)"), "{errors}");
            assert!(!sandbox.path("dst").exists());
        }
    }
}

/// A file that was being overwritten is removed: its old content is lost, and its half-written new content must
/// not look complete.
fn half_overwritten_goes() {
    let sandbox = Sandbox::new();
    sandbox.file("src", noise(8 << 20)).file("far/file", "old").symlink("far/file", "link");
    sandbox.file("dst", "old");
    for (name, file) in [("dst", "dst"), ("link", "far/file")] {
        let args = ["--strategy=splice", "src", name];
        let (trace, errors) = interrupt(&sandbox, &["inject=splice:signal=INT:when=4"], &args);
        assert_eq!(trace.output.status.signal(), Some(2));
        let said = format!("zcp: '{name}' was overwritten in part when a signal came; removed\n");
        assert!(errors.starts_with(&said), "{errors}");
        assert!(!sandbox.path(file).exists());
    }
    assert!(sandbox.path("link").is_symlink());
    // A device that was being written to is not removed.
    let args = ["--strategy=read_write", "src", "/dev/null"];
    let (trace, _) = interrupt(&sandbox, &["inject=write:signal=INT:when=2"], &args);
    assert_eq!(trace.output.status.signal(), Some(2));
    assert!(fs::metadata("/dev/null").is_ok());
}

/// The backup of a file whose copy was not finished, or not verified, gets its name back.
fn backup_comes_back() {
    for (inject, more) in
        [("inject=splice:signal=INT:when=4", "-b"), ("inject=pread64:signal=INT:when=2", "--verify")]
    {
        for options in [&["-b", more][..], &["-b", more, "--atomic"]] {
            let sandbox = Sandbox::new();
            // One reader compares files of less than 8 MiB. Two would get a signal each, and the second ends zcp at once.
            sandbox.file("src", noise(7 << 20)).file("dst", "old");
            let args = [&["--strategy=splice"], options, &["src", "dst"]].concat();
            let source = sandbox.path("src");
            let trace = strace::zcp(&sandbox, &["-P", source.to_str().unwrap(), "-e", inject], &args);
            let errors = String::from_utf8_lossy(&trace.output.stderr);
            assert_eq!(trace.output.status.signal(), Some(2), "{errors}");
            assert!(errors.starts_with("zcp: interrupted: copied 0 files, "), "{errors}");
            assert_eq!(fs::read(sandbox.path("dst")).unwrap(), b"old", "{options:?}");
            assert_eq!(fs::read_dir(sandbox.path("")).unwrap().count(), 2, "{options:?}");
        }
    }
}

/// Complete files stay, the file that is being copied is removed, and the others are not begun.
fn what_is_done_stays() {
    let sandbox = Sandbox::new();
    for name in ["a", "b", "c", "d"] {
        sandbox.file(format!("src/{name}"), noise(3 << 20));
    }
    // Each file takes 24 calls of splice into the pipe and out of it.
    let inject = ["inject=splice:signal=TERM:when=60"];
    let (trace, errors) = interrupt(&sandbox, &inject, &["-rj1", "--strategy=splice", "src", "dst"]);
    assert_eq!(trace.output.status.signal(), Some(15));
    assert!(
        errors.starts_with("zcp: interrupted: copied 1 file, 3.0 MiB, and 768.0 KiB of unfinished files, in "),
        "{errors}"
    );
    let names: Vec<_> = fs::read_dir(sandbox.path("dst")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(names.len(), 1);
    assert_eq!(fs::read(&names[0]).unwrap(), noise(3 << 20));
}

/// Whatever the size of the file that is removed, zcp starts no program, not even itself. strace ends when all
/// processes have ended.
fn nothing_is_executed() {
    for options in [&[][..], &["--atomic"]] {
        let sandbox = Sandbox::within(SHM);
        sandbox.file("src", noise(1 << 20).repeat(100));
        // One call per MiB; how many calls splice needs depends on time.
        let zcp = [&[crate::sandbox::ZCP, "--strategy=read_write"], options, &["src", "dst"]].concat();
        let trace = ["-f", "-o", "log", "-e", "trace=execve,execveat,pwrite64"];
        let inject = ["-e", "inject=pwrite64:signal=INT:when=95"];
        let output = sandbox.command("strace").args(trace).args(inject).args(zcp).output().unwrap();
        assert_eq!(output.status.signal(), Some(2), "{output:?}");
        let log = fs::read_to_string(sandbox.path("log")).unwrap();
        assert_eq!(log.matches("execve").count(), 1, "{log}");
        assert!(!sandbox.path("dst").exists());
    }
}

/// A signal that the parent ignores, as with nohup, does not end zcp, whatever its name is. Other signals do.
fn ignored_stays_ignored() {
    for (signal, status) in [("HUP", None), ("INT", None), ("TERM", Some(15))] {
        let sandbox = Sandbox::new();
        sandbox.file("src", noise(8 << 20)).symlink(crate::sandbox::ZCP, "z) S 1 (c");
        let script =
            r#"trap '' HUP INT; exec strace -o log -e trace=splice -e "$1" ./z* --strategy=splice src dst"#;
        let inject = format!("inject=splice:signal={signal}:when=4");
        let output = sandbox.command("sh").args(["-c", script, "sh", &inject]).output().unwrap();
        assert_eq!(output.status.signal(), status, "{output:?}");
        assert_eq!(sandbox.path("dst").exists(), status.is_none());
    }
}

/// A second signal ends zcp without waiting for any cleanup.
fn second_ends_at_once() {
    let sandbox = Sandbox::new();
    sandbox.file("src", noise(8 << 20));
    let inject = ["inject=splice:signal=INT:when=4", "inject=unlinkat:signal=INT"];
    let (trace, errors) = interrupt(&sandbox, &inject, &["--strategy=splice", "src", "dst"]);
    assert_eq!((trace.output.status.signal(), errors.as_str()), (Some(2), ""));
}

/// A call cannot be interrupted, so it is asked for few bytes. Here each call takes longer than a user should
/// wait, so the next is asked for the minimum.
fn slow_disk_is_asked_for_little() {
    let sandbox = Sandbox::new();
    sandbox.file("src", noise(3 << 20));
    for call in ["sendfile", "copy_file_range"] {
        let inject = format!("inject={call}:delay_enter=300000:when=1..2");
        let strategy = format!("--strategy={call}");
        let (trace, _) = interrupt(&sandbox, &[&inject], &[&strategy, "src", "dst"]);
        assert!(trace.output.status.success());
        let asked = |line: &str| -> Option<u64> {
            let arguments = line.strip_prefix(call)?.split(") = ").next()?;
            let count = if call == "sendfile" { 0 } else { 1 };
            arguments.rsplit(", ").nth(count)?.parse().ok()
        };
        let asked: Vec<_> = trace.lines().filter_map(asked).collect();
        assert_eq!(asked[0], 1 << 20, "{asked:?}");
        assert!(asked[1] <= 256 << 10 && asked[2] == 64 << 10, "{asked:?}");
        assert!(asked.last() > asked.get(2), "a disk that is fast again is asked for more: {asked:?}");
        assert_eq!(fs::read(sandbox.path("dst")).unwrap(), noise(3 << 20));
    }
}

/// A large file, and a tree of files that are smaller than the first flush.
fn to_be_flushed() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.file("file", noise(6 << 20));
    for i in 0..30 {
        sandbox.file(format!("tree/{i}"), noise(200 << 10));
    }
    sandbox
}

const FLUSHING: [(&str, &[&str]); 3] = [
    ("fdatasync", &["--fsync", "file", "dst"]),
    ("fdatasync", &["--cache=drop", "--strategy=splice", "file", "dst"]),
    ("syncfs", &["-rj1", "--fsync", "tree", "dst"]),
];

/// A flush cannot be interrupted either, so only little remains for the last one. How much depends on the disk
/// (`transfer/chunk.rs`), after flushes of 1 and 4 MiB that measure it.
fn flushes_are_short() {
    for (call, args) in FLUSHING {
        let sandbox = to_be_flushed();
        let (trace, errors) = interrupt(&sandbox, &["trace=all"], args);
        assert!(trace.output.status.success(), "{errors}");
        let flushes = trace.lines().filter(|line| line.starts_with(call)).count();
        assert!(flushes >= 2, "{args:?}: {flushes}");
    }
}

/// After a flush, zcp notices a signal and begins no other flush.
fn between_flushes() {
    for (call, args) in FLUSHING {
        let sandbox = to_be_flushed();
        let inject = format!("inject={call}:signal=INT");
        let (trace, errors) = interrupt(&sandbox, &[&inject], args);
        assert_eq!(trace.output.status.signal(), Some(2), "{errors}");
        let syncs = trace.lines().filter(|line| line.contains("sync(") || line.starts_with("syncfs("));
        assert_eq!(syncs.count(), 1, "{args:?}");
        assert!(!sandbox.path("dst").is_file());
    }
}
