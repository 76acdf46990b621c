//! Options about the kind of copy and the attributes it keeps.

use super::CopyOptions;
use crate::options::{Action, Dereference};
use std::ffi::OsString;

/// An attribute of the source that a copy can keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Attribute {
    /// Permission bits and access control lists.
    Mode,
    /// Owner and group, as far as the process may set them.
    Ownership,
    /// Access and modification times, in nanoseconds.
    Timestamps,
    /// Hard links: several names of one file are copied as several names of one file.
    Links,
    /// Extended attributes. One that cannot be kept is a failure.
    Xattr,
    /// The SELinux context. On a system without SELinux: [`Error::Unusable`](crate::Error::Unusable).
    Context,
    /// All attributes; the SELinux context only on a system with SELinux. An extended attribute that cannot
    /// be kept is a warning, unless [`Xattr`](Attribute::Xattr) is given as well.
    All,
}

setters! {
    /// Makes links to the sources instead of copies (`-l`, `-s`).
    action(action: Action) { action }

    /// Copies the attributes that are to be kept, and no content (`--attributes-only`).
    attributes_only(yes: bool) { attributes_only }
}

impl CopyOptions {
    /// Copies directories, keeps symbolic links, and keeps all attributes (`-a`). Extended attributes that
    /// the destination does not support are left out silently.
    pub fn archive(&mut self) -> &mut CopyOptions {
        use Attribute::{Links, Mode, Ownership, Timestamps};
        self.preserve([Mode, Ownership, Timestamps, Links]);
        self.options.preserve.xattr = true;
        self.options.preserve.xattr_quiet = true;
        self.options.preserve.context_if_enabled = true;
        self.recursive(true).dereference(Dereference::Never)
    }

    /// Keeps these attributes as well (`--preserve`).
    pub fn preserve(&mut self, attributes: impl IntoIterator<Item = Attribute>) -> &mut CopyOptions {
        attributes.into_iter().for_each(|attribute| self.keep(attribute, true));
        self
    }

    /// Does not keep these attributes (`--no-preserve`), for example after [`archive`](CopyOptions::archive).
    /// Without [`Attribute::Mode`], a new file gets the default permissions minus the umask, whatever the
    /// source has.
    ///
    /// # Examples
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # std::env::set_current_dir(dir.path())?;
    /// use zcp::Attribute::{Mode, Ownership};
    /// # use std::os::unix::fs::PermissionsExt;
    /// # std::fs::write("secret", "")?;
    /// # std::fs::set_permissions("secret", std::fs::Permissions::from_mode(0o400))?;
    /// let mut options = zcp::CopyOptions::new();
    /// options.archive().no_preserve([Mode, Ownership]);
    /// options.copy(["secret"], "mine")?;
    /// # assert_ne!(std::fs::metadata("mine")?.permissions().mode() & 0o777, 0o400);
    /// # assert_eq!(std::fs::metadata("mine")?.modified()?, std::fs::metadata("secret")?.modified()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn no_preserve(&mut self, attributes: impl IntoIterator<Item = Attribute>) -> &mut CopyOptions {
        attributes.into_iter().for_each(|attribute| self.keep(attribute, false));
        self
    }

    fn keep(&mut self, attribute: Attribute, yes: bool) {
        let keep = &mut self.options.preserve;
        match attribute {
            Attribute::Mode => (keep.mode, keep.no_mode) = (yes, !yes),
            Attribute::Ownership => keep.ownership = yes,
            Attribute::Timestamps => keep.timestamps = yes,
            Attribute::Links => keep.links = yes,
            Attribute::Xattr => (keep.xattr, keep.xattr_required) = (yes, yes),
            Attribute::Context => {
                keep.context = yes;
                keep.context_if_enabled &= yes;
            }
            Attribute::All => {
                (keep.mode, keep.no_mode) = (yes, !yes);
                (keep.ownership, keep.timestamps, keep.links) = (yes, yes, yes);
                (keep.xattr, keep.context_if_enabled) = (yes, yes);
            }
        }
    }

    /// Gives copies this SELinux context (`--context=CTX`). On a system without SELinux, this is a warning.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # std::env::set_current_dir(dir.path())?;
    /// # std::fs::write("index.html", "")?;
    /// # std::fs::create_dir("www")?;
    /// # if std::path::Path::new("/sys/fs/selinux/enforce").exists() { return Ok(()) }
    /// let mut options = zcp::CopyOptions::new();
    /// options.context("system_u:object_r:httpd_sys_content_t:s0");
    /// let report = options.copy(["index.html"], "www")?;
    /// assert!(report.warnings()[0].to_string().contains("requires an SELinux-enabled kernel"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn context(&mut self, context: impl Into<OsString>) -> &mut CopyOptions {
        self.options.context = Some(context.into());
        self
    }

    /// Gives copies the SELinux context that the policy assigns to a new file (`-Z`). This overrides the
    /// context that [`archive`](CopyOptions::archive) would keep.
    pub fn default_context(&mut self) -> &mut CopyOptions {
        self.options.default_context = true;
        self
    }

    /// Sets which symbolic links to follow (`-P`, `-H`, `-L`).
    pub fn dereference(&mut self, which: Dereference) -> &mut CopyOptions {
        self.dereference = Some(which);
        self
    }

    /// Copies the data read from fifos and devices in a tree, instead of making fifos and devices
    /// (`--copy-contents`). Such a copy may never end.
    pub fn copy_contents(&mut self, yes: bool) -> &mut CopyOptions {
        self.copy_contents = yes;
        self
    }
}
