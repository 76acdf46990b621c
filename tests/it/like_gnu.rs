//! Behaviour of GNU cp 9.10 that zcp must show, written down case by case, so that no GNU cp is needed to check
//! it.

use crate::needs::{Mounted, Need, trial};
use crate::sandbox::{Sandbox, ZCP};
use crate::strace;
use libtest_mimic::Trial;
use rustix::fs::{Mode, OFlags};
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output, Stdio};

pub(crate) fn trials() -> Vec<Trial> {
    let e2fs = [Need::Root, Need::Mount("ext4"), Need::Program("debugfs")];
    vec![
        trial("like_gnu::a_file_that_lands_on_two_names_is_copied_twice", &[], lands_on_two_names),
        trial("like_gnu::the_same_operand_twice_is_a_warning", &[], same_operand_twice),
        trial("like_gnu::a_prompt_reads_no_more_than_its_line", &[], prompt_reads_its_line),
        trial("like_gnu::long_backup_names_are_shortened", &[], long_backup_names),
        trial("like_gnu::backups_near_the_longest_path", &[], backups_near_the_longest_path),
        trial("like_gnu::a_directory_makes_a_backup_of_a_file", &[], directory_over_file),
        trial("like_gnu::a_file_does_not_replace_a_directory", &[], file_over_directory),
        trial("like_gnu::a_link_from_the_future_is_the_users_own", &e2fs, link_from_the_future),
        trial("like_gnu::debug_has_its_words", &[], debug_words),
        trial("like_gnu::no_clobber_with_update_links_nothing", &[], no_clobber_with_update),
        trial(
            "like_gnu::times_are_what_another_users_file_does_not_take",
            &[Need::Root, Need::Program("setpriv")],
            another_users_file,
        ),
        trial("like_gnu::a_named_socket_is_the_same_file", &[], named_socket),
        trial("like_gnu::attributes_of_a_fifo_need_no_data", &[], attributes_of_fifo),
        trial("like_gnu::a_device_refuses_a_clone_with_its_own_reason", &[Need::Root], clone_of_device),
        trial("like_gnu::directories_met_again_get_cps_words", &[], directories_met_again),
        trial("like_gnu::leading_directories_get_cps_words", &[], leading_directories),
        trial("like_gnu::circular_links_on_the_way_get_cps_words", &[], circular_links),
        trial(
            "like_gnu::a_set_group_id_bit_that_is_lost_is_not_inherited",
            &[Need::Root, Need::Program("setpriv")],
            lost_set_group_id,
        ),
        trial(
            "like_gnu::times_of_leading_directories_get_cps_words",
            &[Need::Strace],
            times_of_leading_directories,
        ),
        trial("like_gnu::parents_are_shown_without_quotes", &[], parents_shown),
    ]
}

/// stderr and exit status of `cp LINE`, run by a shell.
fn cp(sandbox: &Sandbox, line: &str) -> (String, Option<i32>) {
    let cp = sandbox.path("cp");
    if !cp.exists() {
        std::os::unix::fs::symlink(ZCP, &cp).unwrap();
    }
    let output = sandbox.command("sh").args(["-c", &format!("exec ./cp {line}")]).output().unwrap();
    (String::from_utf8(output.stderr).unwrap(), output.status.code())
}

fn read(sandbox: &Sandbox, name: &str) -> Option<String> {
    fs::read_to_string(sandbox.path(name)).ok()
}

fn lands_on_two_names() {
    for options in ["", "-a", "-s", "-l", "-n", "-f", "-j8"] {
        for (first, second) in [
            ("$PWD/a/f", "$PWD/l/f"),
            ("$PWD/a/b/f", "$PWD/l/b/f"),
            ("a/f", "l/f"),
            ("a/b/f", "l/b/f"),
            ("a/b/f", "$PWD/a/b/f"),
        ] {
            if options == "-s" && first.starts_with('a') {
                continue; // it makes links to absolute names only
            }
            for line in [format!("{first} {second} $PWD/d"), format!("-t $PWD/d {first} {second}")] {
                let sandbox = Sandbox::new();
                sandbox.file("a/f", "x").file("a/b/f", "y").symlink("a", "l").dir("d");
                let line = format!("{options} --parents {line}");
                assert_eq!(cp(&sandbox, &line), (String::new(), Some(0)), "{line}");
                for name in [first, second] {
                    let top = sandbox.path("");
                    let name = match name.strip_prefix("$PWD/") {
                        Some(name) => top.join(name),
                        None => name.into(),
                    };
                    let copy = sandbox.path("d").join(name.strip_prefix("/").unwrap_or(&name));
                    assert!(copy.exists(), "{line}: no {copy:?}");
                }
            }
        }
    }
}

fn same_operand_twice() {
    let sandbox = Sandbox::new();
    sandbox.file("a/f", "x").file("b/f", "y").symlink("a", "l").dir("d").dir("e");
    let warning = |name: &str| format!("cp: warning: source file '{name}' specified more than once\n");
    assert_eq!(cp(&sandbox, "a/f ./a/f d"), (warning("./a/f"), Some(0)));
    assert_eq!(cp(&sandbox, "--parents a/f a//f d"), (warning("a//f"), Some(0)));
    let refusal = |name: &str| format!("cp: will not overwrite just-created 'e/f' with '{name}'\n");
    assert_eq!(cp(&sandbox, "a/f l/f e"), (refusal("l/f"), Some(1)));
    fs::remove_file(sandbox.path("e/f")).unwrap();
    assert_eq!(cp(&sandbox, "-b a/f b/f e"), (refusal("b/f"), Some(1)));
}

fn prompt_reads_its_line() {
    let sandbox = Sandbox::new();
    for name in ["1", "2", "3"] {
        sandbox.file(name, format!("new {name}")).file(format!("d/{name}"), "old");
    }
    let answers = "1\ny\n2\nn\n3\ny\n";
    sandbox.file("answers", answers);
    let script = "while read -r name; do \"$0\" -i $name d; done";
    let started = |input: Stdio| -> Output {
        let mut command = Command::new("sh");
        command.args(["-c", script, ZCP]).current_dir(sandbox.path("")).stdin(input);
        command.output().unwrap()
    };
    let from_file = started(fs::File::open(sandbox.path("answers")).unwrap().into());
    let mut feeder = Command::new("cat").arg(sandbox.path("answers")).stdout(Stdio::piped()).spawn().unwrap();
    let contents = || ["d/1", "d/2", "d/3"].map(|name| read(&sandbox, name).unwrap());
    assert_eq!(contents(), ["new 1", "old", "new 3"], "{from_file:?}");
    sandbox.file("d/1", "old").file("d/3", "old");
    let from_pipe = started(feeder.stdout.take().unwrap().into());
    feeder.wait().unwrap();
    assert_eq!(contents(), ["new 1", "old", "new 3"], "{from_pipe:?}");
}

/// The name of the backup of a file whose name has this many letters.
fn long_backup_names() {
    let cells = [
        (255, "-b", vec![], (253, "~")),
        (254, "-b", vec![], (253, "~")),
        (253, "-b", vec![], (253, "~")),
        (252, "-b", vec![], (252, "~")),
        (250, "-bS.bak", vec![], (250, ".bak")),
        (251, "-bS.bak", vec![], (251, "~")),
        (255, "--backup=numbered", vec![], (253, "~")),
        (251, "--backup=numbered", vec![], (251, "~")),
        (250, "--backup=numbered", vec![], (250, ".~1~")),
        (251, "--backup=numbered", vec![(251, ".~1~")], (251, ".~2~")),
        (250, "--backup=numbered", vec![(250, ".~9~")], (250, "~")),
        (249, "--backup=existing", vec![(249, ".~9~")], (249, ".~10~")),
        (255, "--backup=existing", vec![(253, "~")], (253, "~")),
        (254, "--backup=simple", vec![], (254, "~")),
        (253, "--backup=simple", vec![], (253, "~")),
    ];
    for (letters, option, there, (kept, suffix)) in cells {
        let name = |letters, suffix: &str| "n".repeat(letters) + suffix;
        let sandbox = Sandbox::new();
        sandbox.file("new", "new").file(format!("d/{}", name(letters, "")), "old");
        for (letters, suffix) in there {
            sandbox.file(format!("d/{}", name(letters, suffix)), "earlier");
        }
        let line = format!("{option} new d/{}", name(letters, ""));
        assert_eq!(cp(&sandbox, &line), (String::new(), Some(0)), "{option} {letters}");
        assert_eq!(read(&sandbox, &format!("d/{}", name(letters, ""))).unwrap(), "new");
        let backup = read(&sandbox, &format!("d/{}", name(kept, suffix)));
        assert_eq!(backup.as_deref(), Some("old"), "{option} {letters}");
    }
    let (sandbox, long) = (Sandbox::new(), "n".repeat(255));
    sandbox.file("new", "new").file(&long, "old");
    let words = format!("cp: cannot backup '{long}': File name too long\n");
    assert_eq!(cp(&sandbox, &format!("--backup=simple new {long}")), (words, Some(1)));
    assert_eq!(read(&sandbox, &long).as_deref(), Some("old"));
}

fn backups_near_the_longest_path() {
    for options in
        ["-b", "--backup=numbered", "--backup=existing", "-b --atomic", "--atomic", "-a --resume", "-lf"]
    {
        for length in [4000, 4080, 4093, 4095] {
            let sandbox = Sandbox::new();
            sandbox.file("new", "new");
            let (path, dir) = long_path(&sandbox, length);
            assert_eq!(
                cp(&sandbox, &format!("{options} new {path}")),
                (String::new(), Some(0)),
                "{options} {length}"
            );
            let backup = if options.ends_with("numbered") { "f.~1~" } else { "f~" };
            let expected = if options.contains("-b") { vec!["f", backup] } else { vec!["f"] };
            let mut names: Vec<String> = rustix::fs::Dir::read_from(&dir)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().to_str().unwrap().to_owned())
                .filter(|name| !name.starts_with('.'))
                .collect();
            names.sort();
            assert_eq!(names, expected, "{options} {length}");
            let file = rustix::fs::openat(&dir, "f", OFlags::RDONLY, Mode::empty()).unwrap();
            assert_eq!(std::io::read_to_string(fs::File::from(file)).unwrap(), "new", "{options} {length}");
        }
    }
}

/// Makes a file `f` whose path has `length` bytes, in directories of 200 letters and a shorter one. Returns the path, and
/// the open directory that holds the file.
fn long_path(sandbox: &Sandbox, length: usize) -> (String, OwnedFd) {
    let directories = length - "/f".len();
    let mut names = vec!["d".repeat(200); directories / 201];
    names.extend(Some("e".repeat(directories % 201)).filter(|name| !name.is_empty()));
    let open = |dir: BorrowedFd<'_>, name: &Path| rustix::fs::openat(dir, name, OFlags::DIRECTORY, Mode::empty());
    let mut dir = open(rustix::fs::CWD, &sandbox.path("")).unwrap();
    for name in &names {
        rustix::fs::mkdirat(&dir, name, Mode::RWXU).unwrap();
        dir = open(dir.as_fd(), name.as_ref()).unwrap();
    }
    let flags = OFlags::CREATE | OFlags::WRONLY;
    let file = rustix::fs::openat(&dir, "f", flags, Mode::RUSR | Mode::WUSR).unwrap();
    assert_eq!(rustix::io::write(file, b"old"), Ok(3));
    let path = names.join("/") + "/f";
    (path, dir)
}

/// The kernel takes a set-group-ID bit from a directory whose group the process is not in. cp loses it at once where it has
/// to lend the owner permissions, so entries inherit neither bit nor group.
fn lost_set_group_id() {
    let sandbox = Sandbox::new();
    sandbox.file("s/f", "").dir("s/n").mode("s", 0o500).dir("d").mode("", 0o777);
    for name in ["s", "s/f", "s/n"] {
        std::os::unix::fs::chown(sandbox.path(name), Some(65534), Some(65534)).unwrap();
    }
    std::os::unix::fs::chown(sandbox.path("d"), None, Some(1)).unwrap();
    sandbox.mode("d", 0o2777);
    let user = ["--reuid=65534", "--regid=65534", "--clear-groups", ZCP, "-r", "s", "d"];
    assert!(sandbox.command("setpriv").args(user).output().unwrap().status.success());
    for (name, mode, group) in [("d/s", 0o500, 1), ("d/s/n", 0o755, 65534), ("d/s/f", 0o644, 65534)] {
        let metadata = fs::metadata(sandbox.path(name)).unwrap();
        assert_eq!((metadata.permissions().mode() & 0o7777, metadata.gid()), (mode, group), "{name}");
    }
}

fn times_of_leading_directories() {
    let sandbox = Sandbox::new();
    sandbox.file("a/b/f", "").dir("d").file("a/f", "");
    let trace = strace::zcp(&sandbox, &["-e", "inject=utimensat:error=EPERM"], &["-p", "--parents", "a/f", "d"]);
    let errors = String::from_utf8_lossy(&trace.output.stderr);
    assert!(errors.contains("zcp: failed to preserve times for 'd/a': Operation not permitted\n"), "{errors}");
}

fn directory_over_file() {
    let sandbox = || {
        let sandbox = Sandbox::new();
        sandbox.file("s/x", "x").file("s/n/y", "y").file("d", "old").symlink("nowhere", "l").file("t/n", "inner");
        sandbox
    };
    for (options, target, backup) in [
        ("-rbT", "d", "d~"),
        ("-r --backup=numbered -T", "d", "d.~1~"),
        ("-rbuT", "d", "d~"),
        ("-abT", "l", "l~"),
        ("-rbT -j8", "d", "d~"),
        ("-rbT --atomic", "d", "d~"),
    ] {
        let sandbox = sandbox();
        let line = format!("{options} s {target}");
        assert_eq!(cp(&sandbox, &line), (String::new(), Some(0)), "{line}");
        assert_eq!(read(&sandbox, &format!("{target}/x")).unwrap(), "x", "{line}");
        assert!(!sandbox.path(backup).symlink_metadata().unwrap().is_dir(), "{line}");
    }
    let nested = sandbox();
    assert_eq!(cp(&nested, "-rbT s t"), (String::new(), Some(0)));
    assert_eq!((read(&nested, "t/n~").unwrap(), read(&nested, "t/n/y").unwrap()), ("inner".into(), "y".into()));
    let without = sandbox();
    let refusal = "cp: cannot overwrite non-directory 'd' with directory 's'\n";
    assert_eq!(cp(&without, "-rT s d"), (refusal.into(), Some(1)));
    let dry = sandbox();
    assert_eq!(cp(&dry, "--dry-run -rbT s d"), (String::new(), Some(0)));
    assert_eq!(read(&dry, "d").unwrap(), "old");
}

fn file_over_directory() {
    for (options, source, words) in [
        ("-bT", "f", "cannot create regular file 'd': Is a directory"),
        ("-fbT", "f", "cannot remove 'd': Is a directory"),
        ("-bT --remove-destination", "f", "cannot create regular file 'd': Is a directory"),
        ("-dbT", "l", "cannot create symbolic link 'd': File exists"),
        ("-abT", "p", "cannot create fifo 'd': File exists"),
        ("-lbT", "f", "cannot create hard link 'd' to 'f': File exists"),
        ("-bT --atomic", "f", "cannot create regular file 'd': Is a directory"),
        ("-T", "f", "cannot overwrite directory 'd' with non-directory 'f'"),
    ] {
        let sandbox = Sandbox::new();
        sandbox.file("f", "f").symlink("f", "l").fifo("p").file("d/kept", "kept");
        let line = format!("{options} {source} d");
        assert_eq!(cp(&sandbox, &line), (format!("cp: {words}\n"), Some(1)), "{line}");
        assert_eq!(read(&sandbox, "d/kept").unwrap(), "kept", "{line}");
    }
}

/// A link that the user made before the clock was set back is trusted: no other user made it during the copy.
fn link_from_the_future() {
    let disk = Mounted::make("ext4").unwrap();
    fs::write(disk.point.join("behind"), "old").unwrap();
    std::os::unix::fs::symlink("behind", disk.point.join("link")).unwrap();
    fs::set_permissions(&disk.point, fs::Permissions::from_mode(0o755)).unwrap();
    let succeeds = |program: &str, args: &[&std::ffi::OsStr]| {
        let output = Command::new(program).args(args).output().unwrap();
        assert!(output.status.success(), "{program}: {output:?}");
    };
    succeeds("umount", &[disk.point.as_os_str()]);
    let request = "set_inode_field /link ctime @2000000000";
    succeeds("debugfs", &["-w".as_ref(), "-R".as_ref(), request.as_ref(), disk.image.as_os_str()]);
    succeeds("mount", &["-o".as_ref(), "loop".as_ref(), disk.image.as_os_str(), disk.point.as_os_str()]);
    let sandbox = Sandbox::new();
    sandbox.file("new", "new");
    let link: &Path = &disk.point.join("link");
    let output = sandbox.zcp(["new".as_ref(), link.as_os_str()]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(fs::read_to_string(disk.point.join("behind")).unwrap(), "new");
    disk.end();
}

fn debug_words() {
    let sandbox = Sandbox::new();
    sandbox.file("empty", "").sparse("hole", 1 << 20, &[]).sparse("head", 1 << 20, &[(0, b"head")]);
    for (line, words) in [
        ("--sparse=always empty o", "copy offload: avoided, reflink: unsupported, sparse detection: zeros"),
        ("--sparse=never empty o", "copy offload: avoided, reflink: no, sparse detection: no"),
        ("--sparse=never head o", "copy offload: avoided, reflink: no, sparse detection: SEEK_HOLE"),
        ("--sparse=never hole o", "copy offload: unknown, reflink: no, sparse detection: SEEK_HOLE"),
        (
            "--sparse=never --reflink=never hole o",
            "copy offload: unknown, reflink: no, sparse detection: SEEK_HOLE",
        ),
        ("/proc/version o", "copy offload: unsupported, reflink: unsupported, sparse detection: no"),
        ("empty missing/o", "copy offload: unknown, reflink: unknown, sparse detection: unknown"),
    ] {
        let output = sandbox.zcp(["--debug"]).args(line.split(' ')).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let said = text.lines().find(|line| line.starts_with("copy offload"));
        assert_eq!(said, Some(words), "{line}");
        let _ = fs::remove_file(sandbox.path("o"));
    }
}

/// `-n` holds whether or not `-u` is given, also for a second name of a source whose first name was left alone.
fn no_clobber_with_update() {
    for prepared in
        ["touch d/a; echo old >d/b; touch -d 2001-01-01 d/b", "echo new >d/a; echo new >d/b", "echo new >d/a"]
    {
        for options in ["-uan", "-nau", "-un --preserve=links", "-ua --no-clobber -j8"] {
            let sandbox = Sandbox::new();
            let script = "mkdir s d; echo x >s/a; ln s/a b; touch -d 2010-01-01 s/a; ";
            let made = sandbox.command("sh").args(["-c", &format!("{script}{prepared}")]).output().unwrap();
            assert!(made.status.success(), "{made:?}");
            let before = [read(&sandbox, "d/a"), read(&sandbox, "d/b").or_else(|| Some("x\n".into()))];
            let line = format!("{options} s/a b d");
            assert_eq!(cp(&sandbox, &line), (String::new(), Some(0)), "{line}");
            assert_eq!([read(&sandbox, "d/a"), read(&sandbox, "d/b")], before, "{line}");
            assert_eq!(fs::metadata(sandbox.path("d/b")).unwrap().nlink(), 1, "{line}");
        }
    }
    let sandbox = Sandbox::new();
    sandbox.file("s/a", "x").dir("d").hard_link("s/a", "b");
    assert_eq!(cp(&sandbox, "-u -rn --preserve=links s/. s/a d/"), (String::new(), Some(0)));
}

fn another_users_file() {
    for (options, attribute) in [
        ("-p", "times"),
        ("-a", "times"),
        ("--preserve=mode,timestamps", "times"),
        ("--preserve=mode", "permissions"),
    ] {
        let sandbox = Sandbox::new();
        sandbox.file("src", "new").file("dst", "old").mode("dst", 0o666).mode("", 0o755);
        std::os::unix::fs::symlink(ZCP, sandbox.path("cp")).unwrap();
        let user = ["--reuid=65534", "--regid=65534", "--clear-groups", "./cp", options, "src", "dst"];
        let output = sandbox.command("setpriv").args(user).output().unwrap();
        let words = format!("cp: preserving {attribute} for 'dst': Operation not permitted\n");
        assert_eq!(String::from_utf8_lossy(&output.stderr), words, "{options}");
        assert_eq!(output.status.code(), Some(1), "{options}");
        assert_eq!(read(&sandbox, "dst").as_deref(), Some("new"), "{options}");
    }
}

/// Two names of one socket in a file system are one file, unlike two descriptors of one connected socket.
fn named_socket() {
    let sandbox = Sandbox::new();
    sandbox.socket("s").hard_link("s", "h").symlink("s", "l");
    for (options, from, to) in [
        ("", "s", "s"),
        ("-bf", "s", "s"),
        ("-b", "s", "s"),
        ("", "s", "h"),
        ("", "l", "s"),
        ("-d", "s", "s"),
        ("-u", "s", "h"),
        ("-r", "s", "s"),
    ] {
        let words = format!("cp: '{from}' and '{to}' are the same file\n");
        assert_eq!(cp(&sandbox, &format!("{options} {from} {to}")), (words, Some(1)), "{options} {from} {to}");
        assert!(sandbox.path("s").exists());
    }
}

fn attributes_of_fifo() {
    let sandbox = Sandbox::new();
    sandbox.fifo("p").file("old", "old");
    let _held = fs::File::options().read(true).write(true).open(sandbox.path("p")).unwrap();
    for (name, content) in [("new", ""), ("old", "old")] {
        assert_eq!(cp(&sandbox, &format!("--attributes-only p {name}")), (String::new(), Some(0)));
        assert_eq!(read(&sandbox, name).as_deref(), Some(content));
    }
}

fn clone_of_device() {
    let sandbox = Sandbox::new();
    let words = "cp: failed to clone '/dev/full' from '/dev/null': Invalid argument\n";
    assert_eq!(cp(&sandbox, "--reflink=always /dev/null /dev/full"), (words.into(), Some(1)));
}

/// A directory is met again through a link. cp compares paths without following a link that names their
/// directory.
fn directories_met_again() {
    for (script, line, words) in [
        ("mkdir -p a b; ln -s ../b a/x", "-rb a/. a/x/. b", "cp: 'a/x/./x' and 'b/./x' are the same file\n"),
        ("mkdir a b; ln -s x b/x", "-rf a b/x/", "cp: cannot stat 'b/x/': Too many levels of symbolic links\n"),
        (
            "mkdir a; ln -s ../a a/b",
            "-r a a/b/x",
            "cp: will not create hard link 'a/b/x/x' to directory 'a/b/x'\n",
        ),
        ("ln -s . a; touch b", "-rs -b a/ a/b", "cp: cannot copy a directory, 'a/', into itself, 'a/b'\n"),
    ] {
        let sandbox = Sandbox::new();
        assert!(sandbox.command("sh").args(["-c", script]).output().unwrap().status.success());
        let (errors, status) = cp(&sandbox, line);
        assert!(errors.ends_with(words) && status == Some(1), "{script}; cp {line}: {errors}");
    }
}

fn leading_directories() {
    for (script, line, words) in [
        ("mkdir -p a/b/c d; touch d/a", "a/b/c d", "'d/a' exists but is not a directory"),
        ("mkdir -p a/b d; touch x; ln -s ../x d/a", "a/b d", "'d/a' exists but is not a directory"),
        ("mkdir -p a/b/c d; ln -s nowhere d/a", "a/b/c d", "cannot make directory 'd/a': File exists"),
        ("mkdir -p a d", "a/. d", "cannot create directory 'd/a/.': File exists"),
        ("mkdir -p a/b d", "a/b/.. d", "cannot create directory 'd/a/b/..': File exists"),
        ("mkdir -p a/b d", "a/.. d", "cannot create directory 'd/a/..': File exists"),
    ] {
        for options in ["", "--dry-run"] {
            let sandbox = Sandbox::new();
            assert!(sandbox.command("sh").args(["-c", script]).output().unwrap().status.success());
            let line = format!("{options} -r --parents {line}");
            assert_eq!(cp(&sandbox, &line), (format!("cp: {words}\n"), Some(1)), "{script}; cp {line}");
        }
    }
}

fn circular_links() {
    let (cannot_stat, circular) = ("cannot stat", "Too many levels of symbolic links");
    for (line, operation, reason) in [
        ("f b/", cannot_stat, circular),
        ("-f f b/", "cannot remove", "Not a directory"),
        ("-f f b/x", "cannot remove", circular),
        ("-f l b/x", "cannot remove", circular),
        ("-fr f b/x", "cannot remove", circular),
        ("-fr l b/", cannot_stat, circular),
        ("-fr l b/x", cannot_stat, circular),
        ("-fr d b/", cannot_stat, circular),
        ("-fb f b/", cannot_stat, circular),
        ("-fl f b/x", cannot_stat, circular),
        ("-fs f b/", cannot_stat, circular),
        ("-f --remove-destination f b/", cannot_stat, circular),
    ] {
        let sandbox = Sandbox::new();
        sandbox.file("f", "x").symlink("f", "l").dir("d").symlink("b", "b");
        let target = line.rsplit(' ').next().unwrap();
        let words = format!("cp: {operation} '{target}': {reason}\n");
        assert_eq!(cp(&sandbox, line), (words, Some(1)), "{line}");
    }
}

/// Only bytes that could control a terminal are escaped.
fn parents_shown() {
    let sandbox = Sandbox::new();
    sandbox.file("a b/f", "x").dir("d\t\n\x1b");
    let output = sandbox.zcp(["-v", "--parents", "a b/f", "d\t\n\x1b"]).output().unwrap();
    let lines = "a b -> d\t\n\\033/a b\n'a b/f' -> 'd'$'\\t\\n\\033''/a b/f'\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), lines);
}
