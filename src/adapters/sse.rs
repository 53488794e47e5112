//! Server-sent events: any stream of `text/event-stream`.

#[cfg(any(test, fuzzing))]
pub(crate) mod checks;
mod parse;
