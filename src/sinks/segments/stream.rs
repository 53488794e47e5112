//! One stream being written: its active segment, and the group of lines on its way there.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, TimeDelta, TimeZone as _, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use crate::config::{Compress, Retain, Rotate};
use crate::fs::{File, Fs};

use super::cut::{Cut, Cuts};
use super::name::{self, Form, Name};

/// What a stream is declared to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// The stream's name, which is its folder's under the data folder.
    pub name: Arc<str>,
    /// When a segment is closed.
    pub rotate: Rotate,
    /// How closed segments are compressed.
    pub compress: Compress,
    /// What is kept of them.
    pub retain: Retain,
    /// The zone that rotation and the days of folders are in.
    pub timezone: Tz,
    /// The name of the link to the active segment, in the data folder.
    pub link: Option<String>,
}

/// What the commit log holds of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// The oldest segment that is kept; those before it are deleted.
    pub first: u64,
    /// The active segment.
    pub segment: u64,
    /// The day of its folder.
    pub day: NaiveDate,
    /// Its committed length in bytes. Nobody reads beyond it.
    pub len: u64,
    /// The lines in that length.
    pub lines: u64,
    /// When it was begun.
    pub begun_at: DateTime<Utc>,
    /// Whether it is closed: the next line begins another.
    pub closed: bool,
    /// Earlier segments that end where it is said here, whatever their files say: they could not be made durable beyond.
    #[serde(default, rename = "cut", skip_serializing_if = "Cuts::is_empty")]
    pub cuts: Cuts,
}

/// How far the group at hand has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// There is none.
    Idle,
    /// In memory.
    Held,
    /// In the file.
    Written,
    /// On the disk.
    Synced,
}

/// Why a step failed, named by what the writer does about it.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// There is no room: the same step may be repeated later.
    #[error("no room on the disk")]
    Full(#[source] io::Error),
    /// The file is given up, and its lines go to a new segment: repeat at once.
    #[error("a segment was given up")]
    Poisoned(#[source] io::Error),
}

/// One stream being written.
pub(super) struct Stream {
    pub(super) spec: Spec,
    root: PathBuf,
    pub(super) saved: Option<Saved>,
    /// The segment that the group goes to, where it is not the saved one.
    next: Option<Saved>,
    file: Option<Box<dyn File>>,
    file_is_new: bool,
    /// The saved segment is as an earlier process left it: what that one took back may not be taken back on the disk.
    inherited: bool,
    pub(super) phase: Phase,
    held: Vec<u8>,
    held_lines: u64,
    /// How often a segment was given up for the group at hand.
    pub(super) failures: u32,
}

impl Stream {
    pub(super) fn new(root: &Path, spec: Spec, saved: Option<Saved>, sync: bool) -> Self {
        Self {
            spec,
            root: root.to_owned(),
            saved,
            next: None,
            file: None,
            file_is_new: false,
            inherited: sync && saved.is_some(),
            phase: Phase::Idle,
            held: Vec::new(),
            held_lines: 0,
            failures: 0,
        }
    }

    /// Takes lines into the group. Whole lines only: each ends with a line feed.
    pub(super) fn hold(&mut self, lines: &[u8], count: u64) {
        assert!(matches!(self.phase, Phase::Idle | Phase::Held), "a group that is being written takes no more lines");
        self.held.extend_from_slice(lines);
        self.held_lines += count;
        self.phase = Phase::Held;
    }

    /// Writes the group to the active segment, or to the next one where that is due.
    pub(super) fn write(&mut self, fs: &dyn Fs, now: DateTime<Utc>) -> Result<(), StepError> {
        let mut active = self.choose_segment(now);
        if self.is_new(&active) {
            self.settle(fs, &mut active).map_err(StepError::Poisoned)?;
        }
        if self.file.is_none() {
            self.open(fs, &active)?;
        }
        let file = self.file.as_mut().expect("invariant: opened above");
        if let Err(error) = file.append(&self.held) {
            return Err(self.undo(active, error));
        }
        self.next = Some(active);
        self.phase = Phase::Written;
        Ok(())
    }

    /// Makes the written group durable.
    pub(super) fn sync(&mut self, fs: &dyn Fs) -> Result<(), StepError> {
        let active = self.next.expect("invariant: a written group has its segment");
        let file = self.file.as_mut().expect("invariant: a written group has its file open");
        let dir = name::day_dir(&self.root, &self.spec.name, active.day);
        let synced = file.sync().and_then(|()| if self.file_is_new { fs.sync_dir(&dir) } else { Ok(()) });
        if let Err(error) = synced {
            self.give_up(active, &error);
            return Err(StepError::Poisoned(error));
        }
        self.file_is_new = false;
        self.inherited = false;
        self.phase = Phase::Synced;
        Ok(())
    }

    /// What the commit log is to hold once the group is in it.
    pub(super) fn after_commit(&self) -> Option<Saved> {
        let active = self.next?;
        Some(Saved { len: active.len + self.held.len() as u64, lines: active.lines + self.held_lines, ..active })
    }

    /// The group is committed: forgets it.
    pub(super) fn committed(&mut self, fs: &dyn Fs) {
        let Some(mut saved) = self.after_commit() else { return };
        // They stay in the log until the next frame; to repeat them changes nothing. Those that fail are tried again.
        saved.cuts.apply(fs, &self.root, &self.spec.name).ok();
        self.saved = Some(saved);
        self.next = None;
        self.held.clear();
        self.held_lines = 0;
        self.failures = 0;
        self.phase = Phase::Idle;
    }

    /// Closes the active segment when its time is over, though no line has come to begin another.
    pub(super) fn close_if_due(&mut self, now: DateTime<Utc>) -> Option<Saved> {
        self.saved.filter(|saved| self.phase == Phase::Idle && !saved.closed && self.is_due(saved, now))?;
        self.close()
    }

    /// Closes the active segment whatever its age, as when the form of its text rendering changes.
    pub(super) fn close(&mut self) -> Option<Saved> {
        let saved = self.saved.as_mut().filter(|saved| saved.len > 0)?;
        saved.closed = true;
        self.file = None;
        Some(*saved)
    }

    /// Gives up the segments before `first`.
    pub(super) fn set_first(&mut self, first: u64) -> Option<Saved> {
        for saved in [&mut self.saved, &mut self.next].into_iter().flatten() {
            saved.first = first.clamp(saved.first, saved.segment);
        }
        self.saved
    }

    /// Gives back the file handle. The next group opens the file again.
    pub(super) fn release(&mut self) {
        self.file = None;
    }

    pub(super) fn is_open(&self) -> bool {
        self.file.is_some()
    }

    fn choose_segment(&mut self, now: DateTime<Utc>) -> Saved {
        if let Some(chosen) = self.next {
            return chosen;
        }
        match self.saved {
            Some(saved) if !saved.closed && !self.is_due(&saved, now) => saved,
            Some(saved) => {
                self.file = None;
                self.segment_after(&saved, now)
            }
            None => Saved {
                first: 1,
                segment: 1,
                day: self.day_of(now),
                len: 0,
                lines: 0,
                begun_at: now,
                closed: false,
                cuts: Cuts::default(),
            },
        }
    }

    fn segment_after(&self, saved: &Saved, now: DateTime<Utc>) -> Saved {
        Saved {
            segment: saved.segment + 1,
            day: self.day_of(now),
            len: 0,
            lines: 0,
            begun_at: now,
            closed: false,
            ..*saved
        }
    }

    fn day_of(&self, now: DateTime<Utc>) -> NaiveDate {
        now.with_timezone(&self.spec.timezone).date_naive()
    }

    /// Whether a segment has reached its size or its time. An empty one never has.
    fn is_due(&self, saved: &Saved, now: DateTime<Utc>) -> bool {
        let every = TimeDelta::from_std(self.spec.rotate.every.0).unwrap_or(TimeDelta::MAX);
        let clock_went_back = now < saved.begun_at.checked_sub_signed(every).unwrap_or(DateTime::<Utc>::MIN_UTC);
        saved.len > 0
            && (saved.len >= self.spec.rotate.size.0
                || now >= closes_at(saved.begun_at, every, self.spec.timezone)
                || clock_went_back)
    }

    fn open(&mut self, fs: &dyn Fs, active: &Saved) -> Result<(), StepError> {
        let is_new = self.is_new(active);
        let path = self.path_of(active);
        let opened = if is_new {
            let dir = name::day_dir(&self.root, &self.spec.name, active.day);
            // A file of this name that is not in the log holds nothing that recovery did not already take up.
            fs.create_dir(&dir).and_then(|()| fs.remove(&path)).and_then(|()| fs.create(&path))
        } else {
            fs.open(&path)
        };
        match opened {
            Ok(file) => {
                self.file = Some(file);
                self.file_is_new = is_new;
                self.next = Some(*active);
                Ok(())
            }
            Err(error) if crate::fs::is_full(&error) => Err(StepError::Full(error)),
            Err(error) => {
                self.give_up(*active, &error);
                Err(StepError::Poisoned(error))
            }
        }
    }

    /// Makes an inherited segment durable as it stands, before another is begun: once it is closed nobody mends it any
    /// more. While lines are added to it, their sync does the same, so a start need not sync every stream.
    ///
    /// When that cannot be done, the commit log is to hold where it ends.
    ///
    /// # Errors
    /// When too many wait for that already.
    fn settle(&mut self, fs: &dyn Fs, active: &mut Saved) -> io::Result<()> {
        let Some(saved) = self.saved.filter(|_| std::mem::take(&mut self.inherited)) else { return Ok(()) };
        match fs.open(&self.path_of(&saved)).and_then(|mut file| file.sync()) {
            // Compressed, or gone.
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                if !self.cut(active, &saved) {
                    return Err(error);
                }
                // Also when there is no room for the segment yet: this is not found out a second time.
                self.next = Some(*active);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Notes for the commit log that a segment ends at its committed length. A disk on which too many of them wait to
    /// be shortened is called broken. Says whether there was room.
    fn cut(&mut self, next: &mut Saved, given_up: &Saved) -> bool {
        let is_noted = next.cuts.add(Cut { segment: given_up.segment, day: given_up.day, len: given_up.len });
        if !is_noted {
            self.failures = u32::MAX;
        }
        is_noted
    }

    /// Takes back a write that failed, so that no torn line is ever left where lines are read.
    fn undo(&mut self, active: Saved, error: io::Error) -> StepError {
        let file = self.file.as_mut().expect("invariant: it was just written to");
        if file.truncate(active.len).is_ok() && crate::fs::is_full(&error) {
            return StepError::Full(error);
        }
        self.give_up(active, &error);
        StepError::Poisoned(error)
    }

    /// Leaves a segment whose file cannot be trusted: it ends at its committed length, and the group, which is still
    /// held, goes to the one after it.
    fn give_up(&mut self, active: Saved, why: &io::Error) {
        // For want of room it may take as many as it takes.
        self.failures += u32::from(!crate::fs::is_full(why));
        self.inherited = false;
        if let Some(mut file) = self.file.take() {
            // Only tidier if it works now; the cut in the log is what counts.
            drop(file.truncate(active.len));
        }
        // A segment that no commit knows yet is made again under its own number, as another file.
        let mut next = active;
        if !self.is_new(&active) {
            next = Saved { segment: active.segment + 1, len: 0, lines: 0, closed: false, ..active };
            self.cut(&mut next, &active);
        }
        self.next = Some(next);
        self.phase = Phase::Held;
    }

    fn is_new(&self, active: &Saved) -> bool {
        self.saved.is_none_or(|saved| saved.segment != active.segment)
    }

    fn path_of(&self, saved: &Saved) -> PathBuf {
        name::path(&self.root, &self.spec.name, Name { number: saved.segment, day: saved.day, form: Form::Plain })
    }
}

/// The end of the period that `begun_at` falls into, periods being aligned to midnight in the zone.
fn closes_at(begun_at: DateTime<Utc>, every: TimeDelta, zone: Tz) -> DateTime<Utc> {
    let after = begun_at.checked_add_signed(every).unwrap_or(DateTime::<Utc>::MAX_UTC);
    let every = every.num_seconds().max(1);
    let local = begun_at.with_timezone(&zone).naive_local().and_utc().timestamp();
    let end = (local.div_euclid(every) + 1).saturating_mul(every);
    let Some(end) = DateTime::from_timestamp(end, 0) else { return after };
    // An hour that occurs twice can put the boundary in the past, and one that does not occur has none.
    let ends = zone.from_local_datetime(&end.naive_utc());
    ends.earliest()
        .into_iter()
        .chain(ends.latest())
        .map(|end| end.to_utc())
        .find(|end| *end > begun_at)
        .unwrap_or(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn periods_end_on_the_clock_of_the_zone() {
        let hour = TimeDelta::hours(1);
        let day = TimeDelta::days(1);
        for (begun, every, zone, expected) in [
            ("2026-11-23T07:04:05Z", hour, Tz::UTC, "2026-11-23T08:00:00Z"),
            ("2026-11-23T07:00:00Z", hour, Tz::UTC, "2026-11-23T08:00:00Z"),
            ("2026-11-23T07:04:05Z", hour, Tz::Asia__Kolkata, "2026-11-23T07:30:00Z"),
            ("2026-11-23T07:04:05Z", day, Tz::Asia__Kolkata, "2026-11-23T18:30:00Z"),
            // The clocks go forward: 02:00 does not occur, and the period ends an hour after it began at the latest.
            ("2026-03-08T06:30:00Z", hour, Tz::America__New_York, "2026-03-08T07:30:00Z"),
            // They go back: the second 01:30 ends at 02:00, not at a 02:00 that is past.
            ("2026-11-01T06:30:00Z", hour, Tz::America__New_York, "2026-11-01T07:00:00Z"),
            // In the hour that occurs twice, a quarter's end is the later of its two times.
            ("2026-11-01T06:10:00Z", TimeDelta::minutes(15), Tz::America__New_York, "2026-11-01T06:15:00Z"),
        ] {
            assert_eq!(closes_at(at(begun), every, zone), at(expected), "{begun} every {every} in {zone}");
        }
    }
}
