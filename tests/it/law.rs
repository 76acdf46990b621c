//! The rule for every copy that meets a fault: everything that zcp does not report is right, byte for byte, and
//! each report names an operation, a path and a reason. zcp ends by itself, with status 0 or 1.

use crate::sandbox::Sandbox;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

/// The lines of a run that report a failure each. After several failures, or if the copy gave up, the last line sums
/// them up.
pub(crate) fn failures(errors: &str) -> impl Iterator<Item = &str> {
    let reports = match errors.trim_end().rsplit_once('\n') {
        Some((reports, last)) if last.starts_with("zcp: copied ") => reports,
        _ => errors,
    };
    reports.lines()
}

/// Checks that a run of `zcp ... -T SRC DST` kept the rule.
#[track_caller]
pub(crate) fn assert_kept(sandbox: &Sandbox, source: &str, destination: &str, output: &Output) {
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(matches!(output.status.code(), Some(0 | 1)), "{} {errors}", output.status);
    assert!(!errors.contains("panicked"), "{errors}");
    assert_eq!(output.status.success(), errors.is_empty(), "{} {errors}", output.status);
    for line in failures(&errors) {
        let said = line.strip_prefix("zcp: ").unwrap_or_else(|| panic!("whose words are these: {line}"));
        let (operation, rest) = said.split_once('\'').unwrap_or_else(|| panic!("no path in {line}"));
        assert!(operation.trim().len() > 5 && rest.contains("': "), "no operation or reason in {line}");
    }
    let (here, there) = (contents(&sandbox.path(source)), contents(&sandbox.path(destination)));
    for (name, bytes) in &here {
        let named = |name: &Path| {
            let path = |root: &str| format!("'{}'", Path::new(root).join(name).display()).replace("/'", "'");
            errors.contains(&path(source)) || errors.contains(&path(destination))
        };
        let excused = name.ancestors().any(named);
        assert!(there.get(name) == Some(bytes) || excused, "{name:?} is wrong, and nobody says so:\n{errors}");
    }
    let strange: Vec<_> = there.keys().filter(|name| !here.contains_key(*name)).collect();
    assert!(strange.is_empty(), "left behind: {strange:?}");
}

/// The names below a directory, with the bytes of all files.
fn contents(root: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().map(Result::unwrap) {
            let (path, is_dir) = (entry.path(), entry.file_type().unwrap().is_dir());
            let bytes = (!is_dir).then(|| fs::read(&path).unwrap_or_default());
            found.insert(path.strip_prefix(root).unwrap().to_owned(), bytes);
            dirs.extend(is_dir.then_some(path));
        }
    }
    found
}
