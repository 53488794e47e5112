//! The older protocol, `statuses/filter` of the API v1.1: what is asked, how messages are told apart, what they are.
//!
//! X itself no longer serves it; compatible servers and recorded streams do. Everything here is pure: bytes and settings
//! in, values out. The request is a POST whose body is [`Filter::form`], signed with OAuth 1.0a.

mod form;
mod frames;
mod message;

pub use self::form::{Filter, FilterLevel, UserId};
pub(super) use self::frames::{Frame, Frames};
pub(super) use self::message::{Message, classify, disconnect_in_words};
