//! Excluded names: `--exclude`, `--include`, `--exclude-from`, `--gitignore`.
//!
//! Syntax and meaning are those of gitignore(5): the last matching pattern decides, and an excluded directory is
//! not entered. Patterns are relative to each operand. The walk and the estimate call this module; it makes no
//! system call.

mod pattern;

use pattern::Pattern;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

pub(crate) const GITIGNORE: &str = ".gitignore";

/// The patterns of the command line, in order.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    patterns: Vec<Pattern>,
    /// Whether `.gitignore` files in the source apply as well.
    pub gitignore: bool,
}

/// A directory of the source, with the patterns of its `.gitignore`.
#[derive(Debug)]
pub struct Level {
    /// Relative to the operand.
    path: PathBuf,
    ignores: Vec<Pattern>,
    /// The nearest level above that has patterns.
    above: Option<Arc<Level>>,
}

impl Filter {
    /// Excludes names that match `glob`. A leading `#` or `!` has no special meaning. Fails with a reason if the glob
    /// is invalid.
    pub fn exclude(&mut self, glob: &OsStr) -> Result<(), String> {
        self.add(Pattern::new(glob.as_bytes(), false))
    }

    /// Includes names that match `glob` and that earlier patterns exclude. Fails with a reason if the glob is
    /// invalid.
    pub fn include(&mut self, glob: &OsStr) -> Result<(), String> {
        self.add(Pattern::new(glob.as_bytes(), true))
    }

    /// Adds the patterns of a file in the format of .gitignore. Fails with the number of the first invalid line, from
    /// 1, and a reason.
    pub fn exclude_from(&mut self, text: &[u8]) -> Result<(), (usize, String)> {
        for (line, number) in lines(text).zip(1..) {
            if let Some(pattern) = Pattern::of_line(line) {
                self.add(pattern).map_err(|why| (number, why))?;
            }
        }
        Ok(())
    }

    fn add(&mut self, pattern: Pattern) -> Result<(), String> {
        pattern.check()?;
        self.patterns.push(pattern);
        Ok(())
    }

    /// Returns the level of a directory, or of an operand if none is above; `ignores` is the content of its
    /// `.gitignore`.
    pub fn level(&self, above: Option<&Arc<Level>>, name: &OsStr, ignores: Option<&[u8]>) -> Arc<Level> {
        let path = above.map(|above| above.path.join(name)).unwrap_or_default();
        let above = match above {
            Some(level) if level.ignores.is_empty() => level.above.clone(),
            nearest => nearest.cloned(),
        };
        Arc::new(Level { path, ignores: patterns(ignores), above })
    }

    /// Returns whether a name in a directory is excluded. The command line takes precedence over `.gitignore`
    /// files, and a nearer `.gitignore` over one further up.
    pub fn excludes(&self, level: &Level, name: &OsStr, is_dir: bool) -> bool {
        let path = level.path.join(name);
        let path = path.as_os_str().as_bytes();
        if let Some(decision) = decision(&self.patterns, |pattern| pattern.matches(path, is_dir)) {
            return decision;
        }
        let mut here = Some(level);
        while let Some(level) = here {
            let above = level.path.as_os_str().as_bytes();
            let path = path.strip_prefix(above).unwrap_or(path);
            let path = path.strip_prefix(b"/").unwrap_or(path);
            if let Some(decision) = decision(&level.ignores, |pattern| pattern.matches(path, is_dir)) {
                return decision;
            }
            here = level.above.as_deref();
        }
        false
    }

    /// Returns whether an operand with this last component is excluded; `.` and `..` never are.
    pub fn excludes_operand(&self, name: &OsStr, is_dir: bool) -> bool {
        if name.is_empty() || name == "." || name == ".." {
            return false;
        }
        let name = name.as_bytes();
        decision(&self.patterns, |pattern| pattern.matches_operand(name, is_dir)).unwrap_or(false)
    }
}

/// Returns whether the last matching pattern excludes the name; `None` if no pattern matches.
fn decision(patterns: &[Pattern], matches: impl Fn(&Pattern) -> bool) -> Option<bool> {
    patterns.iter().rev().find(|pattern| matches(pattern)).map(|pattern| !pattern.negated)
}

/// Returns the patterns of a `.gitignore`. As in git, an invalid pattern matches nothing.
fn patterns(text: Option<&[u8]>) -> Vec<Pattern> {
    text.map(|text| lines(text).filter_map(Pattern::of_line).collect()).unwrap_or_default()
}

/// Returns the lines of a file, without a leading byte order mark.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text).split(|byte| *byte == b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_of_the_command_line_means_what_it_says() {
        let mut filter = Filter::default();
        filter.exclude(OsStr::new("#*#")).unwrap();
        filter.exclude(OsStr::new("!important")).unwrap();
        filter.include(OsStr::new("#really#")).unwrap();
        let top = filter.level(None, OsStr::new(""), None);
        let excludes = |name: &str| filter.excludes(&top, OsStr::new(name), false);
        assert!(excludes("#a#") && excludes("!important"));
        assert!(!excludes("#really#") && !excludes("important"));
        assert!(filter.exclude(OsStr::new("a[b")).is_err());
    }

    #[test]
    fn the_nearest_gitignore_goes_first_and_the_command_line_before_it() {
        let mut filter = Filter { gitignore: true, ..Filter::default() };
        filter.include(OsStr::new("always")).unwrap();
        let top = filter.level(None, OsStr::new(""), Some(b"\xef\xbb\xbf*.log\r\nalways\n\xff\n"));
        let sub = filter.level(Some(&top), OsStr::new("sub"), Some(b"!kept.log\n/here\n"));
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
        assert_eq!(filter.exclude_from(b"\xff\n[z-a]\n").map_err(|(line, _)| line), Err(2));
    }
}
