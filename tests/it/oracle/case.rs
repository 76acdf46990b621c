//! One comparison: a tree, options, operands and answers. `invent.rs` generates random ones.

use super::Run;
use crate::sandbox::Sandbox;
use filetime::FileTime;
use std::ffi::{OsStr, OsString};
use std::fmt::{Debug, Formatter};
use std::fs::File;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

/// The directory of the tree in the sandbox, in which cp runs: deep enough that no `..` leads out of the
/// sandbox.
pub(crate) const WITHIN: &str = "1/2/3/4";
/// An access control list (acl(5)) that admits user 1000: version, then tag, permissions, id.
const ACL: &[u8] = &[
    2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 7, 0, 232, 3, 0, 0, 4, 0, 5, 0, 255, 255, 255, 255, 16, 0,
    7, 0, 255, 255, 255, 255, 32, 0, 4, 0, 255, 255, 255, 255,
];

/// A file and its path.
#[derive(Clone)]
pub(crate) struct Node {
    pub(super) path: PathBuf,
    pub(super) kind: Placed,
    pub(super) mode: u32,
    pub(super) time: (i64, u32),
    pub(super) xattr: bool,
    pub(super) acl: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    File { size: u64, hole: bool },
    Dir,
    Link(OsString),
    HardLink(PathBuf),
    Fifo,
}

/// The order of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// OPTIONS SOURCE... DESTINATION.
    Plain,
    /// SOURCE... DESTINATION OPTIONS.
    OptionsLast,
    /// OPTIONS -t DESTINATION SOURCE...
    Into,
    /// OPTIONS SOURCE... --target-directory=DESTINATION
    IntoLong,
}

/// The absolute path of the tree, as written at the start of an operand or of a link's target.
pub(super) const ABSOLUTE: &str = "@@/";

/// One comparison.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) nodes: Vec<Node>,
    pub(crate) flags: Vec<&'static str>,
    pub(crate) operands: Vec<OsString>,
    pub(crate) form: Form,
    pub(crate) answers: String,
    pub(crate) umask: u32,
    pub(crate) environment: &'static [(&'static str, &'static str)],
}

/// A path with [`ABSOLUTE`] replaced by the tree's absolute path.
fn absolute(path: &OsStr, top: &Path) -> OsString {
    match path.as_bytes().strip_prefix(ABSOLUTE.as_bytes()) {
        Some(rest) => OsString::from_vec([top.as_os_str().as_bytes(), b"/", rest].concat()),
        None => path.to_owned(),
    }
}

impl Case {
    /// The arguments for a tree at this absolute path.
    pub(crate) fn args(&self, top: &Path) -> Vec<OsString> {
        let flags = self.flags.iter().map(OsString::from);
        let operands: Vec<OsString> = self.operands.iter().map(|operand| absolute(operand, top)).collect();
        let (target, sources) = operands.split_last().unwrap();
        match self.form {
            Form::Plain => flags.chain(operands).collect(),
            Form::OptionsLast => operands.into_iter().chain(flags).collect(),
            Form::Into => flags.chain(["-t".into(), target.clone()]).chain(sources.to_vec()).collect(),
            Form::IntoLong => {
                let option = OsString::from_vec([b"--target-directory=", target.as_bytes()].concat());
                flags.chain(sources.to_vec()).chain([option]).collect()
            }
        }
    }

    pub(crate) fn has(&self, flag: &str) -> bool {
        self.flags.contains(&flag)
    }

    /// Whether links below an operand are followed.
    pub(super) fn follows_links(&self) -> bool {
        let is_short = |flag: &str| !flag.starts_with("--") && flag.contains('L');
        self.flags.iter().any(|flag| *flag == "--dereference" || is_short(flag))
    }

    /// Makes the tree. Modes and times come last, from the leaves upwards, because a directory may have no
    /// permissions.
    pub(crate) fn build(&self, sandbox: &Sandbox) {
        let within = |path: &PathBuf| Path::new(WITHIN).join(path);
        let top = sandbox.path(WITHIN);
        sandbox.dir(WITHIN);
        for node in &self.nodes {
            match &node.kind {
                Placed::File { size, hole: false } => sandbox.file(within(&node.path), bytes(*size)),
                Placed::File { size, hole: true } => sandbox.sparse(within(&node.path), *size, &[(0, b"head")]),
                Placed::Dir => sandbox.dir(within(&node.path)),
                Placed::Link(target) => sandbox.symlink(absolute(target, &top), within(&node.path)),
                Placed::HardLink(old) => sandbox.hard_link(within(old), within(&node.path)),
                Placed::Fifo => sandbox.fifo(within(&node.path)),
            };
        }
        for node in self.nodes.iter().rev() {
            let plain = matches!(node.kind, Placed::File { .. } | Placed::Dir);
            if plain && node.xattr {
                sandbox.xattr(within(&node.path), "user.oracle", "kept");
            }
            if plain || node.kind == Placed::Fifo {
                sandbox.mode(within(&node.path), node.mode);
            }
            if plain && node.acl {
                let list = if node.kind == Placed::Dir { "default" } else { "access" };
                sandbox.xattr(within(&node.path), &format!("system.posix_acl_{list}"), ACL);
            }
        }
        for node in self.nodes.iter().rev().filter(|node| !matches!(node.kind, Placed::HardLink(_))) {
            sandbox.time(within(&node.path), FileTime::from_unix_time(node.time.0, node.time.1));
        }
    }

    /// Whether a file has an access control list, or a directory a default one.
    pub(super) fn has_list(&self) -> bool {
        self.nodes.iter().any(|node| node.acl)
    }

    /// The symbolic links of the tree that an operand's path is or leads through.
    fn links_on_the_way(&self) -> impl Iterator<Item = &Node> {
        let top = Path::new("/top");
        let operands: Vec<PathBuf> =
            self.operands.iter().map(|operand| without_dots(&top.join(absolute(operand, top)))).collect();
        self.nodes.iter().filter(move |node| {
            let path = top.join(&node.path);
            matches!(node.kind, Placed::Link(_)) && operands.iter().any(|operand| operand.starts_with(&path))
        })
    }

    pub(super) fn leads_through_link(&self) -> bool {
        self.links_on_the_way().next().is_some()
    }

    /// Whether the run replaced one of these links by another kind of file.
    pub(super) fn replaces_link_on_the_way(&self, run: &Run) -> bool {
        let is_link = |node: &Node| {
            let after = run.snapshot.0.get(&Path::new(WITHIN).join(&node.path));
            after.is_some_and(|after| after.mode & 0o170_000 == 0o120_000)
        };
        self.links_on_the_way().any(|node| !is_link(node))
    }

    /// Whether the run replaced a symbolic link by a directory.
    pub(super) fn replaces_link_by_directory(&self, run: &Run) -> bool {
        let is_directory = |node: &Node| {
            let after = run.snapshot.0.get(&Path::new(WITHIN).join(&node.path));
            after.is_some_and(|after| after.mode & 0o170_000 == 0o040_000)
        };
        self.nodes.iter().any(|node| matches!(node.kind, Placed::Link(_)) && is_directory(node))
    }

    /// Opens the fifos, so that no program waits for a reader.
    pub(crate) fn hold_fifos(&self, sandbox: &Sandbox) -> Vec<File> {
        let fifos = self.nodes.iter().filter(|node| node.kind == Placed::Fifo);
        let open = |node: &Node| {
            File::options().read(true).write(true).open(sandbox.path(WITHIN).join(&node.path)).unwrap()
        };
        fifos.map(open).collect()
    }
}

/// The path without `.` and `..`, as if there were no symbolic links.
pub(super) fn without_dots(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

impl Debug for Case {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let args = self.args(Path::new("@@"));
        writeln!(f, "umask {:03o}; {:?} cp {args:?} < {:?}", self.umask, self.environment, self.answers)?;
        self.nodes.iter().try_for_each(|node| {
            let Node { path, kind, mode, time, xattr, acl } = node;
            writeln!(
                f,
                "    {path:?} {kind:?} {mode:o} {time:?}{}{}",
                ["", " xattr"][usize::from(*xattr)],
                ["", " acl"][usize::from(*acl)]
            )
        })
    }
}

/// The same-file matrix: two names of one file, or nearly so, with all flags that matter and all pairs of these
/// flags. The table of `src/decision/tests.rs` has the same cells, and more.
pub(crate) fn same_file() -> Vec<Case> {
    const FLAGS: [&str; 9] = ["-b", "-d", "-f", "-l", "-s", "-i", "-n", "-u", "--remove-destination"];
    const NAMES: [&str; 9] = ["file", "hard", "soft", "also", "link", "other", "aside", "dangling", "sub/soft"];
    let node = |path: &str, kind| {
        let time = (1_000_000_000, 0);
        Node { path: path.into(), kind, mode: 0o644, time, xattr: false, acl: false }
    };
    let file = || Placed::File { size: 5, hole: false };
    let link = |target: &str| Placed::Link(target.into());
    let nodes = vec![
        node("file", file()),
        node("hard", Placed::HardLink("file".into())),
        node("soft", link("file")),
        node("also", link("file")),
        node("link", Placed::HardLink("soft".into())),
        node("other", Placed::File { size: 1, hole: false }),
        node("aside", link("other")),
        node("dangling", link("nowhere")),
        node("sub/soft", link("../file")),
    ];
    let mut sets: Vec<Vec<&'static str>> = vec![Vec::new()];
    for (at, flag) in FLAGS.into_iter().enumerate() {
        sets.push(vec![flag]);
        sets.extend(FLAGS[..at].iter().map(|other| vec![*other, flag]));
    }
    let mut cases = Vec::new();
    for flags in sets.iter().filter(|flags| **flags != ["-l", "-s"] && **flags != ["-b", "-n"]) {
        for (from, to) in NAMES.into_iter().flat_map(|from| NAMES.map(|to| (from, to))) {
            let operands = vec![from.into(), to.into()];
            let (nodes, flags) = (nodes.clone(), flags.clone());
            let (form, answers) = (Form::Plain, "y\n".into());
            cases.push(Case { nodes, flags, operands, form, answers, umask: 0o022, environment: &[] });
        }
    }
    cases
}

fn bytes(size: u64) -> Vec<u8> {
    crate::sandbox::noise(usize::try_from(size).unwrap())
}
