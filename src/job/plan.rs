//! `--plan`: walks the source once and divides what it finds among the parts.
//!
//! The walk writes all names to one file, the spool. When the totals are known, the spool is read once to cut
//! it into bundles, and once more, bundle by bundle, to write the parts. So memory holds only the bundles
//! (their number depends on the parts alone), the inodes with names still missing, and the open directories
//! down to the current one.

use super::balance::{self, Bundle, Bundler, Scale, Weight};
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

/// The least size in bytes at which files are cut without `--split-over`: each range has a fixed cost.
const LEAST_SPLIT: u64 = 16 << 20;
/// The least size of a range in bytes without `--split-over`.
const LEAST_PIECE: u64 = 4 << 20;
/// Ranges begin at multiples of this: a multiple of any block size, and of the record size of most network
/// mounts.
const ALIGNMENT: u64 = 1 << 20;

/// The totals of the walk.
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
/// If there can be no plan. A failure about a single name is reported and recorded for `--finish`.
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
    let split = split_over(ctx, plan, &totals);
    // A file that is written through a symbolic link is not cut into ranges.
    let is_link = |name: &OsString| {
        let name = manifest.new_name.as_ref().unwrap_or(name);
        at::stat(&destination, name, Follow::No).is_ok_and(|stat| stat.is_symlink())
    };
    let figures = divide(&folder, spool, &manifest, &totals, (split, &is_link))?;
    let failures = ctx.reporter.kept_failures();
    folder.write_manifest(&Manifest {
        failed: ctx.reporter.failures(),
        errors: failures.iter().map(failure_json).collect(),
        figures,
        ..manifest
    })
}

/// Returns the size in bytes above which a file is cut into ranges.
fn split_over(ctx: &Context, plan: &Plan, totals: &Totals) -> u64 {
    let limits = &ctx.options.limits;
    // A file that has to share its blocks is cloned as a whole.
    if limits.cloning == Cloning::Require || limits.forced.as_deref() == Some(&[Strategy::Reflink]) {
        return u64::MAX;
    }
    let quarter = totals.size.bytes / plan.parts.get() / 4;
    plan.split_over.map_or(quarter.max(LEAST_SPLIT), |size| size.get())
}

/// Walks the source and writes directories and names to their files.
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

/// Returns the number of names of the inode that the plan has to collect.
fn expected_names(ctx: &Context, stat: &Stat) -> u64 {
    let options = &ctx.options;
    match options.dereference {
        _ if !options.preserve.links => 1,
        // Each symbolic link may add a name, and `nlink` does not count those.
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

/// Cuts the spool into bundles, assigns them to parts and writes the parts. Returns the figures.
fn divide(
    folder: &Folder,
    spool: spool::SpoolWriter,
    manifest: &Manifest,
    totals: &Totals,
    (split, is_link): (u64, &dyn Fn(&OsString) -> bool),
) -> Result<Value, Failure> {
    let mut spool = spool.finish()?;
    let scale = Scale::new(totals.size, manifest.parts);
    let mut bundler = Bundler::new(scale);
    let mut joins: BTreeMap<u64, Join> = BTreeMap::new();
    let piece = split.min((totals.size.bytes / manifest.parts / 8).max(LEAST_PIECE));
    while let Some(group) = next_group(&mut spool)? {
        let at = group.at.clone();
        let is_large = group.facts.kind == Kind::Regular && group.size.bytes > split;
        if is_large && !group.names.iter().any(is_link) {
            let pieces = group.size.bytes.div_ceil(piece).min(group.facts.size.div_ceil(ALIGNMENT)).max(1);
            bundler.pieces(at.clone(), group.size, pieces);
            let number = u64::try_from(joins.len()).unwrap_or(u64::MAX);
            joins.insert(at.start, Join { number, pieces, facts: group.facts, names: group.names });
        } else {
            bundler.item(at, group.size);
        }
    }
    let bundles = bundler.finish();
    let parts = balance::assign(scale, &bundles);
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

/// The names of one inode: for nearly all files, a single one.
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

/// Returns the offset at which range `piece` of a file begins and the range before it ends.
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
