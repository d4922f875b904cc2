//! Alarms and metric filters.

use std::time::Duration;

use serde_json::Value;

use super::{
    Template,
    yaml::{as_number, as_text, members, only_keys, wrong},
};
use crate::{
    alarms::{Alarm, Comparison, Query, Statistic},
    error::Result,
    metrics::{Metric, MetricFilter},
};

impl Template<'_> {
    pub(super) fn alarm(&self, id: &str, properties: &Value, place: &str) -> Result<Alarm> {
        let mut properties = properties.clone();
        // Who is told has no meaning on one machine.
        for key in ["AlarmActions", "OKActions"] {
            properties.as_object_mut().map(|properties| properties.remove(key));
        }
        read(id, &self.required(&properties, place)?, place)
    }

    pub(super) fn metric_filter(&self, properties: &Value, place: &str) -> Result<MetricFilter> {
        let filter = self.required(properties, place)?;
        only_keys(&filter, place, &["LogGroupName", "FilterPattern", "MetricTransformations"])?;
        let logs = &self.document["Globals"]["Function"]["LoggingConfig"]["LogGroup"];
        if self.resolve(logs, "Globals.Function.LoggingConfig.LogGroup")?.as_ref() != Some(&filter["LogGroupName"]) {
            return Err(wrong(&format!("{place}.LogGroupName"), "is not that of the functions"));
        }
        let [transformation] = &filter["MetricTransformations"].as_array().map(Vec::as_slice).unwrap_or_default()
        else {
            return Err(wrong(&format!("{place}.MetricTransformations"), "should be one"));
        };
        read_filter(&filter["FilterPattern"], transformation, place)
    }
}

/// Every intrinsic function is resolved already.
fn read(name: &str, alarm: &Value, place: &str) -> Result<Alarm> {
    const COMMON: [&str; 6] = [
        "AlarmDescription",
        "EvaluationPeriods",
        "DatapointsToAlarm",
        "Threshold",
        "ComparisonOperator",
        "TreatMissingData",
    ];
    const METRIC: [&str; 6] = ["Namespace", "MetricName", "Dimensions", "Statistic", "ExtendedStatistic", "Period"];
    let (query, period) = if alarm["Metrics"].is_null() {
        only_keys(alarm, place, &[COMMON, METRIC].concat())?;
        let statistic = match &alarm["ExtendedStatistic"] {
            Value::Null => read_statistic(&alarm["Statistic"], &format!("{place}.Statistic"))?,
            extended => read_statistic(extended, &format!("{place}.ExtendedStatistic"))?,
        };
        (Query::Metric(read_metric(alarm, place)?, statistic), read_secs(&alarm["Period"], &format!("{place}.Period"))?)
    } else {
        only_keys(alarm, place, &[COMMON.as_slice(), &["Metrics"]].concat())?;
        read_query(&alarm["Metrics"], &format!("{place}.Metrics"))?
    };
    let comparison = match alarm["ComparisonOperator"].as_str() {
        Some("GreaterThanOrEqualToThreshold") => Comparison::AtLeast,
        Some("GreaterThanThreshold") => Comparison::Above,
        _ => return Err(wrong(&format!("{place}.ComparisonOperator"), "is not understood on this machine")),
    };
    if alarm["TreatMissingData"] != "notBreaching" {
        return Err(wrong(&format!("{place}.TreatMissingData"), "only notBreaching is understood on this machine"));
    }
    let count = |key: &str| {
        let count = as_number(&alarm[key]).and_then(|count| usize::try_from(count).ok()).filter(|count| *count > 0);
        count.ok_or_else(|| wrong(&format!("{place}.{key}"), "should be a positive whole number"))
    };
    let periods = count("EvaluationPeriods")?;
    Ok(Alarm {
        name: name.to_owned(),
        description: as_text(&alarm["AlarmDescription"], &format!("{place}.AlarmDescription"))?,
        query,
        period,
        periods,
        to_alarm: if alarm["DatapointsToAlarm"].is_null() { periods } else { count("DatapointsToAlarm")? },
        comparison,
        threshold: as_decimal(&alarm["Threshold"], &format!("{place}.Threshold"))?,
    })
}

/// What an alarm with a list of `Metrics` watches: a query of Metrics Insights, or a sum of metrics.
fn read_query(metrics: &Value, place: &str) -> Result<(Query, Duration)> {
    let metrics = metrics.as_array().map(Vec::as_slice).unwrap_or_default();
    if let [query] = metrics {
        only_keys(query, place, &["Id", "Label", "Expression", "Period"])?;
        let place = format!("{place}[0]");
        let expression = as_text(&query["Expression"], &format!("{place}.Expression"))?;
        let query_of_every = read_select(&expression).ok_or_else(|| {
            wrong(&format!("{place}.Expression"), format!("{expression} is not understood on this machine"))
        })?;
        return Ok((query_of_every, read_secs(&query["Period"], &format!("{place}.Period"))?));
    }
    let mut summed = Vec::new();
    let mut periods = Vec::new();
    let mut expressions = Vec::new();
    for (index, metric) in metrics.iter().enumerate() {
        let place = format!("{place}[{index}]");
        if metric["MetricStat"].is_null() {
            only_keys(metric, &place, &["Id", "Label", "Expression"])?;
            expressions.push(as_text(&metric["Expression"], &format!("{place}.Expression"))?);
            continue;
        }
        only_keys(metric, &place, &["Id", "Label", "ReturnData", "MetricStat"])?;
        if metric["ReturnData"] != false {
            return Err(wrong(&format!("{place}.ReturnData"), "should be false, the sum is what is returned"));
        }
        let (stat, place) = (&metric["MetricStat"], format!("{place}.MetricStat"));
        only_keys(stat, &place, &["Metric", "Period", "Stat"])?;
        let metric_place = format!("{place}.Metric");
        only_keys(&stat["Metric"], &metric_place, &["Namespace", "MetricName", "Dimensions"])?;
        let statistic = read_statistic(&stat["Stat"], &format!("{place}.Stat"))?;
        summed.push((read_metric(&stat["Metric"], &metric_place)?, statistic));
        periods.push(read_secs(&stat["Period"], &format!("{place}.Period"))?);
    }
    if expressions != ["SUM(FILL(METRICS(), 0))"] {
        return Err(wrong(place, "only SUM(FILL(METRICS(), 0)) is understood on this machine"));
    }
    periods.dedup();
    match periods[..] {
        [period] => Ok((Query::Sum(summed), period)),
        _ => Err(wrong(place, "should all have one period")),
    }
}

/// `SELECT SUM(EventsStored) FROM "social-integrations"`.
fn read_select(expression: &str) -> Option<Query> {
    let (what, namespace) = expression.strip_prefix("SELECT ")?.split_once(" FROM ")?;
    let (statistic, name) = what.strip_suffix(')')?.split_once('(')?;
    let statistic = match statistic {
        "SUM" => Statistic::Sum,
        "AVG" => Statistic::Average,
        _ => return None,
    };
    let namespace = namespace.strip_prefix('"')?.strip_suffix('"').filter(|namespace| !namespace.contains('"'))?;
    Some(Query::Every { namespace: namespace.to_owned(), name: name.to_owned(), statistic })
}

fn read_metric(metric: &Value, place: &str) -> Result<Metric> {
    let text = |value: &Value, key: &str| as_text(&value[key], &format!("{place}.{key}"));
    let dimension = |dimension: &Value| Ok((text(dimension, "Name")?, text(dimension, "Value")?));
    Ok(Metric {
        namespace: text(metric, "Namespace")?,
        name: text(metric, "MetricName")?,
        dimensions: members(&metric["Dimensions"]).map(dimension).collect::<Result<_>>()?,
    })
}

fn read_statistic(statistic: &Value, place: &str) -> Result<Statistic> {
    let text = as_text(statistic, place)?;
    let percent = text.strip_prefix('p').and_then(|percent| percent.parse().ok());
    match (text.as_str(), percent) {
        ("Sum", _) => Ok(Statistic::Sum),
        ("Average", _) => Ok(Statistic::Average),
        (_, Some(percent)) if (0.0..=100.0).contains(&percent) => Ok(Statistic::Percentile(percent)),
        _ => Err(wrong(place, format!("{text} is not understood on this machine"))),
    }
}

/// `{ $.level = "ERROR" }`.
fn read_filter(pattern: &Value, transformation: &Value, place: &str) -> Result<MetricFilter> {
    let pattern = as_text(pattern, &format!("{place}.FilterPattern"))?;
    let compared = || {
        let (field, text) = pattern.strip_prefix("{ $.")?.strip_suffix("\" }")?.split_once(" = \"")?;
        let is_name = field.chars().all(|character| character.is_ascii_alphanumeric());
        (is_name && !text.contains(['"', '*'])).then(|| (field.to_owned(), text.to_owned()))
    };
    let (field, text) = compared().ok_or_else(|| {
        wrong(&format!("{place}.FilterPattern"), format!("{pattern} is not understood on this machine"))
    })?;
    let place = format!("{place}.MetricTransformations[0]");
    only_keys(transformation, &place, &["MetricNamespace", "MetricName", "MetricValue", "Unit"])?;
    let name = |key: &str| as_text(&transformation[key], &format!("{place}.{key}"));
    Ok(MetricFilter {
        field,
        text,
        metric: Metric::new(&name("MetricNamespace")?, &name("MetricName")?, &[]),
        value: as_decimal(&transformation["MetricValue"], &format!("{place}.MetricValue"))?,
    })
}

fn read_secs(value: &Value, place: &str) -> Result<Duration> {
    let secs = as_number(value).filter(|secs| *secs > 0);
    secs.map(Duration::from_secs).ok_or_else(|| wrong(place, "should be a positive whole number of seconds"))
}

fn as_decimal(value: &Value, place: &str) -> Result<f64> {
    let number = value.as_f64().or_else(|| value.as_str()?.parse().ok());
    number.ok_or_else(|| wrong(place, format!("{value} is not a number")))
}
