//! Patterns: compared with git for their syntax, and combined with every option that changes names.

use crate::needs::{Need, SHM, trial};
use crate::sandbox::{Sandbox, assert_done, noise, stats};
use libtest_mimic::Trial;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::Arc;
use zcp::internals::{Filter, Options, Total, estimate};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("filter::order", &[], order),
        trial("filter::operands", &[], operands),
        trial("filter::warns_of_operands", &[], warns_of_operands),
        trial("filter::exclude_from", &[], exclude_from),
        trial("filter::refusals", &[], refusals),
        trial("filter::bytes", &[], bytes),
        trial("filter::random_patterns_are_gits", &[Need::Program("git")], random_patterns_are_gits),
        trial("filter::not_entered", &[Need::Root, Need::Program("cp")], not_entered),
        trial("filter::gitignore_is_gits", &[Need::Program("git")], gitignore_is_gits),
        trial("filter::with_links", &[], with_links),
        trial("filter::with_parents", &[], with_parents),
        trial("filter::estimate_agrees", &[], estimate_agrees),
        trial("filter::costs_nothing_unused", &[Need::Strace, Need::Shm], costs_nothing_unused),
    ]
}

/// A pattern that leaves out an operand is probably a mistake, so zcp warns.
fn warns_of_operands() {
    let sandbox = Sandbox::new();
    sandbox.file("build/a", "").file("other/build/b", "").dir("backup");
    for args in [
        &["-a", "--exclude=build", "build/", "backup"][..],
        &["-rj1", "--exclude=build", "build/", "other", "backup"],
    ] {
        let output = sandbox.zcp(args).output().unwrap();
        let words = "zcp: warning: a pattern excludes the operand 'build/'\n";
        assert_eq!((String::from_utf8_lossy(&output.stderr).as_ref(), output.status.code()), (words, Some(0)));
    }
}

/// The names below `dst`, directories included, on one line.
fn names(sandbox: &Sandbox, dst: &str) -> String {
    let paths: Vec<_> =
        sandbox.snapshot(dst).0.into_keys().map(|path| path.to_string_lossy().into_owned()).collect();
    paths.join(" ").trim().to_owned()
}

fn tree(sandbox: &Sandbox) {
    for name in
        ["src/a.c", "src/a.o", "src/keep.o", "src/sub/b.c", "src/sub/b.o", "src/build/x", "src/sub/build/y"]
    {
        sandbox.file(name, name);
    }
}

/// The last match decides; a directory that is left out is not entered; a slash anchors a pattern at the
/// operand.
fn order() {
    for (args, expected) in [
        (&["--exclude=*.o"][..], "a.c build build/x sub sub/b.c sub/build sub/build/y"),
        (
            &["--exclude=*.o", "--include=keep.o", "--exclude=/build"],
            "a.c keep.o sub sub/b.c sub/build sub/build/y",
        ),
        (&["--include=keep.o", "--exclude=*.o", "--exclude=build/"], "a.c sub sub/b.c"),
        (&["--exclude=*", "--include=*/", "--include=*.c"], "a.c build sub sub/b.c sub/build"),
        (&["--exclude=sub/*.c"], "a.c a.o build build/x keep.o sub sub/b.o sub/build sub/build/y"),
        // Nothing below a directory that is left out can be included again.
        (&["--exclude=sub", "--include=b.c"], "a.c a.o build build/x keep.o"),
    ] {
        for jobs in ["-j1", "-j4"] {
            let sandbox = Sandbox::new();
            tree(&sandbox);
            let output = sandbox.zcp(["-r", jobs]).args(args).args(["src", "dst"]).output().unwrap();
            assert_done(&output);
            assert_eq!(names(&sandbox, "dst"), expected, "{args:?}");
        }
    }
}

/// Operands are compared by their own names, as a shell's glob would list them. `totals.excluded` counts
/// operands and names in directories.
fn operands() {
    let sandbox = Sandbox::new();
    tree(&sandbox);
    sandbox.dir("dst");
    let all = ["src/a.c", "src/a.o", "src/keep.o", "src/build", "src/sub"];
    let output = sandbox
        .zcp(["-r", "--stats=json", "--exclude=*.o", "--exclude=/build", "--exclude=src/*.c"])
        .args(all)
        .arg("dst")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(names(&sandbox, "dst"), "a.c build build/x sub sub/b.c");
    assert_eq!(stats(&output)["totals"]["excluded"], 4);
    // The operand `src/.` has no name to be compared.
    let output =
        sandbox.command_as(crate::sandbox::ZCP, "zcp").args(["-r", "--exclude=.*", "src/.", "dot"]).output();
    assert_done(&output.unwrap());
    assert!(sandbox.path("dot/sub/b.o").exists());
    // Nothing is left to copy, which is no failure.
    assert!(sandbox.zcp(["--exclude=a.c", "src/a.c", "new"]).output().unwrap().status.success());
    assert!(!sandbox.path("new").exists());
}

fn exclude_from() {
    let sandbox = Sandbox::new();
    tree(&sandbox);
    sandbox.file("list", "# objects\n*.o\n!keep.o\n\n/build/\r\n");
    for (from, dst) in [("list", "by-file"), ("-", "by-stdin")] {
        let mut command = sandbox.zcp(["-r", "--exclude-from", from, "src", dst]);
        command.write_stdin("*.o\n!keep.o\n/build");
        assert_done(&command.output().unwrap());
        assert_eq!(names(&sandbox, dst), "a.c keep.o sub sub/b.c sub/build sub/build/y", "{from}");
    }
}

fn refusals() {
    let sandbox = Sandbox::new();
    sandbox.file("a", "").file("list", "fine\n[\n");
    for (args, words) in [
        (&["--exclude=["][..], "zcp: invalid pattern '[': "),
        (&["--include=["], "zcp: invalid pattern '[': "),
        (&["--exclude-from=list"], "zcp: 'list':2: "),
        (&["--exclude-from=missing"], "zcp: cannot read 'missing': No such file or directory"),
    ] {
        let output = sandbox.zcp(args).args(["a", "b"]).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.starts_with(words) && output.status.code() == Some(1), "{args:?}: {errors}");
        assert!(!sandbox.path("b").exists());
    }
}

/// Patterns need not be UTF-8, wherever they come from.
fn bytes() {
    let sandbox = Sandbox::new();
    sandbox.file("list", b"*\xe9*\n").dir("src");
    for name in [b"a\xe9b".as_slice(), b"\xc3\xa9", b"\xff", b"c"] {
        sandbox.file(PathBuf::from("src").join(OsStr::from_bytes(name)), "");
    }
    let names = |dst: &str| {
        let entries = std::fs::read_dir(sandbox.path(dst)).unwrap().map(|entry| entry.unwrap().file_name());
        entries.map(OsString::into_vec).collect::<BTreeSet<_>>()
    };
    let copy = |args: &[&[u8]], dst: &str| {
        let args = args.iter().map(|arg| OsStr::from_bytes(arg));
        assert_done(&sandbox.zcp(["-r"]).args(args).args(["src", dst]).output().unwrap());
        names(dst)
    };
    let expected: [&[u8]; 2] = [b"c", b"\xc3\xa9"];
    let expected = expected.map(<[u8]>::to_vec).into_iter().collect();
    assert_eq!(copy(&[b"--exclude-from=list", b"--exclude=\xff"], "by-options"), expected);
    assert_eq!(
        copy(&[b"--exclude=[\x80-\xff]*", b"--exclude=*\xe9*", b"--include=\xc3\xa9"], "by-bytes"),
        expected
    );
    sandbox.file("src/.gitignore", b".git*\n*\xe9*\n\xff\n");
    assert_eq!(copy(&[b"--gitignore"], "by-gitignore"), expected);
}

/// An ordinary user need not be able to read a directory that is left out.
fn not_entered() {
    use std::os::unix::process::CommandExt;
    let sandbox = Sandbox::new();
    sandbox.file("src/a", "").file("src/secret/b", "").mode("src/secret", 0o700).dir("out").mode("", 0o755);
    sandbox.mode("out", 0o777);
    let zcp = crate::sandbox::program_for_others();
    let run = |args: &[&str]| {
        let mut command = std::process::Command::new(zcp.path().join("zcp"));
        command.current_dir(sandbox.path("")).uid(65534).gid(65534).args(args).output().unwrap()
    };
    assert!(!run(&["-r", "src", "out/1"]).status.success(), "nobody was kept out");
    assert_done(&run(&["-r", "--exclude=secret/", "src", "out/2"]));
}

/// Names that the pieces of random patterns can match. Directories end with a slash.
const RANDOM_NAMES: [&[u8]; 30] = [
    b"a",
    b"b",
    b"ab",
    b"ba",
    b"aab",
    b"d/",
    b"d/a",
    b"d/b",
    b"d/ab",
    b"d/d/",
    b"d/d/a",
    b"d/d/b",
    b"d/d/d/",
    b"d/d/d/a",
    b"a b",
    b"a ",
    b"-",
    b"]",
    b"[a]",
    b"!a",
    b"#a",
    b"a\\",
    b"\xff",
    b"a\xffb",
    b"d/\xff",
    b"\xc3\xa9",
    b"\x0b",
    b"{a,b}",
    b"a*",
    b"e/",
];

/// Pieces of patterns.
const PIECES: [&[u8]; 38] = [
    b"a",
    b"a",
    b"b",
    b"ab",
    b"d",
    b"d",
    b"e",
    b"/",
    b"/",
    b"/",
    b"*",
    b"*",
    b"**",
    b"**",
    b"/**/",
    b"***",
    b"?",
    b"\\",
    b"\\/",
    b"\\\\",
    b"[",
    b"]",
    b"[ab]",
    b"[!a]",
    b"[^b]",
    b"[a-b]",
    b"[b-a]",
    b"[[:alpha:]]",
    b"[[:space:]]",
    b"[[:no:]]",
    b"-",
    b" ",
    b"\xff",
    b"[\x80-\xff]",
    b"\xc3\xa9",
    b"{a,b}",
    b"\r",
    b"\x00",
];

/// Random lines of .gitignore, some of which are not UTF-8, leave out what `git check-ignore` reports.
/// `ZCP_PATTERNS` sets how many are tried.
fn random_patterns_are_gits() {
    let sandbox = Sandbox::new();
    let git = |args: &[&str]| {
        let mut command = sandbox.command("git");
        command.args(["-C", "src"]).args(args).env("HOME", "/nonexistent").env("GIT_CONFIG_NOSYSTEM", "1");
        command
    };
    sandbox.dir("src");
    git(&["init", "-q"]).assert().success();
    let path = |name: &[u8]| PathBuf::from("src").join(OsStr::from_bytes(name));
    for name in RANDOM_NAMES {
        if name.ends_with(b"/") {
            sandbox.dir(path(name))
        } else {
            sandbox.file(path(name), "")
        };
    }
    let names = RANDOM_NAMES.map(|name| name.strip_suffix(b"/").unwrap_or(name));
    let cases = std::env::var("ZCP_PATTERNS").map_or(400, |cases| cases.parse().unwrap());
    let mut state = std::env::var("ZCP_SEED").map_or(1_u64, |seed| seed.parse().unwrap());
    let mut below = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % bound
    };
    for _ in 0..cases {
        let mut text = Vec::new();
        for _ in 0..=below(4) {
            text.extend(["", "", "", "!", "#", "\\!"][below(6)].bytes());
            (0..=below(5)).for_each(|_| text.extend(PIECES[below(PIECES.len())]));
            text.push(b'\n');
        }
        text.truncate(text.len() - below(2));
        sandbox.file("src/.gitignore", &text);
        let output =
            git(&["check-ignore", "-z", "--stdin", "--no-index"]).write_stdin(names.join(&0)).output().unwrap();
        let ignored: BTreeSet<_> =
            output.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty()).collect();
        let filter = Filter::default();
        let judged: BTreeSet<_> = names.into_iter().filter(|name| excluded(&filter, &text, name)).collect();
        assert_eq!(judged, ignored, "zcp and git, by {:?}", text.escape_ascii().to_string());
    }
}

/// Whether a .gitignore at the top leaves out a name or a directory that contains it.
fn excluded(filter: &Filter, gitignore: &[u8], name: &[u8]) -> bool {
    let mut level = filter.level(None, OsStr::new(""), Some(gitignore));
    let mut parts = name.split(|byte| *byte == b'/').map(OsStr::from_bytes).peekable();
    while let Some(part) = parts.next() {
        let is_dir = parts.peek().is_some() || RANDOM_NAMES.contains(&[name, b"/"].concat().as_slice());
        if filter.excludes(&level, part, is_dir) {
            return true;
        }
        level = filter.level(Some(&level), part, None);
    }
    false
}

/// zcp copies exactly the files that git does not ignore.
fn gitignore_is_gits() {
    let sandbox = Sandbox::new();
    let git = |args: &[&str]| {
        let output =
            sandbox.command("git").args(["-C", "src"]).args(args).env("HOME", "/nonexistent").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    sandbox
        .file("src/.gitignore", b"caf\xe9\n\\/\nescaped\\/\ntwice//\n/**//\n*.log\n!kept.log\n/target\ndeep/**/x\ndoc/*.txt\n\\#odd\n\\!odd\nspace\\ \n[ab]1\nq?\n**/any\nfoo/**\n")
        .file("src/sub/.gitignore", "!*.log\n/only-here\ndir-only/\n")
        .file("src/sub/deeper/.gitignore", "*\n!*.rs\n");
    let contents = [
        "a.log",
        "kept.log",
        "target/x",
        "sub/target/x",
        "deep/x",
        "deep/1/2/x",
        "doc/a.txt",
        "doc/sub/a.txt",
        "#odd",
        "!odd",
        "space ",
        "space",
        "a1",
        "c1",
        "q1",
        "q12",
        "any",
        "sub/any/y",
        "foo/1",
        "foo/2/3",
        "sub/a.log",
        "only-here",
        "sub/only-here",
        "sub/x/only-here",
        "sub/dir-only/f",
        "sub/y/dir-only",
        "sub/deeper/a.rs",
        "sub/deeper/a.c",
        "sub/deeper/b/c.rs",
        "plain/file",
        "escaped/f",
        "twice/f",
    ];
    for name in contents {
        sandbox.file(format!("src/{name}"), name);
    }
    let odd = PathBuf::from("src").join(OsStr::from_bytes(b"\xff.log"));
    sandbox.file(&odd, "").file(odd.with_extension("txt"), "");
    let not_utf8 = PathBuf::from("src").join(OsStr::from_bytes(b"caf\xe9"));
    sandbox.file(not_utf8, "");
    git(&["init", "-q"]);
    let listed: BTreeSet<PathBuf> = git(&["ls-files", "-z", "-o", "--exclude-standard"])
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| PathBuf::from(OsStr::from_bytes(name)))
        .collect();
    assert!(listed.len() > 12 && listed.len() < contents.len(), "{listed:?}");
    assert_done(&sandbox.zcp(["-r", "--gitignore", "--exclude=/.git", "src", "dst"]).output().unwrap());
    let copied =
        sandbox.snapshot("dst").0.into_iter().filter(|(_, node)| node.mode >> 12 == 0o10).map(|(path, _)| path);
    assert_eq!(copied.collect::<BTreeSet<_>>(), listed);
}

/// A followed link counts as the file that it leads to. A hard link whose other name is left out is copied as a
/// file.
fn with_links() {
    let sandbox = Sandbox::new();
    sandbox
        .file("src/file.o", "1")
        .hard_link("src/file.o", "src/name")
        .file("far/x", "2")
        .symlink("../far", "src/dir");
    for (flags, expected) in [
        (&["-r", "-L", "--exclude=dir/"][..], "file.o name"),
        (&["-r", "--exclude=dir/"], "dir file.o name"),
        (&["-a", "--exclude=*.o"], "dir name"),
        (&["-rH", "--exclude=*.o", "--exclude=dir"], "name"),
    ] {
        let output = sandbox.zcp(flags).args(["src", "dst"]).output().unwrap();
        assert_done(&output);
        assert_eq!(names(&sandbox, "dst"), expected, "{flags:?}");
        std::fs::remove_dir_all(sandbox.path("dst")).unwrap();
    }
}

/// With `--parents`, patterns still start at the operand, however long the path to it is.
fn with_parents() {
    let sandbox = Sandbox::new();
    tree(&sandbox);
    sandbox.dir("dst");
    let args =
        ["-r", "--parents", "--exclude=src", "--exclude=/build", "--exclude=*.o", "src/sub", "src/a.o", "dst"];
    assert!(sandbox.zcp(args).output().unwrap().status.success());
    assert_eq!(names(&sandbox, "dst"), "src src/sub src/sub/b.c");
}

/// The estimate for the progress bar counts the same files.
fn estimate_agrees() {
    let sandbox = Sandbox::new();
    tree(&sandbox);
    sandbox.file("src/.gitignore", "/sub/build\n").file("src/large.o", noise(100_000));
    let mut filter = Filter::default();
    filter.gitignore = true;
    filter.exclude(OsStr::new("*.o")).unwrap();
    filter.include(OsStr::new("keep.o")).unwrap();
    let options = Options { recursive: true, filter: Some(Arc::new(filter)), ..Options::default() };
    let total = Total::default();
    estimate(&options, Arc::from([sandbox.path("src").into()]))(&total);
    let mut options = zcp::CopyOptions::new();
    options.recursive(true).gitignore().exclude("*.o").unwrap().include("keep.o").unwrap();
    let report = options.copy([sandbox.path("src")], sandbox.path("dst")).unwrap();
    assert_eq!((report.excluded(), report.files()), (4, 5));
    assert!(total.complete.into_inner());
    assert_eq!((total.files.into_inner(), total.bytes.into_inner()), (report.files(), report.bytes()));
}

/// A copy without patterns looks for no .gitignore and makes no other further calls.
fn costs_nothing_unused() {
    let sandbox = Sandbox::within(SHM);
    tree(&sandbox);
    sandbox.file("src/.gitignore", "*.o\n");
    let trace = crate::strace::zcp(&sandbox, &["-e", "trace=open,openat"], &["-r", "src", "dst"]);
    assert!(trace.output.status.success());
    // The file is opened twice: once to read it, and once to make its copy.
    assert_eq!(
        trace.lines().filter(|line| line.contains("\".gitignore\"") || line.contains("\".gitigno\"...")).count(),
        2
    );
}
