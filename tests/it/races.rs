//! Another process exchanges names during a copy: on either side, at the worst moment (strace stops zcp between
//! two calls), and at random (`ZCP_RACE_SWAPS` sets how often). Nothing outside the two trees is read or
//! written, and no file ever has wider permissions than in the end.

mod openness;

use crate::needs::{Need, trial};
use crate::sandbox::{Sandbox, noise};
use crate::strace::{self, Trace};
use libtest_mimic::Trial;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};

/// The id of another user.
const MALLORY: u32 = 4321;

pub(crate) fn trials() -> Vec<Trial> {
    let traced = [Need::Strace, Need::Root];
    vec![
        trial("races::made_directory_becomes_a_link", &traced, made_directory_becomes_a_link),
        trial("races::made_directory_becomes_anothers", &traced, made_directory_becomes_anothers),
        trial(
            "races::made_directory_of_a_job_becomes_anothers",
            &traced,
            made_directory_of_a_job_becomes_anothers,
        ),
        trial("races::made_fifo_becomes_a_link", &traced, made_fifo_becomes_a_link),
        trial("races::made_link_becomes_a_file", &traced, made_link_becomes_a_file),
        trial("races::file_to_overwrite_becomes", &traced, file_to_overwrite_becomes),
        trial("races::complete_file_becomes", &traced, complete_file_becomes),
        trial("races::source_becomes_a_link", &traced, source_becomes_a_link),
        trial("races::links_of_others", &[Need::Root], links_of_others),
        trial("races::statistics_go_through_no_link", &[Need::Strace], statistics_go_through_no_link),
        trial("races::never_more_open", &traced, openness::never_more_open),
        trial("races::never_more_open_in_jobs", &traced, openness::never_more_open_in_jobs),
        trial("races::temporary_names_are_not_guessed", &[Need::Strace], temporary_names_are_not_guessed),
        trial("races::swept_names_lead_nowhere", &[Need::Root], swept_names_lead_nowhere),
        trial("races::soak", &[Need::Root], soak),
    ]
}

/// Stops zcp once, after the first such call on `name` (in a directory) or on the descriptor of a path, and
/// calls `exchange` meanwhile.
fn at_call(sandbox: &Sandbox, call: &str, name: &str, args: &[&str], exchange: impl Fn()) -> Trace {
    let inject = format!("inject={call}:signal=STOP:when=1");
    let path = sandbox.path(name);
    let options = ["-P", if path.exists() { path.to_str().unwrap() } else { name }, "-e", &inject];
    let mut stops = 0;
    let trace = strace::zcp_with_stops(sandbox, &options, args, |stop| {
        stops = stop;
        exchange();
    });
    assert_eq!(stops, 1, "{call} is not made on {name}");
    trace
}

fn replace_by_link(sandbox: &Sandbox, name: &str, target: &str) {
    let path = sandbox.path(name);
    fs::rename(&path, sandbox.path("aside")).unwrap();
    symlink(sandbox.path(target), path).unwrap();
}

/// A sandbox with a file outside the trees that must not be touched.
fn with_victim() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.file("victim", "precious").mode("victim", 0o640).dir("dst");
    sandbox
}

#[track_caller]
fn assert_victim_is_well(sandbox: &Sandbox) {
    let stat = sandbox.path("victim").metadata().unwrap();
    assert_eq!((stat.mode() & 0o7777, stat.uid(), stat.gid()), (0o640, 0, 0));
    assert_eq!(fs::read(sandbox.path("victim")).unwrap(), b"precious");
}

#[track_caller]
fn assert_failed(trace: &Trace, words: &str) {
    let errors = String::from_utf8_lossy(&trace.output.stderr);
    assert!(trace.output.status.code() == Some(1) && errors.contains(words), "{:?}", trace.output);
}

/// A directory that lacks permissions for its owner gets them before it is filled. It has become a link by then.
fn made_directory_becomes_a_link() {
    let sandbox = with_victim();
    sandbox.file("src/d/f", "f").mode("src/d", 0o577);
    let trace = at_call(&sandbox, "mkdirat", "d", &["-r", "-j1", "src/.", "dst"], || {
        replace_by_link(&sandbox, "dst/d", "victim");
    });
    assert_failed(&trace, "'dst/./d'");
    assert_victim_is_well(&sandbox);
}

/// The contents of a closed directory are not copied into another user's directory.
fn made_directory_becomes_anothers() {
    let sandbox = with_victim();
    sandbox.file("src/d/f", "secret").mode("src/d", 0o700).dir("mallorys");
    chown(sandbox.path("mallorys"), Some(MALLORY), None).unwrap();
    let trace = at_call(&sandbox, "mkdirat", "d", &["-r", "-j1", "src/.", "dst"], || {
        fs::rename(sandbox.path("dst/d"), sandbox.path("aside")).unwrap();
        fs::rename(sandbox.path("mallorys"), sandbox.path("dst/d")).unwrap();
    });
    assert_failed(&trace, "replaced while being copied");
    assert_eq!(fs::read_dir(sandbox.path("dst/d")).unwrap().count(), 0);
}

/// Another process replaces a directory in a part of a job.
fn made_directory_of_a_job_becomes_anothers() {
    let sandbox = with_victim();
    sandbox.file("src/d/f", "secret").mode("src/d", 0o700).dir("mallorys");
    chown(sandbox.path("mallorys"), Some(MALLORY), None).unwrap();
    let plan = sandbox.zcp(["-r", "--plan=job", "--parts=1", "src/.", "dst"]).output().unwrap();
    crate::sandbox::assert_done(&plan);
    let trace = at_call(&sandbox, "mkdirat", "d", &["--run=job", "--part=0", "-j1"], || {
        fs::rename(sandbox.path("dst/d"), sandbox.path("aside")).unwrap();
        fs::rename(sandbox.path("mallorys"), sandbox.path("dst/d")).unwrap();
    });
    assert_failed(&trace, "replaced while being copied");
    assert_eq!(fs::read_dir(sandbox.path("dst/d")).unwrap().count(), 0);
}

fn made_fifo_becomes_a_link() {
    let sandbox = with_victim();
    sandbox.fifo("src/f").mode("src/f", 0o666);
    lchown(sandbox.path("src/f"), Some(MALLORY), Some(MALLORY)).unwrap();
    for args in [["-a", "-j1", "src/.", "dst"], ["-r", "-j1", "--no-preserve=mode", "src/."]] {
        let args: Vec<_> = args.into_iter().chain((args[3] != "dst").then_some("dst")).collect();
        let trace = at_call(&sandbox, "mknodat", "f", &args, || replace_by_link(&sandbox, "dst/f", "victim"));
        assert_failed(&trace, "replaced while being copied");
        assert_victim_is_well(&sandbox);
        fs::remove_file(sandbox.path("dst/f")).unwrap();
    }
}

/// A file does not get the owner of a symbolic link.
fn made_link_becomes_a_file() {
    let sandbox = with_victim();
    sandbox.symlink("nowhere", "src/l");
    lchown(sandbox.path("src/l"), Some(MALLORY), Some(MALLORY)).unwrap();
    let trace = at_call(&sandbox, "symlinkat", "l", &["-a", "-j1", "src/.", "dst"], || {
        fs::rename(sandbox.path("dst/l"), sandbox.path("aside")).unwrap();
        fs::hard_link(sandbox.path("victim"), sandbox.path("dst/l")).unwrap();
    });
    assert_failed(&trace, "replaced while being copied");
    assert_victim_is_well(&sandbox);
}

/// An action of the other process in a sandbox.
type Exchange = fn(&Sandbox);

/// The exchange happens after zcp looked at a destination and before it opens it.
fn file_to_overwrite_becomes() {
    let exchanges: [(&str, Exchange); 4] = [
        ("a link", |sandbox| replace_by_link(sandbox, "dst/f", "victim")),
        ("another file", |sandbox| fs::hard_link(sandbox.path("victim"), sandbox.path("dst/f")).unwrap()),
        ("a fifo", |sandbox| {
            sandbox.fifo("dst/f");
        }),
        ("the source", |sandbox| fs::hard_link(sandbox.path("src/f"), sandbox.path("dst/f")).unwrap()),
    ];
    for (what, exchange) in exchanges {
        for args in [["-r", "-j1", "src/.", "dst"], ["-rj1", "--atomic", "src/.", "dst"]] {
            let sandbox = with_victim();
            sandbox.file("src/f", "new").file("dst/f", "old");
            let trace = at_call(&sandbox, "newfstatat", "f", &args, || {
                let _ = fs::remove_file(sandbox.path("dst/f"));
                if what == "a link" {
                    sandbox.file("dst/f", "");
                }
                exchange(&sandbox);
            });
            assert_victim_is_well(&sandbox);
            assert_eq!(fs::read(sandbox.path("src/f")).unwrap(), b"new", "{what}");
            if args[1] == "--atomic" {
                let copy = fs::read(sandbox.path("dst/f")).unwrap();
                assert!(!trace.output.status.success() || copy == b"new", "{what}: {:?}", trace.output);
            } else {
                assert_failed(&trace, "'dst/./f'");
            }
        }
    }
}

/// The exchange happens after zcp looked at a complete copy, which `--resume` skips, and before it sets the
/// owner.
fn complete_file_becomes() {
    let exchanges: [Exchange; 2] = [
        |sandbox| replace_by_link(sandbox, "dst/f", "victim"),
        |sandbox| {
            fs::remove_file(sandbox.path("dst/f")).unwrap();
            fs::hard_link(sandbox.path("victim"), sandbox.path("dst/f")).unwrap();
        },
    ];
    for exchange in exchanges {
        let sandbox = with_victim();
        sandbox.file("src/f", "same").mode("src/f", 0o666).file("dst/f", "same");
        let time = sandbox.path("src/f").metadata().unwrap().modified().unwrap();
        fs::File::open(sandbox.path("dst/f")).unwrap().set_modified(time).unwrap();
        chown(sandbox.path("src/f"), Some(MALLORY), Some(MALLORY)).unwrap();
        let args = ["-a", "--resume", "-j1", "src/.", "dst"];
        let trace = at_call(&sandbox, "newfstatat", "f", &args, || exchange(&sandbox));
        assert_failed(&trace, "'dst/./f'");
        assert_victim_is_well(&sandbox);
    }
}

/// The exchange happens between listing and opening: the file that the link leads to is not read.
fn source_becomes_a_link() {
    for (call, path, link, target) in
        [("getdents64", "src", "src/f", "victim"), ("getdents64", "src", "src/d", "outside")]
    {
        let sandbox = with_victim();
        sandbox.file("src/f", "open").file("src/d/g", "open").file("outside/g", "secret");
        let trace = at_call(&sandbox, call, path, &["-r", "-j1", "src/.", "dst"], || {
            replace_by_link(&sandbox, link, target);
        });
        let copied = sandbox.snapshot("dst");
        assert!(copied.0.values().all(|node| node.bytes.as_deref().is_none_or(|bytes| bytes == b"open")));
        let kept = sandbox.path(link.replace("src", "dst"));
        assert!(!trace.output.status.success() || kept.is_symlink(), "{:?}", trace.output);
    }
}

/// A link that was there before is written through, as by cp, if the link and its directory belong to the user
/// or to root. Root does not write through links of other users.
fn links_of_others() {
    for (owner, of_dir, recursive, trusted) in [
        (0, 0, true, true),
        (MALLORY, 0, true, false),
        (0, MALLORY, true, false),
        (0, 0, false, true),
        (MALLORY, MALLORY, false, false),
    ] {
        let sandbox = with_victim();
        sandbox.file("src/f", "new").symlink("../victim", "dst/f");
        lchown(sandbox.path("dst/f"), Some(owner), None).unwrap();
        chown(sandbox.path("dst"), Some(of_dir), None).unwrap();
        let args = if recursive { ["-r", "src/.", "dst"] } else { ["-p", "src/f", "dst"] };
        let output = sandbox.zcp(args).output().unwrap();
        if trusted {
            assert!(output.status.success(), "{output:?}");
            assert_eq!(fs::read(sandbox.path("victim")).unwrap(), b"new");
            continue;
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.starts_with("zcp: not writing through untrusted symlink 'dst/"), "{errors}");
        assert_eq!(output.status.code(), Some(1));
        assert_victim_is_well(&sandbox);
        // With this option the copy succeeds.
        assert!(sandbox.zcp(["--remove-destination"]).args(args).output().unwrap().status.success());
        assert_eq!(fs::read(sandbox.path("dst/f")).unwrap(), b"new");
        assert_victim_is_well(&sandbox);
    }
}

/// The temporary name of a statistics file can be guessed.
fn statistics_go_through_no_link() {
    let sandbox = with_victim();
    sandbox.file("src", "f");
    // The process id is known only when the process runs, so the links are made then.
    let args = ["--stats-file=dst/stats", "src", "copy"];
    let inject = ["-e", "inject=openat:signal=STOP:when=1"];
    let mut count = 0;
    let trace = strace::zcp_with_stops(&sandbox, &inject, &args, |_| {
        let tracees =
            fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        for id in tracees.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())) {
            for serial in 0..3 {
                let made = symlink("../victim", sandbox.path(format!("dst/.zcp-{id}-{serial}")));
                count += usize::from(made.is_ok());
            }
        }
    });
    assert!(trace.output.status.success(), "{:?}", trace.output);
    assert_victim_is_well(&sandbox);
    assert!(count > 0 && fs::read(sandbox.path("dst/stats")).unwrap().starts_with(b"{"));
}

/// Another process cannot guess and take temporary names before zcp creates them.
fn temporary_names_are_not_guessed() {
    let sandbox = with_victim();
    sandbox.file("src", "new").file("dst/f", "old");
    let inject = ["-P", "dst/f", "-e", "inject=newfstatat:signal=STOP:when=1"];
    let mut count = 0;
    let trace = strace::zcp_with_stops(&sandbox, &inject, &["--atomic", "src", "dst/f"], |_| {
        let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
        let is_ours = |path: &std::path::PathBuf| {
            let comm = fs::read_to_string(path.join("comm")).unwrap_or_default();
            comm.trim() == "zcp" && fs::read_link(path.join("cwd")).is_ok_and(|cwd| cwd == sandbox.path(""))
        };
        for process in processes.filter(is_ours) {
            let id = process.file_name().unwrap().to_str().unwrap().to_owned();
            for serial in 0..1100 {
                count +=
                    usize::from(symlink("../victim", sandbox.path(format!("dst/.zcp-{id}-{serial}"))).is_ok());
            }
        }
    });
    assert!(trace.output.status.success(), "{:?}", trace.output);
    assert!(count >= 1100, "only {count} names are taken");
    assert_eq!(fs::read(sandbox.path("dst/f")).unwrap(), b"new");
    assert_victim_is_well(&sandbox);
}

/// `--resume` removes names that look like temporary names of a dead run, and follows none of them.
fn swept_names_lead_nowhere() {
    let sandbox = with_victim();
    sandbox.file("src/f", "f").fifo("dst/.zcp-4194305-3").dir("dst/.zcp-4194305-4");
    symlink("../victim", sandbox.path("dst/.zcp-4194305-1")).unwrap();
    fs::hard_link(sandbox.path("victim"), sandbox.path("dst/.zcp-4194305-2")).unwrap();
    let output = sandbox.zcp(["-aT", "--resume", "src", "dst"]).output().unwrap();
    crate::sandbox::assert_done(&output);
    assert_victim_is_well(&sandbox);
    let left: Vec<_> =
        fs::read_dir(sandbox.path("dst")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}"); // the copy, and the directory: zcp makes no directories with such names
    assert!(sandbox.path("dst/.zcp-4194305-4").is_dir());
}

/// Stops the swaps, even when a check fails.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Random swaps, with every option that offers an attacker an opportunity. No secret is copied, and nothing
/// outside changes, whatever zcp reports.
fn soak() {
    let swaps = std::env::var("ZCP_RACE_SWAPS").ok().and_then(|text| text.parse().ok()).unwrap_or(2000);
    let sandbox = Sandbox::new();
    for index in 0..6 {
        sandbox.file(format!("src/d{index}/f"), noise(9000)).file(format!("src/d{index}/e/g"), "g");
        sandbox.symlink("nowhere", format!("src/d{index}/l")).fifo(format!("src/d{index}/p"));
        sandbox.mode(format!("src/d{index}/p"), 0o666).mode(format!("src/d{index}/e"), 0o577);
        lchown(sandbox.path(format!("src/d{index}/l")), Some(MALLORY), None).unwrap();
        sandbox.file(format!("outside/d{index}/f"), "secret").file(format!("outside/d{index}/e/g"), "secret");
    }
    // A mark that no copy may contain, and times that show any change.
    let outside = sandbox.snapshot("outside");
    let (done, over) = ([AtomicUsize::new(0), AtomicUsize::new(0)], AtomicBool::new(false));
    // The check for secrets must not be led outside either.
    let looking = RwLock::new(());
    std::thread::scope(|scope| {
        for (tree, done) in ["src", "dst"].into_iter().zip(&done) {
            let (sandbox, over, looking) = (&sandbox, &over, &looking);
            scope.spawn(move || {
                let mut random = noise(1 << 16).into_iter().cycle().skip(tree.len() + usize::from(tree == "dst"));
                while !over.load(Ordering::Relaxed) {
                    let _swapping = looking.read().unwrap_or_else(PoisonError::into_inner);
                    let index = random.next().unwrap() % 6;
                    let name = ["", "/f", "/e", "/e/g", "/l", "/p"][usize::from(random.next().unwrap() % 6)];
                    let path = sandbox.path(format!("{tree}/d{index}{name}"));
                    let trap = sandbox.path(format!("trap-{tree}"));
                    let _ = fs::remove_file(&trap);
                    let there = sandbox.path(format!("outside/d{index}{name}"));
                    let there = if there.exists() { there } else { sandbox.path("outside/d0/f") };
                    if symlink(there, &trap).and_then(|()| lchown(&trap, Some(MALLORY), None)).is_err() {
                        continue;
                    }
                    // Swaps back, so that there is always something to copy.
                    if renameat_with(CWD, &trap, CWD, &path, RenameFlags::EXCHANGE).is_ok() {
                        std::thread::yield_now();
                        let _ = renameat_with(CWD, &trap, CWD, &path, RenameFlags::EXCHANGE);
                        done.fetch_add(2, Ordering::Relaxed);
                    }
                    let _ = if trap.is_symlink() { fs::remove_file(&trap) } else { fs::remove_dir_all(&trap) };
                }
            });
        }
        let _end = Ending(&over);
        let mut round = 0;
        // As many swaps on either side.
        while done.iter().any(|done| done.load(Ordering::Relaxed) < swaps / 2) {
            let kept = ["dst", "new"][round % 2];
            // A plain -r makes its links the user's own, so the next round would write through them.
            let flags = [&["-a"][..], &["-rp"], &["-a", "--remove-destination"], &["-af"], &["-a", "--atomic"]];
            let mut command = sandbox.zcp(flags[round / 2 % flags.len()]);
            command.args(["-j", ["1", "2", "4"][round % 3], "src/.", kept]);
            let _ = fs::create_dir(sandbox.path(kept));
            let output = command.output().unwrap();
            let code = output.status.code();
            assert!(matches!(code, Some(0 | 1)), "{output:?}");
            assert_eq!(code == Some(1), !output.stderr.is_empty(), "{output:?}");
            let quiet = looking.write().unwrap_or_else(PoisonError::into_inner);
            let secrets = std::process::Command::new("grep")
                .args(["-rlZ", "--devices=skip", "secret"]) // follows no link
                .arg(sandbox.path(kept))
                .output()
                .unwrap();
            assert!(secrets.stdout.is_empty(), "{:?} in round {round}", String::from_utf8_lossy(&secrets.stdout));
            drop(quiet);
            if kept == "new" {
                let _ = fs::remove_dir_all(sandbox.path(kept));
            }
            round += 1;
        }
    });
    let done = done.map(AtomicUsize::into_inner);
    assert!(done.iter().sum::<usize>() >= swaps, "only {done:?} swaps");
    outside.assert_same(&sandbox.snapshot("outside"));
    let _ = fs::set_permissions(sandbox.path("src"), Permissions::from_mode(0o755));
}
