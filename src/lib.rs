//! tapline collects live data: one YAML file per source in, timestamped JSON lines out, every gap accounted for.
//!
//! The way of a record: `sources/*.yaml` → [`config`] → [`adapters`] → [`pipeline`] (driver, normalise, writer) →
//! segments on disk → [`sinks`] and everything else that reads committed lines. Files at the root of `src/` are the
//! vocabulary; folders are the parts. ARCHITECTURE.md is the map.

#![forbid(unsafe_code)]

pub mod adapters;
pub mod alert;
pub mod alerts;
pub mod auth;
pub mod cli;
pub mod commands;
pub mod config;
pub mod context;
pub mod cursor;
pub mod fetch;
pub mod fs;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod item;
pub mod loaders;
pub mod message;
pub mod moment;
pub mod normalise;
pub mod opener;
pub mod outcome;
mod pairs;
pub mod parts;
pub mod pipeline;
pub mod reach;
pub mod record;
pub mod report;
pub mod resume;
pub mod retry_after;
pub mod scratch;
pub mod seal;
pub mod secrets;
pub mod simulator;
pub mod sink;
pub mod sinks;
pub mod source;
pub mod store;
pub mod template;
pub mod transform;
pub mod unique;
pub mod units;
pub mod web;
pub mod words;
