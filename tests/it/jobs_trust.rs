//! The steps of a job trust no folder that other users can write to, no file in the destination that the job
//! did not make, and no file that looks complete but was not written by the job.

use crate::jobs::{done, finish, plan, run, says};
use crate::needs::{Need, trial};
use crate::sandbox::{Sandbox, ZCP, assert_done, noise};
use filetime::FileTime;
use libtest_mimic::Trial;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Output;

/// The id of another user.
const MALLORY: u32 = 4321;

pub(crate) fn trials() -> Vec<Trial> {
    let (root, strace) = (Need::Root, Need::Strace);
    vec![
        trial("jobs::older_files_are_not_taken_for_complete", &[], older_files_are_not_taken_for_complete),
        trial("jobs::killed_part_takes_no_older_file", &[strace], killed_part_takes_no_older_file),
        trial("jobs::repeated_part_keeps_what_it_wrote", &[], repeated_part_keeps_what_it_wrote),
        trial("jobs::unsynced_part_is_copied_again", &[strace], unsynced_part_is_copied_again),
        trial("jobs::folder_that_others_may_write", &[], folder_that_others_may_write),
        trial("jobs::folder_of_another_user", &[root], folder_of_another_user),
        trial("jobs::links_in_the_folder", &[], links_in_the_folder),
        trial("jobs::another_user_at_the_folder", &[root], another_user_at_the_folder),
        trial("jobs::range_file_is_closed_and_not_guessed", &[root], range_file_is_closed_and_not_guessed),
        trial("jobs::range_file_that_was_exchanged", &[root], range_file_that_was_exchanged),
        trial("jobs::range_file_that_was_cut", &[], range_file_that_was_cut),
        trial("jobs::file_that_others_may_write", &[], job_file_that_others_may_write),
        trial("jobs::changed_source_leaves_no_range_file", &[], changed_source_leaves_no_range_file),
        trial("jobs::waiting_range_file_is_named", &[], waiting_range_file_is_named),
        trial("jobs::umask_of_the_owner", &[root], umask_of_the_owner),
        trial("jobs::too_many_parts", &[], too_many_parts),
    ]
}

fn same_time(sandbox: &Sandbox, names: &[&str]) {
    names.iter().for_each(|name| {
        sandbox.time(name, FileTime::from_unix_time(1_577_923_200, 5));
    });
}

/// An older copy with the length and the times of the source, but another content.
fn with_older_file() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.file("src/f", "NEW").file("dst/f", "OLD").file("src/g", "g");
    same_time(&sandbox, &["src/f", "dst/f"]);
    sandbox
}

#[track_caller]
fn is_new(sandbox: &Sandbox) {
    assert_eq!(fs::read(sandbox.path("dst/f")).unwrap(), b"NEW");
}

fn older_files_are_not_taken_for_complete() {
    for options in ["-aT", "-rpT"] {
        let sandbox = with_older_file();
        done(&plan(&sandbox, &[options, "--parts=1", "src", "dst"]));
        done(&run(&sandbox, 0));
        is_new(&sandbox);
        done(&finish(&sandbox));
    }
}

/// Wherever the first run was killed, the next run knows what the first had made.
fn killed_part_takes_no_older_file() {
    for moment in (4..80).step_by(4) {
        let sandbox = with_older_file();
        done(&plan(&sandbox, &["-aT", "--parts=1", "src", "dst"]));
        let mut strace = sandbox.command("strace");
        let inject = format!("inject=%file,write,close:signal=SIGKILL:when={moment}");
        strace.args(["-f", "-o", "/dev/null", "-e", &inject, ZCP, "--run=job", "--part=0", "-j1"]);
        strace.output().unwrap();
        done(&run(&sandbox, 0));
        is_new(&sandbox);
        done(&finish(&sandbox));
    }
}

fn repeated_part_keeps_what_it_wrote() {
    let sandbox = with_older_file();
    sandbox.dir("dst/g");
    done(&plan(&sandbox, &["-aT", "--parts=1", "src", "dst"]));
    says(&run(&sandbox, 0), "cannot overwrite directory");
    is_new(&sandbox);
    let inode = sandbox.path("dst/f").metadata().unwrap().ino();
    fs::remove_dir(sandbox.path("dst/g")).unwrap();
    sandbox
        .file("dst/g", "h")
        .time("dst/g", FileTime::from_last_modification_time(&sandbox.path("src/g").metadata().unwrap()));
    done(&run(&sandbox, 0));
    assert_eq!(sandbox.path("dst/f").metadata().unwrap().ino(), inode, "what the job wrote is copied again");
    assert_eq!(fs::read(sandbox.path("dst/g")).unwrap(), b"g", "what the job did not write is taken for complete");
    done(&finish(&sandbox));
    assert_eq!(fs::read_dir(sandbox.path("job/written")).unwrap().count(), 0);
}

/// A file that could not be written to the disk is copied again when the part is repeated.
fn unsynced_part_is_copied_again() {
    for at in 1..6 {
        let sandbox = Sandbox::new();
        sandbox.file("src/a/f", "f").file("src/b/g", noise(9000));
        sandbox.command("cp").args(["-a", "src", "cp"]).assert().success();
        done(&plan(&sandbox, &["-a", "--fsync", "--parts=1", "src", "dst"]));
        let inject = format!("inject=fsync:error=EIO:when={at}");
        let mut strace = sandbox.command("strace");
        strace.args(["-f", "-o", "/dev/null", "-e", &inject, ZCP, "--run=job", "--part=0", "-j1"]);
        let first = strace.output().unwrap();
        let inode = |name: &str| sandbox.path(name).metadata().ok().map(|stat| stat.ino());
        let before = [inode("dst/a/f"), inode("dst/b/g")];
        if first.status.success() {
            assert!(at > 2, "{first:?}");
            continue;
        }
        says(&finish(&sandbox), "cannot sync");
        done(&run(&sandbox, 0));
        let after = [inode("dst/a/f"), inode("dst/b/g")];
        assert!(before.iter().zip(after).all(|(before, after)| *before != after), "{before:?} {after:?} at {at}");
        done(&finish(&sandbox));
        sandbox.snapshot("dst").assert_same(&sandbox.snapshot("cp"));
    }
}

/// Runs all three steps on a job folder.
fn steps(sandbox: &Sandbox) -> [Output; 3] {
    [plan(sandbox, &["-a", "--parts=1", "src", "dst"]), run(sandbox, 0), finish(sandbox)]
}

fn folder_that_others_may_write() {
    for mode in [0o777, 0o775, 0o757, 0o1777, 0o730] {
        let sandbox = Sandbox::new();
        sandbox.file("src/f", "f").file("victim", "precious").dir("job").mode("job", mode);
        symlink("../victim", sandbox.path("job/spool")).unwrap();
        says(
            &plan(&sandbox, &["-a", "--parts=1", "src", "dst"]),
            "not using 'job' for a job: others may write to it",
        );
        assert_eq!(fs::read(sandbox.path("victim")).unwrap(), b"precious");
        assert!(!sandbox.path("dst").exists());
        fs::remove_file(sandbox.path("job/spool")).unwrap();
        sandbox.mode("job", 0o700);
        done(&plan(&sandbox, &["-a", "--parts=1", "src", "dst"]));
        for (name, shown) in [("job", "'job'"), ("job/running", "'job/running'"), ("job/results", "'job/results'")]
        {
            let before = sandbox.path(name).metadata().unwrap().permissions();
            sandbox.mode(name, mode);
            for output in [run(&sandbox, 0), finish(&sandbox)] {
                says(&output, &format!("not using {shown} for a job: others may write to it"));
            }
            fs::set_permissions(sandbox.path(name), before).unwrap();
        }
        done(&run(&sandbox, 0));
        done(&finish(&sandbox));
    }
}

fn folder_of_another_user() {
    let sandbox = Sandbox::new();
    sandbox.file("src/f", "f").dir("job");
    chown(sandbox.path("job"), Some(MALLORY), None).unwrap();
    says(&steps(&sandbox)[0], "not using 'job' for a job: it belongs to another user");
    chown(sandbox.path("job"), Some(0), None).unwrap();
    done(&plan(&sandbox, &["-a", "--parts=1", "src", "dst"]));
    for name in ["job", "job/parts", "job/written"] {
        chown(sandbox.path(name), Some(MALLORY), None).unwrap();
        for output in [run(&sandbox, 0), finish(&sandbox)] {
            says(&output, &format!("not using '{name}' for a job: it belongs to another user"));
        }
        chown(sandbox.path(name), Some(0), None).unwrap();
    }
    chown(sandbox.path("job/manifest.json"), Some(MALLORY), None).unwrap();
    says(&run(&sandbox, 0), "not reading 'job/manifest.json': it is not a file of this job");
}

/// Links that were made while other users could write to the folder are not written through.
fn links_in_the_folder() {
    for name in
        ["results/0.json", "finish.json", "manifest.json", "joins.json", "directories.names", "spool", "parts"]
    {
        let sandbox = Sandbox::new();
        sandbox.file("src/f", "f").file("victim", "precious").dir("outside");
        done(&plan(&sandbox, &["-a", "--parts=1", "src", "dst"]));
        let path = sandbox.path("job").join(name);
        let _ = fs::remove_file(&path);
        let target = if name == "parts" { "outside" } else { "victim" };
        if path.is_dir() {
            fs::rename(&path, sandbox.path("aside")).unwrap();
        }
        symlink(sandbox.path(target), &path).unwrap();
        steps(&sandbox);
        assert_eq!(fs::read(sandbox.path("victim")).unwrap(), b"precious", "{name}");
        assert_eq!(fs::read_dir(sandbox.path("outside")).unwrap().count(), 0, "{name}");
    }
}

/// A job belongs to one user: a step that another user starts fails with a message and changes nothing.
fn another_user_at_the_folder() {
    let sandbox = Sandbox::new();
    sandbox.file("src/f", "f").mode("", 0o755);
    done(&plan(&sandbox, &["-a", "--parts=1", "src", "dst"]));
    let zcp = crate::sandbox::program_for_others();
    let as_mallory = |step: &str| {
        let mut command = std::process::Command::new(zcp.path().join("zcp"));
        command.args([step, "--part=0"].iter().take(if step == "--run=job" { 2 } else { 1 }));
        command.current_dir(sandbox.path("")).uid(MALLORY).gid(MALLORY).output().unwrap()
    };
    for step in ["--run=job", "--finish=job"] {
        says(&as_mallory(step), "Permission denied");
        sandbox.mode("job", 0o755);
        says(&as_mallory(step), "Permission denied");
        sandbox.mode("job", 0o700);
    }
    done(&run(&sandbox, 0));
    done(&finish(&sandbox));
}

/// The temporary names in the destination.
fn temporaries(sandbox: &Sandbox) -> Vec<PathBuf> {
    let names = fs::read_dir(sandbox.path("dst")).unwrap().map(|entry| entry.unwrap().path());
    names.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(".zcp-")).collect()
}

/// A large file that only its owner may read, to be copied in ranges into a directory of another user.
fn with_large_file() -> (Sandbox, Vec<u8>) {
    let sandbox = Sandbox::new();
    let content = noise(6_000_000);
    sandbox.file("secret", &content).mode("secret", 0o4600).dir("dst");
    if rustix::process::geteuid().is_root() {
        chown(sandbox.path("dst"), Some(MALLORY), Some(MALLORY)).unwrap();
    }
    let args = ["-a", "--parts=2", "--split-over=1M", "secret", "dst/"];
    done(&plan(&sandbox, &args));
    (sandbox, content)
}

fn range_file_is_closed_and_not_guessed() {
    let (sandbox, content) = with_large_file();
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(sandbox.path("job/manifest.json")).unwrap()).unwrap();
    let guessed = format!("dst/.zcp-{}-0", manifest["job"].as_str().unwrap());
    sandbox.file(&guessed, "").mode(&guessed, 0o666);
    chown(sandbox.path(&guessed), Some(MALLORY), None).unwrap();
    done(&run(&sandbox, 0));
    assert_eq!(sandbox.path(&guessed).metadata().unwrap().len(), 0);
    fs::remove_file(sandbox.path(&guessed)).unwrap();
    let [made] = &temporaries(&sandbox)[..] else { panic!("not one file for ranges") };
    let stat = made.metadata().unwrap();
    assert_eq!((stat.mode() & 0o7777, stat.uid(), stat.nlink()), (0o600, 0, 1));
    done(&run(&sandbox, 1));
    done(&finish(&sandbox));
    assert_eq!(fs::read(sandbox.path("dst/secret")).unwrap(), content);
    assert_eq!(sandbox.path("dst/secret").metadata().unwrap().mode() & 0o7777, 0o4600);
    assert_eq!(temporaries(&sandbox), Vec::<PathBuf>::new());
}

/// The owner of a destination interferes with the file that takes the ranges. A file in its place is never
/// written to; a part says so and begins a new file, and the parts whose ranges were in the old one are named.
fn range_file_that_was_exchanged() {
    type Exchange = fn(&Sandbox, &PathBuf);
    let not_made = "it is not the file that this job made";
    let exchanges: [(&str, &str, Exchange); 7] = [
        ("his own file", not_made, |sandbox, made| {
            fs::rename(made, sandbox.path("dst/aside")).unwrap();
            fs::write(made, "").unwrap();
            fs::set_permissions(made, fs::Permissions::from_mode(0o666)).unwrap();
            chown(made, Some(MALLORY), None).unwrap();
        }),
        ("another file of root", not_made, |sandbox, made| {
            fs::rename(made, sandbox.path("dst/aside")).unwrap();
            fs::rename(sandbox.path("victim"), made).unwrap();
        }),
        ("a link", not_made, |sandbox, made| {
            fs::rename(made, sandbox.path("dst/aside")).unwrap();
            symlink(sandbox.path("victim"), made).unwrap();
        }),
        ("a fifo", not_made, |sandbox, made| {
            fs::rename(made, sandbox.path("dst/aside")).unwrap();
            let name = made.strip_prefix(sandbox.path("")).unwrap();
            sandbox.fifo(name);
        }),
        ("a directory", not_made, |sandbox, made| {
            fs::rename(made, sandbox.path("dst/aside")).unwrap();
            fs::create_dir(made).unwrap();
        }),
        ("a second name", "it has got a second name", |sandbox, made| {
            fs::hard_link(made, sandbox.path("dst/aside")).unwrap();
        }),
        ("more rights", "its owner or mode has changed", |_, made| {
            fs::set_permissions(made, fs::Permissions::from_mode(0o666)).unwrap();
        }),
    ];
    for (what, words, exchange) in exchanges {
        for by_finish in [false, true] {
            let (sandbox, content) = with_large_file();
            sandbox.file("victim", "precious").mode("victim", 0o600);
            done(&run(&sandbox, 0));
            let made = temporaries(&sandbox).remove(0);
            if by_finish {
                done(&run(&sandbox, 1));
            }
            exchange(&sandbox, &made);
            let there = |path: &PathBuf| fs::symlink_metadata(path).map(|stat| (stat.ino(), stat.len())).unwrap();
            let before = there(&made);
            let part = if by_finish { "0,1" } else { "0" };
            let said = if by_finish { finish(&sandbox) } else { run(&sandbox, 1) };
            assert!(String::from_utf8_lossy(&said.stderr).contains(words), "{what}: {said:?}");
            assert_eq!(said.status.success(), !by_finish, "{what}: {said:?}");
            if !by_finish {
                says(&finish(&sandbox), &format!("ranges of it are to be copied again, by part {part}"));
            }
            assert!(!sandbox.path("dst/secret").exists(), "{what}");
            for part in [0, 1] {
                assert!(run(&sandbox, part).status.success(), "{what}");
            }
            assert_done(&finish(&sandbox));
            assert_eq!(fs::read(sandbox.path("dst/secret")).unwrap(), content, "{what}");
            if words == not_made {
                assert_eq!(there(&made), before, "{what} was touched");
            } else {
                assert!(!made.exists(), "{what}: the job's own file stays");
            }
            let victim = if what == "another file of root" { made } else { sandbox.path("victim") };
            assert_eq!(fs::read(victim).unwrap(), b"precious", "{what}");
        }
    }
}

/// The file that takes the ranges is cut off: by a length of 0, by another one, before the last part and after it.
fn range_file_that_was_cut() {
    for length in [0, 3_000_000, 7_000_000] {
        for parts_before in [1, 2] {
            let (sandbox, content) = with_large_file();
            (0..parts_before).for_each(|part| done(&run(&sandbox, part)));
            let made = temporaries(&sandbox).remove(0);
            fs::File::options().write(true).open(&made).unwrap().set_len(length).unwrap();
            if parts_before == 1 {
                let output = run(&sandbox, 1);
                assert!(output.status.success(), "{output:?}");
                assert!(String::from_utf8_lossy(&output.stderr).contains("its length has changed"), "{output:?}");
            }
            says(&finish(&sandbox), "is not complete: ranges of it are to be copied again, by part 0");
            assert!(!sandbox.path("dst/secret").exists());
            [0, 1].iter().for_each(|part| assert!(run(&sandbox, *part).status.success()));
            done(&finish(&sandbox));
            assert_eq!(fs::read(sandbox.path("dst/secret")).unwrap(), content);
            assert_eq!(temporaries(&sandbox), Vec::<PathBuf>::new());
        }
    }
}

/// A file of the job that others may write to is no better than a folder that they may write to.
fn job_file_that_others_may_write() {
    for name in
        ["manifest.json", "parts/0.names", "parts/0.facts", "directories.names", "joins.json", "ranges/0-0"]
    {
        for mode in [0o666, 0o620, 0o602] {
            let (sandbox, content) = with_large_file();
            done(&run(&sandbox, 0));
            let name = format!("job/{name}");
            sandbox.mode(&name, mode);
            let words = format!("not reading '{name}': others may write to it");
            let output = if name.contains("0.") {
                fs::remove_file(sandbox.path("job/results/0.json")).map(|()| run(&sandbox, 0)).unwrap()
            } else {
                run(&sandbox, 1)
            };
            if output.status.success() {
                says(&finish(&sandbox), &words);
            } else {
                says(&output, &words);
            }
            sandbox.mode(&name, 0o600);
            [0, 1].iter().for_each(|part| done(&run(&sandbox, *part)));
            done(&finish(&sandbox));
            assert_eq!(fs::read(sandbox.path("dst/secret")).unwrap(), content);
        }
    }
}

fn changed_source_leaves_no_range_file() {
    let (sandbox, _) = with_large_file();
    done(&run(&sandbox, 0));
    sandbox.file("secret", noise(6_000_000)).time("secret", FileTime::from_unix_time(1_111_111_111, 0));
    says(&run(&sandbox, 1), "has changed since the plan was made");
    assert_eq!(temporaries(&sandbox).len(), 1);
    says(&finish(&sandbox), "has changed since the plan was made");
    assert_eq!(temporaries(&sandbox), Vec::<PathBuf>::new());
}

/// A file that lacks ranges stays, and is named.
fn waiting_range_file_is_named() {
    let (sandbox, content) = with_large_file();
    done(&run(&sandbox, 0));
    sandbox.mode("dst", 0o755);
    fs::rename(sandbox.path("secret"), sandbox.path("aside")).unwrap();
    assert_eq!(run(&sandbox, 1).status.code(), Some(1));
    fs::rename(sandbox.path("aside"), sandbox.path("secret")).unwrap();
    let made = temporaries(&sandbox).remove(0);
    says(&finish(&sandbox), &format!("by part 1; the others are in '{}'", made.display()));
    assert!(made.exists());
    done(&run(&sandbox, 1));
    done(&finish(&sandbox));
    assert_eq!(fs::read(sandbox.path("dst/secret")).unwrap(), content);
    assert_eq!(temporaries(&sandbox), Vec::<PathBuf>::new());
}

/// A umask that removes permissions of the owner applies to the directories of a job as well.
fn umask_of_the_owner() {
    let sandbox = Sandbox::new();
    sandbox.file("src/a/f", "f").mode("src/a", 0o777).mode("src", 0o775);
    let job = format!("{ZCP} -r --plan=job --parts=1 src dst && {ZCP} --run=job --part=0 && {ZCP} --finish=job");
    let script = format!("umask 0103; {ZCP} -r src plain; {job}");
    assert_done(&sandbox.command("sh").args(["-c", &script]).output().unwrap());
    for name in ["", "a", "a/f"] {
        let mode = |tree: &str| sandbox.path(tree).join(name).metadata().unwrap().mode() & 0o7777;
        assert_eq!(mode("dst"), mode("plain"), "{name}");
    }
}

fn too_many_parts() {
    let sandbox = Sandbox::new();
    sandbox.file("src/f", "f");
    let output = plan(&sandbox, &["-a", "--parts=99999999999", "src", "dst"]);
    says(&output, "invalid number of parts: '99999999999': there can be 1000000 at most");
    assert!(!sandbox.path("job").exists() && !sandbox.path("dst").exists());
    assert_done(&plan(&sandbox, &["-a", "--parts=300", "src", "dst"]));
}
