//! `drift:` of a source's file: when its ticks fail so often that a person is told.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

/// The most ticks that are looked at together.
const TICKS_MAX: usize = 100;

/// When ticks that fail are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Drift {
    /// So many failed ticks in a row are told at once. By default `incidents.ticks` and `incidents.after` of the service's file
    /// say when.
    #[schemars(range(min = 1))]
    pub alert_after: Option<u64>,
    /// The least part of the last ticks that must be good: `95%/20` is 19 of 20; or `off`. `80%/20` by default. With less
    /// than that for `incidents.after` a person is told, though no ticks in a row fail.
    pub hit_rate: HitRate,
}

/// The least part of the last ticks that must be good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HitRate {
    /// So many of a hundred, of so many ticks.
    Of {
        /// From 1 to 100.
        percent: u8,
        /// How many ticks are looked at.
        ticks: usize,
    },
    /// Nobody is told.
    Off,
}

impl Default for HitRate {
    fn default() -> Self {
        Self::Of { percent: 80, ticks: 20 }
    }
}

impl HitRate {
    /// How many ticks are looked at.
    pub fn ticks(self) -> usize {
        match self {
            Self::Of { ticks, .. } => ticks,
            Self::Off => 0,
        }
    }

    /// Whether so many failures are too many. Fewer ticks than are looked at tell nothing.
    pub fn is_missed(self, failed: usize, of: usize) -> bool {
        match self {
            Self::Of { percent, ticks } => of >= ticks && (of - failed) * 100 < usize::from(percent) * of,
            Self::Off => false,
        }
    }
}

impl<'de> Deserialize<'de> for HitRate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        if text.trim() == "off" {
            return Ok(Self::Off);
        }
        let parts = text.split_once('/').and_then(|(percent, ticks)| {
            let percent = percent.trim().strip_suffix('%')?.trim().parse().ok()?;
            let ticks = ticks.trim().parse().ok()?;
            ((1..=100).contains(&percent) && (2..=TICKS_MAX).contains(&ticks)).then_some(Self::Of { percent, ticks })
        });
        parts.ok_or_else(|| {
            de::Error::custom(format!(
                "`{text}` is not a part of the last ticks; write `95%/20`, of 2 to 100 ticks, or off"
            ))
        })
    }
}

impl JsonSchema for HitRate {
    fn schema_name() -> Cow<'static, str> {
        "HitRate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^(off|[0-9]+%/[0-9]+)$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_part_of_the_last_ticks() {
        let rate = |text: &str| serde_json::from_value::<HitRate>(json!(text)).map_err(|error| error.to_string());
        let nineteen = rate("95%/20").unwrap();
        for (failed, of, expected) in [(1, 20, false), (2, 20, true), (19, 19, false), (20, 20, true)] {
            assert_eq!(nineteen.is_missed(failed, of), expected, "{failed} of {of}");
        }
        assert!(rate("100% / 2").unwrap().is_missed(1, 2));
        assert!(!rate("off").unwrap().is_missed(20, 20));
        // A source that fails each third time.
        assert!(HitRate::default().is_missed(7, 20) && !HitRate::default().is_missed(4, 20));
        for wrong in ["95", "95%", "0%/20", "101%/20", "95%/1", "95%/101", "x%/20", "95/20"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }
}
