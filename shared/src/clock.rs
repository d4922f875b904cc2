//! Times: epoch milliseconds and microseconds inside, RFC 3339 UTC with milliseconds outside.

use std::time::{SystemTime, UNIX_EPOCH};

use ::time::{OffsetDateTime, format_description::well_known::Rfc3339, macros::format_description};

/// Now, epoch microseconds.
#[must_use]
pub fn now_us() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX)
}

/// Now, epoch milliseconds.
#[must_use]
pub fn now_ms() -> i64 {
    now_us() / 1000
}

/// `2026-11-23T10:00:00.000Z` of epoch milliseconds.
#[must_use]
pub fn rfc3339(epoch_ms: i64) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(epoch_ms) * 1_000_000);
    moment.unwrap_or(OffsetDateTime::UNIX_EPOCH).format(&format).unwrap_or_default()
}

/// The day of epoch milliseconds, `2026-11-23`.
#[must_use]
pub fn day(epoch_ms: i64) -> String {
    rfc3339(epoch_ms).chars().take(10).collect()
}

/// Epoch milliseconds of an RFC 3339 time; `None` when it is none, or lies before 1970 or after 2286.
#[must_use]
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    let epoch_ms = i64::try_from(moment.unix_timestamp_nanos() / 1_000_000).ok()?;
    (0..=9_999_999_999_999).contains(&epoch_ms).then_some(epoch_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_back() {
        assert_eq!(rfc3339(1_795_428_000_123), "2026-11-23T10:00:00.123Z");
        assert_eq!(parse_rfc3339("2026-11-23T10:00:00.123Z"), Some(1_795_428_000_123));
        assert_eq!(parse_rfc3339("2026-11-23T11:00:00.123+01:00"), Some(1_795_428_000_123));
        assert_eq!(day(1_795_428_000_123), "2026-11-23");
    }

    #[test]
    fn other_texts_are_no_times() {
        for text in ["", "yesterday", "2026-13-01T00:00:00Z", "1969-12-31T23:59:59Z"] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }
}
