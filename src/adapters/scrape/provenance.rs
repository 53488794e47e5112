//! Where a record comes from, for those who have to show it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use data_encoding::HEXLOWER;
use http::header::{DATE, ETAG, HeaderName, LAST_MODIFIED};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::rows::with_member;
use super::{Pages, Scrape};
use crate::fetch::Body;
use crate::item::Item;
use crate::record::time_text;
use crate::secrets;
use crate::source::Problem;

/// The member of a record's `data`.
pub(super) const NAME: &str = "provenance";

impl Scrape {
    /// A field of the same name would be there twice.
    pub(super) fn provenance_problem(&self) -> Option<Problem> {
        let is_taken = self.provenance && self.fields.has(NAME);
        is_taken.then(|| {
            Problem::new(["fields", NAME], "`provenance: true` writes a member of this name; call the field otherwise")
        })
    }
}

impl Pages {
    /// What is known of a page that has just come, as the members of an object.
    pub(super) fn origin(&self, body: &Body, scheduled: DateTime<Utc>, took: Duration) -> String {
        let text = |name: HeaderName| body.headers.get(name).and_then(|value| value.to_str().ok());
        let page_time = text(DATE).and_then(|date| DateTime::parse_from_rfc2822(date).ok());
        let origin = json!({
            "scheduled_at": time_text(&scheduled),
            "fetched_at": time_text(&self.context.now()),
            "page_time": page_time.map(|at| time_text(&at.to_utc())),
            "took_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            "url": secrets::hide(body.url.as_str()),
            "status": body.status.as_u16(),
            "etag": text(ETAG),
            "last_modified": text(LAST_MODIFIED),
            "sha256": HEXLOWER.encode(&Sha256::digest(&body.bytes)),
            "version": self.context.version(),
        });
        format!("\"{NAME}\":{origin}")
    }
}

/// The record with where it comes from.
pub(super) fn put_into(item: Item, origin: Option<&str>) -> Item {
    let Some(origin) = origin else { return item };
    Item { data: with_member(item.data.get(), origin), ..item }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n11_it_is_the_last_member() {
        let with = |data: &str| {
            let data = serde_json::value::RawValue::from_string(data.into()).unwrap();
            let item = Item { id: None, kind: "page".into(), published_at: None, data };
            put_into(item, Some("\"provenance\":{\"status\":200}")).data.get().to_owned()
        };
        assert_eq!(with("{}"), r#"{"provenance":{"status":200}}"#);
        assert_eq!(with(r#"{"a":"}"}"#), r#"{"a":"}","provenance":{"status":200}}"#);
    }
}
