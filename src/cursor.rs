//! The cursor: an adapter's position upstream.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// An adapter's position upstream, as JSON that only the adapter understands.
///
/// It is saved in the same commit as the records before it, never earlier, and handed back at the next start.
///
/// ```
/// use tapline::cursor::Cursor;
/// let cursor = Cursor::new(&("last-event-id", 7)).unwrap();
/// assert_eq!(cursor.read::<(String, u32)>().unwrap(), ("last-event-id".to_owned(), 7));
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cursor(Box<RawValue>);

/// What an adapter has saved beside its cursor, and what it may have to add to that.
#[derive(Debug, Default)]
pub struct Recall {
    /// The parts, by their numbers: see [`Batch::parts`](crate::source::Batch::parts).
    pub parts: BTreeMap<u32, Box<RawValue>>,
    /// The ids of records that are written though the cursor, and with it the parts, are from before them.
    pub written: Vec<String>,
}

impl Cursor {
    /// Makes a cursor of anything that has a JSON form.
    ///
    /// # Errors
    /// When `position` has none, for example a map whose keys are not strings.
    pub fn new(position: &impl Serialize) -> serde_json::Result<Self> {
        serde_json::value::to_raw_value(position).map(Self)
    }

    /// Reads the position back as the adapter's own type.
    ///
    /// # Errors
    /// When the saved position is of another form, as after an upgrade that changed it. An adapter then starts
    /// without a cursor rather than not at all.
    pub fn read<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_str(self.0.get())
    }

    /// The position as JSON text.
    pub fn as_json(&self) -> &str {
        self.0.get()
    }
}

impl PartialEq for Cursor {
    fn eq(&self, other: &Self) -> bool {
        self.as_json() == other.as_json()
    }
}
