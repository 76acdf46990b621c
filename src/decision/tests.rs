//! The whole table of `decide` for two names that are, or may be, one file.
//!
//! Every cell was compared with the system's cp, and the same-file matrix of `tests/it/oracle` still compares
//! them. The table is written out here so that a changed rule changes a cell.

use super::*;
use crate::options::{Backup, Preserve};

const REGULAR: u32 = 0o100_644;
const LINK: u32 = 0o120_777;
const DIRECTORY: u32 = 0o040_755;

/// The options of these flags; `r` stands for `--remove-destination`.
fn options(flags: &str) -> Options {
    let has = |flag: char| flags.contains(flag);
    Options {
        dereference: if has('d') { Dereference::Never } else { Dereference::Always },
        action: match (has('l'), has('s')) {
            (true, _) => Action::HardLink,
            (_, true) => Action::SymbolicLink,
            _ => Action::Copy,
        },
        if_exists: match (has('i'), has('n')) {
            (true, _) => IfExists::Ask,
            (_, true) => IfExists::Skip,
            _ => IfExists::Replace,
        },
        update: has('u'),
        force: has('f'),
        remove_destination: has('r'),
        backup: has('b').then(|| Backup { control: BackupControl::Existing, suffix: "~".into() }),
        preserve: Preserve { links: has('d'), ..Preserve::default() },
        read_special: true,
        ..Options::default()
    }
}

/// The names in a directory: the file `f`, its hard link `h`, its symbolic links `s` and `t`; `k`, a hard
/// link of `s`; another file `o` with its symbolic link `p`; the dangling link `x`.
fn link_stat(name: char) -> Stat {
    let (ino, mode, nlink) = match name {
        'f' | 'h' => (1, REGULAR, 2),
        's' | 'k' => (2, LINK, 2),
        't' => (3, LINK, 1),
        'o' => (4, REGULAR, 1),
        'p' => (5, LINK, 1),
        _ => (6, LINK, 1),
    };
    Stat { dev: 1, ino, mode, nlink, ..Stat::default() }
}

/// The status after following links; `None` if there is no file.
fn stat(name: char) -> Option<Stat> {
    match name {
        'f' | 'h' | 's' | 'k' | 't' => Some(link_stat('f')),
        'o' | 'p' => Some(link_stat('o')),
        _ => None,
    }
}

/// One cell, with the facts that `existing::look` would find.
fn cell(options: &Options, from: char, to: char) -> String {
    let follows = options.dereference != Dereference::Never;
    let Some(source) = (if follows { stat(from) } else { Some(link_stat(from)) }) else { return "  ".into() };
    let met = if follows_destination(options, &source) { stat(to) } else { Some(link_stat(to)) };
    let existing = met.map(|met| Existing {
        stat: met,
        link: link_stat(to),
        source_link: link_stat(from),
        dereference: options.dereference,
        same_entry: from == to,
        same_referent: stat(from).is_some() && stat(from).map(|s| s.id()) == stat(to).map(|s| s.id()),
        ..stranger(REGULAR)
    });
    match decide(options, &source, existing.as_ref()) {
        Decision::Ask(_, then) => format!("?{}", letter(&then)),
        decision => format!("{} ", letter(&decision)),
    }
}

fn letter(decision: &Decision) -> char {
    match decision {
        Decision::Make(Clear::Nothing) => 'm',
        Decision::Make(Clear::Unlink) => 'u',
        Decision::Make(Clear::Backup) => 'b',
        Decision::Overwrite => 'o',
        Decision::Done => '.',
        Decision::Skip(_) => '-',
        Decision::Refuse(Refusal::SameFile) => '=',
        _ => '!',
    }
}

const PAIRS: [&str; 16] =
    ["ff", "fh", "fs", "hs", "sf", "sh", "ss", "sk", "st", "fo", "fp", "sp", "so", "fx", "xf", "xx"];

/// `=` refused as the same file; `.` nothing to do; `o` overwritten; `m` made, `u` after unlinking, `b` after
/// a backup; `-` skipped; `?` asked first; empty if there is no source.
#[rustfmt::skip]
const TABLE: &[(&str, &str)] = &[
    //      ff fh fs hs sf sh ss sk st fo fp sp so fx xf xx
    ("",    "=  =  =  =  =  =  =  =  =  o  o  o  o  m"),
    ("b",   "=  b  b  b  =  =  b  b  b  b  b  b  b  b"),
    ("d",   "=  =  =  =  =  =  =  .  u  o  o  u  u  m  u  ="),
    ("f",   "=  =  =  =  =  =  =  =  =  o  o  o  o  m"),
    ("l",   ".  .  m  m  .  .  m  m  m  m  m  m  m  m"),
    ("s",   "=  =  m  m  =  =  m  m  m  m  m  m  m  m"),
    ("i",   "=  =  =  =  =  =  =  =  =  ?o ?o ?o ?o m"),
    ("n",   "-  -  -  -  -  -  -  -  -  -  -  -  -  m"),
    ("u",   "=  =  =  =  =  =  =  =  =  -  -  -  -  m"),
    ("r",   "=  u  u  u  =  =  u  u  u  u  u  u  u  u"),
    ("bd",  "=  b  b  b  b  b  =  b  b  b  b  b  b  b  b  ="),
    ("bf",  "=  b  b  b  =  =  b  b  b  b  b  b  b  b"),
    ("bl",  ".  .  b  b  .  .  b  b  b  b  b  b  b  b"),
    ("bs",  "=  b  b  b  =  =  b  b  b  b  b  b  b  b"),
    ("bi",  "=  ?b ?b ?b =  =  ?b ?b ?b ?b ?b ?b ?b ?b"),
    ("bu",  "=  -  -  -  =  =  -  -  -  -  -  -  -  -"),
    ("br",  "=  b  b  b  =  =  b  b  b  b  b  b  b  b"),
    ("df",  "=  =  =  =  =  =  =  .  u  o  o  u  u  m  u  ="),
    ("dl",  ".  .  u  u  .  .  .  .  u  m  m  u  u  m  u  ."),
    ("ds",  "=  =  u  u  =  =  =  .  u  m  m  u  u  m  u  ="),
    ("di",  "=  =  =  =  =  =  =  ?. ?u ?o ?o ?u ?u m  ?u ="),
    ("dn",  "-  -  -  -  -  -  -  -  -  -  -  -  -  m  -  -"),
    ("du",  "=  =  =  =  =  =  =  -  -  -  -  -  -  m  -  ="),
    ("dr",  "=  u  u  u  =  =  =  .  u  u  u  u  u  u  u  ="),
    ("fl",  ".  .  m  m  .  .  m  m  m  m  m  m  m  m"),
    ("fs",  "=  =  m  m  =  =  m  m  m  m  m  m  m  m"),
    ("fi",  "=  =  =  =  =  =  =  =  =  ?o ?o ?o ?o m"),
    ("fn",  "-  -  -  -  -  -  -  -  -  -  -  -  -  m"),
    ("fu",  "=  =  =  =  =  =  =  =  =  -  -  -  -  m"),
    ("fr",  "=  u  u  u  =  =  u  u  u  u  u  u  u  u"),
    ("li",  "?. ?. ?m ?m ?. ?. ?m ?m ?m ?m ?m ?m ?m ?m"),
    ("ln",  "-  -  -  -  -  -  -  -  -  -  -  -  -  -"),
    ("lu",  "-  -  -  -  -  -  -  -  -  -  -  -  -  -"),
    ("lr",  ".  .  u  u  .  .  u  u  u  u  u  u  u  u"),
    ("si",  "=  =  ?m ?m =  =  ?m ?m ?m ?m ?m ?m ?m ?m"),
    ("sn",  "-  -  -  -  -  -  -  -  -  -  -  -  -  -"),
    ("su",  "=  =  -  -  =  =  -  -  -  -  -  -  -  -"),
    ("sr",  "=  u  u  u  =  =  u  u  u  u  u  u  u  u"),
    ("iu",  "=  =  =  =  =  =  =  =  =  -  -  -  -  m"),
    ("ir",  "=  ?u ?u ?u =  =  ?u ?u ?u ?u ?u ?u ?u ?u"),
    ("nu",  "-  -  -  -  -  -  -  -  -  -  -  -  -  m"),
    ("nr",  "-  -  -  -  -  -  -  -  -  -  -  -  -  -"),
    ("ur",  "=  -  -  -  =  =  -  -  -  -  -  -  -  -"),
    ("bdf", "=  b  b  b  b  b  =  b  b  b  b  b  b  b  b  ="),
    ("bdl", ".  .  b  b  b  b  .  .  b  b  b  b  b  b  b  ."),
    ("bds", "=  b  b  b  b  b  =  b  b  b  b  b  b  b  b  ="),
    ("bdr", "=  b  b  b  b  b  =  b  b  b  b  b  b  b  b  ="),
    ("bfl", ".  .  b  b  .  .  b  b  b  b  b  b  b  b"),
    ("bfs", "=  b  b  b  =  =  b  b  b  b  b  b  b  b"),
    ("bfr", "=  b  b  b  =  =  b  b  b  b  b  b  b  b"),
    ("blr", ".  .  b  b  .  .  b  b  b  b  b  b  b  b"),
    ("bsr", "=  b  b  b  =  =  b  b  b  b  b  b  b  b"),
    ("dfl", ".  .  u  u  .  .  .  .  u  m  m  u  u  m  u  ."),
    ("dfs", "=  =  u  u  =  =  =  .  u  m  m  u  u  m  u  ="),
    ("dfr", "=  u  u  u  =  =  =  .  u  u  u  u  u  u  u  ="),
    ("dlr", ".  .  u  u  .  .  .  .  u  u  u  u  u  u  u  ."),
    ("dsr", "=  u  u  u  =  =  =  .  u  u  u  u  u  u  u  ="),
    ("flr", ".  .  u  u  .  .  u  u  u  u  u  u  u  u"),
    ("fsr", "=  u  u  u  =  =  u  u  u  u  u  u  u  u"),
];

#[test]
fn names_of_one_file() {
    let rows = TABLE.iter().map(|(flags, _)| {
        let options = options(flags);
        let cells: Vec<String> = PAIRS
            .iter()
            .filter_map(|pair| pair.chars().next().zip(pair.chars().nth(1)))
            .map(|(from, to)| cell(&options, from, to))
            .collect();
        (*flags, cells.join(" ").trim_end().to_owned())
    });
    for ((flags, cells), (_, expected)) in rows.zip(TABLE) {
        assert_eq!(cells, *expected, "-{flags}: {PAIRS:?}");
    }
}

/// An existing file other than the source.
fn stranger(mode: u32) -> Existing {
    let stat = Stat { dev: 1, ino: 9, mode, nlink: 1, ..Stat::default() };
    Existing {
        stat,
        link: stat,
        source_link: link_stat('f'),
        dereference: Dereference::Always,
        circular: false,
        same_entry: false,
        same_referent: false,
        writable: true,
        just_made: false,
        untrusted: false,
        time_kept: false,
        replaced_if_other_kind: false,
        source_is_dots: false,
        backup_is_source: false,
        is_descriptor: false,
    }
}

#[test]
fn a_free_name_is_made() {
    for flags in ["", "f", "l", "s", "n", "i", "u", "b", "r", "d"] {
        assert_eq!(decide(&options(flags), &link_stat('f'), None), Decision::Make(Clear::Nothing), "{flags}");
    }
}

#[test]
fn directories_merge_and_replace_nothing_else() {
    let directory = Stat { mode: DIRECTORY, ..link_stat('o') };
    for flags in ["", "b", "f", "r", "u", "n", "i", "d"] {
        let options = options(flags);
        assert_eq!(decide(&options, &directory, Some(&stranger(DIRECTORY))), Decision::Merge, "{flags}");
        let decision = decide(&options, &directory, Some(&stranger(REGULAR)));
        let expected = match options.backup {
            Some(_) => Decision::Make(Clear::Backup),
            None => Decision::Refuse(Refusal::DirectoryOverOther),
        };
        assert_eq!(decision, expected, "{flags}");
    }
}

#[test]
fn a_directory_is_not_overwritten() {
    // With a backup, it is tried, and the system refuses.
    let decision = decide(&options("b"), &link_stat('f'), Some(&stranger(DIRECTORY)));
    assert_eq!(decision, Decision::Overwrite);
    for flags in ["", "f", "r", "l", "s", "d"] {
        let decision = decide(&options(flags), &link_stat('f'), Some(&stranger(DIRECTORY)));
        assert_eq!(decision, Decision::Refuse(Refusal::OtherOverDirectory), "{flags}");
    }
}

#[test]
fn an_earlier_copy_is_not_lost() {
    let just_made = Existing { just_made: true, ..stranger(REGULAR) };
    for flags in ["", "b", "f", "r", "l", "s"] {
        let decision = decide(&options(flags), &link_stat('f'), Some(&just_made));
        assert_eq!(decision, Decision::Refuse(Refusal::JustMade), "{flags}");
    }
    let numbered = Backup { control: BackupControl::Numbered, suffix: "~".into() };
    let options = Options { backup: Some(numbered), ..Options::default() };
    assert_eq!(decide(&options, &link_stat('f'), Some(&just_made)), Decision::Make(Clear::Backup));
}

#[test]
fn a_backup_does_not_destroy_the_source() {
    let existing = Existing { backup_is_source: true, ..stranger(REGULAR) };
    let decision = decide(&options("b"), &link_stat('f'), Some(&existing));
    assert_eq!(decision, Decision::Refuse(Refusal::BackupIsSource));
}

#[test]
fn an_untrusted_link_is_only_refused_where_it_would_be_written_through() {
    let through = Existing { untrusted: true, link: link_stat('s'), ..stranger(REGULAR) };
    let decide = |flags| decide(&options(flags), &link_stat('f'), Some(&through));
    for flags in ["", "f", "d"] {
        assert_eq!(decide(flags), Decision::Refuse(Refusal::UntrustedLink), "{flags}");
    }
    assert_eq!(decide("n"), Decision::Skip(Skip::Exists));
    assert_eq!(decide("r"), Decision::Make(Clear::Unlink));
    assert_eq!(decide("b"), Decision::Make(Clear::Backup));
    assert_eq!(decide("l"), Decision::Make(Clear::Nothing));
    let directory = Stat { mode: DIRECTORY, ..link_stat('o') };
    let through = Existing { untrusted: true, ..stranger(DIRECTORY) };
    let decision = super::decide(&options("r"), &directory, Some(&through));
    assert_eq!(decision, Decision::Refuse(Refusal::UntrustedLink));
}

#[test]
fn newer_is_told_by_the_nanosecond() {
    let at = |sec, nsec| crate::sys::Time { sec, nsec };
    let existing = |mtime| Existing { stat: Stat { mtime, ..stranger(REGULAR).stat }, ..stranger(REGULAR) };
    let source = Stat { mtime: at(5, 5), ..link_stat('f') };
    let options = options("u");
    assert_eq!(decide(&options, &source, Some(&existing(at(5, 4)))), Decision::Overwrite);
    for later in [at(5, 5), at(5, 6), at(6, 0)] {
        assert_eq!(decide(&options, &source, Some(&existing(later))), Decision::Skip(Skip::UpToDate));
    }
}

#[test]
fn questions_say_what_is_at_stake() {
    let closed = Existing { writable: false, ..stranger(REGULAR) };
    for (flags, expected) in
        [("i", Question::TryUnwritable), ("if", Question::ReplaceUnwritable), ("ir", Question::ReplaceUnwritable)]
    {
        let decision = decide(&options(flags), &link_stat('f'), Some(&closed));
        assert!(matches!(decision, Decision::Ask(question, _) if question == expected), "{flags}: {decision:?}");
    }
    let decision = decide(&options("i"), &link_stat('f'), Some(&stranger(REGULAR)));
    assert_eq!(decision, Decision::Ask(Question::Overwrite, Box::new(Decision::Overwrite)));
}

#[test]
fn special_files_are_made_anew_or_read() {
    let fifo = Stat { mode: 0o010_644, ..link_stat('o') };
    let existing = Existing { dereference: Dereference::Never, ..stranger(REGULAR) };
    let options = Options { read_special: false, dereference: Dereference::Never, ..Options::default() };
    assert_eq!(decide(&options, &fifo, Some(&existing)), Decision::Make(Clear::Unlink));
    let options = Options { read_special: true, ..Options::default() };
    assert_eq!(decide(&options, &fifo, Some(&stranger(REGULAR))), Decision::Overwrite);
}

#[test]
fn a_circular_link_is_only_opened() {
    let circular = Existing { circular: true, ..stranger(LINK) };
    for flags in ["f", "fi", "fn", "fu"] {
        assert_eq!(decide(&options(flags), &link_stat('f'), Some(&circular)), Decision::Overwrite, "{flags}");
    }
}
