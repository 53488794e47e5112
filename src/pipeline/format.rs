//! The data folder's format: one number for the whole of it, in a file of its own, `.tapline/format.json`.
//!
//! ```text
//! {"format":1,"tapline":"0.1.0","crc32":"5d39a7f1"}
//! ```
//!
//! `tapline` is the version that wrote the folder last, `crc32` the checksum of what stands before it. Whoever opens the
//! folder, to write it or to read it, looks here first: a later format is refused with words, and not a byte is changed.
//! An earlier one is upgraded by whoever writes the folder, step by step, under its lock. Each step may be cut off
//! anywhere and is done again from its beginning by the next start; the file says meanwhile where the step leads, so
//! that an earlier version leaves the folder alone. A file that is damaged counts as one that is not there: the commit
//! log then tells. `docs/format.md` is the description of what the number stands for.

use std::io::{self, Read as _};
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::fs::Fs;

use super::commit::OWN_DIR;
use super::state::{self, Form};

/// The file, in tapline's own folder.
pub const FILE: &str = "format.json";

/// No file of this kind is longer, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// What stands before the checksum, which is the last of the keys.
const CHECKSUM: &str = ",\"crc32\":\"";

/// The format of a folder that has a commit log and says nothing: the first version wrote those.
const UNSAID: u32 = 1;

/// The version of tapline that wrote folders that do not say theirs.
const UNSAID_TAPLINE: &str = "0.1.0";

/// A step from one format to the next.
pub struct Upgrade {
    /// The format that it begins with; it leads to the next.
    pub from: u32,
    /// What it does, in a few words for the log.
    pub about: &'static str,
    /// Does it, in the data folder of this path. It may find its own work half done, or done: it is repeated after an
    /// end at any of its steps. Nothing is lost by it that a reader could read before.
    pub run: fn(&dyn Fs, &Path) -> anyhow::Result<()>,
}

/// What a version of tapline knows of formats.
pub struct Formats {
    /// The version itself.
    pub tapline: &'static str,
    /// The format that it reads and writes.
    pub format: u32,
    /// The steps to there, one after the other.
    pub upgrades: &'static [Upgrade],
}

/// What this version knows.
pub const OURS: Formats = Formats { tapline: env!("CARGO_PKG_VERSION"), format: 1, upgrades: UPGRADES };

/// The steps from earlier formats, in order; the last one leads to the format of [`OURS`]. Old ones stay.
const UPGRADES: &[Upgrade] = &[];

/// What a data folder says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Its format.
    pub format: u32,
    /// The version of tapline that wrote it last.
    pub tapline: String,
    /// The format of an upgrade that was begun and has not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrading_to: Option<u32>,
}

/// Why a folder is not opened.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// A later version wrote it.
    #[error(
        "{folder} has the data format {format}, which tapline {tapline} wrote; this is tapline {ours} and knows formats up \
         to {known}: start tapline {tapline} or a later one (nothing was changed)"
    )]
    Later {
        /// The data folder.
        folder: String,
        /// Its format.
        format: u32,
        /// Who wrote it.
        tapline: String,
        /// Who reads it.
        ours: &'static str,
        /// What that one knows.
        known: u32,
    },
    /// It was never written by a version that this one can follow.
    #[error(
        "{folder} has the data format {format}, which tapline {tapline} wrote; this is tapline {ours} and reads formats \
         from {oldest} on: start a version between the two once, it upgrades the folder (nothing was changed)"
    )]
    TooEarly {
        /// The data folder.
        folder: String,
        /// Its format.
        format: u32,
        /// Who wrote it.
        tapline: String,
        /// Who reads it.
        ours: &'static str,
        /// What that one can begin with.
        oldest: u32,
    },
    /// It is to be upgraded by whoever writes it, and a reader does not.
    #[error(
        "{folder} has the data format {format}, which tapline {tapline} wrote, and this is tapline {ours} with format \
         {known}: start what writes the folder once (`tapline run`), it upgrades it"
    )]
    Earlier {
        /// The data folder.
        folder: String,
        /// Its format.
        format: u32,
        /// Who wrote it.
        tapline: String,
        /// Who reads it.
        ours: &'static str,
        /// What that one knows.
        known: u32,
    },
    /// An upgrade was begun, and its end is not there.
    #[error(
        "the upgrade of {folder} to the data format {format} was begun and has not ended: start what writes the folder \
         (`tapline run`), it goes on with it"
    )]
    Unfinished {
        /// The data folder.
        folder: String,
        /// Where the upgrade leads.
        format: u32,
    },
}

/// What the file holds.
enum File {
    Missing,
    Damaged,
    Whole(Stamp),
}

impl File {
    fn read(fs: &dyn Fs, own: &Path) -> anyhow::Result<Self> {
        let path = own.join(FILE);
        let mut bytes = Vec::new();
        match fs.read_from(&path, 0).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)) {
            Ok(_) => Ok(Stamp::parse(&bytes).map_or(Self::Damaged, Self::Whole)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::Missing),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }
}

impl Stamp {
    /// What the folder `own`, tapline's own in a data folder, says; `None` where nothing has been written yet.
    ///
    /// # Errors
    /// When it cannot be read, or nothing in it tells.
    pub fn read(fs: &dyn Fs, own: &Path) -> anyhow::Result<Option<Self>> {
        let file = File::read(fs, own)?;
        if let File::Whole(stamp) = file {
            return Ok(Some(stamp));
        }
        let unsaid = |format| Some(Self { format, tapline: UNSAID_TAPLINE.to_owned(), upgrading_to: None });
        match (state::form(fs, own)?, file) {
            (Form::NoLog, _) => Ok(None),
            (Form::Of(format), _) => Ok(unsaid(format)),
            (Form::Torn, File::Damaged) => anyhow::bail!(
                "{} is damaged, and the commit log does not tell which version of tapline wrote the folder; if it was this \
                 one, remove the file",
                own.join(FILE).display()
            ),
            (Form::Torn, _) => Ok(unsaid(UNSAID)),
        }
    }

    /// Reads a line back; `None` when it is not as it was written.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let at = text.rfind(CHECKSUM)?;
        let is_whole = text[at..] == checksum(&text[..at]);
        let stamp: Self = serde_json::from_str(text).ok().filter(|_| is_whole)?;
        Some(stamp).filter(|stamp| stamp.format > 0)
    }

    /// The line as it stands in the file.
    fn line(&self) -> String {
        let mut line = serde_json::to_string(self).expect("invariant: a number and a text have a JSON form");
        line.truncate(line.len() - 1);
        line += &checksum(&line);
        line
    }

    /// Writes it in one step, durable whatever else is: who finds the file finds it whole.
    fn write(&self, fs: &dyn Fs, own: &Path) -> anyhow::Result<()> {
        let path = own.join(FILE);
        let aside = path.with_extension("tmp");
        let write = || {
            fs.remove(&aside)?;
            let mut file = fs.create(&aside)?;
            file.append(self.line().as_bytes())?;
            file.sync()?;
            fs.rename(&aside, &path)?;
            fs.sync_dir(own)
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }
}

/// The end of a line that begins so.
fn checksum(line: &str) -> String {
    format!("{CHECKSUM}{:08x}\"}}\n", crc32fast::hash(line.as_bytes()))
}

impl Formats {
    /// The oldest format that can be taken up.
    pub fn oldest(&self) -> u32 {
        self.upgrades.first().map_or(self.format, |step| step.from)
    }

    /// Whether a folder may be written by this version, perhaps after an upgrade. Changes nothing.
    ///
    /// # Errors
    /// [`Unfit`], or when it cannot be told.
    pub fn check_for_writing(&self, fs: &dyn Fs, own: &Path) -> anyhow::Result<Option<Stamp>> {
        let Some(stamp) = Stamp::read(fs, own)? else { return Ok(None) };
        let (folder, tapline, ours) = (folder(own), stamp.tapline.clone(), self.tapline);
        let reaches = stamp.format.max(stamp.upgrading_to.unwrap_or(0));
        if reaches > self.format {
            return Err(Unfit::Later { folder, format: reaches, tapline, ours, known: self.format }.into());
        }
        let oldest = self.oldest();
        if stamp.format < oldest {
            return Err(Unfit::TooEarly { folder, format: stamp.format, tapline, ours, oldest }.into());
        }
        Ok(Some(stamp))
    }

    /// Whether a folder may be read by this version as it is. Changes nothing.
    ///
    /// # Errors
    /// [`Unfit`], or when it cannot be told.
    pub fn check_for_reading(&self, fs: &dyn Fs, own: &Path) -> anyhow::Result<()> {
        let Some(stamp) = self.check_for_writing(fs, own)? else { return Ok(()) };
        if let Some(format) = stamp.upgrading_to {
            return Err(Unfit::Unfinished { folder: folder(own), format }.into());
        }
        if stamp.format < self.format {
            let Stamp { format, tapline, .. } = stamp;
            let (ours, known) = (self.tapline, self.format);
            return Err(Unfit::Earlier { folder: folder(own), format, tapline, ours, known }.into());
        }
        Ok(())
    }

    /// Takes up the data folder `root` for writing: upgrades it where it is of an earlier format, and writes down what
    /// it is now. The caller holds its lock.
    ///
    /// # Errors
    /// [`Unfit`], before anything is changed; or when a step could not be done, which the next call does again.
    pub fn take_up(&self, fs: &dyn Fs, root: &Path) -> anyhow::Result<()> {
        let own = root.join(OWN_DIR);
        let found = self.check_for_writing(fs, &own)?;
        let file = File::read(fs, &own)?;
        if matches!(file, File::Damaged) {
            tracing::warn!(file = %own.join(FILE).display(), "the file that says the data folder's format is damaged; it is written again");
        }
        fs.create_dir(&own).with_context(|| format!("cannot create {}", own.display()))?;
        if let Some(Stamp { format, .. }) = found {
            for step in self.upgrades.iter().filter(|step| step.from >= format) {
                self.upgrade(step, fs, root, &own)?;
            }
        }
        let now = Stamp { format: self.format, tapline: self.tapline.to_owned(), upgrading_to: None };
        if matches!(file, File::Whole(stamp) if stamp == now) { Ok(()) } else { now.write(fs, &own) }
    }

    fn upgrade(&self, step: &Upgrade, fs: &dyn Fs, root: &Path, own: &Path) -> anyhow::Result<()> {
        let (from, to) = (step.from, step.from + 1);
        tracing::info!(data = %root.display(), from, to, "the data folder is upgraded: {}", step.about);
        let during = Stamp { format: from, tapline: self.tapline.to_owned(), upgrading_to: Some(to) };
        during.write(fs, own)?;
        (step.run)(fs, root)
            .with_context(|| format!("cannot upgrade {} from the data format {from} to {to}", root.display()))?;
        Stamp { format: to, upgrading_to: None, ..during }.write(fs, own)
    }
}

/// The data folder as it is named.
fn folder(own: &Path) -> String {
    own.parent().unwrap_or(own).display().to_string()
}
