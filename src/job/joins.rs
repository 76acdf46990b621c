//! The files that are copied in byte ranges, as the plan lists them for `--finish`.

use super::facts::{Facts, Stamp, time};
use crate::report::json::{bytes, from_bytes};
use crate::sys::Kind;
use serde_json::{Value, json};
use std::ffi::OsString;

/// A file that is copied in byte ranges and joined by `--finish`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Join {
    pub(super) number: u64,
    /// The number of ranges.
    pub(super) pieces: u64,
    pub(super) facts: Facts,
    /// All its names. The parts copy the first one.
    pub(super) names: Vec<OsString>,
}

impl Join {
    pub(super) fn json(&self) -> Value {
        json!({
            "number": self.number,
            "pieces": self.pieces,
            "size": self.facts.size,
            "mtime": Stamp(self.facts.mtime).to_string(),
            "names": self.names.iter().map(|name| bytes(name)).collect::<Vec<_>>(),
        })
    }

    pub(super) fn parse(value: &Value) -> Option<Join> {
        let facts = Facts {
            kind: Kind::Regular,
            size: value["size"].as_u64()?,
            mtime: time(value["mtime"].as_str()?)?,
            piece: None,
        };
        let names: Vec<OsString> = value["names"].as_array()?.iter().map(from_bytes).collect::<Option<_>>()?;
        (!names.is_empty()).then_some(())?;
        Some(Join { number: value["number"].as_u64()?, pieces: value["pieces"].as_u64()?, facts, names })
    }
}
