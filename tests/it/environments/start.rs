//! The start of the program: the environment that its parent leaves.

use crate::needs::{Need, trial};
use crate::sandbox::{Sandbox, ZCP, assert_done};
use libtest_mimic::Trial;
use std::fs;
use std::os::unix::process::ExitStatusExt;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("environments::closed_descriptors_without_dev_null", &[Need::Root, Need::Namespaces], without_null),
        trial("environments::closed_descriptors_are_not_written_to", &[], closed_descriptors),
        trial("environments::loads_little", &[Need::Program("ldd")], loads_little),
    ]
}

/// With an empty /dev the copy is made, whichever descriptors are closed.
fn without_null() {
    for closed in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"] {
        let sandbox = Sandbox::new();
        sandbox.file("src/a", "content").dir("empty");
        let script = format!("mount --bind empty /dev && exec \"$0\" -r src dst {closed}");
        let output = sandbox.command("unshare").args(["-m", "sh", "-c", &script, ZCP]).output().unwrap();
        assert_done(&output);
        assert_eq!(fs::read(sandbox.path("dst/a")).unwrap(), b"content", "{closed}");
    }
}

/// No file is opened under the number of a standard descriptor; a message would be written into it.
fn closed_descriptors() {
    let sandbox = Sandbox::new();
    sandbox.file("src/a", "content").file("src/b", "content");
    let script = "exec \"$0\" -rv src missing dst <&- >&- 2>&-";
    sandbox.dir("dst");
    let output = sandbox.command("sh").args(["-c", script, ZCP]).output().unwrap();
    assert_eq!((output.status.code(), output.status.signal()), (Some(1), None), "{output:?}");
    for name in ["a", "b"] {
        assert_eq!(fs::read(sandbox.path(format!("dst/src/{name}"))).unwrap(), b"content");
    }
}

/// Each library that is loaded takes a tenth of the time of a small copy.
fn loads_little() {
    let sandbox = Sandbox::new();
    let output = sandbox.command("ldd").arg(ZCP).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("libc.so"), "{text}");
    let known = ["linux-vdso", "linux-gate", "ld-linux", "libc.so", "libm.so"];
    let strange: Vec<_> = text.lines().filter(|line| !known.iter().any(|name| line.contains(name))).collect();
    assert!(strange.is_empty(), "{strange:?}");
}
