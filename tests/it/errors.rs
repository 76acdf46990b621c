//! Failures are reported in cp's words, the rest is copied, and the exit status is 1. The system's cp and zcp
//! copy two equal sandboxes, and both results are compared.

use crate::needs::{Need, trial};
use crate::oracle;
use crate::sandbox::{Sandbox, ZCP};
use libtest_mimic::Trial;
use std::ffi::OsStr;
use std::process::Output;

/// A name for each case, and its command line. The files are those of [`tree`].
const CASES: [(&str, &str); 23] = [
    ("missing", "-r missing one sub into"),
    ("no_recursion", "sub one into"),
    ("directory_over_file", "-r sub two/sub into2"),
    ("file_over_directory", "one into3"),
    ("directory_over_name", "-rT sub one"),
    ("same_file", "one one"),
    ("same_by_link", "one hard"),
    ("same_by_symlink", "one soft"),
    ("twice", "one one into"),
    ("lands_twice", "one two/one into"),
    ("dangling", "one dangling"),
    ("no_directory", "one two nowhere"),
    ("no_parent", "one nowhere/one"),
    ("slash", "one new/"),
    ("empty_name", "one ''"),
    ("no_operand", "-r"),
    ("one_operand", "one"),
    ("not_a_directory", "-t one two"),
    ("extra", "-T one two three"),
    ("through_file", "one/x into"),
    ("loop", "-L circle into"),
    ("odd_names", "-r odd into"),
    ("link_over_other", "-dl one hard into4"),
];

/// Directories that would be copied into themselves.
const INTO_ITSELF: [&str; 6] = [
    "-r sub sub",
    "-r sub sub/new",
    "-r sub sub/deep",
    "-r sub sub/deep/new",
    "-r . sub/new",
    "-r ./sub/../sub one sub/deep",
];

/// Directories that would be copied into themselves through symbolic links. cp's messages depend on its version.
const INTO_ITSELF_BY_LINK: [&str; 4] =
    ["-r sub to_sub/new", "-r sub to_deep/new", "-r sub to_sub", "-r to_sub/. to_deep"];

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    let mut add = |name: String, needs: &[Need], run: Box<dyn FnOnce() + Send>| {
        let needs = [&[Need::Program("cp")], needs].concat();
        trials.push(trial(format!("errors::{name}"), &needs, run));
    };
    for (name, line) in CASES {
        for jobs in ["1", "4"] {
            add(format!("{name}-j{jobs}"), &[], Box::new(move || twins(line, jobs)));
        }
    }
    for line in INTO_ITSELF {
        for jobs in ["1", "4"] {
            add(format!("into_itself::{line}-j{jobs}"), &[], Box::new(move || into_itself("cp", line, jobs)));
        }
    }
    for line in INTO_ITSELF_BY_LINK {
        for jobs in ["1", "4"] {
            let run = move || into_itself(oracle::reference(), line, jobs);
            add(format!("into_itself::{line}-j{jobs}"), &[Need::ReferenceCp], Box::new(run));
        }
    }
    for umask in ["000", "022", "027", "077", "777"] {
        add(format!("umask::{umask}"), &[Need::ReferenceCp], Box::new(move || umask_applies(umask)));
    }
    add("unreadable".into(), &[Need::Root, Need::Program("setpriv")], Box::new(unreadable));
    trials
}

fn tree() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.file("one", "1").file("two/one", "2").file("two/sub", "file").dir("into").file("into2/sub", "");
    sandbox.hard_link("one", "hard").symlink("one", "soft").symlink("nowhere/x", "dangling").dir("into3/one");
    sandbox.file("sub/a", "a").file("sub/deep/b", "b").symlink("sub", "to_sub").symlink("sub/deep", "to_deep");
    sandbox.symlink("circle", "circle").file("odd/it's", "").file("odd/new\nline", "").symlink("x", "odd/a b");
    sandbox.file("into4/hard", "other");
    sandbox.dir("into/odd/it's").file("into/odd/a b/x", "").dir("into/odd/new\nline");
    sandbox
}

fn words(line: &str) -> Vec<&str> {
    line.split(' ').map(|word| word.trim_matches('\'')).collect()
}

/// Runs `program` under the name cp.
fn run(sandbox: &Sandbox, program: impl AsRef<OsStr>, args: &[&str]) -> Output {
    sandbox.command_as(program, "cp").args(args).output().unwrap()
}

fn sorted_errors(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stderr);
    // Only newer versions of cp print the rest of this line.
    let known = |line: &str| line.split_inclusive("with non-directory").next().unwrap_or_default().to_owned();
    let mut lines: Vec<_> = text.lines().map(known).collect();
    lines.sort();
    lines
}

#[track_caller]
fn assert_twins(cp: &Output, zcp: &Output) {
    assert_eq!(sorted_errors(cp), sorted_errors(zcp), "cp, then zcp");
    assert_eq!(cp.status.code(), zcp.status.code());
}

fn twins(line: &str, jobs: &str) {
    let (theirs, ours) = (tree(), tree());
    let cp = run(&theirs, "cp", &words(line));
    let zcp = run(&ours, ZCP, &[&["-j", jobs], words(line).as_slice()].concat());
    assert_twins(&cp, &zcp);
    theirs.snapshot("").plain().assert_same(&ours.snapshot("").plain());
    assert!(!cp.stderr.is_empty(), "this is no error: {line}");
}

/// The copy is refused in cp's words, and ends. How much was copied before depends on the order.
fn into_itself(program: impl AsRef<OsStr>, line: &str, jobs: &str) {
    let (theirs, ours) = (tree(), tree());
    let cp = run(&theirs, program, &words(line));
    let zcp = run(&ours, ZCP, &[&["-j", jobs], words(line).as_slice()].concat());
    assert_eq!(zcp.status.code(), Some(1));
    assert_twins(&cp, &zcp);
    assert_shallow(&ours);
}

/// Checks that the copy stopped soon, and that all earlier files still exist.
fn assert_shallow(sandbox: &Sandbox) {
    for (path, node) in sandbox.snapshot("").0 {
        assert!(path.components().count() < 8, "{path:?} {node:?}");
    }
    tree().snapshot("sub/deep/b").assert_same(&sandbox.snapshot("sub/deep/b"));
}

/// Modes are those of the source without the bits of the umask. set-ID bits are not copied.
fn umask_applies(umask: &str) {
    let [theirs, ours] = [oracle::reference(), ZCP.into()].map(|program| {
        let sandbox = Sandbox::new();
        for mode in [0o400, 0o444, 0o600, 0o644, 0o666, 0o711, 0o755, 0o777, 0o4755, 0o2755, 0o1777, 0o6777] {
            sandbox.file(format!("src/file-{mode:o}"), "x").mode(format!("src/file-{mode:o}"), mode);
            if mode & 0o500 == 0o500 {
                let inside = format!("src/dir-{mode:o}/inside");
                sandbox.file(inside, "x").mode(format!("src/dir-{mode:o}"), mode);
            }
        }
        sandbox.dir("shared").mode("shared", 0o2777);
        sandbox.file("old", "old").mode("old", 0o604).fifo("src/fifo").mode("src/fifo", 0o666);
        std::os::unix::net::UnixListener::bind(sandbox.path("src/socket")).unwrap();
        let script = format!(
            "umask {umask}; set -e; for to in dst shared; do \"$0\" -r src $to; done; \"$0\" src/file-755 old
            \"$0\" -r --no-preserve=mode src plain; \"$0\" -r --no-preserve=mode src shared/plain; \"$0\" -rp src kept"
        );
        let output = sandbox.command("sh").args(["-c", &script]).arg(program).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        sandbox
    });
    theirs.snapshot("").plain().assert_same(&ours.snapshot("").plain());
    for sandbox in [theirs, ours] {
        // Otherwise directories without permissions could not be removed.
        sandbox.command("chmod").args(["-R", "u+rwx", "."]).assert().success();
    }
}

/// A user who may not read everything copies the rest.
fn unreadable() {
    let [(theirs, cp), (ours, zcp)] = ["cp", ZCP].map(|program| {
        let sandbox = Sandbox::new();
        // The build directory may be inaccessible to other users.
        let program = if program == ZCP { sandbox.path("cp") } else { "cp".into() };
        std::fs::copy(ZCP, sandbox.path("cp")).unwrap();
        sandbox.file("src/open", "open").file("src/closed", "closed").mode("src/closed", 0);
        sandbox
            .file("src/sealed/x", "x")
            .mode("src/sealed", 0)
            .file("src/listed/x", "x")
            .mode("src/listed", 0o444);
        sandbox.file("src/blind/x", "x").mode("src/blind", 0o333).file("src/sub/open", "open");
        sandbox.dir("dst").mode("dst", 0o777).dir("shut").mode("", 0o755);
        let mut command = sandbox.command("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
        let output = command.arg(program).args(["-r", "src", "dst"]).output().unwrap();
        (sandbox, output)
    });
    let without_path = |output: &Output| {
        let lines = sorted_errors(output).into_iter();
        lines.map(|line| line.split_once(": ").unwrap().1.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(without_path(&cp), without_path(&zcp));
    assert_eq!((cp.status.code(), zcp.status.code()), (Some(1), Some(1)));
    theirs.snapshot("dst").plain().assert_same(&ours.snapshot("dst").plain());
}
