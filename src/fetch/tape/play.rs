//! Answers that were kept, in their order.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use chrono::{DateTime, Utc};
use http::StatusCode;
use url::Url;

use super::super::Failure;
use super::super::request::{Answer, Body, Request, Validator};
use super::warc::{FileReader, Record, What};
use super::{asked, files};
use crate::secrets;

/// One tick that was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// Its scheduled time.
    pub slot: DateTime<Utc>,
    /// When the last of its answers was there.
    pub date: DateTime<Utc>,
}

/// The ticks of a source that were recorded, in their order.
///
/// # Errors
/// When there is no recording of it. One that was cut off ends there, which is logged.
pub fn recorded(folder: &Path, source: &str) -> anyhow::Result<Vec<Recorded>> {
    let mut ticks: Vec<Recorded> = Vec::new();
    let mut records = Records::open(folder, source)?;
    while let Some(record) = records.next() {
        let Some(slot) = record.slot else { continue };
        match ticks.last_mut() {
            Some(last) if last.slot == slot => last.date = record.date,
            _ => ticks.push(Recorded { slot, date: record.date }),
        }
    }
    Ok(ticks)
}

/// The records of all files of a source.
struct Records {
    files: VecDeque<PathBuf>,
    reader: Option<(PathBuf, FileReader)>,
}

impl Records {
    fn open(folder: &Path, source: &str) -> anyhow::Result<Self> {
        let found = files(folder, source);
        let files = found.with_context(|| format!("there is no recording of {source} in {}", folder.display()))?;
        Ok(Self { files: files.into(), reader: None })
    }

    fn next(&mut self) -> Option<Record> {
        loop {
            if self.reader.is_none() {
                let path = self.files.pop_front()?;
                match FileReader::open(&path) {
                    Ok(reader) => self.reader = Some((path, reader)),
                    Err(error) => tracing::warn!("a recording is passed over: {error:#}"),
                }
                continue;
            }
            let (path, reader) = self.reader.as_mut()?;
            match reader.next() {
                Ok(Some(record)) => return Some(record),
                Ok(None) => {}
                Err(error) => tracing::warn!(file = %path.display(), "the recording ends here: {error:#}"),
            }
            self.reader = None;
        }
    }
}

/// Gives them to one source.
pub(in super::super) struct Player {
    records: Result<Records, String>,
    /// The first of a later tick.
    next: Option<Record>,
    /// Those of this tick.
    here: Vec<Record>,
}

impl Player {
    pub(super) fn new(folder: &Path, source: &str) -> Self {
        let records = Records::open(folder, source).map_err(|error| format!("{error:#}"));
        Self { records, next: None, here: Vec::new() }
    }

    /// Goes to the tick of this time.
    pub(super) fn slot(&mut self, slot: DateTime<Utc>) {
        self.here.clear();
        let Ok(records) = &mut self.records else { return };
        while let Some(record) = self.next.take().or_else(|| records.next()) {
            match record.slot {
                Some(of) if of == slot => self.here.push(record),
                Some(of) if of > slot => {
                    self.next = Some(record);
                    return;
                }
                _ => {}
            }
        }
    }

    /// The answer that came to this.
    pub(in super::super) fn answer(&mut self, request: &Request, known: Option<&Validator>) -> Result<Answer, Failure> {
        if let Err(why) = &self.records {
            return Err(anyhow!("not_recorded: {why}").into());
        }
        let asked = asked(request);
        let found = self.here.iter().position(|record| record.asked == asked);
        let Some(found) = found else {
            let other = self.here.first().map_or_else(String::new, |record| format!("; what was is {}", record.asked));
            return Err(anyhow!("not_recorded: at this tick {asked} was not asked{other}").into());
        };
        match self.here.remove(found).what {
            What::Failure(kind, words) => Err(failure(&kind, words)),
            What::Answer { url, status, headers, body } => {
                // Its secrets were hidden; those that the file has are right.
                let is_asked = url == secrets::hide(request.url.as_str());
                let url = Some(url).filter(|_| !is_asked).and_then(|url| Url::parse(&url).ok());
                let url = url.unwrap_or_else(|| request.url.clone());
                if status == StatusCode::NOT_MODIFIED {
                    let known = known.ok_or_else(|| {
                        anyhow!("not_recorded: the page had not changed since one that is not recorded")
                    })?;
                    return Ok(Answer::NotModified { validator: known.clone(), fresh: std::time::Duration::ZERO, url });
                }
                let body = Body::new(url, status, headers, body, None);
                Ok(if status.is_success() { Answer::Page(body) } else { Answer::Refused(status, body) })
            }
        }
    }
}

fn failure(kind: &str, words: String) -> Failure {
    let cause = anyhow!(words);
    match kind.split_once(' ') {
        Some(("resting", wait)) => {
            Failure::Resting { wait: std::time::Duration::from_millis(wait.parse().unwrap_or_default()), cause }
        }
        _ if kind == "forbidden" => Failure::Forbidden(cause),
        _ => Failure::Lost(cause),
    }
}
