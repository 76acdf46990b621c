//! What one comparison is made of: a tree, flags, operands, answers; and how proptest invents it.

use crate::sandbox::Sandbox;
use filetime::FileTime;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::ffi::{OsStr, OsString};
use std::fmt::{Debug, Formatter};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Where the tree stands in the sandbox, and cp is run: deep enough that no `..` leads out of it.
pub(crate) const WITHIN: &str = "1/2/3/4";
/// Few names, so that they meet; some that need quoting, and some that look like backups or flags.
const NAMES: [&[u8]; 12] =
    [b"a", b"b", b"c", b"d", b"a b", b"it's", b"x\ny", b"\xff", b"-d", b"a~", b"b.~1~", "\u{e9}".as_bytes()];
const SIZES: [u64; 9] = [0, 1, 5, 4095, 4096, 4097, (128 << 10) - 1, 128 << 10, (128 << 10) + 1];
const FILE_MODES: [u32; 10] = [0o644, 0o644, 0o644, 0o600, 0o755, 0o444, 0o000, 0o4755, 0o2755, 0o200];
const DIR_MODES: [u32; 7] = [0o755, 0o755, 0o755, 0o700, 0o555, 0o2755, 0o777];
const TIMES: [(i64, u32); 5] =
    [(1_000_000_000, 0), (1_000_000_000, 1), (1_000_000_000, 999_999_999), (1_500_000_000, 0), (1_600_000_000, 5)];
const UMASKS: [u32; 5] = [0o022, 0o022, 0o077, 0o000, 0o027];
/// What proptest may take any number of; each stands for one option.
const FLAGS: [&str; 60] = [
    "-r",
    "-r",
    "-r",
    "-R",
    "-a",
    "-a",
    "-a",
    "-p",
    "-p",
    "-d",
    "-d",
    "-H",
    "-L",
    "-L",
    "-P",
    "-f",
    "-f",
    "-f",
    "-i",
    "-n",
    "-u",
    "-b",
    "-b",
    "--backup=numbered",
    "-S.x",
    "-l",
    "-l",
    "-s",
    "-T",
    "-T",
    "--parents",
    "-x",
    "--attributes-only",
    "--remove-destination",
    "--remove-destination",
    "--sparse=always",
    "--sparse=never",
    "--reflink=never",
    "--strip-trailing-slashes",
    "--copy-contents",
    "-v",
    "-v",
    "--preserve=mode",
    "--preserve=ownership",
    "--preserve=timestamps",
    "--preserve=links",
    "--preserve=xattr",
    "--preserve=all",
    "--preserve=mode,timestamps",
    "--no-preserve=mode",
    "--no-preserve=ownership",
    "--no-preserve=timestamps",
    "--no-preserve=links",
    "--no-preserve=xattr",
    "--no-preserve=all",
    "--backup=none",
    "--preserve",
    "-dp",
    "-rL",
    "-rH",
];
/// An access control list (acl(5)) that lets user 1000 in: version, then tag, permissions, id.
const ACL: &[u8] = &[
    2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 7, 0, 232, 3, 0, 0, 4, 0, 5, 0, 255, 255, 255, 255, 16, 0,
    7, 0, 255, 255, 255, 255, 32, 0, 4, 0, 255, 255, 255, 255,
];

/// A file as it was invented: it gets its place among those invented before it.
#[derive(Clone, Debug)]
struct Idea {
    parent: Option<Index>,
    name: &'static [u8],
    kind: Kind,
    mode: Index,
    time: (i64, u32),
    xattr: bool,
    acl: bool,
}

#[derive(Clone, Debug)]
enum Kind {
    File {
        size: u64,
        hole: bool,
    },
    Dir,
    /// To an earlier file.
    Link(Index),
    LinkTo(&'static str),
    HardLink(Index),
    Fifo,
}

/// A file in its place.
#[derive(Clone)]
pub(crate) struct Node {
    path: PathBuf,
    kind: Placed,
    mode: u32,
    time: (i64, u32),
    xattr: bool,
    acl: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Placed {
    File { size: u64, hole: bool },
    Dir,
    Link(OsString),
    HardLink(PathBuf),
    Fifo,
}

/// One comparison.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) nodes: Vec<Node>,
    pub(crate) flags: Vec<&'static str>,
    pub(crate) operands: Vec<OsString>,
    pub(crate) answers: String,
    pub(crate) umask: u32,
}

impl Case {
    /// The arguments.
    pub(crate) fn args(&self) -> Vec<OsString> {
        self.flags.iter().map(OsString::from).chain(self.operands.iter().cloned()).collect()
    }

    pub(crate) fn has(&self, flag: &str) -> bool {
        self.flags.contains(&flag)
    }

    /// Makes the tree. Modes and times come last, from the leaves up: a directory may be closed.
    pub(crate) fn build(&self, sandbox: &Sandbox) {
        let within = |path: &PathBuf| Path::new(WITHIN).join(path);
        sandbox.dir(WITHIN);
        for node in &self.nodes {
            match &node.kind {
                Placed::File { size, hole: false } => sandbox.file(within(&node.path), bytes(*size)),
                Placed::File { size, hole: true } => sandbox.sparse(within(&node.path), *size, &[(0, b"head")]),
                Placed::Dir => sandbox.dir(within(&node.path)),
                Placed::Link(target) => sandbox.symlink(target, within(&node.path)),
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

    /// Fifos hang whoever reads them: they are only of use where they are recreated.
    fn without_reading_fifos(mut self) -> Case {
        let recreated = self.flags.iter().any(|flag| ["-r", "-R", "-a", "-rL", "-rH"].contains(flag));
        if !recreated || self.has("--copy-contents") {
            let fifos: Vec<PathBuf> =
                self.nodes.iter().filter(|node| node.kind == Placed::Fifo).map(|node| node.path.clone()).collect();
            let about = |node: &Node| {
                let target = if let Placed::HardLink(old) = &node.kind { old } else { &node.path };
                fifos.contains(target)
            };
            self.nodes.retain(|node| !about(node));
        }
        self
    }
}

impl Debug for Case {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "umask {:03o}; cp {:?} < {:?}", self.umask, self.args(), self.answers)?;
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

/// The same-file matrix: two names of one file, or nearly so, under all flags that decide about them
/// and all pairs of those. The table of `src/plan/tests.rs` has the same cells, and more.
pub(crate) fn same_file() -> Vec<Case> {
    const FLAGS: [&str; 9] = ["-b", "-d", "-f", "-l", "-s", "-i", "-n", "-u", "--remove-destination"];
    const NAMES: [&str; 9] = ["file", "hard", "soft", "also", "link", "other", "aside", "dangling", "sub/soft"];
    let node = |path: &str, kind| {
        let time = TIMES[0];
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
            cases.push(Case { nodes, flags, operands, answers: "y\n".into(), umask: 0o022 });
        }
    }
    cases
}

fn bytes(size: u64) -> Vec<u8> {
    crate::sandbox::noise(usize::try_from(size).unwrap())
}

/// Any case.
pub(crate) fn cases() -> impl Strategy<Value = Case> {
    let flags = prop_oneof![
        1 => Just(Vec::new()),
        9 => vec(select(FLAGS.to_vec()), 0..6),
    ];
    let answers = vec(select(vec!["y\n", "n\n", "\n", "yes\n"]), 8).prop_map(|answers| answers.concat());
    (vec(ideas(), 1..12), flags, operands(), answers, select(UMASKS.to_vec())).prop_map(
        |(ideas, flags, operands, answers, umask)| {
            let nodes = place(&ideas);
            let operands = operands.iter().map(|operand| operand.spell(&nodes)).collect();
            Case { nodes, flags, operands, answers, umask }.without_reading_fifos()
        },
    )
}

fn ideas() -> impl Strategy<Value = Idea> {
    let kind = prop_oneof![
        9 => (select(SIZES.to_vec()), any::<bool>()).prop_map(|(size, hole)| Kind::File { size, hole: hole && size > 65536 }),
        5 => Just(Kind::Dir),
        2 => any::<Index>().prop_map(Kind::Link),
        1 => select(vec!["nowhere", ".", "..", "a", "b/", "no/where"]).prop_map(Kind::LinkTo),
        3 => any::<Index>().prop_map(Kind::HardLink),
        1 => Just(Kind::Fifo),
    ];
    let rare = || proptest::bool::weighted(0.1);
    let parent = option::weighted(0.5, any::<Index>());
    (parent, select(NAMES.to_vec()), kind, any::<Index>(), select(TIMES.to_vec()), rare(), rare()).prop_map(
        |(parent, name, kind, mode, time, xattr, acl)| Idea { parent, name, kind, mode, time, xattr, acl },
    )
}

/// Gives each idea a place below a directory that is there, unless the name is taken.
fn place(ideas: &[Idea]) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    for idea in ideas {
        let dirs: Vec<&PathBuf> =
            nodes.iter().filter(|node| node.kind == Placed::Dir).map(|node| &node.path).collect();
        let parent = match &idea.parent {
            Some(index) if !dirs.is_empty() => (*index.get(&dirs)).clone(),
            _ => PathBuf::new(),
        };
        let path = parent.join(OsStr::from_bytes(idea.name));
        let files: Vec<&Node> =
            nodes.iter().filter(|node| !matches!(node.kind, Placed::Dir | Placed::HardLink(_))).collect();
        let kind = match &idea.kind {
            Kind::File { size, hole } => Placed::File { size: *size, hole: *hole },
            Kind::Dir => Placed::Dir,
            Kind::LinkTo(target) => Placed::Link(target.into()),
            Kind::Link(index) if !nodes.is_empty() => {
                let up = "../".repeat(parent.components().count());
                Placed::Link(PathBuf::from(up).join(&index.get(&nodes).path).into_os_string())
            }
            Kind::HardLink(index) if !files.is_empty() => Placed::HardLink(index.get(&files).path.clone()),
            Kind::Fifo => Placed::Fifo,
            Kind::Link(_) | Kind::HardLink(_) => continue,
        };
        if nodes.iter().any(|node| node.path == path) {
            continue;
        }
        let mode = if kind == Placed::Dir { *idea.mode.get(&DIR_MODES) } else { *idea.mode.get(&FILE_MODES) };
        nodes.push(Node { path, kind, mode, time: idea.time, xattr: idea.xattr, acl: idea.acl });
    }
    nodes
}

/// An operand as it was invented.
#[derive(Clone, Debug)]
enum Operand {
    There(Index, &'static str, &'static str),
    Other(&'static str),
}

impl Operand {
    fn spell(&self, nodes: &[Node]) -> OsString {
        match self {
            Operand::There(index, before, after) if !nodes.is_empty() => {
                let path = index.get(nodes).path.as_os_str().as_bytes();
                // A leading dash would make it a flag.
                let before = if path.starts_with(b"-") { "./" } else { before };
                OsString::from_vec([before.as_bytes(), path, after.as_bytes()].concat())
            }
            Operand::There(..) => "a".into(),
            Operand::Other(name) => name.into(),
        }
    }
}

fn operands() -> impl Strategy<Value = Vec<Operand>> {
    let before = prop_oneof![8 => Just(""), 1 => Just("./")];
    let after = prop_oneof![12 => Just(""), 2 => Just("/"), 1 => Just("/."), 1 => Just("//")];
    let there =
        (any::<Index>(), before, after).prop_map(|(index, before, after)| Operand::There(index, before, after));
    let source = prop_oneof![
        12 => there.clone(),
        1 => select(vec!["missing", "mis/sing", "", ".", "a/.."]).prop_map(Operand::Other),
    ];
    let target = prop_oneof![
        3 => there,
        2 => select(vec!["new", "new", "new", "new/", "a/new", "new/new", "."]).prop_map(Operand::Other),
    ];
    let sources = prop_oneof![3 => vec(source.clone(), 1), 2 => vec(source, 2..4)];
    (sources, target).prop_map(|(mut operands, target)| {
        operands.push(target);
        operands
    })
}
