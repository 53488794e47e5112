//! What holds of every event stream, whoever made it up; see `adapters::scrape::checks`.

pub(crate) use super::parse::checks::any as any_stream;
