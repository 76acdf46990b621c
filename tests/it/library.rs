//! The crate as another program uses it: its results, and that it leaves the calling process alone.

use crate::needs::{Need, SHM, trial};
use crate::sandbox::{Sandbox, noise};
use crate::smoke::mixed;
use libtest_mimic::Trial;
use std::io::Write;
use std::sync::{Arc, Mutex};
use zcp::{BackupControl, Cancel, CopyOptions, Error, Strategy};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("library::archive", &[], archive),
        trial("library::like_the_program", &[], like_the_program),
        trial("library::each_is_told", &[], each_is_told),
        trial("library::report", &[Need::Shm], report),
        trial("library::incomplete", &[], incomplete),
        trial("library::unusable", &[], unusable),
        trial("library::target", &[], target),
        trial("library::existing", &[], existing),
        trial("library::cancel", &[], cancel),
        trial("library::cancel_among_links", &[], cancel_among_links),
        trial("library::progress", &[], progress),
        trial("library::good_guest", &[Need::Strace], good_guest),
    ]
}

fn archive() {
    let sandbox = mixed("src");
    let report = CopyOptions::new().archive().jobs(3).copy([sandbox.path("src")], sandbox.path("dst")).unwrap();
    sandbox.snapshot("src").assert_same(&sandbox.snapshot("dst"));
    // `small` has a second name.
    assert_eq!((report.files(), report.hard_links(), report.symlinks(), report.special()), (6, 1, 2, 1));
    assert_eq!((report.directories(), report.failed(), report.skipped()), (3, 0, 0));
}

/// Each method does the same as the option that its documentation names: the resulting files and the success are
/// equal.
fn like_the_program() {
    use zcp::{Action, Attribute, Dereference, Sparse};
    type Set = for<'o> fn(&Sandbox, &'o mut CopyOptions) -> &'o mut CopyOptions;
    let rows: &[(Set, &[&str])] = &[
        (|_, new| new, &[]),
        (|_, new| new.recursive(true), &["-r"]),
        (|_, new| new.archive(), &["-a"]),
        (
            |_, new| new.archive().no_preserve([Attribute::Mode, Attribute::Links]),
            &["-a", "--no-preserve=mode,links"],
        ),
        (
            |_, new| new.recursive(true).preserve([Attribute::Mode, Attribute::Xattr]),
            &["-r", "--preserve=mode,xattr"],
        ),
        (|_, new| new.recursive(true).dereference(Dereference::Always), &["-rL"]),
        (|_, new| new.recursive(true).action(Action::HardLink), &["-rl"]),
        (|_, new| new.archive().attributes_only(true), &["-a", "--attributes-only"]),
        (
            |_, new| new.recursive(true).exclude("*.o").unwrap().include("keep.o").unwrap(),
            &["-r", "--exclude=*.o", "--include=keep.o"],
        ),
        (|at, new| new.recursive(true).exclude_from(at.path("rules")).unwrap(), &["-r", "--exclude-from=rules"]),
        (|_, new| new.recursive(true).gitignore(), &["-r", "--gitignore"]),
        (|_, new| new.recursive(true).skip_existing(), &["-rn"]),
        (|_, new| new.recursive(true).refuse_existing(), &["-r", "--update=none-fail"]),
        (|_, new| new.recursive(true).update(true), &["-ru"]),
        (|_, new| new.recursive(true).force(true), &["-rf"]),
        (|_, new| new.recursive(true).remove_destination(true), &["-r", "--remove-destination"]),
        (|_, new| new.recursive(true).backup(BackupControl::Numbered), &["-r", "--backup=t"]),
        (|_, new| new.recursive(true).backup_suffix(".old"), &["-r", "-S.old"]),
        (
            |_, new| new.recursive(true).backup(BackupControl::Simple).backup_suffix("a/b"),
            &["-r", "--backup=simple", "-Sa/b"],
        ),
        (|_, new| new.recursive(true).interactive(|_| false), &["-ri"]),
        (|_, new| new.recursive(true).interactive(|_| true), &["-r"]),
        (|_, new| new.recursive(true).preserve([Attribute::All]), &["-r", "--preserve=all"]),
        (|_, new| new.archive().default_context(), &["-aZ"]),
        (|_, new| new.recursive(true).context("none"), &["-r", "--context=none"]),
        (|_, new| new.recursive(true).preserve([Attribute::Context]), &["-r", "--preserve=context"]),
        (|_, new| new.recursive(true).keep_directory_symlink(true), &["-r", "--keep-directory-symlink"]),
        (|_, new| new.recursive(true).one_file_system(true).no_target_directory(), &["-rxT"]),
        (|_, new| new.recursive(true).atomic(true).fsync(true), &["-r", "--atomic", "--fsync"]),
        (
            |_, new| new.recursive(true).exclude("fifo").unwrap().verify(true),
            &["-r", "--exclude=fifo", "--verify"],
        ),
        (|_, new| new.archive().resume(true), &["-a", "--resume"]),
        (|_, new| new.recursive(true).dry_run(true), &["-r", "--dry-run"]),
        (|_, new| new.recursive(true).sparse(Sparse::Always), &["-r", "--sparse=always"]),
        (|_, new| new.recursive(true).strategies([Strategy::Mmap]).jobs(3), &["-r", "--strategy=mmap", "-j3"]),
        (|_, new| new.recursive(true).drop_cache(true), &["-r", "--cache=drop"]),
        (|_, new| new.names(["sub/a.o", "missing"]), &["--files-from=list"]),
        (|at, new| new.files_from(at.path("list"), b'\n'), &["--files-from=list"]),
        (|at, new| new.files_from(at.path("list0"), 0).archive(), &["-a0", "--files-from=list0"]),
    ];
    let one = mixed("src");
    one.file("src/sub/a.o", "o").file("src/keep.o", "o").file("src/.gitignore", "/small\n");
    one.file("dst/src/small", "old").file("dst/small", "old").file("dst/src/small.~1~", "older");
    one.dir("aside").symlink("../../aside", "dst/src/sub");
    one.file("rules", "*.o\n!keep.o\n").file("list", "sub/a.o\nmissing\n").file("list0", "sub/a.o\0missing\0");
    for (set, args) in rows {
        let [by_program, by_library] = [(); 2].map(|()| {
            let twin = Sandbox::new();
            twin.command("cp").arg("-a").arg(one.path(".")).arg(".").assert().success();
            twin
        });
        let output = by_program.zcp(*args).args(["src", "dst"]).output().unwrap();
        let answer =
            set(&by_library, &mut CopyOptions::new()).copy([by_library.path("src")], by_library.path("dst"));
        assert_eq!(answer.is_ok(), output.status.success(), "{args:?}: {answer:?} {output:?}");
        let seen = |twin: &Sandbox| {
            // Files that were made just now have different times in the two sandboxes.
            let archived = if args.iter().any(|arg| arg.starts_with("-a")) { "dst/src/sub" } else { "rules" };
            (twin.snapshot("").plain(), twin.snapshot(archived))
        };
        let (program, library) = (seen(&by_program), seen(&by_library));
        program.0.assert_same(&library.0);
        program.1.assert_same(&library.1);
    }
}

/// The callback receives every name once, with its source, in a dry run and in a copy.
fn each_is_told() {
    let sandbox = mixed("src");
    let told = Arc::new(Mutex::new(Vec::new()));
    let run = |dry: bool| {
        let (here, place) = (Arc::clone(&told), sandbox.path(""));
        let mut options = CopyOptions::new();
        options.archive().dry_run(dry).on_each(move |source, destination| {
            let inner = |path: &std::path::Path| path.strip_prefix(&place).unwrap().to_owned();
            here.lock().unwrap().push((inner(source), inner(destination)));
        });
        options.copy([sandbox.path("src")], sandbox.path("dst")).unwrap();
        let mut told = std::mem::take(&mut *told.lock().unwrap());
        told.sort();
        told
    };
    let (dry, wet) = (run(true), run(false));
    assert_eq!(dry, wet);
    let made: Vec<_> = wet.iter().map(|(_, destination)| destination.as_path()).collect();
    assert_eq!(made.len(), 13, "{made:?}");
    for (source, destination) in &wet {
        assert_eq!(source.strip_prefix("src").unwrap(), destination.strip_prefix("dst").unwrap());
        assert!(sandbox.path(destination).symlink_metadata().is_ok(), "{destination:?}");
    }
}

/// The figures are those of `--stats=json`, and add up.
fn report() {
    let sandbox = Sandbox::within(SHM);
    sandbox.file("src", noise(3 << 20));
    let mut options = CopyOptions::new();
    options.strategies([Strategy::Splice]);
    let report = options.copy([sandbox.path("src")], sandbox.path("dst")).unwrap();
    let paths: Vec<_> = report.strategies().collect();
    assert_eq!(paths.len(), 1);
    assert_eq!((paths[0].strategy, paths[0].bytes, paths[0].files), (Strategy::Splice, 3 << 20, 1));
    assert!(paths[0].calls.iter().any(|(name, made)| *name == "splice" && *made >= 6), "{paths:?}");
    assert_eq!((report.bytes(), report.bytes_moved()), (3 << 20, 3 << 20));
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
    assert_eq!(json["strategies"]["splice"]["bytes"], 3 << 20);
    assert!(report.to_string().contains("copied 1 file, 3.0 MiB"), "{report}");
}

/// Failures are values, and the rest is copied.
fn incomplete() {
    let sandbox = Sandbox::new();
    sandbox.file("a", "a").file("b", "b").file("into/b/below", "");
    let sources = ["a", "b", "missing"].map(|name| sandbox.path(name));
    let error = CopyOptions::new().copy(&sources, sandbox.path("into")).unwrap_err();
    let Error::Incomplete(report) = &error else { panic!("{error:?}") };
    assert_eq!((report.files(), report.failed()), (1, 2));
    let about: Vec<_> = report.failures().iter().map(|failure| failure.path().unwrap()).collect();
    assert!(about.contains(&sources[2].as_os_str()), "{about:?}");
    let missing = report.failures().iter().find(|failure| failure.raw_os_error().is_some()).unwrap();
    assert_eq!(missing.errno_name().as_deref(), Some("ENOENT"));
    assert!(error.to_string().ends_with("(and 1 more failure)"), "{error}");
    assert_eq!(std::fs::read(sandbox.path("into/a")).unwrap(), b"a");
}

/// Options and operands that contradict each other are refused before anything is copied.
fn unusable() {
    let sandbox = Sandbox::new();
    sandbox.file("a", "a").file("b", "b");
    let before = sandbox.snapshot("");
    let one = || vec![sandbox.path("a")];
    for (options, sources) in [
        (CopyOptions::new(), Vec::new()),
        (CopyOptions::new().target_directory().clone(), one()),
        (CopyOptions::new().backup(BackupControl::Simple).skip_existing().clone(), one()),
        (CopyOptions::new().reflink(zcp::Cloning::Require).sparse(zcp::Sparse::Always).clone(), one()),
    ] {
        let error = options.copy(sources, sandbox.path("b")).unwrap_err();
        let is_refusal = matches!(error, Error::Usage(_) | Error::Unusable(_));
        assert!(is_refusal && error.report().is_none(), "{options:?}: {error:?}");
    }
    sandbox.snapshot("").assert_same(&before);
}

fn target() {
    let sandbox = Sandbox::new();
    sandbox.file("src/x", "1").dir("dst");
    let (mut onto, mut into) = (CopyOptions::new(), CopyOptions::new());
    for options in [onto.recursive(true).no_target_directory(), into.recursive(true).target_directory()] {
        options.copy([sandbox.path("src")], sandbox.path("dst")).unwrap();
    }
    for name in ["dst/x", "dst/src/x"] {
        assert_eq!(std::fs::read(sandbox.path(name)).unwrap(), b"1", "{name}");
    }
}

fn existing() {
    let sandbox = Sandbox::new();
    sandbox.file("a", "new").file("b", "old");
    let copy = |options: &CopyOptions| options.copy([sandbox.path("a")], sandbox.path("b")).unwrap();
    assert_eq!(copy(CopyOptions::new().skip_existing()).skipped(), 1);
    assert_eq!(copy(CopyOptions::new().update(true)).skipped(), 1); // the source is as old as the copy
    copy(CopyOptions::new().backup(BackupControl::Numbered));
    assert_eq!(std::fs::read(sandbox.path("b")).unwrap(), b"new");
    assert_eq!(std::fs::read(sandbox.path("b.~1~")).unwrap(), b"old");
    sandbox.symlink("nowhere", "dangling");
    let through = |yes| {
        let mut options = CopyOptions::new();
        options.write_through_dangling(yes);
        options.copy([sandbox.path("a")], sandbox.path("dangling")).is_ok()
    };
    assert_eq!([through(false), through(true)], [false, true]);
    assert_eq!(std::fs::read(sandbox.path("nowhere")).unwrap(), b"new");
}

/// Cancels before the start, and in the middle of a file.
fn cancel() {
    let sandbox = Sandbox::new();
    sandbox.sparse("src/a", 1 << 40, &[]).file("src/b", "b");
    let cancel = Cancel::new();
    let (sources, dst) = ([sandbox.path("src")], sandbox.path("dst"));
    let mut options = CopyOptions::new();
    options.recursive(true).jobs(1).cancel_by(&cancel);
    let mut told = {
        let cancel = cancel.clone();
        let mut told = options.clone();
        told.on_progress(move |progress| {
            if progress.bytes > 0 {
                cancel.cancel();
            }
        });
        told
    };
    // A TiB would have to be written, so the copy cannot end before it is cancelled.
    let endless = told.sparse(zcp::Sparse::Never).strategies([Strategy::ReadWrite]);
    let error = endless.copy(&sources, &dst).unwrap_err();
    assert!(matches!(error, Error::Cancelled(_)), "{error:?}");
    assert!(!sandbox.path("dst/a").exists(), "a part of a file was left");
    let error = options.copy(&sources, &dst).unwrap_err();
    assert_eq!(error.report().unwrap().files(), 0);
}

/// Other names of a file that a worker is copying wait for that file. If the copy is cancelled, nothing is
/// reported about them, and the callback does not receive names that were not made.
fn cancel_among_links() {
    for begun in [false, true] {
        let sandbox = Sandbox::new();
        sandbox.fifo("src/a").hard_link("src/a", "src/b").hard_link("src/a", "src/c");
        // A process that has both ends of a fifo open waits for nobody.
        let mut both = std::fs::File::options().read(true).write(true).open(sandbox.path("src/a")).unwrap();
        if begun {
            both.write_all(b"begun").unwrap();
        }
        let (cancel, told) = (Cancel::new(), Arc::new(Mutex::new(Vec::new())));
        let (stop, here) = (cancel.clone(), Arc::clone(&told));
        let mut options = CopyOptions::new();
        options.archive().copy_contents(true).jobs(2).cancel_by(&cancel);
        let options = options
            .on_each(move |_, destination| here.lock().unwrap().push(destination.to_owned()))
            .on_progress(move |progress| {
                if progress.files == 2 {
                    stop.cancel(); // the other names wait now
                }
            });
        let answer = options.copy([sandbox.path("src")], sandbox.path("dst"));
        let Err(Error::Cancelled(report)) = answer else { panic!("{answer:?}") };
        assert!(report.failed() == 0 && report.failures().is_empty(), "{:?}", report.failures());
        assert_eq!(*told.lock().unwrap(), [sandbox.path("dst")]);
        assert_eq!(std::fs::read_dir(sandbox.path("dst")).unwrap().count(), 0);
    }
}

/// The last call of the progress callback has the final figures.
fn progress() {
    let sandbox = Sandbox::new();
    for n in 0..50 {
        sandbox.file(format!("src/{n}"), noise(10_000));
    }
    let last = Arc::new(Mutex::new(zcp::Progress::default()));
    let seen = Arc::clone(&last);
    let mut options = CopyOptions::new();
    options.recursive(true);
    let told = options.on_progress(move |progress| *seen.lock().unwrap() = *progress);
    told.copy([sandbox.path("src")], sandbox.path("dst")).unwrap();
    let last = *last.lock().unwrap();
    assert_eq!((last.bytes, last.files), (500_000, 50));
    assert!((last.total_bytes, last.total_files) == (500_000, 50), "{last:?}");
}

/// The library prints nothing, sets no signal handler and no umask, and changes no directory. The example is
/// such a program.
fn good_guest() {
    let example = std::env::current_exe().unwrap().with_file_name("../examples/library");
    assert!(example.exists(), "cargo test builds the examples: {example:?}");
    let sandbox = mixed("src");
    let calls = "trace=umask,rt_sigaction,write,chdir,prctl,setpriority,ioctl";
    let run = |source: &str| {
        let mut command = sandbox.command("strace");
        command.args(["-f", "-o", "log", "-e", calls]).arg(&example).args([source, "dst"]);
        let output = command.output().unwrap();
        (output, std::fs::read_to_string(sandbox.path("log")).unwrap())
    };
    let (output, with) = run("src");
    assert!(output.status.success(), "{output:?}");
    let (output, without) = run("missing");
    assert!(output.stdout.is_empty(), "{output:?}");
    assert_eq!(
        String::from_utf8(output.stderr).unwrap().lines().next().unwrap().split(':').next(),
        Some("not copied")
    );
    for log in [with, without] {
        assert!(!log.contains("umask(") && !log.contains("chdir("), "{log}");
        // std sets its own handlers, and ignores SIGPIPE, before main.
        for signal in ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"] {
            assert!(!log.contains(&format!("rt_sigaction({signal}, {{sa_handler=0x")), "{signal}: {log}");
        }
    }
}
