//! What recovery kept of a source: lines that stand in the files though what was saved is from before them.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::pipeline::commit::{Uncounted, kept_key, uncounted_key};
use crate::pipeline::state::Change;
use crate::pipeline::writer::{Ended, Writer};

use super::read;

/// Ids that recovery kept are remembered for this long. By then an upstream has sent again what it ever will.
const KEPT_FOR: Duration = Duration::from_mins(10);

/// The lines that were kept.
pub(super) struct Kept {
    ids: HashSet<String>,
    /// How long the commit log is to say which they are; `None` where it does not.
    until: Option<Instant>,
    /// How many of them the saved counts do not have, until the driver's first commit has them.
    pub(super) uncounted: Option<Uncounted>,
}

impl Kept {
    /// What the commit log says.
    ///
    /// # Errors
    /// When the writer has ended.
    pub(super) async fn read(writer: &Writer, source: &str) -> Result<Self, Ended> {
        let ids: Option<HashSet<String>> = read(writer, &kept_key(source)).await?;
        let until = ids.is_some().then(|| Instant::now() + KEPT_FOR);
        Ok(Self { ids: ids.unwrap_or_default(), until, uncounted: read(writer, &uncounted_key(source)).await? })
    }

    /// The ids that upstream has not sent again yet.
    pub(super) fn ids(&self) -> &HashSet<String> {
        &self.ids
    }

    /// Whether the line with this id was kept. It is asked once of each that comes: the next one with it is another.
    pub(super) fn take(&mut self, id: &str) -> bool {
        self.ids.remove(id)
    }

    /// What the next commit has to say: that the lines are counted, and that their ids need not be known any more once
    /// upstream cannot send them again.
    pub(super) fn changes(&mut self, source: &str) -> Vec<Change> {
        let mut changes = Vec::new();
        if self.uncounted.take().is_some() {
            changes.push((uncounted_key(source), None));
        }
        if self.until.is_some_and(|until| self.ids.is_empty() || Instant::now() >= until) {
            self.until = None;
            self.ids.clear();
            changes.push((kept_key(source), None));
        }
        changes
    }
}
