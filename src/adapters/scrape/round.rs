//! One tick's way over its pages: what was asked for, what came, and where it stopped.
//!
//! Nothing that is remembered changes here: a tick that is cut off is as if it had not been. What it brought is taken up
//! in one piece when it is whole, by `memory`.

use std::time::Duration;

use anyhow::anyhow;
use tokio::time::Instant;
use url::Url;

use super::drift::{Broken, of_page};
use super::extract::Extraction;
use super::history::History;
use super::paging::Leads;
use super::presence::Look;
use crate::fetch::Validator;
use crate::item::{Item, Reject};
use crate::source::{Note, Outcome, SourceError};

/// The most requests of one tick.
const REQUESTS_MAX: usize = 1000;
/// The most bytes of pages, as they come, and of what becomes of them.
const BODY_BYTES_MAX: usize = 256 << 20;
const DATA_BYTES_MAX: usize = 32 << 20;
/// The longest time, which is less than a call of an adapter may take.
const TIME_MAX: Duration = Duration::from_secs(200);
/// Failed pages that are kept each; the rest are counted.
const FAILED_MAX: usize = 50;

/// What became of asking for one page.
pub(super) struct Visit {
    /// Which of the pages that the file is written out to it belongs to.
    pub(super) ask: usize,
    /// What it is called, where there are several.
    pub(super) page: Option<String>,
    /// What it is remembered by.
    pub(super) address: String,
    /// Where it was found, behind redirects.
    pub(super) url: Url,
    pub(super) validator: Option<Validator>,
    pub(super) fresh: Duration,
    pub(super) content: Content,
    /// Records made of its rows and the pages that they link to, instead of its own.
    pub(super) followed: Option<Vec<Item>>,
    /// It is one that another links to: what it became stands in that one's records.
    pub(super) is_detail: bool,
    /// Where its records come from, as a member of an object, where they say so.
    pub(super) origin: Option<String>,
}

/// What a page was.
pub(super) enum Content {
    /// Upstream says that it is the one that is remembered.
    NotModified,
    /// It is the one that is remembered, byte for byte.
    Again,
    /// Another.
    Read(Box<Read>),
}

/// What was read of a page.
pub(super) struct Read {
    pub(super) hash: blake3::Hash,
    pub(super) extraction: Extraction,
    /// Where it leads, where that is asked for.
    pub(super) leads: Option<Leads>,
    /// It whole, compressed, where it is good and wanted.
    pub(super) packed: Option<Vec<u8>>,
    /// It whole, where it is not as it should be.
    pub(super) bad: Option<String>,
    /// What is said of that.
    pub(super) broken: Option<Broken>,
    /// What is remembered of its values, and what there is to say of them.
    pub(super) history: History,
    pub(super) notes: Vec<Note>,
    /// What it has of the fields.
    pub(super) look: Look,
    /// It whole, where somebody wants to see it.
    pub(super) fetched: Option<String>,
}

/// What a tick has brought so far.
pub(super) struct Round {
    /// Pages that came, in their order.
    pub(super) visits: Vec<Visit>,
    /// Pages that did not, and links that lead nowhere.
    pub(super) rejects: Vec<Reject>,
    /// The keys of rows that were not followed, because their records are written.
    pub(super) known: Vec<u64>,
    /// How long upstream wants to be left alone.
    pub(super) wait: Duration,
    /// Of each page that the file is written out to, whether all of its list was seen.
    pub(super) is_whole: Vec<bool>,
    /// Of each, what is remembered of values from now on: of its lists, and of the pages that are followed.
    pub(super) histories: Vec<[Option<History>; 2]>,
    /// What there is to say of that.
    pub(super) notes: Vec<Note>,
    first: Option<SourceError>,
    failed: usize,
    requests: usize,
    body_bytes: usize,
    data_bytes: usize,
    until: Instant,
}

impl Round {
    pub(super) fn begin(asks: usize) -> Self {
        Self {
            visits: Vec::new(),
            rejects: Vec::new(),
            known: Vec::new(),
            wait: Duration::ZERO,
            is_whole: vec![false; asks],
            histories: vec![[None, None]; asks],
            notes: Vec::new(),
            first: None,
            failed: 0,
            requests: 0,
            body_bytes: 0,
            data_bytes: 0,
            until: Instant::now() + TIME_MAX,
        }
    }

    /// Whether one more page may be asked for; if not, that is said. The first always may.
    pub(super) fn takes_one(&mut self, page: Option<&str>) -> bool {
        let why = if self.requests >= REQUESTS_MAX {
            format!("a tick asks for at most {REQUESTS_MAX} pages")
        } else if self.requests > 0 && Instant::now() > self.until {
            format!("a tick takes at most {}", humantime::format_duration(TIME_MAX))
        } else if self.body_bytes > BODY_BYTES_MAX {
            format!("the pages of a tick have at most {}", bytesize::ByteSize(BODY_BYTES_MAX as u64))
        } else if self.data_bytes > DATA_BYTES_MAX {
            format!("the records of a tick take at most {}", bytesize::ByteSize(DATA_BYTES_MAX as u64))
        } else {
            self.requests += 1;
            return true;
        };
        let reason = format!("tick_too_large: {why}, and the rest was not asked for; write several sources");
        self.reject(Outcome::Error, reason, page);
        false
    }

    /// Takes note of what a page said.
    pub(super) fn judged(
        &mut self,
        ask: usize,
        is_detail: bool,
        history: History,
        notes: Vec<Note>,
        page: Option<&str>,
    ) {
        self.histories[ask][usize::from(is_detail)] = Some(history);
        self.notes.extend(notes.into_iter().map(|note| of_page(note, page)));
    }

    /// Takes note of how much a page was.
    pub(super) fn count(&mut self, body_bytes: usize, data_bytes: usize) {
        self.body_bytes += body_bytes;
        self.data_bytes += data_bytes;
    }

    /// A page did not come. Whether others are asked for all the same: not when upstream wants to be left alone.
    pub(super) fn failed(&mut self, error: SourceError, page: Option<&str>) -> bool {
        let (outcome, reason) = match &error {
            SourceError::Blocked(cause) | SourceError::Limited(cause) | SourceError::Refused(cause) => {
                (Outcome::Blocked, format!("{cause:#}"))
            }
            SourceError::Throttled { wait, cause } => {
                self.wait = self.wait.max(*wait);
                (Outcome::Blocked, format!("{cause:#}"))
            }
            SourceError::Lost(cause) | SourceError::Failing(cause) => (Outcome::Error, format!("{cause:#}")),
            SourceError::Silent { .. } | SourceError::Ended => (Outcome::Error, error.to_string()),
        };
        let goes_on = !matches!(
            error,
            SourceError::Throttled { .. } | SourceError::Limited(_) | SourceError::Refused(_) | SourceError::Ended
        );
        self.reject(outcome, reason, page);
        self.first.get_or_insert(error);
        goes_on
    }

    /// Something of a page is not as it should be.
    pub(super) fn reject(&mut self, outcome: Outcome, reason: String, page: Option<&str>) {
        self.failed += 1;
        if self.failed <= FAILED_MAX {
            let page = page.map(str::to_owned);
            self.rejects.push(Reject { page, ..Reject::new(outcome, None, reason, "") });
        }
    }

    /// The same, of a row of a page.
    pub(super) fn reject_row(&mut self, reject: Reject) {
        self.failed += 1;
        if self.failed <= FAILED_MAX {
            self.rejects.push(reject);
        }
    }

    /// What the tick came to.
    ///
    /// # Errors
    /// When no page came: the first failure, with the page that it is of.
    pub(super) fn end(mut self) -> Result<Self, SourceError> {
        let Some(first) = self.first.take() else { return Ok(self.counted()) };
        // Asking again cannot help, whatever else came.
        if self.visits.is_empty() || matches!(first, SourceError::Refused(_)) {
            let page = self.rejects.first().and_then(|reject| reject.page.clone());
            return Err(named(first, page.as_deref(), self.failed - 1));
        }
        Ok(self.counted())
    }

    fn counted(mut self) -> Self {
        if let Some(more) = self.failed.checked_sub(FAILED_MAX).filter(|more| *more > 0) {
            let outcome = self.rejects.last().map_or(Outcome::Error, |reject| reject.outcome);
            self.rejects.push(Reject::new(outcome, None, format!("{more} more pages or rows were rejected"), ""));
        }
        self
    }
}

/// The error, with the page that it is of and how many others had one.
fn named(error: SourceError, page: Option<&str>, others: usize) -> SourceError {
    let Some(page) = page else { return error };
    let others = match others {
        0 => String::new(),
        1 => ", and 1 other".into(),
        others => format!(", and {others} others"),
    };
    let with = |cause: anyhow::Error| anyhow!("{cause:#}; page {page}{others}");
    match error {
        SourceError::Lost(cause) => SourceError::Lost(with(cause)),
        SourceError::Failing(cause) => SourceError::Failing(with(cause)),
        SourceError::Limited(cause) => SourceError::Limited(with(cause)),
        SourceError::Blocked(cause) => SourceError::Blocked(with(cause)),
        SourceError::Refused(cause) => SourceError::Refused(with(cause)),
        SourceError::Throttled { wait, cause } => SourceError::Throttled { wait, cause: with(cause) },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_has_limits_and_says_so() {
        let mut round = Round::begin(1);
        assert!((0..REQUESTS_MAX).all(|_| round.takes_one(None)));
        assert!(!round.takes_one(Some("page=9")));
        insta::assert_snapshot!(round.rejects[0].reason, @"tick_too_large: a tick asks for at most 1000 pages, and the rest was not asked for; write several sources");
        assert_eq!(round.rejects[0].page.as_deref(), Some("page=9"));
        for (body, data) in [(BODY_BYTES_MAX + 1, 0), (0, DATA_BYTES_MAX + 1)] {
            let mut round = Round::begin(1);
            assert!(round.takes_one(None));
            round.count(body, data);
            assert!(!round.takes_one(None));
        }
        let mut round = Round::begin(1);
        round.until = Instant::now();
        assert!(round.takes_one(None), "the first always may");
        assert!(!round.takes_one(None));
    }

    #[test]
    fn many_failures_are_counted() {
        let mut round = Round::begin(1);
        for page in 0..70 {
            assert!(round.failed(SourceError::Lost(anyhow!("x")), Some(&format!("page={page}"))));
        }
        assert_eq!(round.rejects.len(), FAILED_MAX);
        let Err(SourceError::Lost(cause)) = round.end() else { panic!("nothing came") };
        insta::assert_snapshot!(cause, @"x; page page=0, and 69 others");
        let mut round = Round::begin(1);
        (0..70).for_each(|_| round.reject(Outcome::Missing, "y".into(), None));
        let rejects = round.end().unwrap_or_else(|error| panic!("{error}")).rejects;
        assert_eq!(rejects.len(), FAILED_MAX + 1);
        insta::assert_snapshot!(rejects[FAILED_MAX].reason, @"20 more pages or rows were rejected");
    }
}
