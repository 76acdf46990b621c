//! The completions in real shells: keys are typed into bash and zsh in a terminal, and fish is asked for its
//! suggestions.

use crate::pty::Pty;
use crate::sandbox::Sandbox;
use std::fs;
use std::path::Path;
use std::process::{Child, Command};

/// The keys that are typed after `zcp `, and the resulting arguments.
const KEYS: [(&str, &[&str]); 12] = [
    ("--spar\tau\t x", &["--sparse=auto", "x"]),
    ("--stats=j\t x", &["--stats=json", "x"]),
    ("--sparse al\t x", &["--sparse", "always", "x"]),
    ("--strategy=spl\t,send\t x", &["--strategy=splice,sendfile", "x"]),
    ("--no-preserve ow\t,ti\t x", &["--no-preserve", "ownership,timestamps", "x"]),
    ("--arch\t x", &["--archive", "x"]),
    ("so\t tw\t", &["some file", "two"]),
    ("-r deep/in\t x", &["-r", "deep/inner", "x"]),
    ("-t d\t x", &["-t", "deep", "x"]),
    ("-rt d\t x", &["-rt", "deep", "x"]),
    ("--stats-file=tw\t x", &["--stats-file=two", "x"]),
    ("-- --fo\t", &["--", "--foo"]),
];

fn tree() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.dir("deep/inner").file("dull", "").file("some file", "").file("two", "").file("--foo", "");
    sandbox
}

fn script(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("completions").join(file);
    fs::read_to_string(path).unwrap()
}

/// A function that prints its arguments, to show what the shell made of the line.
const SHOW: &str = "zcp() { printf 'SHOWN'; printf '<%s>' \"$@\"; printf 'END\\n'; }\n";

/// An interactive shell in a terminal.
struct Session {
    pty: Pty,
    shell: Child,
    _sandbox: Sandbox,
}

impl Session {
    fn bash() -> Session {
        let sandbox = tree();
        sandbox.file(".rc", format!("PS1='READY '\n{}{SHOW}", script("zcp.bash")));
        let mut command = Command::new("bash");
        command.args(["--noprofile", "--rcfile", ".rc", "-i"]).env_remove("INPUTRC");
        Session::start(sandbox, command)
    }

    fn zsh() -> Session {
        let sandbox = tree();
        let rc =
            format!("PS1='READY '\nfpath=($PWD/.functions $fpath)\nautoload -U compinit\ncompinit -u -D\n{SHOW}");
        sandbox.file(".functions/_zcp", script("_zcp")).file(".zshrc", rc);
        let mut command = Command::new("zsh");
        command.args(["-d", "-i"]).env("ZDOTDIR", sandbox.path(""));
        Session::start(sandbox, command)
    }

    fn start(sandbox: Sandbox, mut command: Command) -> Session {
        command.current_dir(sandbox.path("")).env("HOME", sandbox.path("")).env("TERM", "dumb").env("LC_ALL", "C");
        let (mut pty, shell) = Pty::start(200, command);
        pty.await_text(|text| text.contains("READY "));
        Session { pty, shell, _sandbox: sandbox }
    }

    /// The arguments that result from typing `keys`. A trailing slash is ignored.
    fn typed(&mut self, keys: &str) -> Vec<String> {
        let seen = self.pty.text.len();
        self.pty.type_keys(&format!("zcp {keys}\r"));
        self.pty.await_text(|text| text.split_once("END").is_some_and(|(_, then)| then.contains("READY ")));
        let shown = self.pty.text[seen..].split("SHOWN").nth(1).unwrap().split("END").next().unwrap();
        let arguments = shown.trim_matches(['<', '>']).split("><");
        arguments.map(|argument| argument.trim_end_matches('/').to_owned()).collect()
    }

    fn completes_what_is_typed(&mut self) {
        for (keys, wanted) in KEYS {
            assert_eq!(self.typed(keys), wanted, "{keys:?}");
        }
    }

    fn leave(mut self) {
        self.pty.type_keys("exit\r");
        self.pty.read_to_end();
        self.shell.wait().unwrap();
    }
}

pub(super) fn bash() {
    let mut session = Session::bash();
    session.completes_what_is_typed();
    // Meta-* inserts all suggestions.
    assert_eq!(
        session.typed("--re\u{1b}*"),
        ["--recursive", "--reflink", "--reflink=", "--remove-destination", "--resume"]
    );
    assert_eq!(session.typed("--sparse=\u{1b}*"), ["--sparse=always", "auto", "never"]);
    // Where a file is expected, the shell offers files and no options.
    let files = ["--foo", ".rc", "deep", "dull", "some file", "two"];
    assert_eq!(session.typed("\u{1b}*"), files);
    session.leave();
}

pub(super) fn zsh() {
    let mut session = Session::zsh();
    session.completes_what_is_typed();
    // The suggestions are listed below the line. Ctrl-U then clears the line.
    for (keys, offered) in
        [("--reflink=a\t", ["always", "auto"]), ("--no-\t", ["--no-clobber", "Do not preserve"])]
    {
        session.pty.type_keys(&format!("zcp {keys}"));
        session.pty.await_text(|text| offered.iter().all(|word| text.contains(word)));
        session.pty.type_keys("\u{15}");
    }
    session.leave();
}

pub(super) fn fish() {
    let sandbox = tree();
    sandbox.file("zcp.fish", script("zcp.fish"));
    let offered = |line: &str| -> Vec<String> {
        let home = sandbox.path("home");
        let asked = format!("source zcp.fish; complete -C '{line}'");
        let output =
            sandbox.command("fish").args(["--no-config", "-c", &asked]).env("HOME", home).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
    };
    assert_eq!(offered("zcp --spar"), ["--sparse"]);
    assert_eq!(offered("zcp --sparse "), ["always", "auto", "never"]);
    assert_eq!(offered("zcp --sparse=al"), ["--sparse=always"]);
    assert_eq!(offered("zcp --stats=j"), ["--stats=json"]);
    assert_eq!(offered("zcp --strategy=splice,se"), ["--strategy=splice,sendfile"]);
    assert_eq!(offered("zcp --preserve=mode,li"), ["--preserve=mode,links"]);
    assert_eq!(offered("zcp -t d"), ["deep/"]);
    assert_eq!(offered("zcp -rt d"), ["deep/"]);
    assert_eq!(offered("zcp so"), ["some file"]);
    // An optional argument is not completed in the next word.
    assert_eq!(offered("zcp --stats tw"), ["two"]);
    assert_eq!(offered("zcp --stats-file=tw"), ["--stats-file=two"]);
}
