//! The metrics of the running system, as CloudWatch has them: those of the AWS services that are emulated here, those that the
//! functions write into their logs, and what metric filters count there. Alarms are evaluated on them.
//!
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde::Serialize;
use serde_json::Value;

use crate::alarms::{Alarm, Report};
#[cfg(test)]
use crate::alarms::{Comparison, Query};

/// A metric keeps no more data points than this, whatever the alarms look at: beyond it, the oldest go.
const POINTS_MAX: usize = 100_000;

/// What tells data points apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Metric {
    /// `AWS/Lambda`
    pub namespace: String,
    /// `Errors`
    pub name: String,
    /// `FunctionName`: `receive-webhook`
    pub dimensions: BTreeMap<String, String>,
}

/// Counts log lines.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricFilter {
    /// A field of the line…
    pub field: String,
    /// …and the text that it has to be.
    pub text: String,
    /// What moves then.
    pub metric: Metric,
    /// By how much.
    pub value: f64,
}

/// A metric, and what is known of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Total {
    #[serde(flatten)]
    metric: Metric,
    /// Of how many data points.
    count: usize,
    /// Their sum.
    sum: f64,
}

/// The metrics and the alarms; clones share everything. The default one keeps nothing.
#[derive(Debug, Clone, Default)]
pub struct CloudWatch(Option<Arc<Kept>>);

#[derive(Debug)]
struct Kept {
    alarms: Vec<Alarm>,
    filters: Vec<MetricFilter>,
    points: Mutex<Points>,
}

/// Data points, each with its time.
#[derive(Debug)]
pub(crate) struct Points {
    started: Instant,
    /// By how much their clock goes before the real one.
    advanced: Duration,
    /// How long a point is kept.
    span: Duration,
    by_metric: BTreeMap<Metric, VecDeque<(Duration, f64)>>,
}

impl Metric {
    /// A metric with these dimensions.
    #[must_use]
    pub fn new(namespace: &str, name: &str, dimensions: &[(&str, &str)]) -> Self {
        let dimensions = dimensions.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Self { namespace: namespace.to_owned(), name: name.to_owned(), dimensions: dimensions.collect() }
    }
}

impl CloudWatch {
    /// Evaluates these alarms, and counts what passes these filters. A data point is kept for as long as an alarm looks back.
    #[must_use]
    pub fn new(alarms: Vec<Alarm>, filters: Vec<MetricFilter>) -> Self {
        let points = Points {
            started: Instant::now(),
            advanced: Duration::ZERO,
            span: alarms.iter().map(Alarm::span).max().unwrap_or_default(),
            by_metric: BTreeMap::new(),
        };
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
            let mut points = kept.points();
            points.advanced = points.advanced.saturating_add(by);
        }
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
        let points = kept.points();
        let totals = points.by_metric.keys().map(|metric| {
            let values = points.values(&|other| other == metric, points.span, 0);
            Total { metric: metric.clone(), count: values.len(), sum: values.iter().sum() }
        });
        totals.filter(|total| total.count > 0).collect()
    }
}

impl Kept {
    fn points(&self) -> MutexGuard<'_, Points> {
        self.points.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Points {
    fn now(&self) -> Duration {
        self.started.elapsed().saturating_add(self.advanced)
    }

    fn put(&mut self, metric: Metric, value: f64) {
        let now = self.now();
        let points = self.by_metric.entry(metric).or_default();
        let is_old = |(at, _): &(Duration, f64)| now.saturating_sub(*at) > self.span;
        while points.len() >= POINTS_MAX || points.front().is_some_and(is_old) {
            points.pop_front();
        }
        points.push_back((now, value));
    }

    /// The values of these metrics in one period, counted back from the one that ends now.
    pub(crate) fn values(&self, is_of: &dyn Fn(&Metric) -> bool, period: Duration, index: usize) -> Vec<f64> {
        let now = self.now();
        let is_in = |at: Duration| now.saturating_sub(at).as_nanos() / period.as_nanos().max(1) == index as u128;
        let points = self.by_metric.iter().filter(|(metric, _)| is_of(metric)).flat_map(|(_, points)| points);
        points.filter(|(at, _)| is_in(*at)).map(|(_, value)| *value).collect()
    }
}

/// The data points of a line in the embedded metric format; none where it is another line.
fn embedded(line: &Value) -> Vec<(Metric, f64)> {
    let mut points = Vec::new();
    for directive in members(&line["_aws"]["CloudWatchMetrics"]) {
        let namespace = directive["Namespace"].as_str().unwrap_or_default();
        for names in members(&directive["Dimensions"]) {
            let dimension = |name: &Value| {
                let name = name.as_str()?;
                Some((name.to_owned(), line[name].as_str()?.to_owned()))
            };
            let dimensions: BTreeMap<_, _> = members(names).iter().filter_map(dimension).collect();
            for name in members(&directive["Metrics"]).iter().filter_map(|metric| metric["Name"].as_str()) {
                let metric =
                    Metric { namespace: namespace.to_owned(), name: name.to_owned(), dimensions: dimensions.clone() };
                let values = match &line[name] {
                    Value::Array(values) => values.as_slice(),
                    value => std::slice::from_ref(value),
                };
                points.extend(values.iter().filter_map(Value::as_f64).map(|value| (metric.clone(), value)));
            }
        }
    }
    points
}

fn members(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
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
    fn what_no_alarm_looks_at_any_more_is_dropped() {
        let cloudwatch = CloudWatch::for_two_minutes(Vec::new());
        let put = || cloudwatch.put("AWS/Lambda", "Errors", &[], 1.0);
        put();
        cloudwatch.advance(Duration::from_secs(119));
        put();
        assert_eq!(cloudwatch.metrics(), [total("AWS/Lambda", "Errors", &[], 2, 2.0)]);

        cloudwatch.advance(Duration::from_secs(2));
        put();

        assert_eq!(cloudwatch.metrics(), [total("AWS/Lambda", "Errors", &[], 2, 2.0)]);
        let points = cloudwatch.0.unwrap();
        assert_eq!(points.points().by_metric.values().map(VecDeque::len).sum::<usize>(), 2);
    }

    #[test]
    fn a_metric_keeps_a_limited_number_of_points() {
        let cloudwatch = CloudWatch::for_two_minutes(Vec::new());

        for _ in 0..=POINTS_MAX {
            cloudwatch.put("AWS/Lambda", "Errors", &[], 1.0);
        }

        assert_eq!(cloudwatch.metrics()[0].count, POINTS_MAX);
    }

    #[test]
    fn the_default_keeps_nothing() {
        let cloudwatch = CloudWatch::default();

        cloudwatch.put("AWS/Lambda", "Errors", &[], 1.0);
        cloudwatch.advance(Duration::from_mins(1));

        assert!(cloudwatch.metrics().is_empty() && cloudwatch.alarms().is_empty());
    }
}
