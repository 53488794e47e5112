//! `http:` of the service's file: where the page, the metrics and the health answers are, and who may see them.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_untagged::UntaggedEnumVisitor;

use crate::source::Problem;

/// A shorter token could be guessed.
const TOKEN_MIN: usize = 16;

/// The HTTP endpoint: `off`, or a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Http {
    /// No endpoint.
    Off,
    /// An endpoint.
    On(HttpKeys),
}

impl Default for Http {
    fn default() -> Self {
        Self::On(HttpKeys::default())
    }
}

/// Where the endpoint is, and who may use it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HttpKeys {
    /// The address and the port. Beyond loopback a token is needed.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// The names by which browsers may ask for it, beside `localhost` and the address itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Who sends this may see everything, and try sources; without one, everybody who can reach the port may look.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// A file with the token. It is made, with a random one, if it is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
}

impl Default for HttpKeys {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 8080)), hosts: Vec::new(), token: None, token_file: None }
    }
}

/// The token is a secret.
impl fmt::Debug for HttpKeys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("HttpKeys").field("listen", &self.listen).field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

impl HttpKeys {
    /// What is wrong that the types alone cannot say, as the key and why.
    pub fn problem(&self) -> Option<(&'static str, String)> {
        if self.token.is_some() && self.token_file.is_some() {
            return Some(("token_file", "write `token` or `token_file`, not both".to_owned()));
        }
        if let Some(token) = &self.token {
            if token.chars().count() < TOKEN_MIN {
                return Some((
                    "token",
                    format!("a token has at least {TOKEN_MIN} characters, so that nobody guesses it"),
                ));
            }
            if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Some((
                    "token",
                    "a token is made of ASCII letters, digits and signs, without spaces".to_owned(),
                ));
            }
        }
        if !self.listen.ip().is_loopback() && self.token.is_none() && self.token_file.is_none() {
            let why = format!(
                "`{}` is reached from other machines, and the page shows everything: set `token`, or `token_file` to have one made; or listen on 127.0.0.1",
                self.listen
            );
            return Some(("listen", why));
        }
        None
    }
}

/// What is wrong with the endpoint's keys.
pub(super) fn check(http: &Http) -> Option<Problem> {
    let Http::On(keys) = http else { return None };
    keys.problem().map(|(key, why)| Problem::new(["http", key], why))
}

impl Serialize for Http {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => serializer.serialize_str("off"),
            Self::On(keys) => keys.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Http {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "`off`, or a map such as { listen: \"127.0.0.1:8080\" }";
        UntaggedEnumVisitor::new()
            .expecting(expected)
            .string(|text| match text {
                "off" => Ok(Self::Off),
                other => Err(de::Error::invalid_value(de::Unexpected::Str(other), &expected)),
            })
            .map(|map| map.deserialize().map(Self::On))
            .deserialize(deserializer)
    }
}

impl JsonSchema for Http {
    fn schema_name() -> Cow<'static, str> {
        "Http".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let keys = generator.subschema_for::<HttpKeys>();
        json_schema!({ "anyOf": [{ "const": "off", "description": "No endpoint." }, keys] })
    }
}

/// The endpoint as the command line has it: `off`, or an address.
impl std::str::FromStr for Http {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let listen = text.parse().map_err(|_| "write `off`, or an address such as 127.0.0.1:8080".to_owned())?;
        Ok(Self::On(HttpKeys { listen, ..HttpKeys::default() }))
    }
}
