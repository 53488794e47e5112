//! The programs that a tapline left running which was killed: they are ended before one is started again, or each would run twice.
//!
//! Nothing can be done at the moment of the kill: what the system offers for that (`PR_SET_PDEATHSIG`) has to be asked for
//! between `fork` and `exec`, which is unsafe code, is bound to the thread that forked, and holds for the program alone; and
//! a pipe that closes is noticed only by who looks at it. So the next start does it. It knows a program by the folder that
//! was made for it before it began: its name is in the program's environment, which all that it starts inherits, and its
//! process stands in a file in it, with the moment that it began and of which boot, for programs that write over their
//! environment. A number alone is never believed: it may be somebody else's by now.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use super::ending::PATIENCE;
use crate::scratch::{self, Left};

/// How the names of the folders of programs begin.
pub(super) const PREFIX: &str = "tapline-program-";

/// What says in a program's environment which folder is its.
pub(super) const MARK: &str = "TAPLINE_PROGRAM";

/// The file in that folder which says which process it is.
const FILE: &str = "process";

/// How often it is looked whether they have ended, of each way of telling them.
const PAUSE: Duration = Duration::from_millis(20);

/// A process that cannot be taken for a later one of the same number.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
struct Process {
    id: i32,
    /// In ticks since the machine was started.
    began: u64,
    boot: String,
}

impl Process {
    fn of(id: Pid) -> Option<Self> {
        let stat = stat_of(id)?;
        // Where the system tells nobody, it says so each time.
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Some(Self { id: id.as_raw_nonzero().get(), began: stat.began, boot: boot.trim().to_owned() })
    }
}

/// What the system says of a process.
struct Stat {
    is_over: bool,
    group: i32,
    began: u64,
}

fn stat_of(id: Pid) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{}/stat", id.as_raw_nonzero())).ok()?;
    // Its name may have anything in it, and ends at the last parenthesis: proc(5).
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let is_over = matches!(*fields.first()?, "Z" | "X");
    Some(Stat { is_over, group: fields.get(2)?.parse().ok()?, began: fields.get(19)?.parse().ok()? })
}

/// Writes into a program's folder which process it is.
///
/// # Errors
/// When there is no room.
pub(super) fn sign(folder: &Path, id: Pid) -> io::Result<()> {
    let Some(process) = Process::of(id) else { return Ok(()) };
    fs::write(folder.join(FILE), serde_json::to_string(&process)?)
}

/// Ends what a tapline left running that was killed, and removes the files that it was given. Blocks, for two seconds at most.
pub(super) fn end_all() {
    let left = scratch::left(PREFIX);
    if left.is_empty() {
        return;
    }
    let known: Vec<Known> = left.iter().filter_map(|left| Known::of(&left.path)).collect();
    let (_nobody, says) = mpsc::channel::<()>();
    let mut groups = BTreeSet::new();
    let mut is_said = false;
    for signal in [Signal::TERM, Signal::KILL] {
        for round in 0..PATIENCE.as_millis() / PAUSE.as_millis() {
            let running = running(&known, &mut groups);
            if running.is_empty() {
                break;
            }
            if !std::mem::replace(&mut is_said, true) {
                let processes = running.len();
                tracing::warn!(processes, "a tapline that was killed left programs running: they are ended");
            }
            // Whoever forks faster than it is looked is told each time to go at once.
            if round == 0 || signal == Signal::KILL {
                // They may have ended just now.
                for id in running {
                    kill_process(id, signal).ok();
                }
            }
            says.recv_timeout(PAUSE).ok();
        }
    }
    left.into_iter().for_each(Left::remove);
}

/// By what a program is known.
struct Known {
    mark: Vec<u8>,
    process: Option<Process>,
}

impl Known {
    fn of(folder: &Path) -> Option<Self> {
        let name = folder.file_name()?.to_str()?;
        let process = fs::read(folder.join(FILE)).ok().and_then(|text| serde_json::from_slice(&text).ok());
        Some(Self { mark: format!("{MARK}={name}").into_bytes(), process })
    }

    fn is(&self, id: Pid, environment: &[u8]) -> bool {
        environment.split(|byte| *byte == 0).any(|entry| self.mark == entry)
            || self.process.as_ref().is_some_and(|process| {
                process.id == id.as_raw_nonzero().get() && Process::of(id).is_some_and(|now| now == *process)
            })
    }
}

/// The processes that are there of these programs. Whoever is in a group of theirs belongs to them, whatever its environment, and
/// also when the others have gone: the number of a group is nobody else's as long as somebody is in it. Of other users'
/// environments nothing can be read, and so they are left alone.
fn running(known: &[Known], groups: &mut BTreeSet<i32>) -> Vec<Pid> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(id) = number.and_then(Pid::from_raw) else { continue };
        let Some(stat) = stat_of(id).filter(|stat| !stat.is_over) else { continue };
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        let is_known = known.iter().any(|known| known.is(id, &environment));
        if is_known && stat.group == id.as_raw_nonzero().get() {
            groups.insert(stat.group);
        }
        all.push((id, stat.group, is_known));
    }
    groups.retain(|group| all.iter().any(|(_, of, _)| of == group));
    all.into_iter().filter(|(_, group, is_known)| *is_known || groups.contains(group)).map(|(id, ..)| id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_number_and_the_moment_it_began() {
        let own = Process::of(rustix::process::getpid()).unwrap();
        assert!(own.began > 0);
        let folder = tempfile::tempdir().unwrap();
        sign(folder.path(), rustix::process::getpid()).unwrap();
        let known = Known::of(folder.path()).unwrap();
        assert_eq!(known.process.as_ref(), Some(&own));
        assert!(running(&[known], &mut BTreeSet::new()).contains(&rustix::process::getpid()));
        let later = Process { began: own.began + 1, ..own };
        let other = Known { mark: b"TAPLINE_PROGRAM=x".to_vec(), process: Some(later) };
        assert!(running(&[other], &mut BTreeSet::new()).is_empty());
    }
}
