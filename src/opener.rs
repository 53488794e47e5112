//! Settings whose type has been erased: what the list of adapters is made of.

use url::Url;

use crate::context::Context;
use crate::item::{Finding, Suggestion};
use crate::source::{Batch, Budget, PageTest, Problem, SavedPage, Settings, Source};

/// Reads an adapter's part of a source file, or says everything that is wrong with it.
pub type ParseSettings = fn(serde_json::Value) -> Result<Box<dyn Opener>, Vec<Problem>>;

/// An adapter, with the type of its settings erased: one line of the list in `adapters/mod.rs`.
pub struct Adapter {
    /// See [`Settings::KIND`].
    pub kind: &'static str,
    /// See [`Settings::ABOUT`].
    pub about: &'static str,
    /// See [`Settings::EXAMPLE`].
    pub example: &'static str,
    /// See [`Settings::POLLED`].
    pub polled: bool,
    /// See [`Settings::RUNS_PROGRAMS`].
    pub runs_programs: bool,
    /// The JSON Schema of the settings, for `tapline schema`, the docs and the check of keys.
    pub schema: fn() -> schemars::Schema,
    /// Reads the adapter's part of a source file.
    pub parse: ParseSettings,
}

impl Adapter {
    /// The line of the list for one type of settings.
    pub const fn of<S: Settings>() -> Self {
        Self {
            kind: S::KIND,
            about: S::ABOUT,
            example: S::EXAMPLE,
            polled: S::POLLED,
            runs_programs: S::RUNS_PROGRAMS,
            schema: || schemars::schema_for!(S),
            parse: parse_settings::<S>,
        }
    }
}

fn parse_settings<S: Settings>(value: serde_json::Value) -> Result<Box<dyn Opener>, Vec<Problem>> {
    let settings = S::read(value)?;
    let problems = settings.problems();
    if problems.is_empty() { Ok(Box::new(settings)) } else { Err(problems) }
}

/// Settings whose type has been erased, ready to make their source any number of times.
pub trait Opener: Send + Sync {
    /// See [`Settings::open`].
    ///
    /// # Errors
    /// See [`Settings::open`].
    fn open(&self, context: &Context) -> anyhow::Result<Box<dyn Source>>;

    /// See [`Settings::REPLAYS`].
    fn replays(&self) -> bool {
        false
    }

    /// See [`Settings::budget`].
    fn budget(&self) -> Budget {
        Budget::default()
    }

    /// See [`Settings::upstream`].
    fn upstream(&self) -> Vec<Url> {
        Vec::new()
    }

    /// See [`Settings::data_names`].
    fn data_names(&self) -> Option<Vec<String>> {
        None
    }

    /// See [`Settings::tests`].
    fn tests(&self) -> Vec<PageTest> {
        Vec::new()
    }

    /// See [`Settings::read_page`].
    fn read_page(&self, _page: &SavedPage) -> Option<anyhow::Result<(Batch, Vec<Finding>)>> {
        None
    }

    /// See [`Settings::suggest`].
    fn suggest(
        &self,
        _now: &str,
        _was: Option<&str>,
        _values: &[(String, String)],
    ) -> Option<anyhow::Result<Vec<Suggestion>>> {
        None
    }
}

impl<S: Settings> Opener for S {
    fn replays(&self) -> bool {
        S::REPLAYS
    }

    fn budget(&self) -> Budget {
        Settings::budget(self)
    }

    fn upstream(&self) -> Vec<Url> {
        Settings::upstream(self)
    }

    fn data_names(&self) -> Option<Vec<String>> {
        Settings::data_names(self)
    }

    fn tests(&self) -> Vec<PageTest> {
        Settings::tests(self)
    }

    fn read_page(&self, page: &SavedPage) -> Option<anyhow::Result<(Batch, Vec<Finding>)>> {
        Settings::read_page(self, page)
    }

    fn suggest(
        &self,
        now: &str,
        was: Option<&str>,
        values: &[(String, String)],
    ) -> Option<anyhow::Result<Vec<Suggestion>>> {
        Settings::suggest(self, now, was, values)
    }

    fn open(&self, context: &Context) -> anyhow::Result<Box<dyn Source>> {
        Settings::open(self.clone(), context)
    }
}
