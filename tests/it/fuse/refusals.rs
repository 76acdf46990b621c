//! Copies to and from file systems that support few operations. A copy is right, or its failure is reported and
//! leaves no other files.

use super::server::Refusals;
use crate::needs::{Need, trial};
use crate::sandbox::{Sandbox, assert_done, noise};
use crate::snapshot::Snapshot;
use fuser::FileType;
use libtest_mimic::Trial;
use rustix::io::Errno;
use std::fs;
use std::path::Path;
use std::process::Output;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![trial(
        "fuse::half_overwritten_file_is_removed",
        &[Need::Fuse, Need::Strace],
        half_overwritten_file_is_removed,
    )];
    for (name, refusals) in kinds() {
        trials.push(trial(format!("fuse::to::{name}"), &[Need::Fuse], move || copies_to(name, refusals)));
        trials.push(trial(format!("fuse::from::{name}"), &[Need::Fuse], move || copies_from(refusals)));
    }
    trials
}

/// The operations that each kind of server refuses.
fn kinds() -> Vec<(&'static str, Refusals)> {
    let none = Refusals::default();
    vec![
        ("nothing_refused", none),
        ("no_rename_flags", Refusals { rename_flags: true, ..none }),
        ("no_rename", Refusals { rename_flags: true, rename: Some(Errno::PERM), ..none }),
        ("no_rename_and_no_link", Refusals { rename: Some(Errno::NOSYS), link: Some(Errno::PERM), ..none }),
        ("no_link", Refusals { link: Some(Errno::OPNOTSUPP), ..none }),
        ("no_link_and_no_rename_flags", Refusals { link: Some(Errno::PERM), rename_flags: true, ..none }),
        ("no_link_count", Refusals { link_count: true, ..none }),
        ("only_truncating_opens", Refusals { keeping_content: Some(Errno::PERM), ..none }),
        ("only_truncating_opens_by_einval", Refusals { keeping_content: Some(Errno::INVAL), ..none }),
        ("only_sequential_writes", Refusals { random_writes: true, ..none }),
        ("no_unlink_of_open_files", Refusals { unlink_open: Some(Errno::BUSY), ..none }),
        ("all_types_regular", Refusals { types: Some(FileType::RegularFile), ..none }),
        ("all_types_directory", Refusals { types: Some(FileType::Directory), ..none }),
        ("all_types_link", Refusals { types: Some(FileType::Symlink), ..none }),
        ("all_types_fifo", Refusals { types: Some(FileType::NamedPipe), ..none }),
        ("no_offsets", Refusals { offsets: true, ..none }),
        ("object_storage", Refusals::of_object_storage()),
    ]
}

const OPTIONS: [&[&str]; 20] = [
    &["-r"],
    &["-a"],
    &["-r", "-j1"],
    &["-a", "-f"],
    &["-r", "-u"],
    &["-r", "--remove-destination"],
    &["-r", "--atomic"],
    &["-a", "--atomic", "-f"],
    &["-r", "--atomic", "--remove-destination"],
    &["-r", "--resume"],
    &["-r", "--fsync"],
    &["-r", "--atomic", "--fsync"],
    &["-r", "--cache=drop"],
    &["-r", "--verify"],
    &["-r", "--verify", "--cache=drop", "--fsync"],
    &["-r", "-b"],
    &["-r", "--backup=numbered"],
    &["-r", "-b", "--atomic"],
    &["-r", "--sparse=always"],
    &["-r", "--sparse=never", "--verify"],
];

const NAMES: [&str; 6] = ["small", "large", "empty", "sparse", "d/deep/file", "d/other"];

/// Makes files, one of which is large enough to be written to the disk in several steps.
fn make_source(sandbox: &Sandbox, root: &str) {
    let file = |name: &str, bytes: &[u8]| drop(sandbox.file(format!("{root}/{name}"), bytes).path(""));
    file("small", &noise(3000));
    file("large", &noise(5 << 20));
    file("empty", b"");
    file("d/deep/file", &noise(100_000));
    file("d/other", b"other");
    let end = noise(10_000);
    sandbox.sparse(format!("{root}/sparse"), 3 << 20, &[(0, &end[..5000]), (1 << 20, &end)]);
}

fn copies_to(kind: &str, refusals: Refusals) {
    let sandbox = Sandbox::new();
    make_source(&sandbox, "src");
    let _mount = refusals.mount(&sandbox);
    for (index, options) in OPTIONS.into_iter().enumerate() {
        for over in [false, true] {
            let name = format!("{index}-{over}");
            let old: &[&str] = if over { &["small", "large", "empty", "sparse", "d/other"] } else { &[] };
            let long_before = filetime::FileTime::from_unix_time(900_000_000, 0);
            for file in old {
                let path = format!("served/{name}/{file}");
                sandbox.file(&path, "old content").time(&path, long_before);
            }
            let destination = format!("mount/{name}");
            let output = sandbox.zcp(options).args(["-T", "src", &destination]).output().unwrap();
            let context = format!("{kind} {options:?} {over} {output:?}");
            let may_fail = may_fail(refusals, options, over);
            assert!(output.status.success() || may_fail, "{context}");
            judge(&sandbox, &format!("served/{name}"), old, &output, &context);
        }
    }
}

/// Whether a copy with these options needs a refused operation.
fn may_fail(refusals: Refusals, options: &[&str], over: bool) -> bool {
    let has = |option: &str| options.contains(&option);
    let backs_up = has("-b") || has("--backup=numbered");
    let renames = refusals.rename.is_some() && over && (backs_up || has("--atomic"));
    let names_new = refusals.rename.is_some() && refusals.link.is_some() && has("--atomic");
    let links = has("-b") && has("--atomic") && over && (refusals.link.is_some() || refusals.link_count);
    let reads_back = refusals.offsets && has("--verify");
    renames || names_new || links || reads_back
}

/// Checks that copied files are right, that the others are named and unchanged, and that nothing else exists but
/// backups.
#[track_caller]
fn judge(sandbox: &Sandbox, destination: &str, old: &[&str], output: &Output, context: &str) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.success(), errors.is_empty(), "{context}");
    for name in NAMES {
        let right = fs::read(sandbox.path("src").join(name)).unwrap();
        let there = fs::read(sandbox.path(destination).join(name)).ok();
        if there.as_ref() != Some(&right) {
            assert!(errors.contains(&format!("/{name}'")), "{name} {context}");
            let before = old.contains(&name).then(|| b"old content".to_vec());
            assert_eq!(there, before, "{name} {context}");
        }
    }
    let is_strange = |path: &Path| {
        let name = path.to_str().unwrap();
        let base = name.trim_end_matches('~').trim_end_matches(".~1");
        !(NAMES.contains(&base) || ["", "d", "d/deep"].contains(&name))
    };
    let strange: Vec<_> = sandbox.snapshot(destination).0.into_keys().filter(|path| is_strange(path)).collect();
    assert!(strange.is_empty(), "{strange:?} {context}");
}

fn copies_from(refusals: Refusals) {
    let sandbox = Sandbox::new();
    make_source(&sandbox, "served/src");
    sandbox.symlink("small", "served/src/link").symlink("d", "served/src/d/deep/up").fifo("served/src/d/fifo");
    let _mount = refusals.mount(&sandbox);
    let plain = |snapshot: Snapshot| snapshot.plain();
    let all: [&[&str]; 8] = [
        &["-r"],
        &["-a"],
        &["-r", "-j1"],
        &["-a", "--atomic"],
        &["-r", "--resume"],
        &["-r", "--cache=drop", "--fsync"],
        &["-r", "--verify"],
        &["-r", "-x", "--exclude=d/other", "--exclude=/small/", "--exclude=nothing/"],
    ];
    for options in all {
        if refusals.offsets && options.contains(&"--verify") {
            continue; // the source is read twice, the second time from its start
        }
        for _ in 0..2 {
            assert_done(&sandbox.zcp(options).args(["-T", "mount/src", "dst"]).output().unwrap());
            let mut expected = plain(sandbox.snapshot("served/src"));
            expected.0.retain(|path, _| !options.contains(&"-x") || path != Path::new("d/other"));
            expected.assert_same(&plain(sandbox.snapshot("dst")));
        }
        fs::remove_dir_all(sandbox.path("dst")).unwrap();
    }
}

/// After a signal, a file that was being overwritten is removed, even where an open file cannot be.
fn half_overwritten_file_is_removed() {
    use crate::strace;
    for (atomic, left) in [(&[][..], false), (&["--atomic"], true)] {
        let sandbox = Sandbox::new();
        sandbox.file("src", noise(8 << 20)).file("served/f", "old");
        let _mount = Refusals { unlink_open: Some(Errno::BUSY), ..Refusals::default() }.mount(&sandbox);
        let mut args = vec!["--strategy=splice", "src", "mount/f"];
        args.extend(atomic);
        let trace = strace::zcp(&sandbox, &["-e", "inject=splice:signal=TERM:when=4"], &args);
        assert!(!trace.output.status.success());
        assert_eq!(sandbox.path("served/f").exists(), left, "{atomic:?}");
        assert_eq!(fs::read_dir(sandbox.path("served")).unwrap().count(), usize::from(left), "{atomic:?}");
    }
}
