//! The streams of a data folder that another process may be writing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::fs::{Disk, Fs};
use crate::pipeline::commit::{OWN_DIR, stream_key};
use crate::pipeline::load::{Lines, Supply};
use crate::pipeline::service::FOLDER_KEY;
use crate::pipeline::state::{State, Watch};
use crate::sink::{Committed, Position};
use crate::sinks::segments::read::{self, Reader};
use crate::sinks::segments::{Saved, compress, name};
use crate::store::{Feed, Ids};

/// How often the commit log is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A data folder.
pub(super) struct Folder {
    fs: Arc<dyn Fs>,
    root: PathBuf,
    watch: Watch,
    origin: Arc<str>,
    follow: bool,
}

impl Folder {
    pub(super) fn new(root: &Path, follow: bool) -> anyhow::Result<Self> {
        let fs: Arc<dyn Fs> = Arc::new(Disk);
        let mut watch = Watch::new(Arc::clone(&fs), &root.join(OWN_DIR));
        watch.refresh()?;
        let origin = origin_of(watch.state(), root);
        Ok(Self { fs, root: root.to_owned(), watch, origin, follow })
    }
}

/// The identity of a data folder.
pub(in crate::commands) fn origin_of(state: &State, root: &Path) -> Arc<str> {
    let id: Option<String> = state.get(FOLDER_KEY).and_then(|id| serde_json::from_str(id.get()).ok());
    // A folder that no service of this version has written yet is known by its place.
    let place = || {
        let root = root.canonicalize().unwrap_or_default();
        blake3::hash(root.as_os_str().as_encoded_bytes()).to_hex()[..32].to_owned()
    };
    id.unwrap_or_else(place).into()
}

#[async_trait]
impl Supply for Folder {
    fn streams(&mut self) -> anyhow::Result<Vec<(Arc<str>, Committed)>> {
        self.watch.refresh()?;
        let prefix = stream_key("");
        let found = self.watch.state().iter().filter_map(|(key, saved)| Some((key.strip_prefix(&prefix)?, saved)));
        let found = found.map(|(stream, saved)| {
            let saved: Saved = serde_json::from_str(saved.get())?;
            Ok((Arc::from(stream), Committed::from(&saved)))
        });
        found.collect()
    }

    fn feed(&self, stream: &Arc<str>) -> (Feed, Ids) {
        (Feed { stream: Arc::clone(stream), origin: Arc::clone(&self.origin) }, Ids::Record)
    }

    fn lines(&self, stream: &Arc<str>, from: Position) -> Box<dyn Lines> {
        Box::new(Reader::new(Arc::clone(&self.fs), &self.root, Arc::clone(stream), from))
    }

    async fn changed(&mut self) -> bool {
        if self.follow {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.follow
    }
}

impl super::Shown for Folder {
    fn total(&self, takes: &dyn Fn(&str) -> bool, done: &dyn Fn(&str) -> Position) -> Option<u64> {
        let prefix = stream_key("");
        let mut total = 0;
        for stream in self.watch.state().keys().filter_map(|key| key.strip_prefix(&prefix)).filter(|name| takes(name)) {
            let at = done(stream);
            for file in read::files(&*self.fs, &self.root, stream).ok()?.range(at.segment..).map(|(_, file)| *file) {
                let path = name::path(&self.root, stream, file);
                let len = compress::plain_len(&*self.fs, &path, file.form).ok()??;
                total += if file.number == at.segment { len.saturating_sub(at.offset) } else { len };
            }
        }
        Some(total)
    }

    fn into_supply(self: Box<Self>) -> Box<dyn Supply> {
        self
    }
}
