//! Files of JSON lines, ours or somebody else's, each a lane of its own.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use data_encoding::BASE32HEX_NOPAD;

use crate::pipeline::load::{Lines, Supply};
use crate::record::Line;
use crate::sink::{Committed, Position};
use crate::sinks::segments::compress;
use crate::sinks::segments::name::Form;
use crate::store::{Feed, Ids};

/// How often files that are followed are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What of its first line a file is known by, in bytes.
const FIRST_BYTES_MAX: u64 = 64 * 1024;

/// Files by their keys: path and what they begin with.
pub(super) struct Files {
    files: BTreeMap<Arc<str>, One>,
    follow: bool,
}

struct One {
    path: PathBuf,
    form: Form,
    feed: Feed,
    ids: Ids,
}

impl Files {
    pub(super) fn new(paths: &[PathBuf], stream: Option<&str>, id: Option<&str>, follow: bool) -> anyhow::Result<Self> {
        let mut files = BTreeMap::new();
        for path in paths {
            let path = path.canonicalize().with_context(|| format!("cannot read {}", path.display()))?;
            let (key, one) = one(&path, stream, id).with_context(|| format!("cannot read {}", path.display()))?;
            files.insert(key, one);
        }
        Ok(Self { files, follow })
    }
}

fn one(path: &Path, stream: Option<&str>, id: Option<&str>) -> io::Result<(Arc<str>, One)> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (stem, form) = match name.rsplit_once('.') {
        Some((stem, "zst")) => (stem, Form::Zstd),
        Some((stem, "gz")) => (stem, Form::Gzip),
        _ => (&*name, Form::Plain),
    };
    let mut first = Vec::new();
    BufReader::new(open(path, form)?.take(FIRST_BYTES_MAX)).read_until(b'\n', &mut first)?;
    // A file in the place of another is not that one: it is loaded from its start.
    let mark = BASE32HEX_NOPAD.encode(&blake3::hash(&first).as_bytes()[..5]).to_ascii_lowercase();
    let key: Arc<str> = format!("{}#{mark}", path.display()).into();
    let stem = stem.rsplit_once('.').map_or(stem, |(stem, _)| stem);
    let stream: Arc<str> = stream.map_or_else(|| stream_of(stem), str::to_owned).into();
    let origin = blake3::hash(key.as_bytes()).to_hex()[..32].into();
    let ids = match id {
        Some(field) => Ids::Field(field.into()),
        None if Line::parse(&first).is_ok() => Ids::Record,
        None => Ids::Position(format!("f_{mark}").into()),
    };
    Ok((key, One { path: path.to_owned(), form, feed: Feed { stream, origin }, ids }))
}

/// The stream that a file's name tells: of one of our segments without its number.
fn stream_of(stem: &str) -> String {
    let numbered = stem
        .rsplit_once('-')
        .filter(|(_, number)| number.len() == 12 && number.bytes().all(|digit| digit.is_ascii_digit()));
    numbered.map_or(stem, |(stream, _)| stream).to_owned()
}

fn open(path: &Path, form: Form) -> io::Result<Box<dyn Read + Send>> {
    compress::decode(Box::new(File::open(path)?), form)
}

#[async_trait]
impl Supply for Files {
    fn streams(&mut self) -> anyhow::Result<Vec<(Arc<str>, Committed)>> {
        // How long a compressed file's lines are is not known before they are read.
        let len = |one: &One| match one.form {
            Form::Plain => std::fs::metadata(&one.path)
                .map(|file| file.len())
                .with_context(|| format!("cannot read {}", one.path.display())),
            _ => Ok(u64::MAX),
        };
        let all = self
            .files
            .iter()
            .map(|(key, one)| Ok((Arc::clone(key), Committed::up_to(Position { segment: 1, offset: len(one)? }))));
        all.collect()
    }

    fn feed(&self, key: &Arc<str>) -> (Feed, Ids) {
        let one = &self.files[key];
        (one.feed.clone(), one.ids.clone())
    }

    fn lines(&self, key: &Arc<str>, from: Position) -> Box<dyn Lines> {
        let One { path, form, .. } = &self.files[key];
        Box::new(FileLines {
            path: path.clone(),
            form: *form,
            follow: self.follow,
            position: from,
            open: None,
            rest: Vec::new(),
        })
    }

    /// A file is whole, unless it is followed.
    fn closed(&self, committed: Committed) -> Committed {
        if self.follow { committed.closed() } else { committed }
    }

    async fn changed(&mut self) -> bool {
        if self.follow {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.follow
    }
}

impl super::Shown for Files {
    fn total(&self, _: &dyn Fn(&str) -> bool, done: &dyn Fn(&str) -> Position) -> Option<u64> {
        let fs = crate::fs::Disk;
        let mut total = 0;
        for (key, one) in &self.files {
            total += compress::plain_len(&fs, &one.path, one.form).ok()??.saturating_sub(done(key).offset);
        }
        Some(total)
    }

    fn into_supply(self: Box<Self>) -> Box<dyn Supply> {
        self
    }
}

/// The lines of one file.
struct FileLines {
    path: PathBuf,
    form: Form,
    follow: bool,
    /// The next byte that has not been returned.
    position: Position,
    open: Option<Box<dyn Read + Send>>,
    /// What was read behind the last whole line.
    rest: Vec<u8>,
}

impl Lines for FileLines {
    fn read(&mut self, _: Committed, at_most: usize, out: &mut Vec<u8>) -> io::Result<Option<Position>> {
        if self.open.is_none() {
            let mut file = open(&self.path, self.form)?;
            io::copy(&mut file.by_ref().take(self.position.offset), &mut io::sink())?;
            self.open = Some(file);
            self.rest.clear();
        }
        out.append(&mut self.rest);
        let file = self.open.as_mut().expect("invariant: it was just opened");
        let mut want = at_most as u64;
        let mut is_over = false;
        while !is_over && memchr::memchr(b'\n', out).is_none_or(|_| out.len() < at_most) {
            let before = out.len();
            if let Err(error) = file.take(want).read_to_end(out) {
                out.clear();
                self.open = None;
                return Err(error);
            }
            is_over = out.len() == before;
            want = want.max(out.len() as u64);
        }
        // The last line of a file that nobody writes any more may lack its end.
        if is_over && !self.follow && out.last().is_some_and(|last| *last != b'\n') {
            out.push(b'\n');
        }
        let whole = memchr::memrchr(b'\n', out).map_or(0, |feed| feed + 1);
        self.rest = out.split_off(whole);
        if out.is_empty() {
            return Ok(None);
        }
        let from = self.position;
        self.position.offset += out.len() as u64;
        Ok(Some(from))
    }
}
