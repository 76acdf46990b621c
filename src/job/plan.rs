//! `--plan`: walks the source once and divides what it finds among the parts.
//!
//! The walk writes all names to one file, the spool. When the totals are known, the spool is read once to cut
//! it into bundles, and once more, bundle by bundle, to write the parts. So memory holds only the bundles
//! (their number depends on the parts alone), the inodes with names still missing, and the open directories
//! down to the current one.

use super::Plan;
use super::balance::{self, Bundle, Bundler, Scale, Weight};
use super::facts::{DirFacts, Facts, PlannedRange};
use super::folder::{DIRECTORIES, Folder, JOINS};
use super::lists::{ListWriter, ROOT};
use super::manifest::{Join, Manifest};
use super::roots::{self, JobRoots};
use super::spool::{Group, Inodes, SpoolReader, SpoolWriter};
use crate::context::Context;
use crate::error::{Failure, Operation};
use crate::options::{Action, Dereference, IfExists, Options};
use crate::report::stats::failure_json;
use crate::sys::at::{self, Follow};
use crate::sys::{Kind, Stat, proc};
use crate::transfer::Strategy;
use crate::transfer::route::Cloning;
use crate::walk::source_walk::{SourceEntry, SourceWalk};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::sync::Arc;

/// The least size in bytes at which files are cut without `--split-over`: each range has a fixed cost.
const LEAST_SPLIT: u64 = 16 << 20;
/// The least size of a range in bytes without `--split-over`.
const LEAST_RANGE: u64 = 4 << 20;
/// Ranges begin at multiples of this: a multiple of any block size, and of the record size of most network
/// mounts.
const ALIGNMENT: u64 = 1 << 20;

#[derive(Debug, Default)]
struct Totals {
    size: Weight,
    inodes: u64,
    directories: u64,
    largest: u64,
}

/// Returns the reason why a copy with these options cannot be planned: they make no sense when parts are copied
/// separately, at once, or again after a failure.
pub(super) fn refusal(plan: &Plan, options: &Options) -> Option<Failure> {
    let reasons = [
        (options.dry_run, "--plan does not go with --dry-run: it copies nothing, and says so"),
        (options.files_from.is_some(), "--plan does not go with --files-from: a list is a part by itself"),
        (
            plan.sources.len() > 1,
            "--plan takes one SOURCE: plan each by itself, or the directory that they are in",
        ),
        (options.if_exists == IfExists::Ask, "--plan does not go with -i: a part has nobody to ask"),
        (
            options.backup.is_some(),
            "--plan does not go with backups: a repeated part would back up its own copies",
        ),
        (
            options.update || options.never_replaces(),
            "--plan does not go with -n, -u or --update: what a repeated part finds may be its own copy",
        ),
        (options.parents, "--plan does not go with --parents: name the directory to copy into"),
        (
            options.action != Action::Copy || options.attributes_only,
            "--plan does not go with -l, -s or --attributes-only: no data moves, so there is nothing to share out",
        ),
        (
            options.read_special && options.recursive,
            "--plan does not go with --copy-contents: what a stream gave cannot be read again",
        ),
    ];
    reasons.into_iter().find(|(applies, _)| *applies).map(|(_, words)| Failure::plain(words))
}

/// Makes the plan. A failure about a single name is reported and recorded for `--finish`.
pub(super) fn plan(ctx: &Arc<Context>, plan: &Plan) -> Result<(), Failure> {
    let operands = plan.options.operands(plan.sources.clone(), plan.destination.clone());
    let (roots, folder, spool) = roots::resolve(ctx, operands, &plan.folder)?;
    let JobRoots { source: (source, source_fd), destination: (root, destination), existed, file } = roots;
    let mut list = SourceList { spool: SpoolWriter::new(folder.spool(), spool), totals: Totals::default() };
    let mut directories = ListWriter::create(&folder.root, DIRECTORIES)?;
    match &file {
        Some((name, stat, _)) => list.push(&Group::of(stat, name.clone()))?,
        None => {
            let cannot = |errno| Failure::new(Operation::Access, &source.path).errno(errno);
            let source_walk = SourceWalk::new(ctx, source_fd, source.path.clone()).map_err(cannot)?;
            let is_dir = |path: &OsStr| at::stat(&destination, path, Follow::No).is_ok_and(|stat| stat.is_dir());
            list.walk(&ctx.options, source_walk, &mut directories, |path| existed && is_dir(path))?;
        }
    }
    directories.finish()?;
    if ctx.run.stop.is_raised() {
        return Ok(());
    }
    let SourceList { spool, totals } = list;
    let (name, new_name) = file.map(|(name, _, new_name)| (name, new_name)).unzip();
    let split = split_over(&ctx.options, plan, &totals);
    // A file that is written through a symbolic link is not cut into ranges.
    let is_link = |name: &OsString| {
        let name = new_name.as_ref().unwrap_or(name);
        at::stat(&destination, name, Follow::No).is_ok_and(|stat| stat.is_symlink())
    };
    let parts = plan.parts.get();
    let figures = divide(&folder, spool, parts, &totals, (split, &is_link))?;
    folder.write_manifest(&Manifest {
        job: format!("{:032x}", proc::random()),
        machine: proc::machine(),
        parts,
        arguments: plan.arguments.clone(),
        source,
        destination: root,
        name,
        new_name,
        failed: ctx.events.failures(),
        errors: ctx.events.kept_failures().iter().map(failure_json).collect(),
        figures,
    })
}

/// Returns the size in bytes above which a file is cut into ranges.
fn split_over(options: &Options, plan: &Plan, totals: &Totals) -> u64 {
    let limits = &options.limits;
    // A file that has to share its blocks is cloned as a whole.
    if limits.cloning == Cloning::Require || limits.forced.as_deref() == Some(&[Strategy::Reflink]) {
        return u64::MAX;
    }
    let quarter = totals.size.bytes / plan.parts.get() / 4;
    plan.split_over.map_or(quarter.max(LEAST_SPLIT), |size| size.get())
}

struct SourceList {
    spool: SpoolWriter,
    totals: Totals,
}

impl SourceList {
    fn push(&mut self, group: &Group) -> Result<(), Failure> {
        self.totals.size.add(size_of(group));
        self.totals.inodes += 1;
        self.totals.largest = self.totals.largest.max(group.weight);
        self.spool.push(group)
    }

    /// Walks the source and writes directories and names to their files.
    fn walk(
        &mut self,
        options: &Options,
        source_walk: SourceWalk<'_>,
        directories: &mut ListWriter,
        existed: impl Fn(&OsStr) -> bool,
    ) -> Result<(), Failure> {
        let mut inodes = Inodes::default();
        for SourceEntry { path, stat } in source_walk {
            if stat.is_dir() {
                let path = if path.is_empty() { OsString::from(ROOT) } else { path };
                directories.push(&path, &DirFacts::of(&stat, existed(&path)))?;
                self.totals.directories += 1;
            } else if let Some(group) = inodes.add(&stat, path, expected_names(options, &stat)) {
                self.push(&group)?;
            }
        }
        inodes.rest().iter().try_for_each(|group| self.push(group))
    }
}

fn expected_names(options: &Options, stat: &Stat) -> u64 {
    match options.dereference {
        _ if !options.preserve.links => 1,
        // Each symbolic link may add a name, and `nlink` does not count those.
        Dereference::Always => u64::MAX,
        _ => stat.nlink,
    }
}

fn size_of(group: &Group) -> Weight {
    Weight { bytes: group.weight, files: group.names.len() as u64 }
}

/// Cuts the spool into bundles, assigns them to parts and writes the parts. Returns the figures.
fn divide(
    folder: &Folder,
    spool: SpoolWriter,
    parts: u64,
    totals: &Totals,
    (split, is_link): (u64, &dyn Fn(&OsString) -> bool),
) -> Result<Value, Failure> {
    let mut spool = spool.finish()?;
    let scale = Scale::new(totals.size, parts);
    let mut bundler = Bundler::new(scale);
    let mut joins: BTreeMap<u64, Join> = BTreeMap::new();
    let range = split.min((totals.size.bytes / parts / 8).max(LEAST_RANGE));
    while let Some((group, at)) = spool.next()? {
        let size = size_of(&group);
        let is_large = group.facts.kind == Kind::RegularFile && size.bytes > split;
        if is_large && !group.names.iter().any(is_link) {
            let ranges = size.bytes.div_ceil(range).min(group.facts.size.div_ceil(ALIGNMENT)).max(1);
            bundler.ranges(at.clone(), size, ranges);
            let number = joins.len() as u64;
            joins.insert(at.start, Join { number, ranges, facts: group.facts, names: group.names });
        } else {
            bundler.item(at, size);
        }
    }
    let bundles = bundler.finish();
    let mut sizes = vec![Weight::default(); usize::try_from(parts).unwrap_or(0)];
    let mut of_part: Vec<Vec<&Bundle>> = vec![Vec::new(); sizes.len()];
    for (bundle, part) in bundles.iter().zip(balance::assign(scale, &bundles)) {
        let part = usize::try_from(part).unwrap_or(0);
        of_part[part].push(bundle);
        sizes[part].add(bundle.size);
    }
    for (part, bundles) in (0..).zip(of_part) {
        write_part(folder, part, &bundles, &mut spool, &joins)?;
    }
    let joins: Vec<Value> = joins.values().map(Join::json).collect();
    folder.root.write_json(JOINS, &json!(joins))?;
    Ok(figures(totals, parts, &sizes, scale.bound(&bundles), joins.len(), split))
}

/// Returns the offset at which range `index` of `count` begins and the range before it ends.
fn cut(size: u64, index: u64, count: u64) -> u64 {
    if index == count {
        return size;
    }
    let exact = u128::from(size) * u128::from(index) / u128::from(count);
    u64::try_from(exact).unwrap_or(size) / ALIGNMENT * ALIGNMENT
}

fn write_part(
    folder: &Folder,
    part: u64,
    bundles: &[&Bundle],
    spool: &mut SpoolReader,
    joins: &BTreeMap<u64, Join>,
) -> Result<(), Failure> {
    let mut list = ListWriter::create(&folder.parts, &part.to_string())?;
    for bundle in bundles {
        spool.seek(bundle.at.start)?;
        if let (Some((index, count)), Some(join)) = (bundle.range, joins.get(&bundle.at.start)) {
            let size = join.facts.size;
            let bytes = cut(size, index, count)..cut(size, index + 1, count);
            let range = Some(PlannedRange { bytes, join: join.number });
            list.push(join.first(), &Facts { range, ..join.facts.clone() })?;
            continue;
        }
        while let Some((group, _)) = spool.next()?.filter(|(_, at)| at.end <= bundle.at.end) {
            group.names.iter().try_for_each(|name| list.push(name, &group.facts))?;
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
