//! The files of one segment: one for each day (of UTC) that its records were observed on.
//!
//! What a file is called follows from the segment's number and its records alone, so that the same segment always
//! becomes the same files, and a later export adds files and changes none.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use chrono::{DateTime, NaiveDate};

use super::Format;
use super::manifest::Part;
use super::part::{self, Row, Rows};

/// So many days are written at once. Lines come in the order of their days, but for a clock that was set back.
const OPEN_MAX: usize = 3;

/// The files of one segment, as they are written.
pub(super) struct Days<'a> {
    /// The export's folder.
    root: &'a Path,
    stream: &'a str,
    segment: u64,
    format: Format,
    /// The one that was begun first is first.
    open: Vec<Open>,
    /// How many files each day has.
    begun: HashMap<NaiveDate, u32>,
    done: Vec<Part>,
}

struct Open {
    day: NaiveDate,
    rows: Box<dyn Rows>,
    part: Part,
}

impl<'a> Days<'a> {
    /// Nothing of a segment is written yet.
    pub(super) fn new(root: &'a Path, stream: &'a str, segment: u64, format: Format) -> Self {
        Self { root, stream, segment, format, open: Vec::new(), begun: HashMap::new(), done: Vec::new() }
    }

    /// Writes a row to the file of its day.
    pub(super) fn put(&mut self, row: &Row<'_>) -> anyhow::Result<()> {
        let day = DateTime::from_timestamp_micros(row.observed_at).unwrap_or_default().date_naive();
        let open = match self.open.iter_mut().position(|open| open.day == day) {
            Some(at) => &mut self.open[at],
            None => self.begin(day)?,
        };
        let path = || format!("cannot write {}", open.part.path);
        open.rows.put(row).with_context(path)?;
        open.part.add(&row.line.observed_at);
        Ok(())
    }

    fn begin(&mut self, day: NaiveDate) -> anyhow::Result<&mut Open> {
        if self.open.len() == OPEN_MAX {
            let first = self.open.remove(0);
            self.end(first)?;
        }
        let begun = self.begun.entry(day).or_default();
        let again = if *begun == 0 { String::new() } else { format!("-{begun}") };
        *begun += 1;
        let path = format!("{}/dt={day}/part-{:012}{again}.{}", self.stream, self.segment, self.format.ending());
        let aside = aside(&self.root.join(&path));
        let dir = aside.parent().expect("invariant: it has a folder");
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let rows = part::create(&aside, self.format)?;
        self.open.push(Open { day, rows, part: Part::new(path, self.stream, self.segment, day) });
        Ok(self.open.last_mut().expect("invariant: it was just put there"))
    }

    fn end(&mut self, open: Open) -> anyhow::Result<()> {
        let Open { rows, mut part, .. } = open;
        let path = self.root.join(&part.path);
        let written = rows.finish().and_then(|file| Ok(file.close()?));
        let sum = written.with_context(|| format!("cannot write {}", path.display()))?;
        (part.bytes, part.sha256) = (sum.bytes, sum.sha256);
        let aside = aside(&path);
        fs::rename(&aside, &path).with_context(|| format!("cannot rename {}", aside.display()))?;
        self.done.push(part);
        Ok(())
    }

    /// Ends every file, and says what they are, by their paths.
    pub(super) fn finish(mut self) -> anyhow::Result<Vec<Part>> {
        for open in std::mem::take(&mut self.open) {
            self.end(open)?;
        }
        self.done.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(self.done)
    }
}

/// Where a file is made before it is put in its place: under a name that no pattern for its ending matches.
fn aside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.tmp"))
}
