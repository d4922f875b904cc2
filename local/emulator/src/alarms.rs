//! Alarms as CloudWatch evaluates them: a query gives a value for each period, and enough breaching values ring.
//!
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html>

use std::time::Duration;

use serde::Serialize;

use crate::metrics::{Metric, Points};

/// An alarm of the template. A period without data does not breach.
#[derive(Debug, Clone, PartialEq)]
pub struct Alarm {
    /// Its logical id.
    pub name: String,
    /// What it means, and what to do.
    pub description: String,
    /// What it watches.
    pub query: Query,
    /// What a value is of.
    pub period: Duration,
    /// How many of the last periods are looked at.
    pub periods: usize,
    /// How many of their values have to breach.
    pub to_alarm: usize,
    /// When a value breaches.
    pub comparison: Comparison,
    /// What it is compared with.
    pub threshold: f64,
}

/// What gives the value of a period.
#[derive(Debug, Clone, PartialEq)]
pub enum Query {
    /// One metric.
    Metric(Metric, Statistic),
    /// `SELECT SUM(name) FROM "namespace"`: all metrics of this name together, whatever their dimensions.
    Every {
        /// Of the metrics.
        namespace: String,
        /// Of the metrics.
        name: String,
        /// Over all their data points.
        statistic: Statistic,
    },
    /// `SUM(FILL(METRICS(), 0))`: the values of several metrics, added; one without data counts as 0.
    Sum(Vec<(Metric, Statistic)>),
}

/// What is made of the data points of a period.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Statistic {
    /// `Sum`
    Sum,
    /// `Average`
    Average,
    /// `p99`: 99 of 100 data points are not above it.
    Percentile(f64),
}

/// How a value is compared with the threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `GreaterThanOrEqualToThreshold`
    AtLeast,
    /// `GreaterThanThreshold`
    Above,
}

/// Whether an alarm rings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// It does not.
    Ok,
    /// It does.
    Alarm,
}

/// An alarm as it stands now.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report<'a> {
    name: &'a str,
    state: State,
    /// Of the last periods, the current one first; null where there was no data.
    values: Vec<Option<f64>>,
    period_secs: u64,
    /// How many of the values have to breach.
    datapoints_to_alarm: usize,
    threshold: f64,
    description: &'a str,
}

impl Alarm {
    /// How far it looks back.
    pub(crate) fn span(&self) -> Duration {
        self.period.saturating_mul(u32::try_from(self.periods).unwrap_or(u32::MAX))
    }

    /// How it stands, by these points.
    pub(crate) fn report(&self, points: &Points) -> Report<'_> {
        let values: Vec<_> = (0..self.periods).map(|period| self.value(points, period)).collect();
        let breaching = values.iter().flatten().filter(|value| self.breaches(**value)).count();
        Report {
            name: &self.name,
            state: if breaching >= self.to_alarm { State::Alarm } else { State::Ok },
            values,
            period_secs: self.period.as_secs(),
            datapoints_to_alarm: self.to_alarm,
            threshold: self.threshold,
            description: &self.description,
        }
    }

    /// The value of a period, counted back from the current one; `None` where there is no data.
    fn value(&self, points: &Points, period: usize) -> Option<f64> {
        let values = |is_of: &dyn Fn(&Metric) -> bool| points.values(is_of, self.period, period);
        let of = |metric: &Metric, statistic: Statistic| statistic.of(values(&|other| other == metric));
        match &self.query {
            Query::Metric(metric, statistic) => of(metric, *statistic),
            Query::Every { namespace, name, statistic } => {
                statistic.of(values(&|metric| metric.namespace == *namespace && metric.name == *name))
            }
            Query::Sum(metrics) => {
                let values = metrics.iter().filter_map(|(metric, statistic)| of(metric, *statistic));
                // The sum of nothing would be -0.
                Some(values.fold(0.0, |sum, value| sum + value))
            }
        }
    }

    fn breaches(&self, value: f64) -> bool {
        match self.comparison {
            Comparison::AtLeast => value >= self.threshold,
            Comparison::Above => value > self.threshold,
        }
    }
}

impl Statistic {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "there are fewer data points than an f64 counts exactly"
    )]
    fn of(self, mut values: Vec<f64>) -> Option<f64> {
        if values.is_empty() {
            return None;
        }
        let sum: f64 = values.iter().sum();
        match self {
            Self::Sum => Some(sum),
            Self::Average => Some(sum / values.len() as f64),
            Self::Percentile(percent) => {
                values.sort_by(f64::total_cmp);
                let rank = (percent / 100.0 * values.len() as f64).ceil() as usize;
                values.get(rank.saturating_sub(1)).copied()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMESPACE: &str = "AWS/DynamoDB";

    fn metric(name: &str) -> Metric {
        Metric::new(NAMESPACE, name, &[])
    }

    /// Rings where 2 of the last 3 minutes have at least 5.
    fn alarm(query: Query) -> Alarm {
        Alarm {
            name: "Busy".to_owned(),
            description: "Look".to_owned(),
            query,
            period: Duration::from_mins(1),
            periods: 3,
            to_alarm: 2,
            comparison: Comparison::AtLeast,
            threshold: 5.0,
        }
    }

    /// The state and the values after these minutes, in each of which these values were put.
    fn after(alarm: &Alarm, minutes: &[&[(&str, f64)]]) -> (State, Vec<Option<f64>>) {
        let mut points = Points::new(alarm.span());
        for (index, minute) in minutes.iter().enumerate() {
            if index > 0 {
                points.advance(Duration::from_mins(1));
            }
            for (name, value) in *minute {
                points.put(metric(name), *value);
            }
        }
        let report = alarm.report(&points);
        (report.state, report.values)
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let p99 = |values: Vec<f64>| Statistic::Percentile(99.0).of(values);
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();

        assert_eq!(p99(hundred.clone()), Some(99.0));
        assert_eq!(Statistic::Percentile(50.0).of(hundred), Some(50.0));
        assert_eq!(p99(vec![7.0]), Some(7.0));
        assert_eq!(p99(vec![7.0, 2000.0]), Some(2000.0));
        assert_eq!(p99(vec![]), None);
    }

    #[test]
    fn an_average_is_over_all_values() {
        assert_eq!(Statistic::Average.of(vec![1.0, 2.0, 6.0]), Some(3.0));
        assert_eq!(Statistic::Average.of(vec![]), None);
    }

    #[test]
    fn so_many_of_the_last_periods_have_to_breach() {
        let alarm = alarm(Query::Metric(metric("Errors"), Statistic::Sum));
        let (few, many): (&[_], &[_]) = (&[("Errors", 4.0)], &[("Errors", 2.0), ("Errors", 3.0)]);

        assert_eq!(after(&alarm, &[many]), (State::Ok, vec![Some(5.0), None, None]));
        assert_eq!(after(&alarm, &[many, many]).0, State::Alarm);
        assert_eq!(after(&alarm, &[many, few, many]), (State::Alarm, vec![Some(5.0), Some(4.0), Some(5.0)]));
        assert_eq!(after(&alarm, &[many, few, few, many]), (State::Ok, vec![Some(5.0), Some(4.0), Some(4.0)]));
    }

    #[test]
    fn a_period_without_data_does_not_breach() {
        let alarm = alarm(Query::Metric(metric("Errors"), Statistic::Sum));

        assert_eq!(after(&alarm, &[]), (State::Ok, vec![None, None, None]));
        let many: &[_] = &[("Errors", 5.0)];
        assert_eq!(after(&alarm, &[many, many, &[]]), (State::Alarm, vec![None, Some(5.0), Some(5.0)]));
        assert_eq!(after(&alarm, &[many, many, &[], &[]]), (State::Ok, vec![None, None, Some(5.0)]));
    }

    #[test]
    fn above_is_not_at_least() {
        let at_least = alarm(Query::Metric(metric("Errors"), Statistic::Sum));
        let above = Alarm { comparison: Comparison::Above, ..at_least.clone() };
        let minutes: &[&[_]] = &[&[("Errors", 5.0)], &[("Errors", 5.0)]];

        assert_eq!((after(&at_least, minutes).0, after(&above, minutes).0), (State::Alarm, State::Ok));
    }

    #[test]
    fn a_sum_of_metrics_fills_what_is_missing_with_zero() {
        let sum = alarm(Query::Sum(vec![(metric("Reads"), Statistic::Sum), (metric("Writes"), Statistic::Sum)]));
        let minutes: &[&[_]] = &[&[("Reads", 3.0), ("Writes", 2.0)], &[("Writes", 6.0), ("Other", 9.0)], &[]];

        assert_eq!(after(&sum, minutes), (State::Alarm, vec![Some(0.0), Some(6.0), Some(5.0)]));
    }

    #[test]
    fn a_query_of_every_metric_does_not_look_at_dimensions() {
        let (namespace, name) = (NAMESPACE.to_owned(), "Lag".to_owned());
        let alarm = alarm(Query::Every { namespace, name, statistic: Statistic::Average });
        let mut points = Points::new(alarm.span());

        for (platform, value) in [("whatsapp", 4.0), ("instagram", 8.0)] {
            points.put(Metric::new(NAMESPACE, "Lag", &[("Platform", platform)]), value);
        }
        points.put(Metric::new("AWS/Other", "Lag", &[]), 100.0);

        assert_eq!(alarm.report(&points).values[0], Some(6.0));
    }
}
