//! What is made of each name: copy or link, and which attributes it keeps.

use super::CopyOptions;
use crate::options::{Action, Dereference};
use std::ffi::OsString;

/// What a copy keeps of its source besides the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Attribute {
    /// Permission bits and access control lists.
    Mode,
    /// Owner and group, as far as the process may set them.
    Ownership,
    /// Access and modification times, in nanoseconds.
    Timestamps,
    /// Names of one file stay names of one file.
    Links,
    /// Extended attributes. One that cannot be kept is a failure.
    Xattr,
    /// The SELinux context. Without SELinux it cannot be kept: [`Error::Unusable`](crate::Error::Unusable).
    Context,
    /// All of them. An extended attribute that cannot be kept is a warning, and so is no context.
    All,
}

impl CopyOptions {
    /// Copies directories, keeps symbolic links, and keeps all attributes (`-a`). An extended attribute
    /// that the destination cannot hold is passed over.
    pub fn archive(&mut self) -> &mut CopyOptions {
        use Attribute::{Links, Mode, Ownership, Timestamps};
        self.preserve([Mode, Ownership, Timestamps, Links]);
        self.options.preserve.xattr = true;
        self.options.preserve.xattr_quiet = true;
        self.recursive(true).dereference(Dereference::Never)
    }

    /// Keeps these attributes too (`--preserve`).
    pub fn preserve(&mut self, attributes: impl IntoIterator<Item = Attribute>) -> &mut CopyOptions {
        attributes.into_iter().for_each(|attribute| self.keep(attribute, true));
        self
    }

    /// Does not keep these (`--no-preserve`): after [`archive`](CopyOptions::archive), all but these. Without
    /// [`Attribute::Mode`] a new file gets the permissions that the umask leaves, whatever its source has.
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
            Attribute::Context => keep.context = yes,
            Attribute::All => {
                (keep.mode, keep.no_mode) = (yes, !yes);
                (keep.ownership, keep.timestamps, keep.links) = (yes, yes, yes);
                (keep.xattr, keep.xattr_required) = (yes, false);
            }
        }
    }

    /// Gives copies this SELinux context (`--context=CTX`); without SELinux that is a warning.
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

    /// Gives copies the SELinux context that the policy has for a new file in their place (`-Z`), also where
    /// [`archive`](CopyOptions::archive) would keep that of the source.
    pub fn default_context(&mut self) -> &mut CopyOptions {
        self.options.default_context = true;
        self
    }

    /// Which symbolic links are followed (`-P`, `-H`, `-L`).
    pub fn dereference(&mut self, which: Dereference) -> &mut CopyOptions {
        self.dereference = Some(which);
        self
    }

    /// Makes links to the sources instead of copies (`-l`, `-s`).
    pub fn action(&mut self, action: Action) -> &mut CopyOptions {
        self.options.action = action;
        self
    }

    /// Copies the attributes that are to be kept, and no content (`--attributes-only`).
    pub fn attributes_only(&mut self, yes: bool) -> &mut CopyOptions {
        self.options.attributes_only = yes;
        self
    }

    /// Copies what comes out of fifos and devices in a tree, instead of making their like
    /// (`--copy-contents`). Such a copy may never end.
    pub fn copy_contents(&mut self, yes: bool) -> &mut CopyOptions {
        self.copy_contents = yes;
        self
    }
}
