//! What is done with a stream's files at start: every start is a recovery, there is no flag that says "clean".
//!
//! Lines behind the committed length were written by a group that never got into the commit log. Those that are whole
//! stay (somebody may have read them), and their ids are handed to the drivers, so that what upstream sends again is
//! recognised. Where the first line that is not whole begins, the file is cut.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::Path;

use chrono::{DateTime, NaiveDate, Utc};

use crate::fs::Fs;
use crate::record::Line;

use super::cut::{Cuts, cut_to};
use super::name::{self, Form, Name};
use super::stream::Saved;

/// What recovery found.
#[derive(Debug, Default)]
pub struct Recovered {
    /// What the stream's entry in the commit log is to be now.
    pub saved: Option<Saved>,
    /// The lines behind the committed length that were whole.
    pub kept: Vec<Kept>,
    /// How many bytes of an unfinished line were cut.
    pub cut_bytes: u64,
    /// What is not as the commit log says.
    pub damage: Option<Damage>,
}

/// A line that was kept though no commit knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The record's source.
    pub source: String,
    /// The record's id.
    pub id: String,
    /// When it was observed, as the line has it.
    pub observed_at: String,
}

/// Something that the commit log says is there, and is not: the disk lied, or somebody changed the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Damage {
    /// The segment.
    pub segment: u64,
    /// The first byte that is missing.
    pub from: u64,
    /// The byte after the last that is missing.
    pub to: u64,
}

/// What the commit log tells of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// It was committed like this.
    Saved(Saved),
    /// Nothing of it was ever committed.
    Nothing,
    /// There is no log any more, so anything may have been.
    LogGone,
}

/// Looks at a stream's files, mends what a crash left, and says what there is.
pub(super) fn recover(fs: &dyn Fs, root: &Path, stream: &str, known: Known) -> io::Result<Recovered> {
    let saved = match known {
        Known::Saved(saved) => Some(Saved { cuts: Cuts::default(), ..saved }),
        Known::Nothing | Known::LogGone => None,
    };
    let files = segments_from(fs, root, stream, saved)?;
    let mut recovered = Recovered { saved, ..Recovered::default() };
    match known {
        Known::Saved(saved) => {
            let mut cuts = saved.cuts;
            cuts.apply(fs, root, stream)?;
            recover_active(fs, root, stream, Saved { cuts, ..saved }, &files, &mut recovered)?;
        }
        Known::Nothing => recover_unknown(fs, root, stream, &files, Counts::Record, &mut recovered)?,
        Known::LogGone => recover_unknown(fs, root, stream, &files, Counts::Ended, &mut recovered)?,
    }
    if let Some(after) = recovered.saved {
        recover_next(fs, root, stream, after, &files, &mut recovered)?;
    }
    Ok(recovered)
}

/// The segments on disk in the folders of the saved one's day and later, by number, and the one after it wherever it is.
///
/// Only those: a stream with years of days must not make each start read all of them. The next one can be in the folder
/// of an earlier day, when the clock was put back.
fn segments_from(fs: &dyn Fs, root: &Path, stream: &str, saved: Option<Saved>) -> io::Result<BTreeMap<u64, Name>> {
    let mut segments = BTreeMap::new();
    for dir in fs.list(&root.join(stream))? {
        let Some(day) = name::parse_day(&dir) else { continue };
        if let Some(saved) = saved.filter(|saved| day < saved.day) {
            let next = Name { number: saved.segment + 1, day, form: Form::Plain };
            if fs.len(&name::path(root, stream, next)).is_ok() {
                segments.insert(next.number, next);
            }
            continue;
        }
        for file in fs.list(&name::day_dir(root, stream, day))? {
            let parsed = name::parse(stream, day, &file);
            if let Some(found) = parsed.filter(|found| matches!(found.form, Form::Plain | Form::Zstd | Form::Gzip)) {
                segments.entry(found.number).or_insert(found);
            }
        }
    }
    Ok(segments)
}

/// The segment that the log calls active: everything committed must be there, and whole lines behind it are kept.
fn recover_active(
    fs: &dyn Fs,
    root: &Path,
    stream: &str,
    saved: Saved,
    files: &BTreeMap<u64, Name>,
    recovered: &mut Recovered,
) -> io::Result<()> {
    let active = Name { number: saved.segment, day: saved.day, form: Form::Plain };
    let path = name::path(root, stream, active);
    let len = match fs.len(&path) {
        Ok(len) => len,
        // Closed and compressed, which is only done with what is committed.
        Err(error) if error.kind() == io::ErrorKind::NotFound && files.contains_key(&saved.segment) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // What is not there cannot be appended to: the next line begins another segment.
            recovered.damage =
                Some(Damage { segment: saved.segment, from: 0, to: saved.len }).filter(|_| saved.len > 0);
            recovered.saved = Some(Saved { closed: true, ..saved });
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    if len < saved.len {
        recovered.damage = Some(Damage { segment: saved.segment, from: len, to: saved.len });
        let whole = scan(fs, &path, 0, len, Counts::Ended)?;
        cut(fs, &path, len, whole.end, recovered)?;
        recovered.saved = Some(Saved { len: whole.end, lines: whole.lines, closed: true, ..saved });
        return Ok(());
    }
    let tail = scan(fs, &path, saved.len, len, Counts::Record)?;
    cut(fs, &path, len, tail.end, recovered)?;
    recovered.saved = Some(Saved { len: tail.end, lines: saved.lines + tail.lines, ..saved });
    if tail.lines > 0 {
        make_durable(fs, &path)?;
    }
    recovered.kept.extend(tail.kept);
    Ok(())
}

/// A stream that the log does not know: its first group was never committed, or the log is gone.
///
/// If it is gone, nothing tells which lines were committed, so only an unfinished last line is cut.
fn recover_unknown(
    fs: &dyn Fs,
    root: &Path,
    stream: &str,
    files: &BTreeMap<u64, Name>,
    counts: Counts,
    recovered: &mut Recovered,
) -> io::Result<()> {
    let (Some((first, _)), Some((last, found))) = (files.first_key_value(), files.last_key_value()) else {
        return Ok(());
    };
    let mut saved = Saved {
        first: *first,
        segment: *last,
        day: found.day,
        len: 0,
        lines: 0,
        begun_at: begun_on(found.day),
        closed: true,
        cuts: Cuts::default(),
    };
    if found.form == Form::Plain {
        let path = name::path(root, stream, *found);
        let len = fs.len(&path)?;
        let whole = scan(fs, &path, 0, len, counts)?;
        cut(fs, &path, len, whole.end, recovered)?;
        make_durable(fs, &path)?;
        saved = Saved { len: whole.end, lines: whole.lines, closed: whole.end == 0, ..saved };
        recovered.kept.extend(whole.kept);
    }
    recovered.saved = Some(saved);
    Ok(())
}

/// The segment after the active one, if a group had begun it when the end came.
fn recover_next(
    fs: &dyn Fs,
    root: &Path,
    stream: &str,
    active: Saved,
    files: &BTreeMap<u64, Name>,
    recovered: &mut Recovered,
) -> io::Result<()> {
    for (&number, found) in files.range(active.segment + 1..).filter(|(_, found)| found.form == Form::Plain) {
        let path = name::path(root, stream, *found);
        let len = fs.len(&path)?;
        let tail = scan(fs, &path, 0, len, Counts::Record)?;
        if tail.kept.is_empty() {
            remove(fs, &path)?;
            continue;
        }
        let doubled = recovered.kept.iter().position(|kept| Some(kept) == tail.kept.first());
        if doubled.is_some_and(|index| recovered.kept.len() - index > tail.kept.len()) {
            // The end came while a group that was given up was written again: the earlier copy has more of it.
            remove(fs, &path)?;
            continue;
        }
        cut(fs, &path, len, tail.end, recovered)?;
        make_durable(fs, &path)?;
        if let Some(index) = doubled {
            drop_given_up(fs, root, stream, index, recovered)?;
        }
        let before = recovered.saved.unwrap_or(active);
        recovered.saved = Some(Saved {
            segment: number,
            day: found.day,
            len: tail.end,
            lines: tail.lines,
            begun_at: begun_on(found.day),
            closed: false,
            ..before
        });
        recovered.kept.extend(tail.kept);
    }
    Ok(())
}

/// A group whose first segment was given up stands in two: then the earlier copy goes, which begins with the kept line
/// of this index.
fn drop_given_up(fs: &dyn Fs, root: &Path, stream: &str, index: usize, recovered: &mut Recovered) -> io::Result<()> {
    let Some(mut saved) = recovered.saved else { return Ok(()) };
    let doubled = recovered.kept.split_off(index).len() as u64;
    let path = name::path(root, stream, Name { number: saved.segment, day: saved.day, form: Form::Plain });
    let len = fs.len(&path)?;
    let keep = saved.lines.saturating_sub(doubled);
    saved.len = end_of_line(fs, &path, keep)?;
    saved.lines = keep;
    recovered.saved = Some(saved);
    cut(fs, &path, len, saved.len, recovered)
}

/// Cuts a file for good: were the cut not durable, what was cut could be back after a loss of power, in a segment
/// that by then is closed and that nobody mends any more.
fn cut(fs: &dyn Fs, path: &Path, len: u64, end: u64, recovered: &mut Recovered) -> io::Result<()> {
    if end < len {
        cut_to(fs, path, end)?;
        recovered.cut_bytes += len - end;
    }
    Ok(())
}

/// Makes a file as it stands durable: lines that are taken up without a commit are on the disk before a commit says so,
/// and what the process before took back, as when there was no room, stays taken back when the power goes.
fn make_durable(fs: &dyn Fs, path: &Path) -> io::Result<()> {
    fs.open(path)?.sync()?;
    fs.sync_dir(folder(path))
}

/// Removes a file for good: its number is given to another, which may be in the folder of another day.
fn remove(fs: &dyn Fs, path: &Path) -> io::Result<()> {
    fs.remove(path)?;
    fs.sync_dir(folder(path))
}

fn folder(path: &Path) -> &Path {
    path.parent().expect("invariant: a segment is in a folder")
}

/// The day is all that is known of when such a segment was begun; rotation then comes early rather than late.
fn begun_on(day: NaiveDate) -> DateTime<Utc> {
    day.and_time(chrono::NaiveTime::MIN).and_utc()
}

#[derive(Debug, Default)]
struct Scan {
    /// The end of the last line that counts.
    end: u64,
    lines: u64,
    kept: Vec<Kept>,
}

/// What makes a line count.
#[derive(Clone, Copy, PartialEq)]
enum Counts {
    /// That it is a record of ours.
    Record,
    /// That it has a line feed, whatever it says.
    Ended,
}

/// Whose a line is, if it is a record of ours.
fn identify(line: &[u8]) -> Option<Kept> {
    let line = Line::parse(line).ok()?;
    let (source, id) = (line.source.into_owned(), line.id.into_owned());
    Some(Kept { source, id, observed_at: line.observed_at.into_owned() })
}

/// Reads the bytes from `from` to `to` of a file line by line, up to the first that does not count.
fn scan(fs: &dyn Fs, path: &Path, from: u64, to: u64, counts: Counts) -> io::Result<Scan> {
    let mut found = Scan { end: from, ..Scan::default() };
    if from == to {
        return Ok(found);
    }
    let mut bytes = Vec::new();
    fs.read_from(path, from)?.take(to - from).read_to_end(&mut bytes)?;
    let mut rest = bytes.as_slice();
    while let Some(feed) = memchr::memchr(b'\n', rest) {
        let (line, after) = rest.split_at(feed + 1);
        let kept = identify(line);
        if kept.is_none() && counts == Counts::Record {
            break;
        }
        found.kept.extend(kept);
        found.end += line.len() as u64;
        found.lines += 1;
        rest = after;
    }
    Ok(found)
}

/// Where the first `lines` lines of a file end.
fn end_of_line(fs: &dyn Fs, path: &Path, lines: u64) -> io::Result<u64> {
    let mut bytes = Vec::new();
    fs.read_from(path, 0)?.read_to_end(&mut bytes)?;
    let feeds = memchr::memchr_iter(b'\n', &bytes);
    let last = usize::try_from(lines).ok().and_then(|lines| feeds.take(lines).last());
    Ok(last.map_or(0, |feed| feed as u64 + 1))
}
