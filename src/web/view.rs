//! The state at one moment, with what the files of the sources say.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::{SourceConfig, When};
use crate::pipeline::driver::Streams;
use crate::pipeline::folder::Files;
use crate::report::committed::Committed;
use crate::report::source::File;
use crate::report::sources::{State, states};

/// The state at one moment.
pub struct View {
    /// What is committed.
    pub committed: Committed,
    /// Every source, by name.
    pub states: Vec<State>,
    configs: BTreeMap<String, Arc<SourceConfig>>,
}

impl View {
    /// A state, and the files of the sources as they are now.
    pub fn new(committed: Committed, files: &Files) -> Self {
        let mut configs = BTreeMap::new();
        let mut of = BTreeMap::new();
        for (name, found) in files.iter() {
            if let Some(config) = found.config() {
                configs.insert(name.clone(), Arc::clone(config));
            }
            of.insert(name.clone(), File::found(found));
        }
        let states = states(&committed, of);
        Self { committed, states, configs }
    }

    /// A source by its name.
    pub fn source(&self, name: &str) -> Option<&State> {
        let at = self.states.binary_search_by(|state| state.facts.name.as_str().cmp(name)).ok()?;
        self.states.get(at)
    }

    /// What a source's file says, where it runs or would run.
    pub fn config(&self, name: &str) -> Option<&Arc<SourceConfig>> {
        self.configs.get(name)
    }

    /// The version of a source's file, and its period in microseconds, if it has both.
    pub fn period_of(&self, source: &str) -> Option<(String, i64)> {
        let config = self.config(source)?;
        let When::Every(every) = config.schedule.as_ref()?.when else { return None };
        Some((config.fingerprint.clone(), i64::try_from(every.as_micros()).ok()?))
    }

    /// The stream that a source writes to.
    pub fn stream_of(&self, source: &str) -> Arc<str> {
        self.config(source).map_or_else(|| source.into(), |config| Streams::of(config).records)
    }
}
