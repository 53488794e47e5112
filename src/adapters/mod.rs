//! How to listen: one file per kind of source. This file is the one list of them.
//!
//! To add one: write `adapters/<kind>.rs` (settings, [`Source`](crate::source::Source), a pure parse, tests), then add
//! its two lines here. Tests then fail until it has fixtures, a simulator, an example and a page in `docs/`.

pub mod feed;
pub mod json;
pub mod scrape;
pub mod sse;
pub mod websocket;
pub mod x_stream;

use crate::source::Adapter;

/// Every adapter, in alphabetical order.
pub const ADAPTERS: &[Adapter] = &[
    Adapter::of::<feed::Feed>(),
    Adapter::of::<json::Json>(),
    Adapter::of::<scrape::Scrape>(),
    Adapter::of::<sse::Sse>(),
    Adapter::of::<websocket::Websocket>(),
    Adapter::of::<x_stream::XStream>(),
];
