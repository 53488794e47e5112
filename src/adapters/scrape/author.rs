//! Tools for who writes a source: a first file made of what was seen on a page, and selectors for what has moved.
//!
//! Nothing here changes what a source does. It only ever proposes, and everything that it proposes has been tried on the
//! page, by the engine that would run it.

mod draft;
mod form;
mod heal;
mod list;
mod moved;
mod rule;
mod spot;

pub use self::draft::{Draft, Find, draft};
pub(super) use self::heal::suggest;
