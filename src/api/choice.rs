//! Which names are copied, and which are left out.

use super::{CopyOptions, Error};
use crate::filter::Filter;
use crate::options::NameList;
use crate::report::Failure;
use crate::sys::Errno;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

impl CopyOptions {
    /// Copies directories with all that is in them (`-r`). Symbolic links in them stay links, unless
    /// [`dereference`](CopyOptions::dereference) says otherwise.
    pub fn recursive(&mut self, yes: bool) -> &mut CopyOptions {
        self.options.recursive = yes;
        self
    }

    /// Stays on the file system of each source (`-x`).
    pub fn one_file_system(&mut self, yes: bool) -> &mut CopyOptions {
        self.options.one_file_system = yes;
        self
    }

    /// Leaves out what matches `glob`, in the syntax of gitignore(5) (`--exclude`): relative to each source,
    /// the last of all globs that match decides, and what is below a directory that is left out is not
    /// looked at.
    ///
    /// # Errors
    /// [`Error::Usage`] if it is no glob.
    ///
    /// # Examples
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # std::env::set_current_dir(dir.path())?;
    /// # std::fs::create_dir("src")?;
    /// for name in ["a.o", "keep.o", "a.c"] {
    ///     std::fs::write(format!("src/{name}"), "")?;
    /// }
    /// let mut options = zcp::CopyOptions::new();
    /// options.recursive(true).exclude("*.o")?.include("/keep.o")?;
    /// let report = options.copy(["src"], "dst")?;
    /// assert_eq!((report.files(), report.excluded()), (2, 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn exclude(&mut self, glob: impl AsRef<OsStr>) -> Result<&mut CopyOptions, Error> {
        let glob = glob.as_ref();
        self.filter().exclude(glob).map_err(|why| invalid(glob, why))?;
        Ok(self)
    }

    /// Takes in what matches `glob` although an earlier one left it out (`--include`, see
    /// [`exclude`](CopyOptions::exclude)).
    ///
    /// # Errors
    /// [`Error::Usage`] if it is no glob.
    pub fn include(&mut self, glob: impl AsRef<OsStr>) -> Result<&mut CopyOptions, Error> {
        let glob = glob.as_ref();
        self.filter().include(glob).map_err(|why| invalid(glob, why))?;
        Ok(self)
    }

    /// Adds the patterns of a file like `.gitignore` (`--exclude-from`); `-` is stdin. It is read at once.
    ///
    /// # Errors
    /// [`Error::Unusable`] if it cannot be read, or a line of it is no pattern.
    pub fn exclude_from(&mut self, file: impl AsRef<Path>) -> Result<&mut CopyOptions, Error> {
        let file = file.as_ref();
        let mut text = Vec::new();
        let read = match file.as_os_str().as_bytes() {
            b"-" => std::io::stdin().lock().read_to_end(&mut text),
            _ => std::fs::File::open(file).and_then(|mut file| file.read_to_end(&mut text)),
        };
        read.map_err(|error| {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            Error::Unusable(Failure::new("cannot read {}", file).errno(errno))
        })?;
        self.filter().exclude_from(&text).map_err(|(line, why)| {
            Error::Unusable(Failure::new("{}:{?}", file).and(line.to_string()).because(why))
        })?;
        Ok(self)
    }

    /// Leaves out what the `.gitignore` files in the sources say (`--gitignore`).
    pub fn gitignore(&mut self) -> &mut CopyOptions {
        self.filter().gitignore = true;
        self
    }

    /// Copies exactly these names, relative to the one source on both sides, with the directories that lead
    /// to them; a directory without what is in it (`--files-from`). The destination is a directory, and made
    /// if need be.
    ///
    /// # Examples
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # std::env::set_current_dir(dir.path())?;
    /// # std::fs::create_dir_all("photos/2026")?;
    /// # std::fs::write("photos/2026/1.jpg", "...")?;
    /// # std::fs::write("photos/2026/2.jpg", "...")?;
    /// zcp::CopyOptions::new().names(["2026/2.jpg"]).copy(["photos"], "album")?;
    /// assert!(std::fs::exists("album/2026/2.jpg")? && !std::fs::exists("album/2026/1.jpg")?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn names<N: Into<OsString>>(&mut self, names: impl IntoIterator<Item = N>) -> &mut CopyOptions {
        self.options.files_from = Some(NameList::Given(names.into_iter().map(N::into).collect()));
        self
    }

    /// The same with the names that `list` has, each ended by the byte `end`: `b'\n'` or, as any name can
    /// stand there, 0 (`--files-from`, `-0`); `-` is stdin. It is read while they are copied, and not held in memory.
    pub fn files_from(&mut self, list: impl AsRef<OsStr>, end: u8) -> &mut CopyOptions {
        let list = list.as_ref();
        self.options.files_from = Some(match list.as_bytes() {
            b"-" => NameList::Stdin,
            _ => NameList::File(list.to_owned()),
        });
        self.options.name_end = end;
        self
    }

    /// Does nothing, but counts what would be done (`--dry-run`): the report's figures are those of the plan,
    /// and its failures those that can be foreseen. [`on_each`](CopyOptions::on_each) is told each name.
    pub fn dry_run(&mut self, yes: bool) -> &mut CopyOptions {
        self.options.dry_run = yes;
        self
    }

    fn filter(&mut self) -> &mut Filter {
        Arc::make_mut(self.options.filter.get_or_insert_default())
    }
}

fn invalid(glob: &OsStr, why: String) -> Error {
    Error::Usage(Failure::new("invalid pattern {}", glob).because(why))
}
