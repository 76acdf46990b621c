//! The job folder: the only thing that the machines of a job share, besides the copy itself.
//!
//! | file | what it is |
//! |---|---|
//! | `manifest.json` | the job; there once the plan is complete |
//! | `landing.json` | where the copy lands, settled before anything is made |
//! | `parts/K.names`, `parts/K.facts` | what part K copies |
//! | `directories.names`, `directories.facts` | all directories, parents first |
//! | `joins.json` | the files that are copied in byte ranges |
//! | `results/K.json` | what the last complete run of part K did: the mark that it is done |
//! | `running/K-HOST-PID` | a run of part K that has begun and not ended |
//! | `finish.json` | what the finish did, and the sum of all |
//!
//! Whatever others wait for is written under another name and renamed, so that it is whole or not there.

use super::json::{bytes, from_bytes};
use super::lists::failed;
use super::manifest::Manifest;
use crate::report::Failure;
use crate::sys;
use crate::sys::at::{self, Follow};
use crate::sys::patience::Patience;
use serde_json::{Value, json};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Where a copy lands, by cp's rules at the time when it was planned first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Landing {
    /// Absolute.
    pub(super) destination: OsString,
    /// Whether something had that name.
    pub(super) existed: bool,
}

/// A job folder.
#[derive(Clone, Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new(path: &OsStr) -> Folder {
        Folder(path.into())
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Makes the folder, or empties one whose plan was never run.
    ///
    /// # Errors
    /// When parts of it have been run, or it is something else.
    pub(super) fn prepare(&self) -> Result<(), Failure> {
        let make = |path: PathBuf| {
            fs::create_dir_all(&path).map_err(|error| failed("cannot create directory {}", &path, &error))
        };
        make(self.0.clone())?;
        let is_ours = [self.manifest_path(), self.spool(), self.landing_path()].iter().any(|path| path.exists());
        let names = fs::read_dir(&self.0).map_err(|error| failed("cannot access {}", &self.0, &error))?;
        if names.count() > 0 && !is_ours {
            return Err(Failure::new("{} is not empty, and no job folder", &self.0));
        }
        let used = |name: &str| fs::read_dir(self.0.join(name)).is_ok_and(|mut entries| entries.next().is_some());
        if used("results") || used("running") || self.0.join("finish.json").exists() {
            return Err(Failure::new("{} holds a job that has been run", &self.0));
        }
        // From here on there is no plan until the new one is complete.
        File::create(self.spool()).map_err(|error| failed("cannot create {}", &self.spool(), &error))?;
        remove(&self.manifest_path())?;
        let parts = self.0.join("parts");
        match fs::remove_dir_all(&parts) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(failed("cannot remove {}", &parts, &error));
            }
            _ => {}
        }
        make(parts)?;
        make(self.0.join("results"))?;
        make(self.0.join("running"))
    }

    /// Where a plan that was begun for these operands lands; `None` if there was none.
    pub(super) fn landing(&self, operands: &Value) -> Result<Option<Landing>, Failure> {
        let path = self.landing_path();
        let Some(value) = read(&path, &Patience::default())? else { return Ok(None) };
        let landing = || {
            let destination = from_bytes(&value["destination"])?;
            Some(Landing { destination, existed: value["existed"].as_bool()? })
        };
        Ok(landing().filter(|_| &value["operands"] == operands))
    }

    pub(super) fn write_landing(&self, operands: &Value, landing: &Landing) -> Result<(), Failure> {
        let Landing { destination, existed } = landing;
        let value = json!({"operands": operands, "destination": bytes(destination), "existed": existed});
        write(&self.landing_path(), &value)
    }

    fn landing_path(&self) -> PathBuf {
        self.0.join("landing.json")
    }

    /// Where the plan keeps the names until they are dealt out.
    pub(super) fn spool(&self) -> PathBuf {
        self.0.join("spool")
    }

    pub(super) fn directories(&self) -> PathBuf {
        self.0.join("directories")
    }

    pub(super) fn part(&self, part: u64) -> PathBuf {
        self.0.join("parts").join(part.to_string())
    }

    pub(super) fn result(&self, part: u64) -> PathBuf {
        self.0.join("results").join(format!("{part}.json"))
    }

    pub(super) fn joins(&self) -> PathBuf {
        self.0.join("joins.json")
    }

    pub(super) fn finished(&self) -> PathBuf {
        self.0.join("finish.json")
    }

    pub(super) fn running(&self) -> PathBuf {
        self.0.join("running")
    }

    fn manifest_path(&self) -> PathBuf {
        self.0.join("manifest.json")
    }

    /// The job, once it is planned.
    ///
    /// # Errors
    /// When there is none, or one of another form.
    pub(super) fn manifest(&self, patience: &Patience) -> Result<Manifest, Failure> {
        let path = self.manifest_path();
        let Some(value) = read(&path, patience)? else {
            return Err(Failure::new("{} holds no complete plan", &self.0));
        };
        Manifest::parse(&value).ok_or_else(|| Failure::new("{} was not written by this version of zcp", &path))
    }

    /// The end of planning. What the manifest speaks for is on the disk before it is.
    pub(super) fn write_manifest(&self, manifest: &Manifest) -> Result<(), Failure> {
        let cannot = |errno| Failure::new("error writing {}", &self.0).errno(errno);
        let folder = at::open_dir(at::CWD, self.0.as_os_str(), Follow::Yes).map_err(cannot)?;
        sys::io::sync_file_system(&folder).map_err(cannot)?;
        write(&self.manifest_path(), &manifest.json())?;
        remove(&self.spool())
    }
}

/// Removes a file, if it is there.
pub(super) fn remove(path: &Path) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed("cannot remove {}", path, &error)),
        _ => Ok(()),
    }
}

/// A JSON file; `None` if it is not there, also after a while: the machine may not have heard of it.
pub(super) fn read(path: &Path, patience: &Patience) -> Result<Option<Value>, Failure> {
    let text = patience.io(|| fs::read(path));
    match text {
        Ok(text) => match serde_json::from_slice(&text) {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(Failure::new("{} is damaged", path)),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("cannot open {} for reading", path, &error)),
    }
}

/// Writes a JSON file, whole or not at all.
pub(super) fn write(path: &Path, value: &Value) -> Result<(), Failure> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}-{}", super::host(), std::process::id()));
    let temporary = PathBuf::from(temporary);
    let write = || -> io::Result<()> {
        let mut file = File::create(&temporary)?;
        writeln!(file, "{value}")?;
        fs::rename(&temporary, path)
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&temporary);
        failed("error writing {}", path, &error)
    })
}
