//! Random cases, made by proptest: trees, options and operands.

use super::case::{ABSOLUTE, Case, Form, Node, Placed, without_dots};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Few names, so that they meet; some that need quoting, and some that look like backups or flags.
const NAMES: [&[u8]; 12] =
    [b"a", b"b", b"c", b"d", b"a b", b"it's", b"x\ny", b"\xff", b"-d", b"a~", b"b.~1~", "\u{e9}".as_bytes()];
const SIZES: [u64; 9] = [0, 1, 5, 4095, 4096, 4097, (128 << 10) - 1, 128 << 10, (128 << 10) + 1];
const FILE_MODES: [u32; 10] = [0o644, 0o644, 0o644, 0o600, 0o755, 0o444, 0o000, 0o4755, 0o2755, 0o200];
const DIR_MODES: [u32; 7] = [0o755, 0o755, 0o755, 0o700, 0o555, 0o2755, 0o777];
const TIMES: [(i64, u32); 5] =
    [(1_000_000_000, 0), (1_000_000_000, 1), (1_000_000_000, 999_999_999), (1_500_000_000, 0), (1_600_000_000, 5)];
const UMASKS: [u32; 5] = [0o022, 0o022, 0o077, 0o000, 0o027];
/// Names that the wide cases have besides: at the limit of a name's length, or in need of quotes.
const MORE_NAMES: [&[u8]; 10] =
    [&[b'n'; 255], &[b'n'; 254], &[b'm'; 251], b"b~", b"a.~1~", b"$x", b"t\tb", b"#", b"c.x", b"\\"];
/// The options of the narrow cases, of which each case has any number; repeated ones are taken more often.
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
/// The options that the wide cases have besides.
const MORE_FLAGS: [&str; 64] = [
    "--update",
    "--update=all",
    "--update=none",
    "--update=none-fail",
    "--update=older",
    "-u",
    "-u",
    "-b",
    "-b",
    "-b",
    "-rb",
    "-rb",
    "-abT",
    "--backup",
    "--backup=existing",
    "--backup=simple",
    "--backup=t",
    "--suffix=.y",
    "-S~",
    "--keep-directory-symlink",
    "--keep-directory-symlink",
    "--keep-directory-symlink",
    "--reflink",
    "--reflink=auto",
    "--sparse=auto",
    "--debug",
    "--debug",
    "--debug",
    "--one-file-system",
    "--no-target-directory",
    "-T",
    "-T",
    "--parents",
    "--parents",
    "--parents",
    "--no-dereference",
    "--dereference",
    "--interactive",
    "-i",
    "--force",
    "--no-clobber",
    "--link",
    "-l",
    "-s",
    "--symbolic-link",
    "-rs",
    "-rl",
    "--recursive",
    "--archive",
    "-rT",
    "-rT",
    "-bf",
    "-dR",
    "-Rp",
    "-vi",
    "--preserve=context",
    "-Z",
    "--rem",
    "--str",
    "--att",
    "--preserve=mode,links",
    "--no-preserve=mode,ownership",
    "-fb",
    "-aux",
];
/// Options that have cp recreate a fifo instead of reading it.
const RECURSIVE: [&str; 18] = [
    "-r",
    "-R",
    "-a",
    "-rL",
    "-rH",
    "-rb",
    "-abT",
    "-rs",
    "-rl",
    "--recursive",
    "--archive",
    "-rT",
    "-dR",
    "-Rp",
    "-aux",
    "-l",
    "-s",
    "--link",
];
/// What cp takes from its environment.
const ENVIRONMENTS: [&[(&str, &str)]; 10] = [
    &[],
    &[("POSIXLY_CORRECT", "1")],
    &[("VERSION_CONTROL", "numbered")],
    &[("VERSION_CONTROL", "existing")],
    &[("VERSION_CONTROL", "never")],
    &[("VERSION_CONTROL", "none")],
    &[("VERSION_CONTROL", "bad")],
    &[("SIMPLE_BACKUP_SUFFIX", ".bak")],
    &[("SIMPLE_BACKUP_SUFFIX", "")],
    &[("SIMPLE_BACKUP_SUFFIX", "a/b")],
];

/// A file as it was invented: it gets its place among those invented before it.
#[derive(Clone, Debug)]
struct Idea {
    parent: Parent,
    name: &'static [u8],
    kind: Kind,
    mode: Index,
    time: (i64, u32),
    xattr: bool,
    acl: bool,
}

#[derive(Clone, Debug)]
enum Parent {
    Top,
    /// Any directory that is there.
    Any(Index),
    /// This one, or else the idea is dropped.
    Named(PathBuf),
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
    /// To an earlier file, by its absolute path.
    AbsoluteLink(Index),
    LinkTo(&'static str),
    /// To itself.
    Circle,
    HardLink(Index),
    Fifo,
}

/// Cases that a dry run can be held against, too.
pub(crate) fn cases() -> impl Strategy<Value = Case> {
    let flags = prop_oneof![
        1 => Just(Vec::new()),
        9 => vec(select(FLAGS.to_vec()), 0..6),
    ];
    (vec(ideas(&NAMES, false), 1..12), flags, operands(false), answers(), select(UMASKS.to_vec())).prop_map(
        |(ideas, flags, operands, answers, umask)| {
            let nodes = place(&ideas);
            let operands = operands.iter().map(|operand| operand.spell(&nodes)).collect();
            without_reading_fifos(Case {
                nodes,
                flags,
                operands,
                form: Form::Plain,
                answers,
                umask,
                environment: &[],
            })
        },
    )
}

/// Cases with more of everything: spellings of operands, options, names, and two trees that meet.
pub(crate) fn wide_cases() -> impl Strategy<Value = Case> {
    let names: Vec<&'static [u8]> = NAMES.into_iter().chain(NAMES).chain(MORE_NAMES).collect();
    let single = (vec(ideas(&names, true), 1..14), operands(true));
    let twins = (twins(), twin_operands());
    let trees = prop_oneof![single.boxed(), twins.boxed()];
    let all: Vec<&'static str> = FLAGS.into_iter().chain(MORE_FLAGS).collect();
    let flags = prop_oneof![1 => Just(Vec::new()), 12 => vec(select(all), 0..6)];
    let form = prop_oneof![
        7 => Just(Form::Plain),
        1 => Just(Form::OptionsLast),
        1 => Just(Form::Into),
        1 => Just(Form::IntoLong),
    ];
    let environment = prop_oneof![6 => Just(ENVIRONMENTS[0]), 1 => select(ENVIRONMENTS.to_vec())];
    (trees, flags, form, answers(), select(UMASKS.to_vec()), environment).prop_map(
        |((ideas, operands), flags, form, answers, umask, environment)| {
            let nodes = place(&ideas);
            let operands = operands.iter().map(|operand| operand.spell(&nodes)).collect();
            without_reading_fifos(Case { nodes, flags, operands, form, answers, umask, environment })
        },
    )
}

/// Fifos hang whoever reads them: they are only of use where they are recreated.
fn without_reading_fifos(mut case: Case) -> Case {
    let recreated = case.flags.iter().any(|flag| RECURSIVE.contains(flag));
    let fifos: Vec<PathBuf> =
        case.nodes.iter().filter(|node| node.kind == Placed::Fifo).map(|node| node.path.clone()).collect();
    if !recreated || case.has("--copy-contents") {
        let about = |node: &Node| {
            let target = if let Placed::HardLink(old) = &node.kind { old } else { &node.path };
            fifos.contains(target)
        };
        case.nodes.retain(|node| !about(node));
    } else if !fifos.is_empty() {
        // What is written into a fifo that nobody empties has to fit into it.
        for node in &mut case.nodes {
            if let Placed::File { size, hole } = &mut node.kind {
                (*size, *hole) = ((*size).min(4097), false);
            }
        }
    }
    case
}

fn answers() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => vec(select(vec!["y\n", "n\n", "\n", "yes\n"]), 8).prop_map(|answers| answers.concat()),
        1 => vec(select(vec!["y\n", "n\n", "no\nyes"]), 0..3).prop_map(|answers| answers.concat()),
    ]
}

fn kinds(wide: bool) -> impl Strategy<Value = Kind> {
    let extra = if wide { 1 } else { 0 };
    let links = prop_oneof![Just(Kind::Circle), any::<Index>().prop_map(Kind::AbsoluteLink)];
    let kind = prop_oneof![
        9 => (select(SIZES.to_vec()), any::<bool>()).prop_map(|(size, hole)| Kind::File { size, hole: hole && size > 65536 }),
        5 => Just(Kind::Dir),
        2 + extra => any::<Index>().prop_map(Kind::Link),
        1 => select(vec!["nowhere", ".", "..", "a", "b/", "no/where"]).prop_map(Kind::LinkTo),
        3 => any::<Index>().prop_map(Kind::HardLink),
        1 => Just(Kind::Fifo),
    ];
    if wide { prop_oneof![20 => kind, 1 => links].boxed() } else { kind.boxed() }
}

fn ideas(names: &[&'static [u8]], wide: bool) -> impl Strategy<Value = Idea> + use<> {
    let rare = || proptest::bool::weighted(0.1);
    let parent = option::weighted(0.5, any::<Index>()).prop_map(|index| index.map_or(Parent::Top, Parent::Any));
    (parent, select(names.to_vec()), kinds(wide), any::<Index>(), select(TIMES.to_vec()), rare(), rare()).prop_map(
        |(parent, name, kind, mode, time, xattr, acl)| Idea { parent, name, kind, mode, time, xattr, acl },
    )
}

/// Two directories, `a` and `b`, whose entries have the same names and are often of other kinds.
fn twins() -> impl Strategy<Value = Vec<Idea>> {
    const PLACES: [(&str, &[u8]); 9] = [
        ("", b"x"),
        ("", b"y"),
        ("", b"z"),
        ("", b"x~"),
        ("x", b"p"),
        ("x", b"q"),
        ("x", b"p~"),
        ("x/p", b"m"),
        ("y", b"it's"),
    ];
    let top = |name, mode| Idea {
        parent: Parent::Top,
        name,
        kind: Kind::Dir,
        mode,
        time: TIMES[0],
        xattr: false,
        acl: false,
    };
    let entry = (0..PLACES.len(), any::<bool>(), ideas(&NAMES, true));
    let modes = (any::<Index>(), any::<Index>());
    let both = (vec(entry, 1..14), modes).prop_map(move |(mut entries, modes)| {
        let mut ideas = vec![top(b"a", modes.0), top(b"b", modes.1)];
        // Directories come before what is in them.
        entries.sort_by_key(|(place, ..)| *place);
        for (place, first, idea) in entries {
            let (parent, name) = PLACES[place];
            let tree = if first { "a" } else { "b" };
            ideas.push(Idea { parent: Parent::Named(Path::new(tree).join(parent)), name, ..idea });
        }
        ideas
    });
    (both, vec(ideas(&[b"l", b"k", b"b~", b"a"], true), 0..3)).prop_map(|(mut ideas, more)| {
        ideas.extend(more);
        ideas
    })
}

fn twin_operands() -> impl Strategy<Value = Vec<Operand>> {
    let source = select(vec![
        "a/.", "a/.", "a/.", "a", "a", "a/", "a/x", "a/x", "a/y", "a/x/p", "a/x/.", "./a/.", "a/../a/.", "l",
        "l/", "l/x", "k", "@@/a/.", "@@/a/x", "b/x", "a/x~", "a/z",
    ]);
    let target = select(vec![
        "b", "b", "b", "b", "b", "b/", "b/.", "./b", "@@/b", "b/x", "b/x", "b/y", "b/x/", "l", "l/", "b/x/p", "a",
        "b/new",
    ]);
    let sources = prop_oneof![2 => vec(source.clone(), 1), 1 => vec(source, 2..4)];
    (sources, target).prop_map(|(mut names, target)| {
        names.push(target);
        names.into_iter().map(Operand::Other).collect()
    })
}

/// Gives each idea a place below a directory that is there, unless the name is taken.
fn place(ideas: &[Idea]) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    for idea in ideas {
        let Some(parent) = parent(&nodes, &idea.parent) else { continue };
        let path = parent.join(OsStr::from_bytes(idea.name));
        let files: Vec<&Node> =
            nodes.iter().filter(|node| !matches!(node.kind, Placed::Dir | Placed::HardLink(_))).collect();
        let kind = match &idea.kind {
            Kind::File { size, hole } => Placed::File { size: *size, hole: *hole },
            Kind::Dir => Placed::Dir,
            Kind::LinkTo(target) => Placed::Link(target.into()),
            Kind::Circle => Placed::Link(OsString::from_vec(idea.name.to_vec())),
            Kind::Link(index) if !nodes.is_empty() => {
                let up = "../".repeat(parent.components().count());
                Placed::Link(PathBuf::from(up).join(&index.get(&nodes).path).into_os_string())
            }
            Kind::AbsoluteLink(index) if !nodes.is_empty() => {
                Placed::Link(Path::new(ABSOLUTE).join(&index.get(&nodes).path).into_os_string())
            }
            Kind::HardLink(index) if !files.is_empty() => Placed::HardLink(index.get(&files).path.clone()),
            Kind::Fifo => Placed::Fifo,
            Kind::Link(_) | Kind::AbsoluteLink(_) | Kind::HardLink(_) => continue,
        };
        if nodes.iter().any(|node| node.path == path) {
            continue;
        }
        let mode = if kind == Placed::Dir { *idea.mode.get(&DIR_MODES) } else { *idea.mode.get(&FILE_MODES) };
        nodes.push(Node { path, kind, mode, time: idea.time, xattr: idea.xattr, acl: idea.acl });
    }
    nodes
}

fn parent(nodes: &[Node], parent: &Parent) -> Option<PathBuf> {
    let dirs: Vec<&PathBuf> =
        nodes.iter().filter(|node| node.kind == Placed::Dir).map(|node| &node.path).collect();
    match parent {
        Parent::Any(index) if !dirs.is_empty() => Some((*index.get(&dirs)).clone()),
        Parent::Top | Parent::Any(_) => Some(PathBuf::new()),
        Parent::Named(path) => dirs.into_iter().find(|dir| *dir == path).cloned(),
    }
}

/// An operand as it was invented.
#[derive(Clone, Debug)]
enum Operand {
    /// A file that is there, with what is put before and behind its path, and the symbolic link that is
    /// taken on the way, if there is one.
    There(Index, Option<Index>, &'static str, &'static str),
    Other(&'static str),
}

impl Operand {
    fn spell(&self, nodes: &[Node]) -> OsString {
        match self {
            Operand::There(index, way, before, after) if !nodes.is_empty() => {
                let path = &index.get(nodes).path;
                let ways = through_links(nodes, path);
                let path = match way {
                    Some(way) if !ways.is_empty() => way.get(&ways),
                    _ => path,
                };
                let path = path.as_os_str().as_bytes();
                // A leading dash would make it a flag.
                let before = if path.starts_with(b"-") && before.is_empty() { "./" } else { before };
                OsString::from_vec([before.as_bytes(), path, after.as_bytes()].concat())
            }
            Operand::There(..) => "a".into(),
            Operand::Other(name) => name.into(),
        }
    }
}

/// The other paths of a file that have a symbolic link to a directory in the middle.
fn through_links(nodes: &[Node], path: &Path) -> Vec<PathBuf> {
    let through = |node: &Node| {
        let Placed::Link(target) = &node.kind else { return None };
        let to = without_dots(&node.path.parent()?.join(target));
        let rest = path.strip_prefix(&to).ok().filter(|rest| !rest.as_os_str().is_empty() && path != to)?;
        Some(node.path.join(rest))
    };
    nodes.iter().filter_map(through).collect()
}

fn operands(wide: bool) -> impl Strategy<Value = Vec<Operand>> {
    let (before, after) = if wide {
        (
            prop_oneof![16 => Just(""), 2 => Just("./"), 1 => Just("@@/"), 1 => Just("../4/"), 1 => Just(".//")].boxed(),
            prop_oneof![24 => Just(""), 4 => Just("/"), 2 => Just("/."), 1 => Just("//"), 1 => Just("/.."), 1 => Just("/./")]
                .boxed(),
        )
    } else {
        (
            prop_oneof![8 => Just(""), 1 => Just("./")].boxed(),
            prop_oneof![12 => Just(""), 2 => Just("/"), 1 => Just("/."), 1 => Just("//")].boxed(),
        )
    };
    let way = if wide { option::weighted(0.3, any::<Index>()).boxed() } else { Just(None).boxed() };
    let there = (any::<Index>(), way, before, after)
        .prop_map(|(index, way, before, after)| Operand::There(index, way, before, after));
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
