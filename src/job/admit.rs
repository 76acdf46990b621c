//! Options that `--plan` refuses, because they make no sense when parts are copied separately, at once, or
//! again after a failure.

use crate::cli::Plan;
use crate::options::{Action, IfExists, Options};
use crate::report::Failure;

/// Returns the reason why these options cannot be planned, or `None`.
pub(super) fn refusal(plan: &Plan, options: &Options) -> Option<Failure> {
    let reasons = [
        (options.dry_run, "--plan does not go with --dry-run: it copies nothing, and says so"),
        (options.files_from.is_some(), "--plan does not go with --files-from: a list is a part by itself"),
        (
            plan.copy.sources.len() > 1,
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
