//! Which names are left out: `--exclude`, `--include`, `--exclude-from`, `--gitignore`.
//!
//! The syntax and its meaning are those of gitignore(5): the last pattern that matches decides, and what
//! is below a directory that is left out is never looked at. Patterns are relative to each operand.
//! Here names are only judged; the walk asks, and so does the scout that counts ahead. The only file
//! that names the crate `ignore`.

mod glob;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The name of the file that `--gitignore` obeys.
pub const GITIGNORE: &str = ".gitignore";

/// The patterns that were given, in their order.
#[derive(Clone, Debug)]
pub struct Filter {
    builder: GitignoreBuilder,
    rules: Gitignore,
    /// Whether `.gitignore` files in the source count as well.
    pub gitignore: bool,
}

impl Default for Filter {
    /// Nothing is left out.
    fn default() -> Filter {
        Filter { builder: builder(), rules: Gitignore::empty(), gitignore: false }
    }
}

/// With this root no part of a path is taken for it.
fn builder() -> GitignoreBuilder {
    GitignoreBuilder::new(".")
}

/// A directory on the way down, as far as patterns are concerned.
#[derive(Debug)]
pub struct Level {
    /// Where it is, below the operand.
    path: PathBuf,
    /// What its own `.gitignore` says.
    ignores: Option<Gitignore>,
    above: Option<Arc<Level>>,
}

impl Filter {
    /// Leaves out what matches `glob`. It means what it says, also if it begins with `#` or `!`.
    ///
    /// # Errors
    /// What is wrong with the glob, in words.
    pub fn exclude(&mut self, glob: &str) -> Result<(), String> {
        let escape = if glob.starts_with(['#', '!']) { "\\" } else { "" };
        self.add(&format!("{escape}{glob}")).and_then(|()| self.build())
    }

    /// Takes in again what matches `glob`.
    ///
    /// # Errors
    /// What is wrong with the glob, in words.
    pub fn include(&mut self, glob: &str) -> Result<(), String> {
        self.add(&format!("!{glob}")).and_then(|()| self.build())
    }

    /// Adds the patterns of a file like .gitignore.
    ///
    /// # Errors
    /// The number of the first line that is wrong, from 1, and what is wrong with it.
    pub fn exclude_from(&mut self, text: &[u8]) -> Result<(), (usize, String)> {
        let mut last = 0;
        for (line, number) in lines(text).zip(1..) {
            let added = line.ok_or_else(|| "not UTF-8".to_owned()).and_then(|line| self.add(line));
            added.map_err(|why| (number, why))?;
            last = number;
        }
        self.build().map_err(|why| (last, why))
    }

    fn add(&mut self, line: &str) -> Result<(), String> {
        add(&mut self.builder, line)
    }

    fn build(&mut self) -> Result<(), String> {
        self.rules = self.builder.build().map_err(|error| error.to_string())?;
        Ok(())
    }

    /// The level of an operand, whose `.gitignore` has this text.
    pub fn top(&self, ignores: Option<&[u8]>) -> Arc<Level> {
        Arc::new(Level { path: PathBuf::new(), ignores: ignores.map(parse), above: None })
    }

    /// The level of a directory below another.
    pub fn below(&self, above: &Arc<Level>, name: &OsStr, ignores: Option<&[u8]>) -> Arc<Level> {
        let path = above.path.join(name);
        Arc::new(Level { path, ignores: ignores.map(parse), above: Some(Arc::clone(above)) })
    }

    /// Whether a name in a directory is left out. What was said on the command line goes before what
    /// `.gitignore` files say, and the nearest of those before those further up.
    pub fn excludes(&self, level: &Level, name: &OsStr, is_dir: bool) -> bool {
        let path = level.path.join(name);
        if let Some(verdict) = verdict(&self.rules, &path, is_dir) {
            return verdict;
        }
        let mut here = Some(level);
        while let Some(level) = here {
            if let Some(ignores) = &level.ignores
                && let Ok(path) = path.strip_prefix(&level.path)
                && let Some(verdict) = verdict(ignores, path, is_dir)
            {
                return verdict;
            }
            here = level.above.as_deref();
        }
        false
    }

    /// Whether an operand is left out: by its last component, and by patterns that match in any directory
    /// only, since the others are about what is below it. `.` and `..` are no names.
    pub fn excludes_operand(&self, name: &OsStr, is_dir: bool) -> bool {
        if name.is_empty() || name == "." || name == ".." {
            return false;
        }
        // A pattern that has a place in the operand does not begin with a slash by now.
        verdict(&self.rules, &Path::new("/").join(name), is_dir).unwrap_or(false)
    }
}

fn verdict(rules: &Gitignore, path: &Path, is_dir: bool) -> Option<bool> {
    match rules.matched(path, is_dir) {
        Match::None => None,
        Match::Ignore(_) => Some(true),
        Match::Whitelist(_) => Some(false),
    }
}

fn add(builder: &mut GitignoreBuilder, line: &str) -> Result<(), String> {
    let line = if line.starts_with('#') { String::new() } else { glob::translated(line)? };
    builder.add_line(None, &line).map(|_| ()).map_err(|error| error.to_string())
}

/// As git does, a line of `.gitignore` that makes no sense is passed over.
fn parse(text: &[u8]) -> Gitignore {
    let mut builder = builder();
    for line in lines(text).flatten() {
        let _ = add(&mut builder, line);
    }
    builder.build().unwrap_or_else(|_| Gitignore::empty())
}

/// The lines of a file, `None` for one that is not UTF-8; a byte order mark is no part of the first.
fn lines(text: &[u8]) -> impl Iterator<Item = Option<&str>> {
    let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
    text.split(|byte| *byte == b'\n')
        .map(|line| std::str::from_utf8(line.strip_suffix(b"\r").unwrap_or(line)).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    fn filter(lines: &[&str]) -> Filter {
        let mut filter = Filter::default();
        filter.exclude_from(lines.join("\n").as_bytes()).unwrap();
        filter
    }

    fn excludes(filter: &Filter, path: &str, is_dir: bool) -> bool {
        let mut level = filter.top(None);
        let (dirs, name) = path.rsplit_once('/').unwrap_or(("", path));
        for dir in dirs.split('/').filter(|dir| !dir.is_empty()) {
            level = filter.below(&level, OsStr::new(dir), None);
        }
        filter.excludes(&level, OsStr::new(name), is_dir)
    }

    #[test]
    fn the_last_match_decides() {
        let filter = filter(&["*.o", "!keep.o", "/build", "logs/"]);
        assert!(excludes(&filter, "a.o", false) && excludes(&filter, "deep/er/a.o", false));
        assert!(!excludes(&filter, "deep/keep.o", false));
        assert!(excludes(&filter, "build", true) && !excludes(&filter, "sub/build", true));
        assert!(excludes(&filter, "sub/logs", true) && !excludes(&filter, "sub/logs", false));
    }

    #[test]
    fn a_pattern_of_the_command_line_means_what_it_says() {
        let mut filter = Filter::default();
        filter.exclude("#*#").unwrap();
        filter.exclude("!important").unwrap();
        filter.include("#really#").unwrap();
        assert!(excludes(&filter, "#a#", false) && excludes(&filter, "!important", false));
        assert!(!excludes(&filter, "#really#", false) && !excludes(&filter, "important", false));
        assert!(filter.exclude("a[b").is_err());
    }

    #[test]
    fn operands_are_judged_by_their_own_name() {
        let filter = filter(&["*.o", "/build", "src/*.c"]);
        let excludes = |name: &str| filter.excludes_operand(OsStr::new(name), false);
        assert!(excludes("a.o"));
        assert!(!excludes("build") && !excludes("a.c") && !excludes(".") && !excludes(".."));
    }

    #[test]
    fn names_need_not_be_utf8() {
        let filter = filter(&["*.o"]);
        let level = filter.top(None);
        assert!(filter.excludes(&level, OsStr::from_bytes(b"\xff.o"), false));
        assert!(!filter.excludes(&level, OsStr::from_bytes(b"\xff"), false));
    }

    #[test]
    fn the_nearest_gitignore_goes_first_and_the_command_line_before_it() {
        let mut filter = Filter { gitignore: true, ..Filter::default() };
        filter.include("always").unwrap();
        let top = filter.top(Some(b"\xef\xbb\xbf*.log\r\nalways\n\xff\n"));
        let sub = filter.below(&top, OsStr::new("sub"), Some(b"!kept.log\n/here\n"));
        let excludes = |level: &Level, name: &str| filter.excludes(level, OsStr::new(name), false);
        assert!(excludes(&top, "a.log") && excludes(&top, "kept.log") && !excludes(&top, "here"));
        assert!(excludes(&sub, "a.log") && !excludes(&sub, "kept.log") && excludes(&sub, "here"));
        assert!(!excludes(&top, "always"));
    }

    #[test]
    fn a_file_of_patterns_is_refused_by_its_line() {
        let mut filter = Filter::default();
        assert_eq!(filter.exclude_from(b"# fine\n\n*.o\n!a.o\n").map_err(|(line, _)| line), Ok(()));
        assert_eq!(filter.exclude_from(b"fine\n[\n").map_err(|(line, _)| line), Err(2));
        assert_eq!(filter.exclude_from(b"\xff").map_err(|(line, _)| line), Err(1));
    }
}
