//! Tests of the pure code: the balance on trees of any shape, and the formats with any bytes.

use super::balance::{Bundle, Bundler, Scale, Weight, assign};
use super::facts::{DirFacts, Facts, Line, PlannedRange};
use super::lists::{ListReader, ListWriter};
use super::manifest::{Join, Manifest, Root};
use super::private::PrivateDir;
use super::spool::{Group, SpoolWriter};
use crate::report::json::{bytes, from_bytes};
use crate::sys::stale::StaleRetry;
use crate::sys::stat::FileId;
use crate::sys::{Kind, Time};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// Items as (names, bytes, ranges to be cut into).
fn items() -> impl Strategy<Value = Vec<(u64, u64, u64)>> {
    let bytes = prop_oneof![Just(0), 0..5000u64, 0..100_000_000u64, (0..40u32).prop_map(|shift| 1 << shift)];
    let names = prop_oneof![9 => Just(1u64), 1 => 1..20u64];
    let ranges = prop_oneof![19 => Just(1u64), 1 => 2..30u64];
    vec((names, bytes, ranges), 0..600)
}

/// Cuts a list of items as the plan would.
fn bundles(items: &[(u64, u64, u64)], parts: u64) -> (Scale, Weight, Vec<Bundle>) {
    let mut total = Weight::default();
    items.iter().for_each(|(files, bytes, _)| total.add(Weight { bytes: *bytes, files: *files }));
    let scale = Scale::new(total, parts);
    let mut bundler = Bundler::new(scale);
    for (at, (files, bytes, ranges)) in (0..).zip(items) {
        let size = Weight { bytes: *bytes, files: *files };
        match ranges {
            1 => bundler.item(at..at + 1, size),
            count => bundler.ranges(at..at + 1, size, *count),
        }
    }
    (scale, total, bundler.finish())
}

fn sums(bundles: &[Bundle], assigned: &[u64], parts: u64) -> Vec<Weight> {
    let mut sizes = vec![Weight::default(); usize::try_from(parts).unwrap()];
    for (bundle, part) in bundles.iter().zip(assigned) {
        sizes[usize::try_from(*part).unwrap()].add(bundle.size);
    }
    sizes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// The bound that the heading of balance.rs proves.
    #[test]
    fn no_part_is_beyond_the_bound(items in items(), parts in 1..40u64) {
        let (scale, total, bundles) = bundles(&items, parts);
        let sizes = sums(&bundles, &assign(scale, &bundles), parts);
        let bound = scale.bound(&bundles);
        let over = |part: u64, total: u64| part as f64 / (total.max(1) as f64 / parts as f64) - 1.0;
        for size in &sizes {
            prop_assert!(over(size.bytes, total.bytes) <= bound + 1e-9, "{size:?} of {total:?}, bound {bound}");
            prop_assert!(over(size.files, total.files) <= 2.0 * bound + 1e-9, "{size:?} of {total:?}");
        }
        let mut sum = Weight::default();
        sizes.iter().for_each(|size| sum.add(*size));
        prop_assert_eq!(sum, total);
    }

    /// Every item is in exactly one bundle, or all its ranges are bundles.
    #[test]
    fn bundles_cover_the_list_once(items in items(), parts in 1..40u64) {
        let mut next = 0;
        for bundle in bundles(&items, parts).2 {
            if let Some((range, count)) = bundle.range {
                prop_assert_eq!(bundle.at.clone(), next..next + 1);
                next += u64::from(range + 1 == count);
            } else {
                prop_assert_eq!(bundle.at.start, next);
                next = bundle.at.end;
            }
        }
        prop_assert_eq!(next, items.len() as u64);
    }

    #[test]
    fn lists_keep_any_name(names in vec(name(), 0..30), facts in facts()) {
        let dir = tempfile::tempdir().unwrap();
        let private = PrivateDir::open(dir.path()).unwrap();
        let mut writer = ListWriter::create(&private, "list").unwrap();
        names.iter().for_each(|name| writer.push(name, &facts).unwrap());
        writer.finish().unwrap();
        let read: Vec<_> = ListReader::<Facts>::open(&private, "list", &StaleRetry::default()).unwrap().map(Result::unwrap).collect();
        let expected: Vec<_> = names.into_iter().map(|name| (name, facts.clone())).collect();
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn the_spool_keeps_any_name(names in vec(name(), 1..30), facts in facts(), weight: u64) {
        let facts = Facts { range: None, ..facts };
        let dir = tempfile::tempdir().unwrap();
        let private = PrivateDir::open(dir.path()).unwrap();
        let mut writer = SpoolWriter::new("spool".into(), private.create("spool").unwrap());
        let groups = names.chunks(3).map(|names| Group { facts: facts.clone(), weight, names: names.to_vec() });
        let groups: Vec<_> = groups.collect();
        groups.iter().for_each(|group| writer.push(group).unwrap());
        let mut reader = writer.finish().unwrap();
        let mut end = 0;
        for group in &groups {
            let (read, at) = reader.next().unwrap().unwrap();
            prop_assert_eq!((&read, at.start), (group, end));
            end = at.end;
            reader.seek(at.start).unwrap();
            prop_assert_eq!(&reader.next().unwrap().unwrap(), &(read, at));
        }
        prop_assert_eq!(reader.next().unwrap(), None);
    }

    #[test]
    fn json_keeps_any_bytes(name in name(), facts in facts(), number: u64) {
        let text = bytes(&name).to_string();
        prop_assert_eq!(from_bytes(&serde_json::from_str(&text).unwrap()), Some(name.clone()));
        let facts = Facts { kind: Kind::RegularFile, range: None, ..facts };
        let join = Join { number, ranges: 3, facts, names: vec![name.clone(), name.clone()] };
        prop_assert_eq!(Join::parse(&join.json()), Some(join));
        let root = Root { path: name.clone(), id: FileId { dev: number, ino: 7 }, magic: 0xEF53 };
        let manifest = Manifest {
            job: "0123abcd".into(), machine: "m".into(), parts: number, arguments: vec![name.clone()],
            source: root.clone(), destination: root, name: Some(name.clone()), new_name: Some(name),
            failed: 1,
            errors: vec![json!({})], figures: json!({"a": 1}),
        };
        prop_assert_eq!(Manifest::parse(&manifest.json()), Some(manifest));
    }

    #[test]
    fn directory_facts_come_back(mode in 0..0o7777u32, uid: u32, time in time(), existed: bool) {
        let facts = DirFacts { mode, uid, gid: 7, atime: time, mtime: time, existed };
        let line = facts.to_string();
        prop_assert_eq!(DirFacts::parse(&mut line.split_ascii_whitespace()), Some(facts));
    }
}

fn name() -> impl Strategy<Value = OsString> {
    vec(1..=255u8, 1..40).prop_map(OsString::from_vec)
}

fn time() -> impl Strategy<Value = Time> {
    (any::<i64>(), 0..1_000_000_000u32).prop_map(|(sec, nsec)| Time { sec, nsec })
}

fn facts() -> impl Strategy<Value = Facts> {
    let kinds =
        prop_oneof![Just(Kind::RegularFile), Just(Kind::Symlink), Just(Kind::Fifo), Just(Kind::CharacterDevice)];
    let range = proptest::option::of((any::<u64>(), any::<u64>(), any::<u64>()));
    (kinds, any::<u64>(), time(), range).prop_map(|(kind, size, mtime, range)| {
        let range = range.map(|(start, end, join)| PlannedRange { bytes: start..end, join });
        Facts { kind, size, mtime, range }
    })
}

/// Many tiny files before the large ones, or each file twice as large as the one before: both in bytes and in
/// files, the parts are far closer than the bound.
#[test]
fn skewed_trees_are_shared_evenly() {
    let two_worlds: Vec<_> = (0..20_000).map(|at| (1, if at < 15_000 { 100 } else { 10_000_000 }, 1)).collect();
    let powers: Vec<_> = (0..20_000).map(|at| (1, 1u64 << (at % 24), 1)).collect();
    for items in [two_worlds, powers] {
        let (scale, total, bundles) = bundles(&items, 10);
        for size in sums(&bundles, &assign(scale, &bundles), 10) {
            let ratio = |part: u64, total: u64| part as f64 / (total as f64 / 10.0);
            assert!(ratio(size.bytes, total.bytes) < 1.05, "{size:?} of {total:?}");
            assert!(ratio(size.files, total.files) < 1.05, "{size:?} of {total:?}");
        }
    }
}

/// The bundles, all that a plan keeps in memory, do not grow with the tree.
#[test]
fn bundles_are_bounded_by_the_parts() {
    for files in [10_000, 300_000] {
        let items: Vec<_> = (0..files).map(|at| (1, at * 7919 % 4096, 1)).collect();
        let (_, _, bundles) = bundles(&items, 8);
        assert!(bundles.len() <= 2 * 64 * 8, "{} bundles for {files} files", bundles.len());
    }
}

#[test]
fn a_list_that_was_cut_off_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("list");
    std::fs::write(list.with_extension("names"), b"a\0b").unwrap();
    std::fs::write(list.with_extension("facts"), b"f 1 2.000000000\nf 1 2.000000000\n").unwrap();
    let private = PrivateDir::open(dir.path()).unwrap();
    let read: Vec<_> = ListReader::<Facts>::open(&private, "list", &StaleRetry::default()).unwrap().collect();
    assert!(read[0].is_ok() && read[1].is_err() && read.len() == 2, "{read:?}");
}

#[test]
fn what_is_published_is_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let private = PrivateDir::open(dir.path()).unwrap();
    assert_eq!(private.publish_json("record", &json!(1)), Ok(true));
    assert_eq!(private.publish_json("record", &json!(2)), Ok(false));
    assert_eq!(private.read_json("record", &StaleRetry::default()), Ok(Some(json!(1))));
    assert_eq!(private.names(), Ok(vec!["record".to_owned()]));
}
