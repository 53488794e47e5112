//! Reading a stream's committed lines, from any position on, across segments, days and compression.
//!
//! A position is a segment and an offset in its uncompressed bytes, so it stays valid when the segment is compressed
//! or when its day's folder fills up. Readers are told how far lines are committed and never go beyond.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::fs::Fs;
use crate::sink::{Committed, Position};

use super::compress;
use super::name::{self, Form, Name};
use super::stream::Saved;

impl From<&Saved> for Committed {
    fn from(saved: &Saved) -> Self {
        let end = Position { segment: saved.segment, offset: saved.len };
        Self { first: saved.first, end, ends: saved.cuts.ends() }
    }
}

/// Reads one stream's committed lines in order.
pub struct Reader {
    fs: Arc<dyn Fs>,
    root: PathBuf,
    stream: Arc<str>,
    position: Position,
    open: Option<(Name, Box<dyn Read + Send>)>,
    /// What was read of the open file behind the last whole line.
    rest: Vec<u8>,
    /// The files of the stream when they were last looked at.
    files: BTreeMap<u64, Name>,
}

impl Reader {
    /// A reader of `stream` under the data folder `root`, from `position` on.
    pub fn new(fs: Arc<dyn Fs>, root: &Path, stream: Arc<str>, position: Position) -> Self {
        Self { fs, root: root.to_owned(), stream, position, open: None, rest: Vec::new(), files: BTreeMap::new() }
    }

    /// The next byte to be read. Everything before it has been returned, whole lines only.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The segment that the position is in, as a file.
    pub fn file(&self) -> Option<Name> {
        self.open.as_ref().map(|(name, _)| *name)
    }

    /// Appends whole lines to `out`, about `at_most` bytes of them and at least one, up to `committed`.
    /// Returns the position of the first, or `None` when there is nothing more yet.
    ///
    /// Lines of one call are all of one segment. A segment that is gone is passed over; the caller sees it by the
    /// jump of the position.
    ///
    /// # Errors
    /// When a file cannot be read. The call may be repeated.
    pub fn read(&mut self, committed: Committed, at_most: usize, out: &mut Vec<u8>) -> io::Result<Option<Position>> {
        while self.position < committed.end {
            if self.open.is_none() && !self.open_at(committed)? {
                return Ok(None);
            }
            let start = out.len();
            out.append(&mut self.rest);
            let left = self.left(committed, (out.len() - start) as u64);
            if let Err(error) = self.fill(left, start, at_most.max(1), out) {
                // The file has been read to nobody knows where: the next call opens it again at the position.
                out.truncate(start);
                self.go_to(self.position);
                return Err(error);
            }
            let whole = memchr::memrchr(b'\n', &out[start..]).map_or(start, |feed| start + feed + 1);
            self.rest.extend_from_slice(&out[whole..]);
            out.truncate(whole);
            if whole > start {
                let from = self.position;
                self.position.offset += (whole - start) as u64;
                return Ok(Some(from));
            }
            if self.position.segment >= committed.end.segment {
                return Ok(None);
            }
            self.go_to(Position::start_of(self.position.segment + 1));
        }
        Ok(None)
    }

    /// How many more bytes of the open segment may be read when `ahead` of them have been.
    fn left(&self, committed: Committed, ahead: u64) -> u64 {
        let len = committed.len_of(self.position.segment);
        len.map_or(u64::MAX, |len| len.saturating_sub(self.position.offset + ahead))
    }

    fn go_to(&mut self, position: Position) {
        self.position = position;
        self.open = None;
        self.rest.clear();
    }

    /// Reads up to `left` bytes, stopping after `at_most` at the next line feed.
    fn fill(&mut self, left: u64, start: usize, at_most: usize, out: &mut Vec<u8>) -> io::Result<()> {
        let (_, file) = self.open.as_mut().expect("invariant: opened by the caller");
        let mut limited = file.take(left);
        let mut want = at_most as u64;
        loop {
            let before = out.len();
            limited.by_ref().take(want).read_to_end(out)?;
            let has_line = memchr::memchr(b'\n', &out[start..]).is_some();
            if out.len() == before || has_line {
                return Ok(());
            }
            // One line is longer than what was asked for.
            want = want.saturating_mul(2);
        }
    }

    /// Opens the file of the position, or of the next segment that is there.
    fn open_at(&mut self, committed: Committed) -> io::Result<bool> {
        for looked_again in [false, true] {
            if looked_again {
                self.files = files(&*self.fs, &self.root, &self.stream)?;
            }
            let Some((&number, &found)) = self.files.range(self.position.segment..=committed.end.segment).next() else {
                continue;
            };
            if number > self.position.segment && !looked_again {
                continue;
            }
            if number > self.position.segment {
                self.go_to(Position::start_of(number));
            }
            match open(&*self.fs, &name::path(&self.root, &self.stream, found), found.form, self.position.offset) {
                Ok(file) => {
                    self.open = Some((found, file));
                    return Ok(true);
                }
                // Compressed or deleted since the folder was looked at.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }
}

/// Every segment of a stream that is on the disk, by number. Of two forms of one, the plain.
///
/// # Errors
/// When a folder cannot be read.
pub fn files(fs: &dyn Fs, root: &Path, stream: &str) -> io::Result<BTreeMap<u64, Name>> {
    let mut found = BTreeMap::new();
    for dir in fs.list(&root.join(stream))? {
        let Some(day) = name::parse_day(&dir) else { continue };
        let names = fs.list(&name::day_dir(root, stream, day))?;
        for name in names.iter().filter_map(|file| name::parse(stream, day, file)) {
            if matches!(name.form, Form::Plain | Form::Zstd | Form::Gzip) {
                let entry = found.entry(name.number).or_insert(name);
                *entry = (*entry).min(name);
            }
        }
    }
    Ok(found)
}

/// Opens a segment for reading from an offset in its uncompressed bytes.
fn open(fs: &dyn Fs, path: &Path, form: Form, offset: u64) -> io::Result<Box<dyn Read + Send>> {
    if form == Form::Plain {
        return fs.read_from(path, offset);
    }
    let mut decoder = compress::decode(fs.read_from(path, 0)?, form)?;
    io::copy(&mut decoder.by_ref().take(offset), &mut io::sink())?;
    Ok(decoder)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fs::Disk;

    /// Writes segments 1, 2, … of given lines, in given forms, and bytes behind what is committed of the last.
    fn write(root: &Path, segments: &[(Vec<String>, Form)], behind: &str) -> Vec<String> {
        let mut texts = Vec::new();
        for (number, (lines, form)) in (1..).zip(segments) {
            let day = chrono::NaiveDate::from_ymd_opt(2026, 11, 20 + number).unwrap();
            let segment = Name { number: number.into(), day, form: Form::Plain };
            let is_last = number as usize == segments.len();
            let text = lines.concat();
            let path = name::path(root, "s", segment);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, format!("{text}{}", if is_last { behind } else { "" })).unwrap();
            if !is_last && *form != Form::Plain {
                compress::compress(&Disk, root, "s", segment, *form).unwrap();
            }
            texts.push(text);
        }
        texts
    }

    #[test]
    fn a_segment_that_was_given_up_ends_where_it_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let segments = [(vec!["a\n".to_owned(), "b\n".to_owned()], Form::Plain), (vec!["b\n".to_owned()], Form::Plain)];
        write(dir.path(), &segments, "");
        let ends = [Some(Position { segment: 1, offset: 2 }), None, None, None];
        let committed = Committed { ends, ..Committed::up_to(Position { segment: 2, offset: 2 }) };
        let mut reader = Reader::new(Arc::new(Disk), dir.path(), "s".into(), Position::start_of(1));
        let mut out = Vec::new();
        while reader.read(committed, 100, &mut out).unwrap().is_some() {}
        assert_eq!(out, b"a\nb\n");
    }

    fn forms() -> impl Strategy<Value = Form> {
        prop_oneof![Just(Form::Plain), Just(Form::Zstd), Just(Form::Gzip)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn every_reader_reads_exactly_what_is_committed(
            segments in prop::collection::vec((prop::collection::vec("[a-z]{0,30}\n", 0..20), forms()), 1..5),
            behind in "([a-z]{0,5}\n){0,3}[a-z]{0,5}",
            start in any::<prop::sample::Index>(),
            at_most in 1_usize..200,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let texts = write(dir.path(), &segments, &behind);
            let committed = Committed::up_to(Position { segment: texts.len() as u64, offset: texts.last().unwrap().len() as u64 });
            // Any start that a reader can have had: the beginning of a line, or the end of a segment.
            let mut starts = vec![];
            for (number, text) in (1..).zip(&texts) {
                starts.push(Position::start_of(number));
                starts.extend(memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| Position { segment: number, offset: at as u64 + 1 }));
            }
            let start = *start.get(&starts);
            let before = usize::try_from(start.segment).unwrap() - 1;
            let expected = texts[before][usize::try_from(start.offset).unwrap()..].to_owned() + &texts[before + 1..].concat();
            let mut reader = Reader::new(Arc::new(Disk), dir.path(), "s".into(), start);
            let mut out = Vec::new();
            while let Some(from) = reader.read(committed, at_most, &mut out).unwrap() {
                let offset = usize::try_from(from.offset).unwrap();
                let read = &texts[usize::try_from(from.segment).unwrap() - 1][offset..];
                prop_assert!(out.ends_with(&read.as_bytes()[..usize::try_from(reader.position().offset).unwrap() - offset]));
                prop_assert_eq!(out.last(), Some(&b'\n'));
            }
            prop_assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
