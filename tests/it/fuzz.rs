//! Random input for code that must never panic, lose data or report wrong results: the decision, quoting,
//! patterns, and the ladder on files with holes and on streams (for the parser of arguments, see `src/cli/mod.rs`). `ZCP_FUZZ_SECONDS=3600 cargo
//! test --test it fuzz::` runs each trial for an hour, with new seeds.

mod globs;
mod streams;

use crate::needs::{Need, trial};
use crate::sandbox::Sandbox;
use libtest_mimic::Trial;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use zcp::internals::{
    Account, Backup, Clear, Decision, DestinationKind, Existing, IfExists, Ladder, Limits, Meter, Options,
    Preserve, Stat, StopFlag, Time, Transfer, decide, fstat, quote,
};
use zcp::{Action, BackupControl, Dereference, Sparse, Strategy as CopyStrategy};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("fuzz::arguments_as_cp", &[], arguments_as_cp),
        trial("fuzz::plan", &[], plan_keeps_its_word),
        trial("fuzz::quoting", &[Need::Program("bash")], quoting),
        trial("fuzz::ladder", &[], ladder),
        trial("fuzz::streams", &[], streams::streams),
        trial("fuzz::globs", &[], globs::meaning),
        trial("fuzz::glob_bytes", &[], globs::bytes),
    ]
}

/// Runs `cases` cases, and more until `ZCP_FUZZ_SECONDS` are over.
fn fuzz<T: std::fmt::Debug>(cases: u32, input: impl Strategy<Value = T>, test: impl Fn(T)) {
    let seconds = std::env::var("ZCP_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let end = Instant::now() + Duration::from_secs(seconds);
    for seed in 0_u64.. {
        let config = Config { cases, failure_persistence: None, ..Config::default() };
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let answer = TestRunner::new_with_rng(config, rng).run(&input, |input| {
            test(input);
            Ok(())
        });
        answer.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        if Instant::now() >= end {
            break;
        }
    }
}

#[track_caller]
fn assert_tame(text: &[u8]) {
    let tame = |c: char| matches!(c, '\n' | '\t') || !c.is_control();
    let is_tame = std::str::from_utf8(text).is_ok_and(|text| text.chars().all(tame));
    assert!(is_tame, "{:?}", String::from_utf8_lossy(text));
}

/// zcp accepts what cp accepts, and refuses what cp refuses in cp's words. The operands do not exist, so that
/// nothing else happens.
fn arguments_as_cp() {
    let longs = [
        "archive",
        "attributes-only",
        "backup",
        "copy-contents",
        "dereference",
        "force",
        "interactive",
        "link",
        "no-clobber",
        "no-dereference",
        "no-preserve",
        "no-target-directory",
        "one-file-system",
        "parents",
        "path",
        "preserve",
        "recursive",
        "remove-destination",
        "sparse",
        "reflink",
        "strip-trailing-slashes",
        "suffix",
        "symbolic-link",
        "target-directory",
        "update",
        "verbose",
    ];
    let words = ["", "", "=auto", "=never", "=all", "=mode,links", "=numbered", "=t", "=x", "=simple", "=a", "="];
    let argument = prop_oneof![
        4 => (select(longs.to_vec()), 1..24_usize, select(words.to_vec()))
            .prop_map(|(long, len, word)| format!("--{}{word}", &long[..len.min(long.len())])),
        3 => "-[abdfHilLnPpRrsTuvx]{1,4}",
        1 => select(vec!["-S", "-Sx", "-t", "-tnowhere", "--", "-", "x", "-y", "--nonsense", "-9"]).prop_map(String::from),
    ];
    // cp 9.1 does not have these options yet, or does not document them.
    let is_newer = |arg: &String| ["--d", "--k", "--u"].iter().any(|newer| arg.starts_with(newer));
    let sandbox = Sandbox::new();
    fuzz(250, vec(argument, 0..4), |args| {
        if args.iter().any(is_newer) {
            return;
        }
        let run = |program: &str| {
            let mut command = sandbox.command_as(program, "cp");
            let output = command.args(&args).args(["missing", "nowhere"]).output().unwrap();
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            (output.status.code(), errors.lines().next().map(str::to_owned))
        };
        let (theirs, ours) = (run("cp"), run(crate::sandbox::ZCP));
        let newer_words = theirs.1.as_ref().is_some_and(|line| line.contains("mutually exclusive"));
        assert!(theirs == ours || newer_words && ours.0 == Some(1), "{args:?}\ncp:  {theirs:?}\nzcp: {ours:?}");
    });
}

fn stat() -> impl Strategy<Value = Stat> {
    let kind = select(vec![0o100_644, 0o040_755, 0o120_777, 0o010_600, 0o020_600, 0]);
    (kind, 1..3_u64, 1..4_u64, 1..3_u64, -1..2_i64).prop_map(|(mode, dev, ino, nlink, sec)| Stat {
        mode,
        dev,
        // A symbolic link never has the inode of another kind of file.
        ino: if mode == 0o120_777 { ino + 10 } else { ino },
        nlink,
        mtime: Time { sec, nsec: 0 },
        ..Stat::default()
    })
}

fn options() -> impl Strategy<Value = Options> {
    let existing = select(vec![IfExists::Replace, IfExists::Ask, IfExists::Skip, IfExists::SkipFail]);
    let dereference = select(vec![Dereference::Never, Dereference::CommandLine, Dereference::Always]);
    let action = select(vec![Action::Copy, Action::Copy, Action::HardLink, Action::SymbolicLink]);
    let control = select(vec![None, Some(BackupControl::Simple), Some(BackupControl::Numbered)]);
    (existing, dereference, action, control, any::<[bool; 7]>()).prop_map(
        |(existing, dereference, action, control, [update, force, remove, links, special, attributes, keep])| {
            Options {
                if_exists: existing,
                dereference,
                action,
                backup: control.map(|control| Backup { control, suffix: "~".into() }),
                update,
                force,
                remove_destination: remove,
                preserve: Preserve { links, ..Preserve::default() },
                read_special: special,
                attributes_only: attributes,
                keep_directory_symlink: keep,
                ..Options::default()
            }
        },
    )
}

/// Rules that hold for all options and all files, however strange the combination is.
fn plan_keeps_its_word() {
    let flags = any::<[bool; 8]>();
    fuzz(
        20_000,
        (options(), stat(), stat(), stat(), stat(), flags),
        |(options, source, met, link, source_link, flags)| {
            assert_eq!(decide(&options, &source, None), Decision::Make(Clear::Nothing));
            let [
                circular,
                same_entry,
                same_referent,
                writable,
                just_made,
                untrusted,
                source_is_dots,
                backup_is_source,
            ] = flags;
            let dereference = options.dereference;
            // One inode is one file, whichever name leads to it. A name that is no symbolic link is the file
            // itself.
            let met = if met.id() == source.id() { source } else { met };
            let through = source_link.is_symlink() && dereference != Dereference::Never && !source.is_symlink();
            let source_link = if through { source_link } else { source };
            let link = if link.is_symlink() && link.id() != source_link.id() { link } else { met };
            let same_entry = same_entry && link == source_link;
            let same_referent = same_referent || source.id() == met.id();
            let existing = Existing {
                stat: met,
                link,
                source_link,
                dereference,
                circular,
                same_entry,
                same_referent,
                writable,
                just_made,
                untrusted,
                time_kept: false,
                replaced_if_other_kind: options.resume,
                source_is_dots,
                backup_is_source,
                is_descriptor: false,
            };
            let asked = decide(&options, &source, Some(&existing));
            let decision = match &asked {
                Decision::Ask(_, then) => &**then,
                decision => decision,
            };
            assert!(!matches!(decision, Decision::Ask(..)), "asked twice");
            if circular {
                return;
            }
            let replaces = matches!(decision, Decision::Overwrite | Decision::Make(_));
            assert!(!(replaces && options.never_replaces()), "-n replaces: {asked:?}");
            // With `-b`, zcp tries to write into the directory, which the system refuses.
            assert!(!(replaces && met.is_dir() && options.backup.is_none()), "a directory is replaced: {asked:?}");
            let cleared = matches!(decision, Decision::Make(Clear::Backup | Clear::Unlink));
            assert!(!(cleared && met.is_dir()), "a directory is taken away: {asked:?}");
            assert!(!(replaces && source.is_dir() && options.backup.is_none()), "a directory replaces: {asked:?}");
            assert!(decision != &Decision::Overwrite || source.id() != met.id(), "a file is emptied to be copied");
            assert!(decision != &Decision::Overwrite || !untrusted, "an untrusted link is written through");
            assert!(decision != &Decision::Merge || source.is_dir() && met.is_dir() && !untrusted);
        },
    );
}

/// A shell that reads a quoted name gets the name. A terminal that shows it receives no control characters
/// but newlines and tabs.
fn quoting() {
    let byte = prop_oneof![2 => 1..=255_u8, 2 => 0x20..0x7f_u8, 1 => select(b"'\"\\$`\n\x1b\x9b!~#".to_vec())];
    let name = vec(byte, 1..20);
    fuzz(100, vec(name, 1..40), |names| {
        let names: Vec<OsString> = names.into_iter().map(OsString::from_vec).collect();
        let mut script = b"printf '%s\\0'".to_vec();
        for name in &names {
            for text in [quote::quoted(name), quote::quoted_if_needed(name)] {
                assert_tame(&text);
                script.extend_from_slice(b" ");
                script.extend_from_slice(&text);
            }
            assert_tame(&quote::shown(name.as_bytes()));
            assert_tame(&quote::plainly_quoted(name.as_bytes()));
        }
        let mut bash = Command::new("bash");
        bash.env("LC_ALL", "C").arg("-c").arg(OsStr::from_bytes(&script)).stdin(Stdio::null());
        let output = bash.output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        let read: Vec<&[u8]> = output.stdout.split(|byte| *byte == 0).collect();
        for (name, pair) in names.iter().zip(read.chunks(2)) {
            assert_eq!(pair, [name.as_bytes(), name.as_bytes()]);
        }
    });
}

/// A file of data, zeros and holes is copied correctly by any strategies and any treatment of holes.
fn ladder() {
    let piece = (0..200_000_u64, 1..70_000_usize, any::<bool>());
    let strategies = proptest::sample::subsequence(CopyStrategy::ALL[1..].to_vec(), 1..=5);
    let sparse = select(vec![Sparse::Auto, Sparse::Always, Sparse::Never]);
    let input = (vec(piece, 0..12), 0..100_000_u64, strategies, sparse, any::<bool>());
    let dir = tempfile::tempdir().unwrap();
    fuzz(300, input, |(pieces, tail, mut strategies, sparse, shuffle)| {
        let (src, dst) = (dir.path().join("src"), dir.path().join("dst"));
        let file = File::create(&src).unwrap();
        let mut end = 0;
        for (gap, len, zeros) in pieces {
            let bytes = if zeros { vec![0; len] } else { crate::sandbox::noise(len) };
            file.write_all_at(&bytes, end + gap).unwrap();
            end += gap + len as u64;
        }
        file.set_len(end + tail).unwrap();
        if shuffle {
            strategies.reverse();
        }
        // read_write always works, so it comes last. A search for zeros can use nothing else.
        strategies.retain(|strategy| *strategy != CopyStrategy::ReadWrite);
        strategies.push(CopyStrategy::ReadWrite);
        let forced = Some(strategies);
        let limits = Limits { forced, sparse, ..Limits::default() };
        let (src_file, dst_file) = (File::open(&src).unwrap(), File::create(&dst).unwrap());
        let stat = fstat(&src_file).unwrap();
        let transfer = Transfer {
            src: src_file.as_fd(),
            stat,
            dst: dst_file.as_fd(),
            dst_dev: stat.dev,
            destination_kind: DestinationKind::File,
            overwritten: false,
        };
        let mut account = Account::default();
        let meter = Arc::new(Meter::default());
        let mut ladder = Ladder::new(limits, StopFlag::default(), Arc::clone(&meter));
        let outcome = ladder.copy(&transfer, &mut account).unwrap();
        let (here, there) = (std::fs::read(&src).unwrap(), std::fs::read(&dst).unwrap());
        assert!(here == there, "{} bytes instead of {}", there.len(), here.len());
        assert_eq!(outcome.size, here.len() as u64);
        assert_eq!(account.bytes_moved() + account.holes, here.len() as u64, "the account is wrong");
        assert_eq!(meter.bytes.get(), here.len() as u64, "the meter is wrong");
    });
}
