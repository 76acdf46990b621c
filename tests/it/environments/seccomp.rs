//! System calls that a filter of seccomp(2) refuses, as container runtimes and service managers do: with ENOSYS,
//! as an older kernel would, or with EPERM. zcp then copies with other calls.

use crate::needs::{Need, mounted, trial};
use crate::sandbox::{LONGEST, Sandbox, assert_done, noise};
use assert_cmd::Command;
use libtest_mimic::Trial;
use nix::libc;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;

/// The refused calls and their numbers.
const CALLS: [(&str, libc::c_long); 16] = [
    ("statx", libc::SYS_statx),
    ("copy_file_range", libc::SYS_copy_file_range),
    ("splice", libc::SYS_splice),
    ("sendfile", libc::SYS_sendfile),
    ("fallocate", libc::SYS_fallocate),
    ("renameat2", libc::SYS_renameat2),
    ("syncfs", libc::SYS_syncfs),
    ("faccessat2", libc::SYS_faccessat2),
    ("openat2", libc::SYS_openat2),
    ("getrandom", libc::SYS_getrandom),
    ("clone3", libc::SYS_clone3),
    ("linkat", libc::SYS_linkat),
    ("fadvise64", libc::SYS_fadvise64),
    ("preadv2", libc::SYS_preadv2),
    ("pwritev2", libc::SYS_pwritev2),
    ("cachestat", 451),
];

const REFUSALS: [(&str, i32); 2] = [("ENOSYS", libc::ENOSYS), ("EPERM", libc::EPERM)];

/// The options that each filter is tried with.
const OPTIONS: [&[&str]; 9] = [
    &["-r"],
    &["-a"],
    &["-a", "--atomic"],
    &["-a", "--resume"],
    &["-a", "--verify"],
    &["-a", "--fsync"],
    &["-a", "--atomic", "--fsync"],
    &["-a", "--cache=drop"],
    &["-a", "--sparse=always"],
];

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial("seccomp::calls_that_nothing_replaces", &[], calls_that_nothing_replaces),
        trial("seccomp::all_calls_at_once", &[], all_calls_at_once),
        trial(
            "seccomp::attributes_are_not_lost_in_silence",
            &[Need::Mount("ext4")],
            attributes_are_not_lost_in_silence,
        ),
    ];
    for (name, number) in CALLS {
        for (refusal, errno) in REFUSALS {
            let name = format!("seccomp::{name}_answers_{refusal}");
            trials.push(trial(name, &[], move || copies_under_a_filter(&[number], errno)));
        }
    }
    trials
}

/// Makes the calls of a command fail. The command cannot be started if the kernel does not support the filter,
/// or if the last of the calls does not return `errno` afterwards.
#[allow(unsafe_code)]
pub(crate) fn refuse(command: &mut std::process::Command, calls: &[libc::c_long], errno: i32) {
    let filter = filter(calls, errno);
    // With the arguments below, no call does anything.
    let probe = *calls.last().unwrap();
    let install = move || {
        let program =
            libc::sock_fprog { len: filter.len().try_into().unwrap(), filter: filter.as_ptr().cast_mut() };
        // SAFETY: the kernel copies the filter, which lives as long as the closure. Between fork and exec only
        // system calls are made.
        let is_installed = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
        };
        if !is_installed {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: -1 is no descriptor, no pointer that the kernel could write to, and no valid set of flags.
        let answer = unsafe { libc::syscall(probe, -1, -1, -1, -1, -1, -1) };
        let error = io::Error::last_os_error();
        if answer == -1 && error.raw_os_error() == Some(errno) { Ok(()) } else { Err(io::ErrorKind::Other.into()) }
    };
    // SAFETY: the closure makes only system calls and allocates nothing.
    unsafe { command.pre_exec(install) };
}

/// A program for the kernel's packet filter (seccomp(2)) that refuses the calls and allows all others.
fn filter(calls: &[libc::c_long], errno: i32) -> Vec<libc::sock_filter> {
    /// The offset of `nr` in `struct seccomp_data`.
    const NUMBER: u32 = 0;
    let instruction =
        |code: u32, jf: u8, k: u32| libc::sock_filter { code: code.try_into().unwrap(), jt: 0, jf, k };
    let load = instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, NUMBER);
    let answer = |what: u32| instruction(libc::BPF_RET | libc::BPF_K, 0, what);
    let refuse = calls.iter().flat_map(|call| {
        let is_call = instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, (*call).try_into().unwrap());
        [is_call, answer(libc::SECCOMP_RET_ERRNO | u32::try_from(errno).unwrap())]
    });
    std::iter::once(load).chain(refuse).chain([answer(libc::SECCOMP_RET_ALLOW)]).collect()
}

/// A command that runs zcp under the filter.
pub(crate) fn zcp(sandbox: &Sandbox, calls: &[libc::c_long], errno: i32, args: &[&str]) -> Command {
    let mut command = sandbox.std_command(crate::sandbox::ZCP, "zcp");
    command.args(args);
    refuse(&mut command, calls, errno);
    let mut command = Command::from_std(command);
    command.timeout(LONGEST);
    command
}

/// A tree with everything for which a copy needs a special call.
fn tree() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.file("src/small", "small").file("src/empty", "").file("src/d/e/large", noise(3 << 20));
    sandbox.sparse("src/d/sparse", 1 << 20, &[(300_000, &[1; 5000])]);
    for n in 0..5 {
        sandbox.file(format!("src/d/{n}/file"), noise(1000 * n));
    }
    sandbox.symlink("small", "src/link").fifo("src/fifo");
    sandbox.mode("src/small", 0o640).xattr("src/small", "user.key", "value").dir("src/d");
    sandbox
}

/// Compares everything but the places of holes, which depend on the call that copies.
fn assert_copied(sandbox: &Sandbox, options: &[&str]) {
    let [source, copy] = ["src", "dst"].map(|name| sandbox.snapshot(name).without(|node| node.spans.clear()));
    match options {
        ["-r"] => source.plain().assert_same(&copy.plain()),
        _ => source.assert_same(&copy),
    }
}

/// New copies, copies over older files, and a job: nothing is reported, and no temporary name remains.
fn copies_under_a_filter(calls: &[libc::c_long], errno: i32) {
    let sandbox = tree();
    for options in OPTIONS {
        for replaces in [false, true] {
            if replaces {
                sandbox.file("dst/small", "old").file("dst/d/e/large", "old");
            }
            let args = [options, &["-T", "src", "dst"]].concat();
            assert_done(&zcp(&sandbox, calls, errno, &args).output().unwrap());
            assert_copied(&sandbox, options);
        }
        fs::remove_dir_all(sandbox.path("dst")).unwrap();
    }
    let plan = ["-a", "--plan=job", "--parts=2", "--split-over=1M", "-T", "src", "dst"];
    for step in [&plan[..], &["--run=job", "--part=0"], &["--run=job", "--part=1"], &["--finish=job"]] {
        assert_done(&zcp(&sandbox, calls, errno, step).output().unwrap());
    }
    assert_copied(&sandbox, &["-a"]);
}

fn all_calls_at_once() {
    let calls = CALLS.map(|(_, number)| number);
    for (_, errno) in REFUSALS {
        copies_under_a_filter(&calls, errno);
    }
}

/// Calls that nothing can replace: the copy fails, and names the operation and the reason.
fn calls_that_nothing_replaces() {
    let sandbox = tree();
    sandbox.hard_link("src/small", "src/hard");
    for (errno, reason) in [(libc::EPERM, "Operation not permitted"), (libc::ENOSYS, "Function not implemented")] {
        let calls = [libc::SYS_mkdirat, libc::SYS_symlinkat, libc::SYS_linkat];
        let args = ["-a", "src/d", "src/link", "src/small", "src/hard", "."];
        let output = zcp(&sandbox, &calls, errno, &args).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let expected = format!(
            "zcp: cannot create directory './d': {reason}\n\
             zcp: cannot create symbolic link './link': {reason}\n\
             zcp: cannot create hard link './hard' to './small': {reason}\n"
        );
        // A line follows that counts what was copied.
        let words = String::from_utf8(output.stderr).unwrap();
        assert!(words.starts_with(&expected), "{words}");
        assert_eq!(fs::read(sandbox.path("small")).unwrap(), b"small");
        fs::remove_file(sandbox.path("small")).unwrap();
    }
}

/// The calls that read extended attributes and access control lists. If a file has attributes that cannot be
/// read, that is reported, with `-a` too. Only EOPNOTSUPP, and ENOSYS from the listing, mean that there are
/// none, as for cp.
fn attributes_are_not_lost_in_silence() {
    const GET: &[libc::c_long] = &[libc::SYS_getxattr, libc::SYS_lgetxattr, libc::SYS_fgetxattr];
    const LIST: &[libc::c_long] = &[libc::SYS_listxattr, libc::SYS_llistxattr, libc::SYS_flistxattr];
    let get = "zcp: getting attribute 'user.key' of 'attribute'";
    let list = "zcp: listing attributes of 'attribute'";
    let no_list = "zcp: listing attributes of 'plain'";
    let permissions = "zcp: preserving permissions for 'copy'";
    for (calls, errno, options, name, said) in [
        (GET, libc::ENOSYS, "-a", "attribute", Some(get)),
        (GET, libc::EINVAL, "-a", "attribute", Some(get)),
        (GET, libc::EPERM, "-a", "attribute", Some(get)),
        (GET, libc::EOPNOTSUPP, "-a", "attribute", None),
        (GET, libc::EOPNOTSUPP, "--preserve=xattr", "attribute", Some(get)),
        (GET, libc::ENOSYS, "--preserve=xattr", "attribute", Some(get)),
        (GET, libc::ENOSYS, "-a", "acl", Some(permissions)),
        (GET, libc::EINVAL, "-p", "acl", Some(permissions)),
        (GET, libc::EACCES, "-p", "acl", Some(permissions)),
        (GET, libc::ENOSYS, "-a", "plain", None),
        (GET, libc::EPERM, "-p", "plain", None),
        (LIST, libc::EINVAL, "-a", "attribute", Some(list)),
        (LIST, libc::EPERM, "-a", "attribute", Some(list)),
        (LIST, libc::EINVAL, "-a", "plain", Some(no_list)),
        (LIST, libc::EINVAL, "--preserve=xattr", "plain", Some(no_list)),
        (LIST, libc::ENOSYS, "-a", "plain", None),
        (LIST, libc::EOPNOTSUPP, "-a", "plain", None),
        (LIST, libc::EINVAL, "-p", "plain", None),
        (&[GET, LIST].concat(), libc::EINVAL, "-p", "plain", Some(permissions)),
        (&[GET, LIST].concat(), libc::ENOSYS, "-a", "plain", None),
    ] {
        let sandbox = Sandbox::within(mounted("ext4").unwrap());
        sandbox.file("attribute", "1").xattr("attribute", "user.key", "value").file("plain", "2").file("acl", "3");
        sandbox.xattr("acl", "system.posix_acl_access", crate::complete::acl());
        let output = zcp(&sandbox, calls, errno, &[options, name, "copy"]).output().unwrap();
        let words = String::from_utf8(output.stderr).unwrap();
        let expected = (i32::from(said.is_some()), said);
        let first = words.lines().next().and_then(|line| line.rsplit_once(": ")).map(|(words, _)| words);
        assert_eq!(
            (output.status.code().unwrap(), first),
            expected,
            "{errno} of {calls:?}, {options} {name}: {words}"
        );
    }
}
