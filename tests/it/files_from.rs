//! `--files-from`: zcp copies only the names in the list, and makes the directories that lead to them.

use crate::needs::{Need, SHM, trial};
use crate::sandbox::{LONG_AGO, Sandbox, assert_done, noise, stats};
use crate::strace;
use libtest_mimic::Trial;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("files_from::names", &[], names),
        trial("files_from::spellings", &[], spellings),
        trial("files_from::archive", &[Need::Program("find")], archive),
        trial("files_from::filters", &[], filters),
        trial("files_from::dry", &[], dry),
        trial("files_from::many", &[Need::Shm], many),
        trial("files_from::entered_by_several", &[Need::Shm, Need::Strace], entered_by_several),
        trial("files_from::refusals", &[], refusals),
        trial("files_from::what_cannot_be_read", &[], what_cannot_be_read),
        trial("files_from::links_on_the_way", &[], links_on_the_way),
        trial("files_from::without_end", &[], without_end),
        trial("files_from::waiting_ends", &[], waiting_ends),
        trial("files_from::long_name", &[], long_name),
    ]
}

fn tree(sandbox: &Sandbox) {
    for name in ["src/a", "src/sub/b", "src/sub/deep/c", "src/sub/deep/d", "src/other/e"] {
        sandbox.file(name, name);
    }
    sandbox.symlink("a", "src/link");
}

fn copied(sandbox: &Sandbox, dst: &str) -> String {
    let paths: Vec<_> =
        sandbox.snapshot(dst).0.into_keys().map(|path| path.to_string_lossy().into_owned()).collect();
    paths.join(" ").trim().to_owned()
}

/// Lists from a file and from stdin, with newlines and with NULs. A directory is made without its contents.
fn names() {
    let sandbox = Sandbox::new();
    tree(&sandbox);
    sandbox.file("list", "sub/deep/c\nother\nlink\na").file("list0", "sub/deep/c\0other\0link\0a\0");
    for (args, input) in [
        (&["--files-from=list", "src", "dst"][..], ""),
        (&["--files-from=list0", "-0", "src/", "dst/"], ""),
        (&["--files-from=-", "-j4", "src", "dst"], "sub/deep/c\n\nother\nlink\na\n"),
        (&["--files-from", "-", "--null", "-j1", "src/.", "dst"], "sub/deep/c\0other\0link\0a"),
        (&["--files-from=list", "-t", "dst", "src"], ""),
    ] {
        if args.contains(&"-t") {
            sandbox.dir("dst");
        }
        let output = sandbox.zcp(args).args(["-P", "--stats=json"]).write_stdin(input).output().unwrap();
        assert_done(&output);
        assert_eq!(copied(&sandbox, "dst"), "a link other sub sub/deep sub/deep/c", "{args:?}");
        let totals = &stats(&output)["totals"];
        assert_eq!(
            (&totals["files"], &totals["symlinks"], &totals["directories"]),
            (&2.into(), &1.into(), &3.into())
        );
        std::fs::remove_dir_all(sandbox.path("dst")).unwrap();
    }
}

/// Extra slashes and dots make no difference, names can be any bytes, and a name that leads out of the source is
/// refused.
fn spellings() {
    let sandbox = Sandbox::new();
    tree(&sandbox);
    sandbox
        .file("outside", "")
        .file(std::path::Path::new("src").join(std::ffi::OsStr::from_bytes(b"x\ny\xff")), "1");
    let list = b"./a\0/sub//b\0sub/./deep/c\0x\ny\xff\0../outside\0sub/../../outside\0missing\0a\0";
    let output = sandbox.zcp(["--files-from=-", "-0", "src", "dst"]).write_stdin(&list[..]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(copied(&sandbox, "dst"), "a sub sub/b sub/deep sub/deep/c x\ny\u{fffd}");
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "zcp: '../outside' leads out of the source\n\
         zcp: 'sub/../../outside' leads out of the source\n\
         zcp: warning: source file 'a' specified more than once\n\
         zcp: cannot stat 'src/missing': No such file or directory\n\
         zcp: copied 4 files, failed 3 (first: '../outside' leads out of the source; --log=FILE lists all)\n"
    );
}

/// A list of all names from find makes the same copy as `-a`. Directories get their times at the very end.
fn archive() {
    let sandbox = crate::smoke::mixed("src");
    sandbox
        .file("src/sub/more/x", "1")
        .time("src/sub/more", LONG_AGO)
        .time("src/sub", LONG_AGO)
        .time("src", LONG_AGO);
    for (jobs, order) in [("-j1", ""), ("-j4", ""), ("-j4", "-depth")] {
        let line = format!("find src {order} -mindepth 1 -printf '%P\\0'");
        let found = sandbox.command("sh").args(["-c", &line]).output().unwrap();
        let command = ["-a", jobs, "-0", "--files-from=-", "src", "dst"];
        assert_done(&sandbox.zcp(command).write_stdin(found.stdout).output().unwrap());
        let (from, mut to) = (sandbox.snapshot("src"), sandbox.snapshot("dst"));
        // The list does not contain the source directory itself.
        to.0.insert("".into(), from.0[std::path::Path::new("")].clone());
        from.assert_same(&to);
        std::fs::remove_dir_all(sandbox.path("dst")).unwrap();
    }
}

/// Patterns apply to listed names, and to the directories on the way.
fn filters() {
    let sandbox = Sandbox::new();
    tree(&sandbox);
    let list = "a\nsub/b\nsub/deep/c\nsub/deep/d\nother/e\n";
    let args = [
        "--files-from=-",
        "--exclude=d",
        "--exclude=/sub/deep/c",
        "--exclude=other/",
        "--stats=json",
        "src",
        "dst",
    ];
    let output = sandbox.zcp(args).write_stdin(list).output().unwrap();
    assert_done(&output);
    assert_eq!(copied(&sandbox, "dst"), "a sub sub/b sub/deep");
    assert_eq!(stats(&output)["totals"]["excluded"], 3);
}

fn dry() {
    let sandbox = Sandbox::new();
    tree(&sandbox);
    let run = |args: &[&str]| {
        let mut command = sandbox.zcp(args);
        command.args(["-v", "--files-from=-", "src", "dst"]).write_stdin("a\nsub/b\nother\n");
        let output = command.output().unwrap();
        assert_done(&output);
        String::from_utf8(output.stdout).unwrap()
    };
    let before = sandbox.snapshot("");
    let said = run(&["--dry-run", "-j1"]);
    sandbox.snapshot("").assert_same(&before);
    assert_eq!(said, run(&["-j1"]));
    assert_eq!(
        said,
        "'src/a' -> 'dst/a'\nsrc/sub -> dst/sub\n'src/sub/b' -> 'dst/sub/b'\nsrc/other -> dst/other\n"
    );
}

/// A directory that takes long to make does not keep other workers from making the next one, in a list and in a
/// part of a job.
fn entered_by_several() {
    let sandbox = Sandbox::within(SHM);
    let mut list = String::new();
    for n in 0..40 {
        sandbox.file(format!("src/{n}/f"), noise(n));
        list += &format!("{n}/f\n");
    }
    sandbox.file("list", list);
    assert_done(&sandbox.zcp(["-r", "--plan=job", "--parts=1", "src", "part"]).output().unwrap());
    let delayed = ["-e", "inject=mkdirat:delay_enter=20000"];
    for (args, copy) in
        [(&["-j4", "--files-from=list", "src", "dst"][..], "dst"), (&["-j4", "--run=job", "--part=0"], "part")]
    {
        let trace = strace::zcp(&sandbox, &delayed, args);
        assert_done(&trace.output);
        assert!(trace.threads_with("mkdirat(") > 1, "{args:?}: {:#?}", trace.lines().collect::<Vec<_>>());
        sandbox.snapshot("src").plain().assert_same(&sandbox.snapshot(copy).plain());
    }
}

/// A long list that alternates between directories, copied by several workers.
fn many() {
    let sandbox = Sandbox::within(SHM);
    let mut list = String::new();
    for n in 0..3000 {
        let name = format!("{}/{}", n % 7, n);
        sandbox.file(format!("src/{name}"), noise(n % 50));
        list += &format!("{name}\n");
    }
    let output = sandbox.zcp(["-j4", "--files-from=-", "src", "dst"]).write_stdin(list).output().unwrap();
    assert_done(&output);
    sandbox.snapshot("src").plain().assert_same(&sandbox.snapshot("dst").plain());
}

fn refusals() {
    let sandbox = Sandbox::new();
    sandbox.file("src/a", "").file("list", "a\n").file("file", "");
    for (args, words) in [
        (
            &["--files-from=list", "src", "b", "dst"][..],
            "extra operand 'b': --files-from takes one SOURCE, which the names are relative to",
        ),
        (&["--files-from=list", "src"], "missing destination file operand after 'src'"),
        (&["--files-from=none", "src", "dst"], "cannot open 'none' for reading: No such file or directory"),
        (&["--files-from=list", "none", "dst"], "cannot access 'none': No such file or directory"),
        (&["--files-from=list", "src", "file"], "target directory 'file': Not a directory"),
        (&["--files-from=-", "-i", "src", "dst"], "--files-from=- needs stdin, and so does -i"),
    ] {
        let output = sandbox.zcp(args).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            errors.starts_with(&format!("zcp: {words}\n")) && output.status.code() == Some(1),
            "{args:?}: {errors}"
        );
        assert!(!sandbox.path("dst").exists());
    }
}

/// A list that cannot be read is reported once, and the copy ends.
fn what_cannot_be_read() {
    let sandbox = Sandbox::new();
    sandbox.dir("src").dir("list");
    let output = sandbox.zcp(["--files-from=list", "src", "dst"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "zcp: error reading 'list': Is a directory\n");
    assert_eq!(output.status.code(), Some(1));
}

/// Starts a copy of the names that standard input gives.
fn start(sandbox: &Sandbox) -> Child {
    let mut command = std::process::Command::new(crate::sandbox::ZCP);
    command.current_dir(sandbox.dir("src").path("")).args(["--files-from=-", "src", "dst"]);
    command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Ends the copy by SIGTERM when it has refused `../secret`. Returns the last line that it prints, and the number of lines
/// after the refusal.
fn terminate(mut zcp: Child) -> (String, usize) {
    let mut errors = BufReader::new(zcp.stderr.take().unwrap()).lines();
    assert_eq!(errors.next().unwrap().unwrap(), "zcp: '../secret' leads out of the source");
    let pid = rustix::process::Pid::from_child(&zcp);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let rest: Vec<_> = errors.map(Result::unwrap).collect();
    assert_eq!(zcp.wait().unwrap().signal(), Some(15));
    (rest.last().cloned().unwrap(), rest.len())
}

/// A signal ends a copy that waits for the next name.
fn waiting_ends() {
    let sandbox = Sandbox::new();
    let mut zcp = start(&sandbox);
    // Open until the end, so that the copy waits.
    let mut list = zcp.stdin.take().unwrap();
    list.write_all(b"../secret\ncut o").unwrap();
    let (last, lines) = terminate(zcp);
    assert!(last.starts_with("zcp: interrupted: ") && lines == 1, "{last}");
}

/// A name with very many components, which no stack has room for.
fn long_name() {
    let sandbox = Sandbox::new();
    sandbox.file("src/b", "b").file("list", "a/".repeat(100_000) + "f\nb\n");
    let output = sandbox.zcp(["--files-from=list", "src", "dst"]).output().unwrap();
    let words = "zcp: failed to get attributes of 'src/a': No such file or directory\n";
    assert_eq!((String::from_utf8_lossy(&output.stderr).as_ref(), output.status.code()), (words, Some(1)));
    assert_eq!(copied(&sandbox, "dst"), "b");
}

/// A list that never ends and names nothing that can be copied ends by a signal.
fn without_end() {
    let sandbox = Sandbox::new();
    let mut zcp = start(&sandbox);
    let mut list = zcp.stdin.take().unwrap();
    let feeder = std::thread::spawn(move || while list.write_all(b"../secret\n").is_ok() {});
    let (last, _) = terminate(zcp);
    assert!(last.starts_with("zcp: interrupted: "), "{last}");
    feeder.join().unwrap();
}

/// A symbolic link on the way to a name may lead out of the source. It is followed only if links are followed.
fn links_on_the_way() {
    for (flag, follows) in [("-a", false), ("-r", false), ("-P", false), ("-aL", true), ("-p", true)] {
        let sandbox = Sandbox::new();
        sandbox.file("src/a", "a").file("outside/deep/b", "b").symlink("../outside", "src/sub");
        let list = "sub/deep/b\na\n";
        let output = sandbox.zcp(["--files-from=-", flag, "src", "dst"]).write_stdin(list).output().unwrap();
        assert_eq!(output.status.code(), Some(i32::from(!follows)), "{flag}: {output:?}");
        assert_eq!(copied(&sandbox, "dst"), if follows { "a sub sub/deep sub/deep/b" } else { "a" }, "{flag}");
        let said = if follows { "" } else { "zcp: failed to get attributes of 'src/sub': Not a directory\n" };
        assert_eq!(String::from_utf8_lossy(&output.stderr), said);
    }
}
