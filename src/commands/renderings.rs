//! Text renderings of running sources: begun, changed and ended with them.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, PoisonError};

use crate::config::SourceConfig;
use crate::pipeline::driver::Streams;
use crate::pipeline::follow::Followers;
use crate::pipeline::service::link_of;
use crate::pipeline::writer::Writer;
use crate::sinks::text::{Rendering, Spec};

use super::parts::Parts;

/// The text renderings of a service, by stream.
pub struct Renderings {
    followers: Followers,
    current: HashMap<Arc<str>, Spec>,
}

impl Renderings {
    /// Starts the thread that they share.
    ///
    /// # Errors
    /// When the machine gives no thread.
    pub fn start(writer: &Writer) -> io::Result<Self> {
        // The thread ends by itself, after the writer.
        let (followers, _thread) = Followers::start(writer, "renderings")?;
        Ok(Self { followers, current: HashMap::new() })
    }

    /// Makes the renderings those that the sources ask for. Their streams have been opened.
    ///
    /// # Errors
    /// When a stream cannot be read, or the writer has ended.
    pub async fn set(&mut self, parts: &Parts, sources: &[Arc<SourceConfig>]) -> anyhow::Result<()> {
        let wanted: HashMap<Arc<str>, Spec> =
            sources.iter().filter_map(|config| spec_of(config)).map(|spec| (Arc::clone(&spec.stream), spec)).collect();
        let over: Vec<Arc<str>> = self.current.keys().filter(|stream| !wanted.contains_key(*stream)).cloned().collect();
        for stream in over {
            self.current.remove(&stream);
            self.followers.remove(&stream);
        }
        for (stream, spec) in wanted {
            if self.current.get(&stream) != Some(&spec) {
                self.begin(parts, &stream, spec).await?;
            }
        }
        Ok(())
    }

    async fn begin(&mut self, parts: &Parts, stream: &Arc<str>, spec: Spec) -> anyhow::Result<()> {
        let is_changed = self.current.insert(Arc::clone(stream), spec.clone()).is_some();
        let (fs, root) = (Arc::clone(&parts.fs), &parts.root);
        let active = || {
            let positions = parts.shared.writer.positions();
            let positions = positions.read().unwrap_or_else(PoisonError::into_inner);
            positions.get(stream).map(|committed| committed.end.segment)
        };
        let rendering = if is_changed {
            // One text file has one form: the new one begins with a new segment.
            self.followers.remove(stream);
            parts.shared.writer.close_segment(Arc::clone(stream)).await?;
            Rendering::begin(fs, root, spec, active().map_or(1, |active| active + 1))
        } else {
            Rendering::resume(fs, root, spec, active().unwrap_or(1))?
        };
        self.followers.add(stream, Some(Arc::clone(stream)), Box::new(rendering));
        Ok(())
    }
}

fn spec_of(config: &SourceConfig) -> Option<Spec> {
    let template = config.output.format.clone()?;
    let stream = Streams::of(config).records;
    Some(Spec { stream, template, timezone: config.timezone, link: link_of(config) })
}
