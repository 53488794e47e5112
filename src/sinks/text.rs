//! Text renderings: a stream's lines as its user wants to see them, beside the segments.
//!
//! A rendering has one text file for each segment, and is a pure function of the segment's committed lines. So nothing
//! has to be remembered across a crash: at start the last text file is compared with what its segment gives, and goes on
//! where that ends.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono_tz::Tz;

use crate::fs::{File, Fs};
use crate::record::Line;
use crate::sink::{Committed, Position, Sink};
use crate::template::Template;

use super::segments::name::{self, Form, Name};
use super::segments::read::Reader;

/// How many bytes of lines are rendered at a time.
const CHUNK_BYTES: usize = 256 * 1024;

/// What a rendering is declared to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// The stream that is rendered.
    pub stream: Arc<str>,
    /// How a line looks.
    pub template: Template,
    /// The zone of its times.
    pub timezone: Tz,
    /// The name of the link to the text file of the active segment, in the data folder.
    pub link: String,
}

/// One stream's text rendering.
pub struct Rendering {
    fs: Arc<dyn Fs>,
    root: PathBuf,
    spec: Spec,
    reader: Reader,
    /// The text file being written, and what it already holds that has yet to be compared.
    open: Option<Open>,
}

struct Open {
    segment: u64,
    file: Box<dyn File>,
    /// The bytes known to be right.
    len: u64,
    existing: Option<Box<dyn Read + Send>>,
}

impl Rendering {
    /// Takes up a rendering: with the last segment that has a text file, or else with the segment `active`.
    ///
    /// # Errors
    /// When the stream's folder cannot be read.
    pub fn resume(fs: Arc<dyn Fs>, root: &Path, spec: Spec, active: u64) -> io::Result<Self> {
        let last = last_text(&*fs, root, &spec.stream)?;
        let from = last.unwrap_or(active).min(active);
        Ok(Self::begin(fs, root, spec, from))
    }

    /// Begins a rendering with the segment `from`.
    pub fn begin(fs: Arc<dyn Fs>, root: &Path, spec: Spec, from: u64) -> Self {
        let reader = Reader::new(Arc::clone(&fs), root, Arc::clone(&spec.stream), Position::start_of(from));
        Self { fs, root: root.to_owned(), spec, reader, open: None }
    }

    /// Opens the text file of a segment, and points the link at it.
    fn turn_to(&mut self, segment: Name) -> io::Result<()> {
        if self.open.as_ref().is_some_and(|open| open.segment == segment.number) {
            return Ok(());
        }
        self.cut_rest()?;
        let name = Name { form: Form::Text, ..segment };
        let path = name::path(&self.root, &self.spec.stream, name);
        let (file, existing) = match self.fs.open(&path) {
            Ok(file) => (file, Some(self.fs.read_from(&path, 0)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (self.fs.create(&path)?, None),
            Err(error) => return Err(error),
        };
        self.open = Some(Open { segment: segment.number, file, len: 0, existing });
        let target = name::path(Path::new(""), &self.spec.stream, name);
        self.fs.link(&target, &self.root.join(&self.spec.link))
    }

    /// Appends text, leaving out what the file already holds of it.
    fn put(&mut self, text: &[u8]) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let same = open.compare(text)?;
        if same < text.len() {
            // The file ends here, or says something else from here on.
            open.drop_existing()?;
            if let Err(error) = open.file.append(&text[same..]) {
                open.file.truncate(open.len)?;
                return Err(error);
            }
            open.len += (text.len() - same) as u64;
        }
        Ok(())
    }

    /// Cuts what the text file holds beyond what its segment gives.
    fn cut_rest(&mut self) -> io::Result<()> {
        self.open.as_mut().map_or(Ok(()), Open::drop_existing)
    }
}

impl Sink for Rendering {
    fn follow(&mut self, _stream: &Arc<str>, committed: Committed) -> io::Result<()> {
        let mut lines = Vec::new();
        let mut text = Vec::new();
        while self.reader.read(committed, CHUNK_BYTES, &mut lines)?.is_some() {
            let segment = self.reader.file().expect("invariant: lines were just read from it");
            self.turn_to(segment)?;
            for line in lines.split_inclusive(|byte| *byte == b'\n') {
                // A line that is not a record cannot be rendered; recovery has said so.
                if let Ok(line) = Line::parse(line) {
                    self.spec.template.render(&line, self.spec.timezone, &mut text);
                }
            }
            self.put(&text)?;
            lines.clear();
            text.clear();
        }
        self.cut_rest()
    }
}

impl Open {
    /// How many bytes of `text` the file already holds.
    fn compare(&mut self, text: &[u8]) -> io::Result<usize> {
        let Some(existing) = &mut self.existing else { return Ok(0) };
        let mut found = Vec::with_capacity(text.len());
        existing.take(text.len() as u64).read_to_end(&mut found)?;
        let same = found.iter().zip(text).take_while(|(found, text)| found == text).count();
        self.len += same as u64;
        Ok(same)
    }

    fn drop_existing(&mut self) -> io::Result<()> {
        if self.existing.take().is_some() {
            self.file.truncate(self.len)?;
        }
        Ok(())
    }
}

fn last_text(fs: &dyn Fs, root: &Path, stream: &str) -> io::Result<Option<u64>> {
    let mut last = None;
    for dir in fs.list(&root.join(stream))? {
        let Some(day) = name::parse_day(&dir) else { continue };
        let files = fs.list(&name::day_dir(root, stream, day))?;
        let numbers =
            files.iter().filter_map(|file| name::parse(stream, day, file)).filter(|file| file.form == Form::Text);
        last = last.max(numbers.map(|file| file.number).max());
    }
    Ok(last)
}
