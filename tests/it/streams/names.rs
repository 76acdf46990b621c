//! The names of descriptors mean the descriptors, whatever is behind them.

use super::{Link, Running, assert_ok, feed, read_all, relay, send, with_file, zcp};
use crate::needs::{Need, trial};
use crate::sandbox::{Sandbox, ZCP, noise};
use libtest_mimic::Trial;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::process::{Command, Stdio};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("streams::all_names_of_stdout", &[], all_names_of_stdout),
        trial("streams::descriptor_three", &[Need::Program("sh")], descriptor_three),
        trial("streams::appends", &[], appends),
        trial("streams::goes_on_where_the_descriptor_stands", &[], goes_on),
        trial("streams::position_is_left_at_the_end", &[], position_is_left_at_the_end),
        trial("streams::closed_stdout", &[Need::Program("sh")], closed_stdout),
        trial("streams::echo", &[], echo),
        trial("streams::several_sources", &[], several_sources),
        trial("streams::attributes", &[], attributes),
    ]
}

fn all_names_of_stdout() {
    for link in Link::ALL {
        for name in ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "/proc/thread-self/fd/1", "link"] {
            let sandbox = with_file(100_000);
            sandbox.symlink("link2", "link").symlink("/dev/stdout", "link2");
            let (read, write) = link.ends();
            let mut command = zcp(&sandbox, &["a", name]);
            command.stdout(write);
            let running = Running::start(command);
            assert!(read_all(read) == noise(100_000), "{link:?} {name}");
            let output = running.finish();
            assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
            assert!(sandbox.path("link").is_symlink() && sandbox.path("link2").is_symlink());
        }
    }
}

/// A number other than the standard ones, for reading and for writing, as a shell passes it.
fn descriptor_three() {
    for link in Link::ALL {
        let sandbox = with_file(100_000);
        let (read, write) = link.ends();
        let mut command = Command::new("sh");
        command.args(["-c", r#"exec "$0" a /dev/fd/3 3>&1 >/dev/null"#, ZCP]).current_dir(sandbox.path(""));
        let running = Running::start({
            command.stdout(write);
            command
        });
        assert!(read_all(read) == noise(100_000), "{link:?}");
        assert_ok(&running.finish());

        let (read, write) = link.ends();
        let mut command = Command::new("sh");
        command.args(["-c", r#"exec "$0" /dev/fd/3 b 3<&0 </dev/null"#, ZCP]).current_dir(sandbox.path(""));
        let running = Running::start({
            command.stdin(read);
            command
        });
        feed(write, noise(100_000)).join().unwrap().unwrap();
        assert_ok(&running.finish());
        assert!(fs::read(sandbox.path("b")).unwrap() == noise(100_000), "{link:?}");
    }
}

/// `>> log`: the existing content stays, with each strategy that does not refuse.
fn appends() {
    for strategy in ["splice,sendfile,copy_file_range,mmap,read_write", "read_write", "mmap"] {
        let sandbox = with_file(3_000_000);
        sandbox.file("log", "before\n");
        let log = OpenOptions::new().append(true).open(sandbox.path("log")).unwrap();
        let option = format!("--strategy={strategy}");
        assert_ok(&send(&sandbox, &[&option], log.try_clone().unwrap().into()).finish());
        (&log).write_all(b"after\n").unwrap();
        let expected = [b"before\n".as_slice(), &noise(3_000_000), b"after\n"].concat();
        assert!(fs::read(sandbox.path("log")).unwrap() == expected, "{strategy}");
    }
}

/// The copy is placed between the data that others write to the same descriptor.
fn goes_on() {
    for strategy in
        [None, Some("copy_file_range"), Some("splice"), Some("sendfile"), Some("mmap"), Some("read_write")]
    {
        let sandbox = with_file(3_000_000);
        let mut file = File::create(sandbox.path("out")).unwrap();
        file.write_all(b"head").unwrap();
        let option = strategy.map_or("--sparse=auto".to_owned(), |strategy| format!("--strategy={strategy}"));
        assert_ok(&send(&sandbox, &[&option], file.try_clone().unwrap().into()).finish());
        file.write_all(b"tail").unwrap();
        let expected = [b"head".as_slice(), &noise(3_000_000), b"tail"].concat();
        assert!(fs::read(sandbox.path("out")).unwrap() == expected, "{strategy:?}");
    }
}

/// An empty file behind stdout is written like any other file, and the next writer continues after the copy.
fn position_is_left_at_the_end() {
    let sandbox = Sandbox::new();
    sandbox.sparse("a", 4 << 20, &[(1 << 20, b"middle")]);
    let mut file = File::options().create_new(true).read(true).write(true).open(sandbox.path("out")).unwrap();
    assert_ok(&send(&sandbox, &[], file.try_clone().unwrap().into()).finish());
    file.write_all(b"tail").unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    assert!(bytes == [fs::read(sandbox.path("a")).unwrap(), b"tail".to_vec()].concat());
    let spans = &sandbox.snapshot("out").0[std::path::Path::new("")].spans;
    assert!(spans.iter().map(|span| span.end - span.start).sum::<u64>() < 1 << 20, "holes were filled: {spans:?}");
}

/// std opens /dev/null for a closed descriptor. zcp must not report a copy to it as a success.
fn closed_stdout() {
    let sandbox = with_file(10);
    for script in [r#""$0" a /dev/stdout >&-"#, r#""$0" /dev/stdin b <&-"#, r#""$0" a /dev/fd/2 2>&-"#] {
        let mut command = Command::new("sh");
        command.args(["-c", script, ZCP]).current_dir(sandbox.path("")).stderr(Stdio::piped());
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{script} {output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("Bad file descriptor") || script.contains("2>&-"), "{said}");
        assert!(!sandbox.path("b").exists());
    }
}

/// The two directions of one socket are two streams, not one file that is copied to itself.
fn echo() {
    let sandbox = Sandbox::new();
    let (ours, theirs) = Link::Unix.ends();
    let running = relay(&sandbox, &[], theirs.try_clone().unwrap(), theirs);
    let sender = ours.try_clone().unwrap();
    let feeder = std::thread::spawn(move || {
        File::from(sender.try_clone().unwrap()).write_all(&noise(1_000_000)).unwrap();
        rustix::net::shutdown(&sender, rustix::net::Shutdown::Write).unwrap();
    });
    assert!(read_all(ours) == noise(1_000_000));
    feeder.join().unwrap();
    assert_ok(&running.finish());
}

/// Several sources for one descriptor are refused in cp's words.
fn several_sources() {
    for link in Link::ALL {
        let sandbox = with_file(10);
        let (read, write) = link.ends();
        let mut command = zcp(&sandbox, &["a", "a", "/dev/stdout"]);
        command.stdout(write);
        let output = Running::start(command).finish();
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "zcp: target '/dev/stdout': Not a directory\n");
        assert_eq!(read_all(read), b"");
    }
}

/// `-p` and `-a` into a stream: attributes that cannot be preserved are not reported where cp does not report
/// them.
fn attributes() {
    for link in Link::ALL {
        for option in ["-p", "-a"] {
            let sandbox = with_file(100_000);
            let (read, write) = link.ends();
            let running = send(&sandbox, &[option], write);
            assert!(read_all(read) == noise(100_000));
            let output = running.finish();
            assert!(output.status.success() && output.stderr.is_empty(), "{link:?} {option} {output:?}");
        }
    }
}
