//! `MANIFEST.json`: what is in an export, where it is from, and what it lacks. `SHA256SUMS` says the same to `sha256sum -c`.
//!
//! Nothing in it is of the moment: two exports of the same segments have the same manifest, byte for byte. It is also
//! how an export goes on: segments before `next_segment` are done, and whatever else is there is made again, the same.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;
use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use crate::record::SHAPE_VERSION;
use crate::sink::Position;

use super::Format;

/// Its name.
pub(super) const MANIFEST: &str = "MANIFEST.json";

/// The file of hashes for `sha256sum -c`.
pub(super) const SUMS: &str = "SHA256SUMS";

/// The version of the manifest's form.
const VERSION: u32 = 1;

/// What an export is of. A folder holds one such.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Terms {
    /// The form of its files.
    pub(super) format: Format,
    /// The identity of the data folder that it is from.
    pub(super) folder: String,
    /// Only records observed from then on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) from: Option<String>,
    /// Only records observed before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) to_date: Option<String>,
}

/// The whole manifest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// The version of this form.
    tapline_export: u32,
    /// The version of the record's shape.
    record_shape: u32,
    /// What it is of.
    #[serde(flatten)]
    pub(super) terms: Terms,
    /// Each stream.
    pub(super) streams: BTreeMap<String, Stream>,
    /// Each file, by stream and segment.
    pub(super) parts: Vec<Part>,
}

/// How far a stream is exported.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stream {
    /// Its records in the export.
    pub(super) records: u64,
    /// When the first of them was observed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) first_observed_at: Option<String>,
    /// When the last of them was observed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last_observed_at: Option<String>,
    /// Every segment before this one is in the export, but for those that are missing.
    pub(super) next_segment: u64,
    /// Segments that were deleted before they were exported: from which number to which.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(super) missing_segments: Vec<(u64, u64)>,
    /// Lines that are no records. They are in no file of the export.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(super) unreadable: Vec<Unreadable>,
}

/// Lines of a segment that are no records, as when a disk has damaged them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Unreadable {
    /// How many.
    pub(super) lines: u64,
    /// Where the first of them is.
    pub(super) first: Position,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    /// Its path in the export.
    pub(super) path: String,
    /// The stream.
    pub(super) stream: String,
    /// The segment that its records are from.
    pub(super) segment: u64,
    /// The day of UTC that they were observed on.
    pub(super) dt: NaiveDate,
    /// How many.
    pub(super) records: u64,
    /// When the first was observed.
    pub(super) first_observed_at: String,
    /// When the last was observed.
    pub(super) last_observed_at: String,
    /// Its length.
    pub(super) bytes: u64,
    /// Its SHA-256 in hexadecimal digits.
    pub(super) sha256: String,
}

impl Part {
    /// A file that has no records yet.
    pub(super) fn new(path: String, stream: &str, segment: u64, dt: NaiveDate) -> Self {
        Self {
            path,
            stream: stream.to_owned(),
            segment,
            dt,
            records: 0,
            first_observed_at: String::new(),
            last_observed_at: String::new(),
            bytes: 0,
            sha256: String::new(),
        }
    }

    /// One more record. Times of one form sort as their texts do.
    pub(super) fn add(&mut self, observed_at: &str) {
        self.records += 1;
        if self.records == 1 || observed_at < self.first_observed_at.as_str() {
            observed_at.clone_into(&mut self.first_observed_at);
        }
        if observed_at > self.last_observed_at.as_str() {
            observed_at.clone_into(&mut self.last_observed_at);
        }
    }
}

impl Manifest {
    /// The manifest of the export in `root`, or a new one where there is nothing yet.
    ///
    /// # Errors
    /// When the folder holds something else, or an export on other terms.
    pub(super) fn open(root: &Path, terms: Terms) -> anyhow::Result<Self> {
        let Some(found) = Self::read(root)? else {
            let is_used = fs::read_dir(root)
                .with_context(|| format!("cannot read {}", root.display()))?
                .any(|entry| entry.is_ok_and(|entry| !entry.file_name().as_encoded_bytes().starts_with(b".")));
            anyhow::ensure!(
                !is_used,
                "{} is not empty, and holds no export; name a new folder with --out",
                root.display()
            );
            let (streams, parts) = (BTreeMap::new(), Vec::new());
            return Ok(Self { tapline_export: VERSION, record_shape: SHAPE_VERSION, terms, streams, parts });
        };
        anyhow::ensure!(
            found.terms == terms,
            "{} holds an export {}, and this one is {}; name another folder with --out",
            root.display(),
            found.terms.words(),
            terms.words()
        );
        anyhow::ensure!(
            found.record_shape == SHAPE_VERSION,
            "{} was made by a version of tapline whose records have another shape; name a new folder with --out",
            root.display()
        );
        Ok(found)
    }

    /// The manifest of the export in `root`, if there is one.
    ///
    /// # Errors
    /// When it cannot be read, or is of a later version.
    pub(super) fn read(root: &Path) -> anyhow::Result<Option<Self>> {
        let path = root.join(MANIFEST);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let read = || -> anyhow::Result<Self> {
            #[derive(Deserialize)]
            struct Head {
                tapline_export: u32,
            }
            let head: Head = serde_json::from_slice(&text)?;
            anyhow::ensure!(
                head.tapline_export <= VERSION,
                "its form is version {}, and this tapline knows those up to {VERSION}; use a later tapline",
                head.tapline_export
            );
            Ok(serde_json::from_slice(&text)?)
        };
        read().with_context(|| format!("{} is no manifest of an export", path.display())).map(Some)
    }

    /// Takes up what became of a segment.
    pub(super) fn add(&mut self, stream: &str, segment: u64, parts: Vec<Part>, unreadable: Option<Unreadable>) {
        let entry = self.streams.entry(stream.to_owned()).or_default();
        for part in &parts {
            entry.records += part.records;
            let (first, last) = (&part.first_observed_at, &part.last_observed_at);
            if entry.first_observed_at.as_ref().is_none_or(|known| first < known) {
                entry.first_observed_at = Some(first.clone());
            }
            if entry.last_observed_at.as_ref().is_none_or(|known| last > known) {
                entry.last_observed_at = Some(last.clone());
            }
        }
        entry.unreadable.extend(unreadable);
        entry.next_segment = segment + 1;
        self.parts.extend(parts);
    }

    /// Segments up to `next` are gone.
    pub(super) fn pass_over(&mut self, stream: &str, next: u64) {
        let entry = self.streams.entry(stream.to_owned()).or_default();
        let first = entry.next_segment.max(1);
        if first < next {
            entry.missing_segments.push((first, next - 1));
        }
        entry.next_segment = next;
    }

    /// Writes it, in one step.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write(&mut self, root: &Path) -> anyhow::Result<()> {
        self.parts.sort_by(|one, other| {
            (&one.stream, one.segment, &one.path).cmp(&(&other.stream, other.segment, &other.path))
        });
        put(root, MANIFEST, &self.text())
    }

    /// Its text.
    pub(super) fn text(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("invariant: it has only keys that are text");
        text.push('\n');
        text
    }
}

impl Terms {
    fn words(&self) -> String {
        let from = self.from.as_ref().map_or_else(String::new, |from| format!(" from {from}"));
        let to = self.to_date.as_ref().map_or_else(String::new, |to| format!(" to {to}"));
        format!("as {} of the data folder {}{from}{to}", self.format.ending(), self.folder)
    }
}

/// Writes a small file, in one step.
///
/// # Errors
/// When it cannot be written.
pub(super) fn put(root: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    let (path, aside) = (root.join(name), root.join(format!(".{name}.tmp")));
    let write = || -> io::Result<()> {
        let mut file = File::create(&aside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&aside, &path)?;
        File::open(root)?.sync_all()
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
