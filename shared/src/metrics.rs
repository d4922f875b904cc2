//! Figures for CloudWatch in its embedded metric format: a line on standard output for each request that has some. Every name
//! stands here. What has too many values for a dimension, such as the organization, is a property: Logs Insights finds it.
//!
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>

use std::{io, sync::OnceLock};

use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};
use metrics_cloudwatch_embedded::{Builder, Collector};
use serde::Serialize;
use tracing::warn;

use crate::{
    config,
    delivery::Received,
    platform::Platform,
    store::{Answer, Outcome},
};

const DELIVERIES: &str = "Deliveries";
const DELIVERIES_REFUSED: &str = "DeliveriesRefused";
const STORED: &str = "EventsStored";
const DUPLICATES: &str = "EventsDuplicate";
const QUARANTINED: &str = "EventsQuarantined";
const UNROUTABLE: &str = "EventsUnroutable";
const IGNORED: &str = "EventsIgnored";
const FAILED: &str = "EventsFailed";
const REPLAYED: &str = "EventsReplayed";
const LAG: &str = "WebhookLag";
const ACCEPTED: &str = "SendsAccepted";
const UNKNOWN: &str = "SendsUnknown";
const NOT_SENT: &str = "SendsFailed";
const UNDELIVERED: &str = "SendsUndelivered";
const CHECKED: &str = "IntegrationsChecked";
const REFUSED: &str = "IntegrationsRefused";
const ELSEWHERE: &str = "WebhooksElsewhere";
const REPAIRED: &str = "WebhooksRepaired";
const RENEWED: &str = "WebhooksRenewed";
const QUIET: &str = "IntegrationsQuiet";
const UNANSWERED: &str = "ChecksUnanswered";
const MISSING: &str = "EventsMissing";
const JOURNALED: &str = "EventsJournaled";

const PLATFORM: &str = "Platform";
const PROVIDER_CODE: &str = "ProviderCode";
const ORGANIZATION: &str = "organizationId";

/// The longest code of the provider that is taken for one.
const CODE_MAX_BYTES: usize = 7;

static COLLECTOR: OnceLock<&'static Collector> = OnceLock::new();

/// Collects from now on; without a namespace in the environment nothing is.
pub(crate) fn init() {
    let Some(namespace) = config::metrics_namespace() else { return };
    let counters = [
        DELIVERIES,
        DELIVERIES_REFUSED,
        STORED,
        DUPLICATES,
        QUARANTINED,
        UNROUTABLE,
        IGNORED,
        FAILED,
        REPLAYED,
        ACCEPTED,
        UNKNOWN,
        NOT_SENT,
        UNDELIVERED,
        CHECKED,
        REFUSED,
        ELSEWHERE,
        REPAIRED,
        RENEWED,
        QUIET,
        UNANSWERED,
        MISSING,
        JOURNALED,
    ];
    match Builder::new().cloudwatch_namespace(namespace).init() {
        Ok(collector) => {
            COLLECTOR.get_or_init(|| collector);
            for name in counters {
                describe_counter!(name, Unit::Count, "");
            }
            describe_histogram!(LAG, Unit::Milliseconds, "");
        }
        Err(error) => warn!("there will be no metrics: {error}"),
    }
}

/// Writes what was collected since the last time; nothing where there is nothing.
pub(crate) fn flush() {
    let Some(collector) = COLLECTOR.get() else { return };
    if let Err(error) = collector.flush(io::stdout().lock()) {
        warn!("metrics were not written: {error}");
    }
    collector.remove_property(ORGANIZATION);
}

/// What a delivery came to. `lag_ms` is the time from the oldest thing that it tells to now.
pub fn delivery(received: &Received, lag_ms: Option<i64>) {
    let platform = platform(received.platform);
    let counts = &received.counts;
    for (name, count) in [
        (DELIVERIES, 1),
        (STORED, counts.stored),
        (DUPLICATES, counts.duplicates),
        (QUARANTINED, counts.quarantined),
        (UNROUTABLE, counts.unroutable),
        (IGNORED, counts.ignored),
        (FAILED, counts.failed),
        (UNDELIVERED, counts.undelivered),
    ] {
        if count > 0 {
            counter!(name, PLATFORM => platform).increment(count as u64);
        }
    }
    if let Some(lag_ms) = lag_ms {
        #[expect(clippy::cast_precision_loss, reason = "exact up to 285,000 years")]
        histogram!(LAG, PLATFORM => platform).record(lag_ms.max(0) as f64);
    }
    if let (Some(collector), Some(organization)) = (COLLECTOR.get(), &received.organization) {
        collector.set_property(ORGANIZATION, organization.to_string());
    }
}

/// A delivery that looks like ours was refused.
pub fn delivery_refused() {
    counter!(DELIVERIES_REFUSED).increment(1);
}

fn platform(platform: Option<Platform>) -> &'static str {
    platform.map_or("unknown", Platform::as_str)
}

/// What came of a reply.
pub fn sent(platform: Platform, outcome: &Outcome) {
    let platform = platform.as_str();
    match outcome.answer {
        Answer::Accepted => counter!(ACCEPTED, PLATFORM => platform).increment(1),
        Answer::Unknown => counter!(UNKNOWN, PLATFORM => platform).increment(1),
        Answer::Rejected | Answer::Unavailable => {
            let code = code(outcome.error.as_ref().map_or("", |error| error.code.as_str()));
            counter!(NOT_SENT, PLATFORM => platform, PROVIDER_CODE => code).increment(1);
        }
    }
}

/// A code of the provider, or one of our own words, as a dimension: no free text.
fn code(code: &str) -> String {
    let is_code = !code.is_empty() && code.len() <= CODE_MAX_BYTES && code.bytes().all(|byte| byte.is_ascii_digit());
    let is_word = matches!(code, "UNREACHABLE" | "UNAVAILABLE");
    if is_code || is_word { code.to_owned() } else { "other".to_owned() }
}

/// An entry of the quarantine has found its place.
pub fn replayed() {
    counter!(REPLAYED).increment(1);
}

/// So many events were appended to a journal.
pub fn journaled(count: usize) {
    if count > 0 {
        counter!(JOURNALED).increment(count as u64);
    }
}

/// What checks of integrations found out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Checks {
    /// How many were checked.
    pub checked: usize,
    /// Of those, whose key is refused or does not open, or whose account is blocked.
    pub refused: usize,
    /// Of those, whose webhook points elsewhere.
    pub elsewhere: usize,
    /// Of those, whose webhook was set to ours again.
    pub repaired: usize,
    /// Of those, whose webhook got a token of the current secret.
    pub renewed: usize,
    /// Of those, for whom nothing has come for unusually long.
    pub quiet: usize,
    /// Of those, about whom the provider did not answer.
    pub unanswered: usize,
    /// Messages of their conversations that the journal does not tell of.
    pub missing: usize,
}

impl std::ops::AddAssign for Checks {
    fn add_assign(&mut self, other: Self) {
        self.checked += other.checked;
        self.refused += other.refused;
        self.elsewhere += other.elsewhere;
        self.repaired += other.repaired;
        self.renewed += other.renewed;
        self.quiet += other.quiet;
        self.unanswered += other.unanswered;
        self.missing += other.missing;
    }
}

/// What checks of integrations found out.
pub fn checked(checks: &Checks) {
    for (name, count) in [
        (CHECKED, checks.checked),
        (REFUSED, checks.refused),
        (ELSEWHERE, checks.elsewhere),
        (REPAIRED, checks.repaired),
        (RENEWED, checks.renewed),
        (QUIET, checks.quiet),
        (UNANSWERED, checks.unanswered),
        (MISSING, checks.missing),
    ] {
        if count > 0 {
            counter!(name).increment(count as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dimension_holds_no_free_text() {
        assert_eq!(code("131047"), "131047");
        assert_eq!(code("UNREACHABLE"), "UNREACHABLE");
        for text in ["", "12345678", "Lena Vogt", "491713920012"] {
            assert_eq!(code(text), "other", "{text}");
        }
    }
}
