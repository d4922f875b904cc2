//! The metrics of the running system, as CloudWatch has them: those of the AWS services that are emulated here, those that the
//! functions write into their logs, and what metric filters count there. Alarms are evaluated on them.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::Value;

#[cfg(test)]
use crate::alarms::{Comparison, Query};
use crate::{
    alarms::{Alarm, Report},
    metrics::{Metric, MetricFilter, Points, Total, embedded},
};

/// The metrics and the alarms; clones share everything. The default one keeps nothing.
#[derive(Debug, Clone, Default)]
pub struct CloudWatch(Option<Arc<Kept>>);

#[derive(Debug)]
struct Kept {
    alarms: Vec<Alarm>,
    filters: Vec<MetricFilter>,
    points: Mutex<Points>,
}

impl CloudWatch {
    /// Evaluates these alarms, and counts what passes these filters. A data point is kept for as long as an alarm looks back.
    #[must_use]
    pub fn new(alarms: Vec<Alarm>, filters: Vec<MetricFilter>) -> Self {
        let points = Points::new(alarms.iter().map(Alarm::span).max().unwrap_or_default());
        Self(Some(Arc::new(Kept { alarms, filters, points: Mutex::new(points) })))
    }

    /// A data point, now.
    pub fn put(&self, namespace: &str, name: &str, dimensions: &[(&str, &str)], value: f64) {
        if let Some(kept) = &self.0 {
            kept.points().put(Metric::new(namespace, name, dimensions), value);
        }
    }

    /// A data point of a function.
    pub(crate) fn put_of_function(&self, function: &str, name: &str, value: f64) {
        self.put("AWS/Lambda", name, &[("FunctionName", function)], value);
    }

    /// What a line of a function's log says: figures in the embedded metric format, and what a filter counts.
    pub fn log(&self, line: &str) {
        let Some(kept) = &self.0 else { return };
        let Ok(line) = serde_json::from_str::<Value>(line) else { return };
        let mut points = kept.points();
        for filter in kept.filters.iter().filter(|filter| line[&filter.field] == *filter.text) {
            points.put(filter.metric.clone(), filter.value);
        }
        for (metric, value) in embedded(&line) {
            points.put(metric, value);
        }
    }

    /// The clock of the metrics goes forward; nothing else does.
    pub fn advance(&self, by: Duration) {
        if let Some(kept) = &self.0 {
            kept.points().advance(by);
        }
    }

    /// Since the start, by the clock of the metrics; nothing where none are kept.
    #[must_use]
    pub(crate) fn now(&self) -> Duration {
        self.0.as_ref().map(|kept| kept.points().now()).unwrap_or_default()
    }

    /// How each alarm stands now.
    #[must_use]
    pub fn alarms(&self) -> Vec<Report<'_>> {
        let Some(kept) = &self.0 else { return Vec::new() };
        let points = kept.points();
        kept.alarms.iter().map(|alarm| alarm.report(&points)).collect()
    }

    /// Every metric, over the time that an alarm looks back at most.
    #[must_use]
    pub fn metrics(&self) -> Vec<Total> {
        let Some(kept) = &self.0 else { return Vec::new() };
        kept.points().totals()
    }
}

impl Kept {
    fn points(&self) -> MutexGuard<'_, Points> {
        self.points.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl CloudWatch {
    /// Keeps data points for two minutes.
    pub(crate) fn for_two_minutes(filters: Vec<MetricFilter>) -> Self {
        let alarm = Alarm {
            name: "Any".to_owned(),
            description: String::new(),
            query: Query::Sum(Vec::new()),
            period: Duration::from_mins(1),
            periods: 2,
            to_alarm: 2,
            comparison: Comparison::AtLeast,
            threshold: 1.0,
        };
        Self::new(vec![alarm], filters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(namespace: &str, name: &str, dimensions: &[(&str, &str)], count: usize, sum: f64) -> Total {
        Total { metric: Metric::new(namespace, name, dimensions), count, sum }
    }

    #[test]
    fn figures_in_a_log_are_data_points_by_their_dimensions() {
        let cloudwatch = CloudWatch::for_two_minutes(Vec::new());

        cloudwatch.log(
            r#"{"_aws":{"Timestamp":1688294472338,"CloudWatchMetrics":[{"Namespace":"local","Dimensions":[["Platform"]],
            "Metrics":[{"Name":"EventsStored","Unit":"Count"},{"Name":"WebhookLag","Unit":"Milliseconds"}]}]},
            "Platform":"whatsapp","organizationId":"acme","EventsStored":2,"WebhookLag":[40.0,60.5]}"#,
        );
        cloudwatch.log(
            r#"{"_aws":{"Timestamp":1688294472338,"CloudWatchMetrics":[{"Namespace":"local","Dimensions":[[]],
            "Metrics":[{"Name":"IntegrationsChecked","Unit":"Count"}]}]},"IntegrationsChecked":5}"#,
        );
        cloudwatch.log(r#"{"level":"INFO","EventsStored":7}"#);
        cloudwatch.log("no JSON");

        let whatsapp = &[("Platform", "whatsapp")];
        let expected = [
            total("local", "EventsStored", whatsapp, 1, 2.0),
            total("local", "IntegrationsChecked", &[], 1, 5.0),
            total("local", "WebhookLag", whatsapp, 2, 100.5),
        ];
        assert_eq!(cloudwatch.metrics(), expected);
    }

    #[test]
    fn a_filter_counts_the_lines_that_it_is_for() {
        let filter = MetricFilter {
            field: "level".to_owned(),
            text: "ERROR".to_owned(),
            metric: Metric::new("local", "LoggedErrors", &[]),
            value: 1.0,
        };
        let cloudwatch = CloudWatch::for_two_minutes(vec![filter]);

        for line in [r#"{"level":"ERROR"}"#, r#"{"level":"WARN"}"#, r#"{"fields":{"level":"ERROR"}}"#, "ERROR"] {
            cloudwatch.log(line);
        }

        assert_eq!(cloudwatch.metrics(), [total("local", "LoggedErrors", &[], 1, 1.0)]);
    }

    #[test]
    fn the_default_keeps_nothing() {
        let cloudwatch = CloudWatch::default();

        cloudwatch.put("AWS/Lambda", "Errors", &[], 1.0);
        cloudwatch.advance(Duration::from_mins(1));

        assert!(cloudwatch.metrics().is_empty() && cloudwatch.alarms().is_empty());
    }
}
