//! `--plan`: one walk of the source, and what it finds shared out to the parts.
//!
//! The walk writes all names to one file, the spool. When the totals are known, the spool is read once
//! to cut it into bundles, and once more, bundle by bundle, to write the parts. So what is in memory is
//! the bundles (their number depends on the parts alone), inodes with names yet to come, and the way
//! down to the directory in hand.

use super::balance::{self, Batcher, Bundle, Scale, Weight};
use super::facts::{DirFacts, Facts, PlannedRange};
use super::folder::{DIRECTORIES, Folder, JOINS};
use super::inodes::{Group, Inodes};
use super::joins::Join;
use super::lists::{ListWriter, ROOT};
use super::manifest::Manifest;
use super::{roots, spool};
use crate::cli::Plan;
use crate::context::Context;
use crate::options::Dereference;
use crate::report::Failure;
use crate::report::stats::failure_json;
use crate::sys::at::{self, Follow};
use crate::sys::{Kind, Stat, proc};
use crate::transfer::Strategy;
use crate::transfer::route::Cloning;
use crate::walk::source_walk::{SourceEntry, SourceWalk};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

/// Files of less are never cut, unless `--split-over` says so: a range has a cost of its own.
const LEAST_SPLIT: u64 = 16 << 20;
/// Ranges are no smaller, unless `--split-over` says so.
const LEAST_PIECE: u64 = 4 << 20;
/// Where ranges begin: a multiple of any block size, and of the record size of most network mounts.
const ALIGNMENT: u64 = 1 << 20;

/// Counts of what was found.
#[derive(Debug, Default)]
struct Totals {
    size: Weight,
    inodes: u64,
    directories: u64,
    largest: u64,
}

/// Makes the plan.
///
/// # Errors
/// When there is none. What could not be looked at is reported, and noted for the finish.
pub(super) fn plan(ctx: &Context, plan: &Plan) -> Result<(), Failure> {
    let copy = &plan.copy;
    let operands = copy.options.operands(copy.sources.clone(), copy.destination.clone());
    let roots = roots::resolve(ctx, operands, &plan.folder)?;
    let folder = roots.folder;
    let manifest = Manifest {
        job: format!("{:032x}", proc::random()),
        machine: proc::machine(),
        parts: plan.parts.get(),
        arguments: plan.arguments.clone(),
        source: roots.source,
        destination: roots.destination,
        new_name: roots.new_name,
        failed: 0,
        errors: Vec::new(),
        figures: Value::Null,
    };
    let destination = roots.destination_fd;
    let mut spool = spool::SpoolWriter::new(folder.spool(), roots.spool);
    let totals = match &roots.file {
        Some((name, stat)) => {
            ListWriter::create(&folder.root, DIRECTORIES)?.finish()?;
            let mut totals = Totals::default();
            push(&mut spool, &mut totals, &Group::of(stat, name.clone()))?;
            totals
        }
        None => {
            let destination = roots.existed.then_some(&destination);
            let source = manifest.source.path.clone();
            let cannot = |errno| Failure::new("cannot access {}", &source).errno(errno);
            let source_walk = SourceWalk::new(ctx, roots.source_fd, source.clone()).map_err(cannot)?;
            let existed = |path: &OsStr| {
                let stat = destination.map(|fd| at::stat(fd, path, Follow::No));
                stat.is_some_and(|stat| stat.is_ok_and(|stat| stat.is_dir()))
            };
            list_source(ctx, source_walk, &folder, &mut spool, existed)?
        }
    };
    if ctx.stop.is_raised() {
        return Ok(());
    }
    let split = if may_split(ctx) { split_over(plan, &totals) } else { u64::MAX };
    // What is written through a symbolic link is written as a whole.
    let is_link = |name: &OsString| {
        let name = manifest.new_name.as_ref().unwrap_or(name);
        at::stat(&destination, name, Follow::No).is_ok_and(|stat| stat.is_symlink())
    };
    let figures = share_out(&folder, spool, &manifest, &totals, (split, &is_link))?;
    let failures = ctx.reporter.kept_failures();
    folder.write_manifest(&Manifest {
        failed: ctx.reporter.failures(),
        errors: failures.iter().map(failure_json).collect(),
        figures,
        ..manifest
    })
}

/// Files that are to share blocks can only do so as a whole.
fn may_split(ctx: &Context) -> bool {
    let limits = &ctx.options.limits;
    limits.cloning != Cloning::Require && limits.forced.as_deref() != Some(&[Strategy::Reflink])
}

fn split_over(plan: &Plan, totals: &Totals) -> u64 {
    let quarter = totals.size.bytes / plan.parts.get() / 4;
    plan.split_over.map_or(quarter.max(LEAST_SPLIT), |size| size.get())
}

/// Walks, and writes down directories and names.
fn list_source(
    ctx: &Context,
    source_walk: SourceWalk<'_>,
    folder: &Folder,
    spool: &mut spool::SpoolWriter,
    existed: impl Fn(&OsStr) -> bool,
) -> Result<Totals, Failure> {
    let mut directories = ListWriter::create(&folder.root, DIRECTORIES)?;
    let mut totals = Totals::default();
    let mut inodes = Inodes::default();
    for SourceEntry { path, stat } in source_walk {
        if stat.is_dir() {
            let path = if path.is_empty() { OsString::from(ROOT) } else { path };
            let facts = DirFacts::of(&stat, existed(&path));
            directories.push(&path, &facts)?;
            totals.directories += 1;
        } else if let Some(group) = inodes.add(&stat, path, expected_names(ctx, &stat)) {
            push(spool, &mut totals, &group)?;
        }
    }
    for group in inodes.rest() {
        push(spool, &mut totals, &group)?;
    }
    directories.finish()?;
    Ok(totals)
}

/// How many names of the inode have to be brought together.
fn expected_names(ctx: &Context, stat: &Stat) -> u64 {
    let options = &ctx.options;
    match options.dereference {
        _ if !options.preserve.links => 1,
        // Symbolic links add names that nobody counts.
        Dereference::Always => u64::MAX,
        _ => stat.nlink,
    }
}

fn push(spool: &mut spool::SpoolWriter, totals: &mut Totals, group: &Group) -> Result<(), Failure> {
    let mut names = u64::try_from(group.names.len()).unwrap_or(u64::MAX);
    totals.size.add(Weight { bytes: group.weight, files: names });
    totals.inodes += 1;
    totals.largest = totals.largest.max(group.weight);
    for name in &group.names {
        spool.push(&group.facts, group.weight, std::mem::take(&mut names), name)?;
    }
    Ok(())
}

/// Cuts the spool into bundles, deals them, and writes the parts. Gives the figures.
fn share_out(
    folder: &Folder,
    spool: spool::SpoolWriter,
    manifest: &Manifest,
    totals: &Totals,
    (split, is_link): (u64, &dyn Fn(&OsString) -> bool),
) -> Result<Value, Failure> {
    let mut spool = spool.finish()?;
    let scale = Scale::new(totals.size, manifest.parts);
    let mut batcher = Batcher::new(scale);
    let mut joins: BTreeMap<u64, Join> = BTreeMap::new();
    let piece = split.min((totals.size.bytes / manifest.parts / 8).max(LEAST_PIECE));
    while let Some(group) = next_group(&mut spool)? {
        let at = group.at.clone();
        let is_large = group.facts.kind == Kind::Regular && group.size.bytes > split;
        if is_large && !group.names.iter().any(is_link) {
            let pieces = group.size.bytes.div_ceil(piece).min(group.facts.size.div_ceil(ALIGNMENT)).max(1);
            batcher.pieces(at.clone(), group.size, pieces);
            let number = u64::try_from(joins.len()).unwrap_or(u64::MAX);
            joins.insert(at.start, Join { number, pieces, facts: group.facts, names: group.names });
        } else {
            batcher.item(at, group.size);
        }
    }
    let bundles = batcher.finish();
    let parts = balance::deal(scale, &bundles);
    let mut sizes = vec![Weight::default(); usize::try_from(manifest.parts).unwrap_or(0)];
    let mut of_part: Vec<Vec<&Bundle>> = vec![Vec::new(); sizes.len()];
    for (bundle, part) in bundles.iter().zip(parts) {
        let part = usize::try_from(part).unwrap_or(0);
        of_part[part].push(bundle);
        sizes[part].add(bundle.size);
    }
    for (part, bundles) in (0..).zip(of_part) {
        write_part(folder, part, &bundles, &mut spool, &joins)?;
    }
    let joins: Vec<Value> = joins.values().map(Join::json).collect();
    folder.root.write_json(JOINS, &json!(joins))?;
    Ok(figures(totals, manifest.parts, &sizes, scale.bound(&bundles), joins.len(), split))
}

/// The names of one inode; of nearly all files that is one.
struct PlannedNames {
    facts: Facts,
    names: Vec<OsString>,
    size: Weight,
    at: std::ops::Range<u64>,
}

fn next_group(spool: &mut spool::SpoolReader) -> Result<Option<PlannedNames>, Failure> {
    let Some(first) = spool.next()? else { return Ok(None) };
    let size = Weight { bytes: first.weight, files: first.names };
    let mut group = PlannedNames { facts: first.facts, names: vec![first.path], size, at: first.at };
    for _ in 1..first.names {
        let Some(record) = spool.next()? else { break };
        group.names.push(record.path);
        group.at.end = record.at.end;
    }
    Ok(Some(group))
}

/// Where a piece of a file begins, which is where the one before it ends.
fn cut(size: u64, piece: u64, pieces: u64) -> u64 {
    if piece == pieces {
        return size;
    }
    let exact = u128::from(size) * u128::from(piece) / u128::from(pieces);
    u64::try_from(exact).unwrap_or(size) / ALIGNMENT * ALIGNMENT
}

fn write_part(
    folder: &Folder,
    part: u64,
    bundles: &[&Bundle],
    spool: &mut spool::SpoolReader,
    joins: &BTreeMap<u64, Join>,
) -> Result<(), Failure> {
    let mut list = ListWriter::create(&folder.parts, &part.to_string())?;
    for bundle in bundles {
        spool.seek(bundle.at.start)?;
        if let (Some((piece, pieces)), Some(join)) = (bundle.piece, joins.get(&bundle.at.start)) {
            let size = join.facts.size;
            let piece =
                PlannedRange { range: cut(size, piece, pieces)..cut(size, piece + 1, pieces), join: join.number };
            let facts = Facts { piece: Some(piece), ..join.facts.clone() };
            let name = join.names.first().map(OsString::as_os_str).unwrap_or_default();
            list.push(name, &facts)?;
            continue;
        }
        while let Some(record) = spool.next()?.filter(|record| record.at.end <= bundle.at.end) {
            list.push(&record.path, &record.facts)?;
        }
    }
    list.finish()
}

fn figures(totals: &Totals, parts: u64, sizes: &[Weight], bound: f64, joins: usize, split: u64) -> Value {
    let measure = |of: fn(&Weight) -> u64, total: u64, bound: f64| {
        let largest = sizes.iter().map(of).max().unwrap_or(0);
        let mean = total as f64 / parts as f64;
        let over_mean = if total == 0 { 1.0 } else { largest as f64 / mean };
        json!({"total": total, "largest_part": largest, "mean": mean, "largest_over_mean": over_mean, "bound": 1.0 + bound})
    };
    json!({
        "bytes": measure(|size| size.bytes, totals.size.bytes, bound),
        "files": measure(|size| size.files, totals.size.files, 2.0 * bound),
        "inodes": totals.inodes,
        "directories": totals.directories,
        "largest_file": totals.largest,
        "joined_files": joins,
        "split_over": (split != u64::MAX).then_some(split),
    })
}
