//! What a run of a part, or the finish, left in the job folder: the object of `--stats=json`, and
//! which ranges of large files are where.

use super::folder::Folder;
use super::json::{bytes, from_bytes};
use crate::report::Failure;
use crate::report::stats::Summary;
use crate::sys::stale::StaleRetry;
use serde_json::{Value, json};
use std::ffi::OsString;

/// A range that is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Done {
    /// The number of the joined file.
    pub(super) join: u64,
    pub(super) start: u64,
    /// The name of the file that has it, which is never used again. Should that file be lost, the ranges of
    /// before are not in the next one.
    pub(super) file: OsString,
}

/// A part that has been run.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PartResult {
    /// The object of `--stats=json`.
    pub(super) stats: Value,
    pub(super) pieces: Vec<Done>,
}

impl PartResult {
    pub(super) fn new(summary: &Summary, pieces: Vec<Done>) -> PartResult {
        PartResult { stats: summary.json(), pieces }
    }

    /// How many failures were reported.
    pub(super) fn failed(&self) -> u64 {
        self.stats["totals"]["failed"].as_u64().unwrap_or(1)
    }

    pub(super) fn write(
        &self,
        folder: &Folder,
        job: &str,
        part: u64,
        stale_retry: &StaleRetry,
    ) -> Result<(), Failure> {
        let pieces = self.pieces.iter().map(|done| json!([done.join, done.start, bytes(&done.file)]));
        let pieces: Vec<Value> = pieces.collect();
        let value = json!({
            "job": job, "part": part, "host": super::host(), "pieces": pieces, "stats": self.stats,
        });
        stale_retry.operation(|| folder.results.write_json(&format!("{part}.json"), &value), Failure::reason)
    }

    /// What the last complete run of the part left; `None` if there was none.
    pub(super) fn read(
        folder: &Folder,
        job: &str,
        part: u64,
        stale_retry: &StaleRetry,
    ) -> Result<Option<PartResult>, Failure> {
        let name = format!("{part}.json");
        let Some(value) = folder.results.read_json(&name, stale_retry)? else { return Ok(None) };
        let parsed = parse(&value).filter(|_| value["job"] == job && value["part"] == part);
        parsed.map(Some).ok_or_else(|| Failure::new("{} is damaged", folder.results.path_of(&name)))
    }
}

fn parse(value: &Value) -> Option<PartResult> {
    let done = |value: &Value| {
        Some(Done { join: value[0].as_u64()?, start: value[1].as_u64()?, file: from_bytes(&value[2])? })
    };
    let pieces = value["pieces"].as_array()?.iter().map(done).collect::<Option<_>>()?;
    value["stats"].as_object()?;
    Some(PartResult { stats: value["stats"].clone(), pieces })
}
