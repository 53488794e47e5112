//! Whether an export is still what its manifest says.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use anyhow::Context as _;

use super::manifest::{MANIFEST, Manifest, SUMS};
use super::part;
use super::readme::README;

/// What was found.
pub(super) struct Verdict {
    /// How many files are as they were.
    pub(super) right: usize,
    /// What is not right, in words.
    pub(super) wrong: Vec<String>,
}

/// Looks at every file of the export in `root`.
///
/// # Errors
/// When it is no export, or its folders cannot be read.
pub(super) fn verify(root: &Path) -> anyhow::Result<Verdict> {
    let manifest =
        Manifest::read(root)?.with_context(|| format!("{} holds no export: there is no {MANIFEST}", root.display()))?;
    let mut verdict = Verdict { right: 0, wrong: Vec::new() };
    for part in &manifest.parts {
        match part::sum(&root.join(&part.path)) {
            Ok(sum) if sum.sha256 == part.sha256 && sum.bytes == part.bytes => verdict.right += 1,
            Ok(sum) if sum.bytes == part.bytes => verdict.wrong.push(format!("{} was changed", part.path)),
            Ok(sum) => {
                let was = part.bytes;
                verdict.wrong.push(format!("{} has {} bytes, and had {was}", part.path, sum.bytes));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                verdict.wrong.push(format!("{} is missing", part.path));
            }
            Err(error) => verdict.wrong.push(format!("{} cannot be read: {error}", part.path)),
        }
    }
    let mut known: BTreeSet<&str> = manifest.parts.iter().map(|part| part.path.as_str()).collect();
    known.extend([MANIFEST, SUMS, README]);
    let mut found = Vec::new();
    files(root, root, &mut found).with_context(|| format!("cannot read {}", root.display()))?;
    found.sort();
    for path in found.iter().filter(|path| !known.contains(path.as_str())) {
        verdict.wrong.push(format!(
            "{path} is not in the manifest; an export that was cut off leaves such, and the next one makes it good"
        ));
    }
    Ok(verdict)
}

/// The paths of the files in a folder and those in it, seen from `root`; without hidden ones.
fn files(root: &Path, dir: &Path, found: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if entry.file_type()?.is_dir() {
            files(root, &path, found)?;
        } else {
            found.push(path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned());
        }
    }
    Ok(())
}
