//! The programs that a tapline left running which was killed: they are ended before one is started again, or each would run twice.
//!
//! Nothing can be done at the moment of the kill: what the system offers for that (`PR_SET_PDEATHSIG`) has to be asked for
//! between `fork` and `exec`, which is unsafe code, is bound to the thread that forked, and holds for the program alone; and
//! a pipe that closes is noticed only by who looks at it. So the next start does it. It knows a program by the folder that
//! was made for it before it began: its name is in the program's environment, which all that it starts inherits, and its
//! process stands in a file in it, with the moment that it began and of which boot, for programs that write over their
//! environment. A number alone is never believed: it may be somebody else's by now.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
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
    let mut is_said = false;
    for (signal, patience) in [(Signal::TERM, PATIENCE), (Signal::KILL, PATIENCE)] {
        let (_nobody, says) = mpsc::channel::<()>();
        for round in 0..patience.as_millis() / PAUSE.as_millis() {
            let running = running(&known);
            if running.is_empty() {
                break;
            }
            if !std::mem::replace(&mut is_said, true) {
                tracing::warn!(
                    processes = running.len(),
                    "a tapline that was killed left programs running: they are ended"
                );
            }
            // Whoever forks faster than it is looked is told each time to go at once.
            if round == 0 || signal == Signal::KILL {
                running.iter().for_each(|process| process.tell(signal));
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
}

/// A process that is left.
struct Running {
    id: Pid,
    leads: bool,
}

impl Running {
    /// A group is told as a whole: whoever in it has another environment is known by nothing else.
    fn tell(&self, signal: Signal) {
        // It may have ended just now.
        if self.leads {
            kill_process_group(self.id, signal).ok();
        } else {
            kill_process(self.id, signal).ok();
        }
    }
}

/// The processes that are there of these programs. Of others' environments nothing can be read, and so they are left alone.
fn running(known: &[Known]) -> Vec<Running> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(id) = number.and_then(Pid::from_raw) else { continue };
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        let is_known = environment.split(|byte| *byte == 0).any(|entry| known.iter().any(|known| known.mark == entry))
            || known.iter().filter_map(|known| known.process.as_ref()).any(|process| {
                process.id == id.as_raw_nonzero().get() && Process::of(id).is_some_and(|now| now == *process)
            });
        let Some(stat) = stat_of(id).filter(|stat| is_known && !stat.is_over) else { continue };
        found.push(Running { id, leads: stat.group == id.as_raw_nonzero().get() });
    }
    found
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
        assert_eq!(running(&[known]).len(), 1);
        let later = Process { began: own.began + 1, ..own };
        assert_eq!(running(&[Known { mark: b"TAPLINE_PROGRAM=x".to_vec(), process: Some(later) }]).len(), 0);
    }
}
