//! A copy in parts: plan, run and finish, and what happens if a step is missing or impossible.

use crate::needs::{Need, trial};
use crate::sandbox::{LONG_AGO, Sandbox, noise};
use filetime::FileTime;
use libtest_mimic::Trial;
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::Output;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("jobs::tree_of_everything", &[Need::Root, Need::Program("setfacl")], tree_of_everything),
        trial("jobs::any_user", &[], any_user),
        trial("jobs::into_existing_tree", &[], into_existing_tree),
        trial("jobs::single_file", &[], single_file),
        trial("jobs::folder", &[], folder),
        trial("jobs::missing_parts", &[], missing_parts),
        trial("jobs::refused_plans", &[], refused_plans),
        trial("jobs::changed_source", &[], changed_source),
        trial("jobs::failures_are_listed", &[], failures_are_listed),
        trial("jobs::many_failures", &[], many_failures),
        trial("jobs::other_roots", &[], other_roots),
        trial("jobs::patterns", &[], patterns),
        trial("jobs::preset", &[], preset),
        trial("jobs::vanished", &[], vanished),
    ]
}

/// Names that are not text, holes, links between directories, a file that is divided, and modes without
/// permissions.
pub(crate) fn make_tree(sandbox: &Sandbox) {
    let odd = OsStr::from_bytes(b"a/-n\nw\xff ");
    for at in 0..60 {
        sandbox.file(format!("src/a/b{}/f{at}", at % 3), noise(at * 501));
    }
    sandbox.file("src/large", noise(3_000_000)).file("src/empty", "").dir("src/a/nothing/in/here");
    sandbox.file(format!("src/{}", "a/long-".repeat(30)), "x");
    fs::write(sandbox.path("src").join(odd), "odd").unwrap();
    sandbox.time(std::path::Path::new("src").join(odd), LONG_AGO);
    sandbox.sparse("src/holes", 6_000_000, &[(0, b"begin"), (2_500_000, &noise(70_000))]);
    sandbox.symlink("../nowhere", "src/a/link").symlink("a", "src/link-to-dir").fifo("src/a/fifo");
    sandbox.hard_link("src/large", "src/a/large-too").hard_link("src/a/b1/f1", "src/first");
    sandbox.hard_link("src/a/b1/f1", "src/a/b2/second");
    sandbox.mode("src/a/b0/f0", 0o400).mode("src/a/b0", 0o555).mode("src/large", 0o640).mode("src/a/b2", 0o2775);
    for name in ["src/a/b0", "src/a/b1", "src/a/b2", "src/a/nothing", "src/a", "src"] {
        sandbox.time(name, FileTime::from_unix_time(1_234_567_890, 987_654_321));
    }
}

/// Files that only root can make, and attributes.
pub(crate) fn make_tree_as_root(sandbox: &Sandbox) {
    let node = sandbox.path("src/a/null");
    mknodat(CWD, node, FileType::CharacterDevice, Mode::from_raw_mode(0o600), makedev(1, 3)).unwrap();
    sandbox.time("src/a/null", LONG_AGO);
    std::os::unix::net::UnixListener::bind(sandbox.path("src/a/socket")).unwrap();
    sandbox.time("src/a/socket", LONG_AGO);
    for (name, owner) in
        [("src/a/b1/f4", 1234), ("src/a/link", 1235), ("src/a/nothing", 1236), ("src/large", 1237)]
    {
        std::os::unix::fs::lchown(sandbox.path(name), Some(owner), Some(owner + 1)).unwrap();
    }
    sandbox.mode("src/a/b1/f4", 0o4755);
    sandbox.xattr("src/large", "user.note", "kept").xattr("src/a/nothing", "user.dir", "too");
    for acl in [["-m", "u:1234:rwx", "src/a/b1"], ["-dm", "g:1234:r-x", "src/a/b1"], ["-m", "u:1:r", "src/large"]]
    {
        sandbox.command("setfacl").args(acl).assert().success();
    }
    for name in ["src/a/nothing", "src/a/b1", "src/a", "src"] {
        sandbox.time(name, FileTime::from_unix_time(1_234_567_890, 987_654_321));
    }
}

pub(crate) fn plan(sandbox: &Sandbox, args: &[&str]) -> Output {
    sandbox.zcp(["--plan=job"].iter().chain(args)).output().unwrap()
}

pub(crate) fn run(sandbox: &Sandbox, part: u64) -> Output {
    sandbox.zcp(["--run=job".to_owned(), format!("--part={part}")]).output().unwrap()
}

pub(crate) fn finish(sandbox: &Sandbox) -> Output {
    sandbox.zcp(["--finish=job"]).output().unwrap()
}

#[track_caller]
pub(crate) fn done(output: &Output) {
    crate::sandbox::assert_done(output);
}

#[track_caller]
pub(crate) fn says(output: &Output, words: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && text.contains(words), "{words:?} is not in {output:?}");
}

#[track_caller]
fn all_steps(sandbox: &Sandbox, parts: u64, args: &[&str]) {
    let parts_option = format!("--parts={parts}");
    done(&plan(sandbox, &[&[parts_option.as_str()], args].concat()));
    (0..parts).for_each(|part| done(&run(sandbox, part)));
    done(&finish(sandbox));
}

fn manifest(sandbox: &Sandbox) -> Value {
    serde_json::from_slice(&fs::read(sandbox.path("job/manifest.json")).unwrap()).unwrap()
}

fn tree_of_everything() {
    let sandbox = Sandbox::new();
    make_tree(&sandbox);
    make_tree_as_root(&sandbox);
    sandbox.command("cp").args(["-a", "src", "cp"]).assert().success();
    all_steps(&sandbox, 7, &["-a", "--split-over=1M", "src", "dst"]);
    assert_eq!(manifest(&sandbox)["figures"]["joined_files"], 1);
    sandbox.snapshot("dst").assert_same(&sandbox.snapshot("cp"));
    // Repeats all steps, which must change nothing.
    (0..7).for_each(|part| done(&run(&sandbox, part)));
    done(&finish(&sandbox));
    sandbox.snapshot("dst").assert_same(&sandbox.snapshot("cp"));
}

fn any_user() {
    for options in ["-r", "-rp", "-rL", "-dR"] {
        let sandbox = Sandbox::new();
        make_tree(&sandbox);
        if options == "-rL" {
            fs::remove_file(sandbox.path("src/a/link")).unwrap(); // dangling: it leads to nothing that could be followed
        }
        sandbox.command("cp").args([options, "src", "cp"]).assert().success();
        all_steps(&sandbox, 5, &[options, "--split-over=1M", "src", "dst"]);
        let (ours, theirs) = (sandbox.snapshot("dst"), sandbox.snapshot("cp"));
        ours.assert_same(&theirs);
    }
}

/// A copy into a directory with files follows cp's rules for each file.
fn into_existing_tree() {
    let sandbox = Sandbox::new();
    make_tree(&sandbox);
    for dst in ["dst", "cp"] {
        sandbox.file(format!("{dst}/src/a/b1/f1"), "old").file(format!("{dst}/src/mine"), "stays");
        sandbox.file(format!("{dst}/src/large"), "small").dir(format!("{dst}/src/a/b2/own"));
        sandbox.mode(format!("{dst}/src/a"), 0o700).mode(format!("{dst}/src/large"), 0o604);
    }
    sandbox.command("cp").args(["-a", "src", "cp"]).assert().success();
    all_steps(&sandbox, 3, &["-a", "--split-over=1M", "src", "dst/"]);
    sandbox.snapshot("dst").assert_same(&sandbox.snapshot("cp"));
}

fn single_file() {
    let sandbox = Sandbox::new();
    sandbox.file("large", noise(5_000_001)).mode("large", 0o640);
    all_steps(&sandbox, 3, &["-p", "--split-over=1M", "large", "copy"]);
    let pieces = manifest(&sandbox)["figures"]["bytes"]["largest_over_mean"].as_f64().unwrap();
    assert!(pieces < 1.3, "{pieces}");
    sandbox.snapshot("copy").assert_same(&sandbox.snapshot("large"));
}

/// The job folder is as documented, so that other programs can use its lists.
fn folder() {
    let sandbox = Sandbox::new();
    make_tree(&sandbox);
    done(&plan(&sandbox, &["-a", "--parts=4", "src", "dst"]));
    let mut listed: Vec<Vec<u8>> = Vec::new();
    for part in 0..4 {
        let names = fs::read(sandbox.path(format!("job/parts/{part}.names"))).unwrap();
        listed.extend(names.strip_suffix(b"\0").unwrap().split(|byte| *byte == 0).map(<[u8]>::to_vec));
    }
    let find = sandbox.command("find").args(["src", "!", "-type", "d", "-printf", "%P\\0"]).output().unwrap();
    let mut found: Vec<Vec<u8>> =
        find.stdout.strip_suffix(b"\0").unwrap().split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
    listed.sort();
    found.sort();
    assert_eq!(listed, found);
    let manifest = manifest(&sandbox);
    assert_eq!((&manifest["schema"], &manifest["parts"]), (&Value::from(3), &Value::from(4)));
    assert_eq!(manifest["figures"]["files"]["total"], found.len());
    // A plan can be made again before any part has run, but not after.
    done(&plan(&sandbox, &["-a", "--parts=2", "src", "dst"]));
    assert!(!sandbox.path("job/parts/3.names").exists());
    done(&run(&sandbox, 0));
    says(&plan(&sandbox, &["-a", "--parts=2", "src", "dst"]), "'job' holds a job that has been run");
    sandbox.file("other/precious", "");
    says(
        &sandbox.zcp(["-a", "--plan=other", "--parts=2", "src", "dst"]).output().unwrap(),
        "'other' is not empty",
    );
}

fn missing_parts() {
    let sandbox = Sandbox::new();
    make_tree(&sandbox);
    done(&plan(&sandbox, &["-a", "--parts=6", "src", "dst"]));
    [0, 2, 5].into_iter().for_each(|part| done(&run(&sandbox, part)));
    says(&finish(&sandbox), "'job' cannot be finished: these parts have not been run: 1,3,4");
    says(&run(&sandbox, 6), "there is no part 6 in 'job': parts are numbered from 0 to 5");
    let none = sandbox.zcp(["--run=job"]).output().unwrap();
    says(&none, "no part: neither Slurm, Kubernetes, GNU parallel nor MPI names one");
    let auto = sandbox.zcp(["--run=job"]).env("JOB_COMPLETION_INDEX", "3").output().unwrap();
    done(&auto);
    says(&finish(&sandbox), "have not been run: 1,4");
    says(&sandbox.zcp(["--run=dst"]).output().unwrap(), "'dst' holds no complete plan");
}

fn refused_plans() {
    let sandbox = Sandbox::new();
    sandbox.file("src/a", "").file("other", "");
    let refused: [(&[&str], &str); 11] = [
        (&["-ai", "src", "dst"], "does not go with -i: a part has nobody to ask"),
        (&["-ab", "src", "dst"], "does not go with backups"),
        (&["-an", "src", "dst"], "does not go with -n, -u or --update"),
        (&["-au", "src", "dst"], "does not go with -n, -u or --update"),
        (&["-al", "src", "dst"], "does not go with -l, -s or --attributes-only"),
        (&["-r", "--copy-contents", "src", "dst"], "does not go with --copy-contents"),
        (&["-a", "src", "other", "."], "takes one SOURCE"),
        (&["src", "dst"], "-r not specified; omitting directory 'src'"),
        (&["-a", "src", "src/below"], "cannot copy a directory, 'src', into itself"),
        (&["-a", "none", "dst"], "cannot stat 'none': No such file or directory"),
        (&["-aT", "src", "other"], "cannot overwrite non-directory"),
    ];
    for (args, words) in refused {
        says(&plan(&sandbox, &[&["--parts=2"], args].concat()), words);
        assert!(!sandbox.path("job/manifest.json").exists());
    }
    for job in ["src/job", "src/new/directories/job"] {
        let inside = sandbox.zcp(["-a", &format!("--plan={job}"), "--parts=2", "src", "dst"]).output().unwrap();
        says(&inside, &format!("the job folder '{job}' is inside SOURCE"));
    }
    assert!(!sandbox.path("src/new").exists());
}

fn changed_source() {
    let sandbox = Sandbox::new();
    make_tree(&sandbox);
    done(&plan(&sandbox, &["-a", "--parts=2", "--split-over=1M", "src", "dst"]));
    sandbox.file("src/a/b1/f4", "something else");
    fs::remove_file(sandbox.path("src/a/b1/f7")).unwrap();
    sandbox.file("src/large", noise(3_000_000)).time("src/large", FileTime::from_unix_time(1_111_111_111, 0));
    let outputs = [run(&sandbox, 0), run(&sandbox, 1), finish(&sandbox)];
    let text: String = outputs[..2].iter().map(|output| String::from_utf8_lossy(&output.stderr)).collect();
    let src = sandbox.path("src");
    let src = src.display();
    for words in [
        format!("'{src}/a/b1/f4' has changed since the plan was made"),
        format!("cannot stat '{src}/a/b1/f7': No such file or directory"),
        format!("'{src}/large' has changed since the plan was made"),
    ] {
        assert!(text.contains(&words), "{words:?} is not in {text}");
    }
    says(&outputs[2], "a/b1/f4', in 'part ");
    says(&outputs[2], "a/b1/f7', in 'part ");
    says(&outputs[2], "large' is not complete");
    says(&outputs[2], "src/a/b1' has changed since the plan was made");
    assert_eq!(fs::read(sandbox.path("dst/a/b1/f4")).unwrap(), b"something else");
    assert!(!sandbox.path("dst/large").exists(), "a file of which ranges are missing has its name");
}

/// A failure in a part makes `--finish` fail until the part has been run again.
fn failures_are_listed() {
    let sandbox = Sandbox::new();
    make_tree(&sandbox);
    sandbox.dir("dst/a/b1/f1");
    done(&plan(&sandbox, &["-aT", "--parts=3", "src", "dst"]));
    let outputs: Vec<Output> = (0..3).map(|part| run(&sandbox, part)).collect();
    let failed: Vec<&Output> = outputs.iter().filter(|output| !output.status.success()).collect();
    assert_eq!(failed.len(), 1, "{outputs:?}");
    says(failed[0], "cannot overwrite directory");
    says(&finish(&sandbox), "a/b1/f1', in 'part ");
    let report: Value = serde_json::from_slice(&fs::read(sandbox.path("job/finish.json")).unwrap()).unwrap();
    assert_eq!(report["totals"]["failed"], 1);
    fs::remove_dir(sandbox.path("dst/a/b1/f1")).unwrap();
    (0..3).for_each(|part| done(&run(&sandbox, part)));
    done(&finish(&sandbox));
    sandbox.command("cp").args(["-a", "src", "cp"]).assert().success();
    sandbox.snapshot("dst").assert_same(&sandbox.snapshot("cp"));
}

fn other_roots() {
    let sandbox = Sandbox::new();
    make_tree(&sandbox);
    done(&plan(&sandbox, &["-a", "--parts=2", "src", "dst"]));
    fs::rename(sandbox.path("dst"), sandbox.path("old")).unwrap();
    sandbox.dir("dst");
    says(&run(&sandbox, 0), "dst' is not the directory that the plan was made for");
    says(&run(&sandbox, 1), "dst' is not the directory that the plan was made for");
    says(&finish(&sandbox), "have not been run: 0,1");
}

/// A result lists 1,000 failures; `--finish` counts all of them.
fn many_failures() {
    let sandbox = Sandbox::new();
    for at in 0..1_100 {
        sandbox.file(format!("src/{at}"), "").dir(format!("dst/{at}"));
    }
    done(&plan(&sandbox, &["-aT", "--parts=1", "src", "dst"]));
    says(&run(&sandbox, 0), "cannot overwrite directory");
    says(&finish(&sandbox), "'part 0' reported 100 further failures");
    let report: Value = serde_json::from_slice(&fs::read(sandbox.path("job/finish.json")).unwrap()).unwrap();
    assert_eq!(report["totals"]["failed"], 1_100);
}

/// Only the plan needs the patterns: the machines of the parts may not have their file.
fn patterns() {
    let sandbox = Sandbox::new();
    sandbox.file("src/a.o", "").file("src/a.c", "").file("patterns", "*.o\n!kept.o\n").file("src/kept.o", "");
    done(&plan(&sandbox, &["-a", "--parts=1", "--exclude-from=patterns", "--include=x", "src", "dst"]));
    fs::remove_file(sandbox.path("patterns")).unwrap();
    done(&run(&sandbox, 0));
    done(&finish(&sandbox));
    assert!(!sandbox.path("dst/a.o").exists());
    assert!(sandbox.path("dst/a.c").exists() && sandbox.path("dst/kept.o").exists());
}

/// The options in `ZCP_OPTS` of the plan that say how to copy are those of all parts.
fn preset() {
    let sandbox = Sandbox::new();
    sandbox.file("src/a", "1");
    let args = ["-a", "--plan=job", "--parts=1", "src", "dst"];
    done(&sandbox.zcp(args).env("ZCP_OPTS", "--verify --stats").output().unwrap());
    assert_eq!(manifest(&sandbox)["arguments"], serde_json::json!(["--verify", "--archive"]));
    done(&run(&sandbox, 0));
    done(&finish(&sandbox));
    let report: Value = serde_json::from_slice(&fs::read(sandbox.path("job/finish.json")).unwrap()).unwrap();
    assert_eq!(report["totals"]["verified"], 1);
}

/// `--finish` adds up the names that `--ignore-vanished` has counted.
fn vanished() {
    let sandbox = Sandbox::new();
    sandbox.file("src/a", "1").file("src/b", "2");
    done(&plan(&sandbox, &["-r", "--parts=1", "src", "dst"]));
    fs::remove_file(sandbox.path("src/b")).unwrap();
    let words = "zcp: warning: names that vanished before they could be copied: 1\n";
    sandbox.zcp(["--run=job", "--part=0", "--ignore-vanished"]).assert().success().stderr(words);
    let output = finish(&sandbox);
    let report: Value = serde_json::from_slice(&fs::read(sandbox.path("job/finish.json")).unwrap()).unwrap();
    assert_eq!(report["totals"]["vanished"], 1, "{output:?}");
}
