//! What no file of a source shows alone: that two of them want one name for two things. In the data folder a stream is a folder,
//! and the link to tail stands beside it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::SourceConfig;
use crate::template::Template;

use super::driver::Streams;
use super::service::link_of;

/// The names that sources have taken.
#[derive(Default)]
pub struct Taken {
    names: HashMap<Arc<str>, PathBuf>,
    streams: HashMap<Arc<str>, PathBuf>,
    links: HashMap<String, Link>,
}

struct Link {
    stream: Arc<str>,
    format: Option<Template>,
    path: PathBuf,
}

impl Taken {
    /// Takes the names of a source.
    ///
    /// # Errors
    /// In words for its file, when one of them is taken. Then it has none.
    pub fn take(&mut self, config: &SourceConfig) -> Result<(), String> {
        let (stream, link) = (Streams::of(config).records, link_of(config));
        self.check(config, &stream, &link)?;
        self.names.insert(Arc::clone(&config.name), config.path.clone());
        self.streams.entry(Arc::clone(&stream)).or_insert_with(|| config.path.clone());
        let (format, path) = (config.output.format.clone(), config.path.clone());
        self.links.entry(link).or_insert(Link { stream, format, path });
        Ok(())
    }

    fn check(&self, config: &SourceConfig, stream: &str, link: &str) -> Result<(), String> {
        if let Some(first) = self.names.get(&config.name) {
            return Err(format!("a source of this name is already in {}; rename one of them", first.display()));
        }
        if link == stream {
            return Err(format!("`output.link` {link} is the name of the stream's folder; give the link another"));
        }
        if let Some(first) = self.streams.get(link) {
            let first = first.display();
            return Err(format!(
                "the link {link} would stand where the stream {link} of {first} has its folder; {RENAME}"
            ));
        }
        if let Some(first) = self.links.get(stream) {
            let first = first.path.display();
            return Err(format!(
                "the stream {stream} would have its folder where the link {stream} of {first} stands; {RENAME}"
            ));
        }
        let Some(first) = self.links.get(link) else { return Ok(()) };
        let (known, path) = (&first.stream, first.path.display());
        if **known != *stream {
            return Err(format!(
                "`output.link` {link} already points at the stream {known} of {path}; give one of them another"
            ));
        }
        if first.format != config.output.format {
            return Err(format!(
                "the stream {known} is rendered otherwise by {path}; sources of one stream share one `output.format`"
            ));
        }
        Ok(())
    }
}

const RENAME: &str = "give one of them another name, by `output.link` or `output.stream`";
