//! Who may read and write what: this user, who should be the service's, and everybody else.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use crate::config::{self, Http};

use super::case::Case;
use super::finding::{Finding, counted};

/// Others may read, others may write, and what they write stays theirs.
const READ_BY_ALL: u32 = 0o004;
const WRITTEN_BY_ALL: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// So many files that cannot be read are named.
const NAMED_MAX: usize = 5;

pub(super) fn check(case: &Case) -> Vec<Finding> {
    let user = rustix::process::geteuid();
    let mut findings = Vec::new();
    if user.is_root() {
        findings.push(Finding::warn(
            "this is root, who may read and write everything: what is said here holds for root alone",
            "run tapline, and this command, as a user of their own; nothing that tapline does needs root",
        ));
    }
    findings.extend(data(case, user.as_raw()));
    findings.extend(files(case));
    findings.extend(secrets(case));
    findings
}

fn may(path: &Path, access: Access) -> bool {
    rustix::fs::access(path, access).is_ok()
}

fn data(case: &Case, user: u32) -> Option<Finding> {
    let place = case.place();
    let name = place.name();
    let everything = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    let metadata = fs::metadata(&place.dir).ok()?;
    let owner = metadata.uid();
    if !may(&place.dir, everything) {
        return Some(Finding::bad(
            format!(
                "{name} cannot be read and written by this user ({user}); it is of user {owner}, mode {}",
                mode(&metadata)
            ),
            format!(
                "give it to the user of the service (chown {user} {}), or name another folder with `data:`",
                place.dir.display()
            ),
        ));
    }
    if place.is_data && metadata.mode() & WRITTEN_BY_ALL != 0 && metadata.mode() & STICKY == 0 {
        return Some(Finding::warn(
            format!("{name} can be written by everybody (mode {})", mode(&metadata)),
            format!("chmod o-w {}: whoever may write there can change what was collected", place.dir.display()),
        ));
    }
    let whose = if owner == user { String::new() } else { format!(", which is of user {owner}") };
    Some(Finding::ok(format!("{name} can be read and written by this user ({user}){whose}")))
}

fn mode(metadata: &Metadata) -> String {
    format!("{:03o}", metadata.mode() & 0o7777)
}

/// The files that the service reads.
fn files(case: &Case) -> Vec<Finding> {
    let (config, sources) = (&case.global.config, &case.global.sources);
    let mut closed: Vec<&Path> = Vec::new();
    if config.exists() && !may(config, Access::READ_OK) {
        closed.push(config);
    }
    if sources.exists() && !may(sources, Access::READ_OK | Access::EXEC_OK) {
        closed.push(sources);
    }
    closed.extend(case.sources.files.iter().map(PathBuf::as_path).filter(|file| !may(file, Access::READ_OK)));
    if closed.is_empty() {
        return vec![Finding::ok("the service's file and the sources can be read")];
    }
    let finding = |path: &&Path| {
        Finding::bad(
            format!("{} cannot be read by this user", path.display()),
            format!(
                "chmod u+r it, or give it to the user of the service (chown {})",
                rustix::process::geteuid().as_raw()
            ),
        )
    };
    closed.iter().take(NAMED_MAX).map(finding).collect()
}

/// Files that hold a secret: those that the YAML refers to, and the page's token.
fn secrets(case: &Case) -> Vec<Finding> {
    let texts = case.sources.files.iter().chain([&case.global.config]);
    let mut named: BTreeSet<PathBuf> =
        texts.filter_map(|file| fs::read_to_string(file).ok()).flat_map(|text| config::files_named(&text)).collect();
    if let Http::On(keys) = &case.settings.http {
        named.extend(keys.token_file.iter().filter(|file| file.exists()).cloned());
    }
    // In a container there is nobody else, and its secrets are mounted for all.
    let is_shared = case.machine.container().is_none();
    let mut findings: Vec<Finding> = named.iter().filter_map(|file| secret(file, is_shared)).collect();
    if findings.is_empty() && !named.is_empty() {
        findings.push(Finding::ok(format!(
            "{} with secrets can be read by whom it is for",
            counted(named.len() as u64, "file")
        )));
    }
    findings
}

fn secret(file: &Path, is_shared: bool) -> Option<Finding> {
    let shown = file.display();
    let Ok(metadata) = fs::metadata(file) else {
        return Some(Finding::bad(
            format!("the secret in {shown} is not there"),
            "make the file, or mend the `${file:…}` that names it",
        ));
    };
    if !may(file, Access::READ_OK) {
        return Some(Finding::bad(
            format!("the secret in {shown} cannot be read by this user"),
            format!("give the file to the user of the service (chown {} {shown})", rustix::process::geteuid().as_raw()),
        ));
    }
    let is_open = metadata.mode() & (READ_BY_ALL | WRITTEN_BY_ALL) != 0;
    (is_open && is_shared).then(|| {
        Finding::warn(
            format!("the secret in {shown} can be read by everybody on this machine (mode {})", mode(&metadata)),
            format!("chmod o-rwx {shown}, unless it is no secret"),
        )
    })
}
