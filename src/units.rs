//! Durations and sizes as people write them: `200ms`, `1h 30m`, `64MiB`.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A length of time as written in YAML: a number with a unit (`ms`, `s`, `m`, `h`, `d`, `w`), or several (`1h 30m`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub Duration);

impl fmt::Display for Span {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(out)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Scalar::deserialize(deserializer)?.0;
        // humantime takes `1 month` for 30.44 days; nobody means that here, and its list of units is long.
        humantime::parse_duration(text.trim()).map(Self).map_err(|_| {
            de::Error::custom(format!(
                "`{text}` is not a duration; write a number with a unit, such as 200ms, 1s, 5m, 1h 30m or 90d"
            ))
        })
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A number with a unit, such as 200ms, 1s, 5m, 1h 30m, 90d.",
            "pattern": "^\\s*([0-9]+\\s*[a-z]+\\s*)+$"
        })
    }
}

/// A number of bytes as written in YAML: `64MiB`, `50GiB`, `10MB`, or a plain number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        bytesize::ByteSize(self.0).fmt(out)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Scalar::deserialize(deserializer)?.0;
        text.trim().parse::<bytesize::ByteSize>().map(|size| Self(size.as_u64())).map_err(|_| {
            de::Error::custom(format!(
                "`{text}` is not a size; write a number with a unit, such as 64KiB, 64MiB or 50GiB"
            ))
        })
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "description": "A number of bytes with a unit, such as 64KiB, 64MiB, 50GiB.",
            "pattern": "^\\s*[0-9.]+\\s*([kKmMgGtTpP][iI]?)?[bB]?\\s*$"
        })
    }
}

/// A string, or a number taken as its text: YAML makes `size: 1000` a number.
struct Scalar(String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Scalar;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a number with a unit")
            }

            fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar(text.to_owned()))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Scalar, E> {
                Ok(Scalar(number.to_string()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn spans() {
        for (given, millis) in [
            ("200ms", 200),
            ("1s", 1_000),
            ("1h 30m", 5_400_000),
            ("90d", 7_776_000_000),
            ("1.5s", 1_500),
            (" 5m ", 300_000),
        ] {
            assert_eq!(
                serde_json::from_value::<Span>(json!(given)).unwrap(),
                Span(Duration::from_millis(millis)),
                "{given}"
            );
        }
        for wrong in [json!("1"), json!(5), json!("soon"), json!("-1s"), json!("")] {
            let error = serde_json::from_value::<Span>(wrong.clone()).unwrap_err().to_string();
            assert!(error.contains("is not a duration"), "{wrong}: {error}");
        }
    }

    #[test]
    fn sizes() {
        for (given, bytes) in
            [(json!("64MiB"), 64 << 20), (json!("10MB"), 10_000_000), (json!(1000), 1000), (json!("50GiB"), 50 << 30)]
        {
            assert_eq!(serde_json::from_value::<Size>(given.clone()).unwrap(), Size(bytes), "{given}");
        }
        for wrong in [json!("big"), json!("-1MiB"), json!("")] {
            let error = serde_json::from_value::<Size>(wrong.clone()).unwrap_err().to_string();
            assert!(error.contains("is not a size"), "{wrong}: {error}");
        }
    }
}
