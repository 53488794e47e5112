//! The names of segments: `<stream>/dt=<day>/<base>-<number>.jsonl`, and `.zst` or `.gz` behind it when compressed.
//!
//! The number is the identity. The day is where a reader with many years of data looks first; it says when the segment
//! was begun, in the stream's time zone, and nothing depends on it, so a clock that jumps can neither make two
//! segments one nor change their order.

use std::path::{Path, PathBuf};

use chrono::NaiveDate;

use crate::config::Compress;

/// The ending of a segment's text rendering.
pub const TEXT: &str = "txt";

/// A file of a stream, as its name tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// The segment's number: the first is 1.
    pub number: u64,
    /// The day in its folder's name.
    pub day: NaiveDate,
    /// What the file holds.
    pub form: Form,
}

/// What a file of a stream holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// Lines, as written.
    Plain,
    /// Lines under Zstandard.
    Zstd,
    /// Lines under gzip.
    Gzip,
    /// The text rendering.
    Text,
    /// A file that was being made when its maker ended.
    Aside,
}

impl Form {
    /// The ending that follows the segment's number.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Plain => "jsonl",
            Self::Zstd => "jsonl.zst",
            Self::Gzip => "jsonl.gz",
            Self::Text => TEXT,
            Self::Aside => "tmp",
        }
    }

    /// The form of a segment that was compressed so; `None` for one that is left as it is.
    pub fn of(compress: Compress) -> Option<Self> {
        match compress {
            Compress::Zstd => Some(Self::Zstd),
            Compress::Gzip => Some(Self::Gzip),
            Compress::Off => None,
        }
    }
}

/// The folder of a stream's day, under the data folder.
pub fn day_dir(root: &Path, stream: &str, day: NaiveDate) -> PathBuf {
    root.join(stream).join(format!("dt={day}"))
}

/// The path of a stream's file.
pub fn path(root: &Path, stream: &str, name: Name) -> PathBuf {
    day_dir(root, stream, name.day).join(format!("{}-{:012}.{}", base(stream), name.number, name.form.ending()))
}

/// The day that a folder's name tells.
pub fn parse_day(dir: &str) -> Option<NaiveDate> {
    dir.strip_prefix("dt=")?.parse().ok()
}

/// What a file's name tells; `None` for a file that is not one of the stream's.
pub fn parse(stream: &str, day: NaiveDate, file: &str) -> Option<Name> {
    let (number, ending) = file.strip_prefix(base(stream))?.strip_prefix('-')?.split_once('.')?;
    let number = number.parse().ok()?;
    let form = match ending {
        "jsonl" => Form::Plain,
        "jsonl.zst" => Form::Zstd,
        "jsonl.gz" => Form::Gzip,
        TEXT => Form::Text,
        _ if ending.ends_with("tmp") => Form::Aside,
        _ => return None,
    };
    Some(Name { number, day, form })
}

/// The last part of a stream's name, which its files begin with: `bseindex` of `_rejected/bseindex`.
fn base(stream: &str) -> &str {
    stream.rsplit('/').next().unwrap_or(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        let day = NaiveDate::from_ymd_opt(2026, 11, 23).unwrap();
        for stream in ["bseindex", "_rejected/bse-index", "a-1"] {
            for form in [Form::Plain, Form::Zstd, Form::Gzip, Form::Text] {
                let name = Name { number: 12, day, form };
                let path = path(Path::new("data"), stream, name);
                let file = path.file_name().unwrap().to_str().unwrap();
                assert_eq!(parse(stream, day, file), Some(name), "{file}");
            }
        }
        assert_eq!(
            path(Path::new("data"), "bseindex", Name { number: 12, day, form: Form::Plain }),
            Path::new("data/bseindex/dt=2026-11-23/bseindex-000000000012.jsonl")
        );
    }

    #[test]
    fn other_files_are_not_ours() {
        let day = NaiveDate::from_ymd_opt(2026, 11, 23).unwrap();
        for file in ["notes.txt", "bseindex.jsonl", "bseindex-1.csv", "other-000000000001.jsonl", "bseindex-x.jsonl"] {
            assert_eq!(parse("bseindex", day, file), None, "{file}");
        }
    }
}
