//! The folder of sources, looked at again and again.
//!
//! It is polled, because file events do not cross every container's bind mount. A look costs one `stat` per file; only
//! what has changed is read. A file that is broken leaves its last good version in force, and is said once per change. One that
//! wants a name which another source has is broken, too, until that is free.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::SourceConfig;

use super::taken::Taken;

/// Reads one source file, or says everything that is wrong with it, one line each.
pub type Load = Box<dyn Fn(&Path) -> Result<SourceConfig, Vec<String>> + Send>;

/// What tells that a file was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    len: u64,
    modified: (i64, i64),
}

struct Seen {
    stamp: Stamp,
    found: Found,
    /// What it says, where that is right in itself and wants a name that another has.
    waits: Option<Arc<SourceConfig>>,
}

/// What a file of the folder holds.
#[derive(Clone)]
pub enum Found {
    /// A source.
    Good(Arc<SourceConfig>),
    /// Something that cannot be read.
    Broken {
        /// The first thing that is wrong, with its place.
        why: String,
        /// The last good version, which still runs.
        last_good: Option<Arc<SourceConfig>>,
    },
}

impl Found {
    /// The version that is in force.
    pub fn config(&self) -> Option<&Arc<SourceConfig>> {
        match self {
            Self::Good(config) => Some(config),
            Self::Broken { last_good, .. } => last_good.as_ref(),
        }
    }
}

/// Every file of the folder, by the name of its source.
pub type Files = Arc<BTreeMap<String, Found>>;

/// The folder as it was last seen.
pub struct Folder {
    dir: PathBuf,
    /// The names of the sources that are wanted; all, when it is empty.
    only: Vec<String>,
    load: Load,
    seen: BTreeMap<PathBuf, Seen>,
    /// Whether it was looked at: that a folder is empty is news the first time.
    is_known: bool,
    /// Why the folder could not be read the last time, so that it is said once.
    unreadable: Option<String>,
}

/// What a look brought, when anything had changed.
pub struct Look {
    /// Every source that is to run now.
    pub wanted: Vec<Arc<SourceConfig>>,
    /// What is wrong with files that have changed.
    pub wrong: Vec<String>,
}

impl Folder {
    /// The folder `dir`, not yet looked at. Only the sources named in `only` are taken, unless that is empty.
    pub fn new(dir: &Path, only: Vec<String>, load: Load) -> Self {
        Self { dir: dir.to_owned(), only, load, seen: BTreeMap::new(), is_known: false, unreadable: None }
    }

    /// Looks at the folder. `None` when nothing has changed since the last time. Blocks for as long as the file system does.
    pub fn look(&mut self) -> Option<Look> {
        let stamps = match self.stamps() {
            Ok(stamps) => stamps,
            Err(error) => return self.say_unreadable(&error),
        };
        let mut wrong = Vec::new();
        let before = self.seen.len();
        self.seen.retain(|path, _| stamps.contains_key(path));
        let is_first = !std::mem::replace(&mut self.is_known, true);
        let was_unreadable = self.unreadable.take().is_some();
        let mut changed = is_first || was_unreadable || self.seen.len() != before;
        let mut fresh = Vec::new();
        for (path, stamp) in stamps {
            if self.seen.get(&path).is_some_and(|seen| seen.stamp == stamp) {
                continue;
            }
            changed = true;
            let last_good = self.seen.remove(&path).and_then(|seen| seen.found.config().cloned());
            let (why, waits) = match (self.load)(&path) {
                Ok(config) => (String::new(), Some(Arc::new(config))),
                Err(said) => {
                    let why = said.first().cloned().unwrap_or_else(|| "it cannot be read".to_owned());
                    wrong.extend(said);
                    (why, None)
                }
            };
            fresh.push(path.clone());
            self.seen.insert(path, Seen { stamp, found: Found::Broken { why, last_good }, waits });
        }
        if changed {
            self.settle(&fresh, &mut wrong);
        }
        changed.then(|| Look { wanted: self.wanted(), wrong })
    }

    /// Puts in force what has changed, where its names are free: those of the sources that have not changed are taken.
    fn settle(&mut self, fresh: &[PathBuf], wrong: &mut Vec<String>) {
        let mut taken = Taken::default();
        for config in self.seen.values().filter(|seen| seen.waits.is_none()).filter_map(|seen| seen.found.config()) {
            if config.enabled {
                // They ran beside each other before.
                taken.take(config).ok();
            }
        }
        // Those that run come before those that want to: nobody new takes the names of a last good version.
        let (run, new): (Vec<_>, Vec<_>) = self.seen.iter_mut().partition(|(_, seen)| seen.found.config().is_some());
        for (path, seen) in run.into_iter().chain(new) {
            let Some(config) = seen.waits.take() else { continue };
            let result = if config.enabled { taken.take(&config) } else { Ok(()) };
            let (Err(problem), Found::Broken { why, last_good }) = (result, &mut seen.found) else {
                seen.found = Found::Good(config);
                continue;
            };
            let said = format!("{}: {problem}", path.display());
            if *why != said || fresh.contains(path) {
                wrong.push(said.clone());
            }
            *why = said;
            // Its last version has names, too, which may be taken by now.
            last_good.take_if(|config| config.enabled && taken.take(config).is_err());
            seen.waits = Some(config);
        }
    }

    /// Every file as it was last seen, by the name of its source; of several with one name the one that runs.
    pub fn files(&self) -> Files {
        let mut files = BTreeMap::new();
        for (path, seen) in &self.seen {
            let Some(name) = path.file_stem().and_then(|name| name.to_str()) else { continue };
            let is_better = files.get(name).is_none_or(|known: &Found| known.config().is_none());
            if is_better {
                files.insert(name.to_owned(), seen.found.clone());
            }
        }
        Arc::new(files)
    }

    /// The versions that are in force.
    fn wanted(&self) -> Vec<Arc<SourceConfig>> {
        let all = self.seen.values().filter_map(|seen| seen.found.config());
        all.filter(|config| config.enabled).cloned().collect()
    }

    fn say_unreadable(&mut self, error: &io::Error) -> Option<Look> {
        let why =
            format!("{}: cannot read the folder of sources: {error}; the sources that run go on", self.dir.display());
        if self.unreadable.as_ref() == Some(&why) {
            return None;
        }
        self.unreadable = Some(why.clone());
        Some(Look { wanted: self.wanted(), wrong: vec![why] })
    }

    fn stamps(&self) -> io::Result<BTreeMap<PathBuf, Stamp>> {
        let mut stamps = BTreeMap::new();
        for entry in std::fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if !crate::config::is_source_file(&path) || !self.is_wanted(&path) {
                continue;
            }
            // One that vanished between the two calls is one that is not there.
            let Ok(found) = std::fs::metadata(&path) else { continue };
            let stamp = Stamp { inode: found.ino(), len: found.len(), modified: (found.mtime(), found.mtime_nsec()) };
            stamps.insert(path, stamp);
        }
        Ok(stamps)
    }

    fn is_wanted(&self, path: &Path) -> bool {
        let name = path.file_stem().and_then(|name| name.to_str());
        self.only.is_empty() || self.only.iter().any(|only| Some(only.as_str()) == name)
    }
}
