//! The forms in which a proxy and a time-out are written.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::StrDeserializer;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_untagged::UntaggedEnumVisitor;
use url::Url;

use crate::units::Span;

/// A proxy's address, which may have a user and a password in it.
#[derive(Clone)]
pub struct ProxyUrl(pub(super) Url);

impl Serialize for ProxyUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

impl<'de> Deserialize<'de> for ProxyUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The text is not shown, because it may hold a password.
        let text = String::deserialize(deserializer)?;
        let url = Url::parse(&text).map_err(|error| de::Error::custom(format!("not a URL ({error})")))?;
        let is_known = matches!(url.scheme(), "http" | "https" | "socks4" | "socks5" | "socks5h");
        if !is_known || url.host_str().is_none() {
            let message = "a proxy is written as http://proxy:3128, https://… or socks5h://127.0.0.1:1080";
            return Err(de::Error::custom(message));
        }
        Ok(Self(url))
    }
}

impl JsonSchema for ProxyUrl {
    fn schema_name() -> Cow<'static, str> {
        "ProxyUrl".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^(https?|socks4|socks5h?)://" })
    }
}

/// How long a fetch may take: `30s` in all, or `{ connect: 10s, total: 30s }`.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Timeout {
    /// Until there is a connection, TLS included.
    pub connect: Span,
    /// Until the last byte of the page is there.
    pub total: Span,
}

impl<'de> Deserialize<'de> for Timeout {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// The long form; the names are the user's.
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Both {
            connect: Option<Span>,
            total: Option<Span>,
        }
        UntaggedEnumVisitor::new()
            .expecting("a duration such as 30s, or `{ connect: 10s, total: 30s }`")
            .string(|text| {
                let total = Span::deserialize(StrDeserializer::new(text))?;
                Ok(Self { connect: total.min(Self::default().connect), total })
            })
            .map(|map| {
                let both: Both = map.deserialize()?;
                let total = both.total.unwrap_or(Self::default().total);
                Ok(Self { connect: both.connect.unwrap_or(total.min(Self::default().connect)), total })
            })
            .deserialize(deserializer)
    }
}

impl JsonSchema for Timeout {
    fn schema_name() -> Cow<'static, str> {
        "Timeout".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let span = generator.subschema_for::<Span>();
        let both: BTreeMap<&str, &Schema> = BTreeMap::from([("connect", &span), ("total", &span)]);
        json_schema!({ "anyOf": [span, { "type": "object", "properties": both, "additionalProperties": false }] })
    }
}

impl Default for Timeout {
    fn default() -> Self {
        Self { connect: Span(Duration::from_secs(10)), total: Span(Duration::from_secs(30)) }
    }
}
