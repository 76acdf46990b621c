//! Help in two lengths, and options from the environment.

use crate::generated::option_names;
use crate::needs::trial;
use crate::sandbox::{Sandbox, ZCP, assert_done};
use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("options::help", &[], help),
        trial("options::version", &[], version),
        trial("options::similar_words", &[], similar_words),
        trial("options::preset", &[], preset),
        trial("options::preset_refuses", &[], preset_refuses),
        trial("options::only_one_reads_stdin", &[], only_one_reads_stdin),
        trial("options::useless_without_another", &[], useless_without_another),
        trial("options::update_and_interactive", &[], update_and_interactive),
    ]
}

/// `-h` fits on a screen, and `--help` contains all options of `-h`. cp has no `-h`.
fn help() {
    let sandbox = Sandbox::new();
    let print = |option: &str| {
        let output = sandbox.zcp([option]).output().unwrap();
        assert_done(&output);
        String::from_utf8(output.stdout).unwrap()
    };
    let (short, long) = (print("-h"), print("--help"));
    for line in short.lines().chain(long.lines()) {
        assert!(line.len() <= 80, "beyond 80 columns: {line}");
    }
    assert!(short.contains("\n  -a, --archive                 Same as"), "not an option a line: {short}");
    assert!(short.lines().count() <= 50 && long.lines().count() > 70, "{}", short.lines().count());
    let names = |text: &str| -> Vec<String> {
        let words = text.split(|c: char| c.is_whitespace() || ",[=<'".contains(c));
        words.filter(|word| word.starts_with("--") && word.len() > 2).map(str::to_owned).collect()
    };
    let (few, all) = (names(&short), names(&long));
    assert!(few.len() > 20 && few.iter().all(|name| all.contains(name)), "{few:?}");
    for option in option_names().iter().filter(|name| name.starts_with("--")) {
        assert!(all.contains(option), "{option} is not in --help");
    }
    let cp = sandbox.command_as(ZCP, "cp").arg("-h").output().unwrap();
    assert_eq!(cp.stderr, b"cp: invalid option -- 'h'\nTry 'cp --help' for more information.\n");
}

fn version() {
    let sandbox = Sandbox::new();
    let print = |name: &str, option: &str| sandbox.command_as(ZCP, name).arg(option).output().unwrap();
    let line = format!("zcp (zcp) {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8(print("zcp", "-V").stdout).unwrap(), line);
    assert_eq!(String::from_utf8(print("zcp", "--version").stdout).unwrap(), line);
    let cp = print("cp", "-V");
    assert_eq!(cp.stderr, b"cp: invalid option -- 'V'\nTry 'cp --help' for more information.\n");
    assert!(!String::from_utf8(print("cp", "--help").stdout).unwrap().contains("-V"));
}

/// A mistyped option or word is answered with the one that it resembles. Under the name cp, the messages are cp's.
fn similar_words() {
    let sandbox = Sandbox::new();
    let errors = |name: &str, option: &str| {
        let output = sandbox.command_as(ZCP, name).args([option, "a", "b"]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    for (option, similar) in [
        ("--recursve", "--recursive"),
        ("--strategi=mmap", "--strategy"),
        ("--strategy=splcie", "splice"),
        ("--strategy=mmap,sendfiel", "sendfile"),
        ("--reflink=alwais", "always"),
        ("--preserve=mdoe", "mode"),
        ("--generate=fihs", "fish"),
    ] {
        let line = format!("did you mean '{similar}'?");
        assert!(errors("zcp", option).contains(&format!("\nzcp: {line}\nTry ")), "{option}");
        assert!(!errors("cp", option).contains("did you mean"), "{option}");
    }
    for option in ["--nonsense", "--sparse=foo", "--sparse=x"] {
        assert!(!errors("zcp", option).contains("did you mean"), "{option}");
    }
}

fn assert_usage(args: &[&str], words: &str) {
    let sandbox = Sandbox::new();
    sandbox.file("a", "1");
    let output = sandbox.zcp(args).args(["a", "b"]).write_stdin("").output().unwrap();
    let expected = format!("zcp: {words}\nTry 'zcp --help' for more information.\n");
    assert_eq!((String::from_utf8_lossy(&output.stderr), output.status.code()), (expected.into(), Some(1)));
    assert!(!sandbox.path("b").exists());
}

fn only_one_reads_stdin() {
    assert_usage(&["--exclude-from=-", "--files-from=-"], "--exclude-from=- and --files-from=- both read stdin");
    assert_usage(&["--files-from=-", "--exclude-from=-"], "--files-from=- and --exclude-from=- both read stdin");
    assert_usage(&["-i", "--exclude-from=-"], "--exclude-from=- needs stdin, and so does -i");
    assert_usage(&["-i", "--files-from=-"], "--files-from=- needs stdin, and so does -i");
}

fn useless_without_another() {
    assert_usage(&["--include=*.rs"], "--include needs --exclude, --exclude-from or --gitignore");
    assert_usage(&["-0"], "--null (-0) needs --files-from");
}

/// `ZCP_OPTS` is read before the command line, which takes precedence. Under the name cp it is ignored.
fn preset() {
    let sandbox = Sandbox::new();
    sandbox.file("a", "1");
    let run = |name: &str, preset: &str, args: &[&str]| {
        let output =
            sandbox.command_as(ZCP, name).env("ZCP_OPTS", preset).args(args).args(["a", "b"]).output().unwrap();
        assert_done(&output);
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(run("zcp", " --stats=json\n-j2 ", &[]).starts_with('{'));
    assert!(run("zcp", "--stats=json", &["--stats=text"]).starts_with("copied 1 file"));
    assert_eq!(run("zcp", "", &[]), "");
    assert_eq!(run("cp", "--stats=json", &[]), "");
    assert_eq!(run("cp", "--nonsense", &[]), "");
}

/// `ZCP_OPTS` may not change what is copied.
fn preset_refuses() {
    let sandbox = Sandbox::new();
    sandbox.file("a", "1");
    for (preset, words) in [
        ("-r", "--recursive is not allowed there: it is an option of cp"),
        ("-jb", "invalid number of jobs: 'b' (1 to 1024)"),
        ("--stats -d", "-d is not allowed there: it is an option of cp"),
        ("--exclude=*.o", "--exclude is not allowed there: it is about what is copied"),
        ("--dry-run", "--dry-run is not allowed there: it is about what is copied"),
        ("--help", "--help is not allowed there: it is an option of cp"),
        ("-v", "--verbose is not allowed there: it is an option of cp"),
        ("a", "'a' is not an option"),
        ("--nonsense", "unrecognized option '--nonsense'"),
    ] {
        let output = sandbox.zcp(["a", "b"]).env("ZCP_OPTS", preset).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(errors.starts_with(&format!("zcp: $ZCP_OPTS: {words}\n")), "{preset}: {errors}");
        assert!(output.status.code() == Some(1) && !sandbox.path("b").exists());
    }
}

/// The last of `-i` and `-n` counts, and independently the last `--update`, as in cp since 9.6: `-i` asks about
/// files that `--update` would replace, and `-n` replaces none. The source is newer than the copy.
fn update_and_interactive() {
    let sandbox = Sandbox::new();
    sandbox.file("new", "new");
    filetime::set_file_mtime(sandbox.path("new"), filetime::FileTime::now()).unwrap();
    let (asked, failed) = ("cp: overwrite 'old'? ", "cp: not replacing 'old'\n");
    for (options, words, content) in [
        (&["-i", "-u"][..], asked, "old"),
        (&["-i", "--update=older"], asked, "old"),
        (&["-i", "--update=all"], asked, "old"),
        (&["--update=none", "-i", "--update=all"], asked, "old"),
        (&["-n", "-i", "--update"], asked, "old"),
        (&["-i", "--update=none"], "", "old"),
        (&["--update=none", "-i"], "", "old"),
        (&["-n", "--update=none", "-i"], "", "old"),
        (&["--update=none-fail", "-i"], failed, "old"),
        (&["--update=none-fail", "-n"], "", "old"),
        (&["-n", "--update=all"], "", "old"),
        (&["-i", "-n", "-u"], "", "old"),
        (&["--update=none", "-u"], "", "new"),
    ] {
        sandbox.file("old", "old");
        let mut cp = sandbox.command_as(ZCP, "cp");
        let output = cp.args(options).args(["new", "old"]).write_stdin("n\n").output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), words, "{options:?}");
        assert_eq!(output.status.code(), Some(i32::from(!words.is_empty())), "{options:?}");
        assert_eq!(std::fs::read_to_string(sandbox.path("old")).unwrap(), content, "{options:?}");
    }
}
