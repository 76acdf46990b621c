//! The result of a part in the job folder: the object of `--stats=json`, and the files that hold its ranges.

use super::Job;
use crate::error::{Failure, Operation};
use crate::report::json::{bytes, from_bytes};
use crate::sys::stale::StaleRetry;
use serde_json::{Value, json};
use std::ffi::OsString;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CopiedRange {
    pub(super) join: u64,
    pub(super) start: u64,
    /// The name of the range file. Names are never reused: if that file gets lost, the next one does not seem
    /// to hold this range.
    pub(super) file: OsString,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct PartResult {
    /// The object of `--stats=json`.
    pub(super) stats: Value,
    pub(super) ranges: Vec<CopiedRange>,
}

impl PartResult {
    pub(super) fn failed(&self) -> u64 {
        self.stats["totals"]["failed"].as_u64().unwrap_or(1)
    }

    pub(super) fn write(&self, job: &Job, part: u64) -> Result<(), Failure> {
        let ranges = self.ranges.iter().map(|done| json!([done.join, done.start, bytes(&done.file)]));
        let value = json!({
            "job": job.manifest.job,
            "part": part,
            "host": super::host(),
            "ranges": ranges.collect::<Vec<_>>(),
            "stats": self.stats,
        });
        job.retry(|| job.folder.results.write_json(&format!("{part}.json"), &value))
    }

    /// Returns the result of the part's last complete run, or `None` if there was none.
    pub(super) fn read(job: &Job, part: u64, stale_retry: &StaleRetry) -> Result<Option<PartResult>, Failure> {
        let (results, name) = (&job.folder.results, format!("{part}.json"));
        let Some(value) = results.read_json(&name, stale_retry)? else { return Ok(None) };
        let parsed = parse(&value).filter(|_| value["job"] == job.manifest.job && value["part"] == part);
        parsed.map(Some).ok_or_else(|| Failure::new(Operation::Damaged, results.path_of(&name)))
    }
}

fn parse(value: &Value) -> Option<PartResult> {
    let done = |value: &Value| {
        Some(CopiedRange { join: value[0].as_u64()?, start: value[1].as_u64()?, file: from_bytes(&value[2])? })
    };
    let ranges = value["ranges"].as_array()?.iter().map(done).collect::<Option<_>>()?;
    value["stats"].as_object()?;
    Some(PartResult { stats: value["stats"].clone(), ranges })
}
