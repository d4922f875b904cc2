//! Data points by metric, and what a log line says of them.
//!
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use serde::Serialize;
use serde_json::Value;

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
    /// Which one.
    #[serde(flatten)]
    pub metric: Metric,
    /// Of how many data points.
    pub count: usize,
    /// Their sum.
    pub sum: f64,
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

impl Points {
    /// None yet; each is kept for so long.
    pub(crate) fn new(span: Duration) -> Self {
        Self { started: Instant::now(), advanced: Duration::ZERO, span, by_metric: BTreeMap::new() }
    }

    /// Their clock goes forward; nothing else does.
    pub(crate) fn advance(&mut self, by: Duration) {
        self.advanced = self.advanced.saturating_add(by);
    }

    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed().saturating_add(self.advanced)
    }

    /// A data point, now.
    pub(crate) fn put(&mut self, metric: Metric, value: f64) {
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

    /// Every metric, over all the time that is kept.
    pub(crate) fn totals(&self) -> Vec<Total> {
        let totals = self.by_metric.keys().map(|metric| {
            let values = self.values(&|other| other == metric, self.span, 0);
            Total { metric: metric.clone(), count: values.len(), sum: values.iter().sum() }
        });
        totals.filter(|total| total.count > 0).collect()
    }
}

/// The data points of a line in the embedded metric format; none where it is another line.
pub(crate) fn embedded(line: &Value) -> Vec<(Metric, f64)> {
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
mod tests {
    use super::*;

    const TWO_MINUTES: Duration = Duration::from_mins(2);

    fn errors() -> Metric {
        Metric::new("AWS/Lambda", "Errors", &[])
    }

    #[test]
    fn what_is_too_old_is_dropped() {
        let mut points = Points::new(TWO_MINUTES);
        let two = [Total { metric: errors(), count: 2, sum: 2.0 }];
        points.put(errors(), 1.0);
        points.advance(Duration::from_secs(119));
        points.put(errors(), 1.0);
        assert_eq!(points.totals(), two);

        points.advance(Duration::from_secs(2));
        points.put(errors(), 1.0);

        assert_eq!(points.totals(), two);
        assert_eq!(points.by_metric[&errors()].len(), 2);
    }

    #[test]
    fn a_metric_keeps_a_limited_number_of_points() {
        let mut points = Points::new(TWO_MINUTES);

        for _ in 0..=POINTS_MAX {
            points.put(errors(), 1.0);
        }

        assert_eq!(points.totals()[0].count, POINTS_MAX);
    }
}
