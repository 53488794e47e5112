//! Any HTTP API that answers with JSON, lines of JSON, a table or XML, polled.
//!
//! The cursor is the last value that was given (`since`), and upstream's validator (`ETag`, `Last-Modified`) of an answer that
//! has one page. Which records were written is saved beside it (`unique`), in the same frame as the records: a value that is
//! too early is harmless where there is an `id`. A tick whose pages did not all come moves no value.
//!
//! Records are upstream's own text, token for token, as `message` takes them out of an answer; `forms` makes JSON of what is
//! none, `pages` finds the next page, `since` compares.

#[cfg(any(test, fuzzing))]
pub(crate) mod checks;
mod forms;
mod pages;
mod poll;
mod settings;
mod since;
mod split;
#[cfg(test)]
mod tests;

pub use self::forms::Format;
pub use self::pages::{CursorKeys, OffsetKeys, PageKeys, Pages};
pub use self::settings::{Fields, Json, Once, OnceKeys};
pub use self::since::{Since, Take};
