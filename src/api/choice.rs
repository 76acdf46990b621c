//! Options that choose the names to copy.

use super::{CopyOptions, Error};
use crate::error::{Failure, Operation};
use crate::filter::Filter;
use crate::options::NameList;
use crate::sys::files;
use crate::sys::interrupted::Bounded;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

setters! {
    /// Copies directories with their content (`-r`). Symbolic links below them stay links, unless
    /// [`dereference`](CopyOptions::dereference) says otherwise.
    recursive(yes: bool) { recursive }

    /// Stays on the file system of each source (`-x`).
    one_file_system(yes: bool) { one_file_system }

    /// Only counts what would be done (`--dry-run`). The report has the expected figures and the failures
    /// that can be foreseen. [`on_each`](CopyOptions::on_each) gets each name.
    dry_run(yes: bool) { dry_run }
}

impl CopyOptions {
    /// Excludes names that match `glob`, in the syntax of gitignore(5), relative to each source
    /// (`--exclude`). The last glob that matches decides. An excluded directory is not entered.
    ///
    /// # Errors
    /// [`Error::Usage`] if the glob is not valid.
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

    /// Includes names that match `glob`, even if an earlier glob excluded them (`--include`, see
    /// [`exclude`](CopyOptions::exclude)).
    ///
    /// # Errors
    /// [`Error::Usage`] if the glob is not valid.
    pub fn include(&mut self, glob: impl AsRef<OsStr>) -> Result<&mut CopyOptions, Error> {
        let glob = glob.as_ref();
        self.filter().include(glob).map_err(|why| invalid(glob, why))?;
        Ok(self)
    }

    /// Reads patterns from a file like `.gitignore` (`--exclude-from`); `-` is stdin. This call reads the
    /// file.
    ///
    /// # Errors
    /// [`Error::Unusable`] if the file cannot be read, or a line is not a valid pattern.
    pub fn exclude_from(&mut self, file: impl AsRef<Path>) -> Result<&mut CopyOptions, Error> {
        let file = file.as_ref();
        let mut text = Vec::new();
        let read = match file.as_os_str().as_bytes() {
            b"-" => Bounded(std::io::stdin().lock()).read_to_end(&mut text),
            _ => files::open(file).and_then(|mut file| file.read_to_end(&mut text)),
        };
        read.map_err(|error| Error::Unusable(Failure::io(Operation::ReadDirectory, file, &error)))?;
        self.filter().exclude_from(&text).map_err(|(line, why)| {
            Error::Unusable(Failure::new(Operation::InvalidLine, file).and(line.to_string()).because(why))
        })?;
        Ok(self)
    }

    /// Excludes the names that `.gitignore` files in the sources exclude (`--gitignore`).
    pub fn gitignore(&mut self) -> &mut CopyOptions {
        self.filter().gitignore = true;
        self
    }

    /// Copies exactly these names, which are relative to the one source and to the destination, with their
    /// leading directories (`--files-from`). A directory is copied without its content. The destination is a
    /// directory, and is made if it is missing.
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

    /// Copies the names in the file `list` (`--files-from`, `-0`; see [`names`](CopyOptions::names)); `-` is
    /// stdin. Each name ends with the byte `end`: `b'\n'`, or 0, which no name can contain. The list is read
    /// during the copy and not held in memory.
    pub fn files_from(&mut self, list: impl AsRef<OsStr>, end: u8) -> &mut CopyOptions {
        let list = list.as_ref();
        self.options.files_from = Some(match list.as_bytes() {
            b"-" => NameList::Stdin,
            _ => NameList::File(list.to_owned()),
        });
        self.options.name_end = end;
        self
    }

    fn filter(&mut self) -> &mut Filter {
        Arc::make_mut(self.options.filter.get_or_insert_default())
    }
}

fn invalid(glob: &OsStr, why: String) -> Error {
    Error::Usage(Failure::new(Operation::InvalidPattern, glob).because(why))
}
