//! Cuts: where segments end that were given up after a failure, until their files are as short.

use std::io;
use std::path::Path;

use chrono::NaiveDate;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::fs::Fs;
use crate::sink::{ENDS_MAX, Position};

use super::name::{self, Form, Name};

/// How many cuts of one stream may wait for a disk that does not even shorten a file. It is called broken then.
const CUTS_MAX: usize = ENDS_MAX;

/// Where a segment ends that was given up after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// The segment.
    pub segment: u64,
    /// The day of its folder.
    pub day: NaiveDate,
    /// The length that holds.
    pub len: u64,
}

/// The cuts of a stream that its files do not have yet, oldest first. In the commit log a single one stands by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cuts([Option<Cut>; CUTS_MAX]);

impl Cuts {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// Where those segments end.
    pub fn ends(&self) -> [Option<Position>; ENDS_MAX] {
        self.0.map(|cut| cut.map(|cut| Position { segment: cut.segment, offset: cut.len }))
    }

    /// Whether there is no room for another.
    pub fn is_full(&self) -> bool {
        self.0.iter().all(Option::is_some)
    }

    /// Adds one. Says whether there was room.
    #[must_use]
    pub fn add(&mut self, cut: Cut) -> bool {
        let free = self.0.iter_mut().find(|place| place.is_none());
        free.is_some_and(|place| place.replace(cut).is_none())
    }

    /// Shortens the files, and forgets the cuts of those that are as short now.
    ///
    /// # Errors
    /// The first failure, once all were tried.
    pub(super) fn apply(&mut self, fs: &dyn Fs, root: &Path, stream: &str) -> io::Result<()> {
        let (mut left, mut result) = (Self::default(), Ok(()));
        for cut in self.0.into_iter().flatten() {
            if let Err(error) = apply(fs, root, stream, cut) {
                let kept = left.add(cut);
                debug_assert!(kept, "what is left of them has room");
                result = result.and(Err(error));
            }
        }
        *self = left;
        result
    }
}

impl Serialize for Cuts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let cuts: Vec<Cut> = self.0.into_iter().flatten().collect();
        if let [one] = cuts[..] { one.serialize(serializer) } else { cuts.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for Cuts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            One(Cut),
            Several(Vec<Cut>),
        }
        let mut cuts = Self::default();
        let several = match Form::deserialize(deserializer)? {
            Form::One(cut) => vec![cut],
            Form::Several(several) => several,
        };
        if several.into_iter().all(|cut| cuts.add(cut)) {
            Ok(cuts)
        } else {
            Err(serde::de::Error::custom(format!("more than {CUTS_MAX} cuts")))
        }
    }
}

/// Cuts a segment that was given up to the length that holds.
fn apply(fs: &dyn Fs, root: &Path, stream: &str, cut: Cut) -> io::Result<()> {
    let path = name::path(root, stream, Name { number: cut.segment, day: cut.day, form: Form::Plain });
    match fs.len(&path) {
        // Also when it is as long already: that may be a cut which the disk does not have yet.
        Ok(len) if len >= cut.len => cut_to(fs, &path, cut.len),
        // Compressed since, or gone: then only the committed part was taken.
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Cuts a file to a length up to which it was synced, and makes that durable.
///
/// This may be done after a sync of the file has failed: what the kernel lost then is behind the cut.
pub(super) fn cut_to(fs: &dyn Fs, path: &Path, len: u64) -> io::Result<()> {
    let mut file = fs.open(path)?;
    file.truncate(len)?;
    file.sync()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(segment: u64) -> Cut {
        Cut { segment, day: "2026-11-23".parse().unwrap(), len: 7 }
    }

    #[test]
    fn one_stands_by_itself_and_several_in_a_list() {
        let mut cuts = Cuts::default();
        for (segments, text) in [
            (1, r#"{"segment":1,"day":"2026-11-23","len":7}"#),
            (2, r#"[{"segment":1,"day":"2026-11-23","len":7},{"segment":2,"day":"2026-11-23","len":7}]"#),
        ] {
            assert!(cuts.add(cut(segments)));
            assert_eq!(serde_json::to_string(&cuts).unwrap(), text);
            assert_eq!(serde_json::from_str::<Cuts>(text).unwrap(), cuts);
        }
        assert!(cuts.add(cut(3)) && cuts.add(cut(4)) && cuts.is_full() && !cuts.add(cut(5)));
        let five = serde_json::to_string(&[cut(1); 5]).unwrap();
        assert_eq!(serde_json::from_str::<Cuts>(&five).unwrap_err().to_string(), "more than 4 cuts");
    }
}
