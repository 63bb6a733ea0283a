//! Durations as people write them (`30s`, `1m 30s`), for fields marked `#[serde(with = "proto_kit::human")]`, and times of day.

use std::time::{Duration, UNIX_EPOCH};

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};

/// Writes a duration as text.
///
/// # Errors
/// When the format cannot hold a text.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_duration(*duration))
}

/// Reads a duration from text.
///
/// # Errors
/// When the text is no duration with a unit.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text)
        .map_err(|error| D::Error::custom(format!("`{text}` is no duration like `30s`: {error}")))
}

/// A time of day in microseconds since 1970 as `2026-01-31T12:00:00Z`.
pub fn time(micros: i64) -> String {
    let since = Duration::from_micros(u64::try_from(micros).unwrap_or_default());
    humantime::format_rfc3339_seconds(UNIX_EPOCH + since).to_string()
}

/// Durations that may be absent.
pub mod optional {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    #[derive(Deserialize)]
    struct Human(#[serde(with = "super")] Duration);

    /// Writes a duration as text, or that there is none.
    ///
    /// # Errors
    /// When the format cannot hold that.
    pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }

    /// Reads a duration from text, or that there is none.
    ///
    /// # Errors
    /// When the text is no duration with a unit.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<Human>::deserialize(deserializer)?.map(|Human(duration)| duration))
    }
}
