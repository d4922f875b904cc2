//! What was measured, as JSON and as tables.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;
use serde_json::Value;

/// Everything that was measured.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// What it was measured on.
    machine: String,
    quick: bool,
    pub(super) loads: Vec<Load>,
    pub(super) growth: Vec<Growth>,
    pub(super) costs: Vec<Cost>,
    /// Of the webhook, ascending.
    pub(super) spawn_to_first_poll_ms: Vec<f64>,
    /// By function, of one process.
    pub(super) peak_memory_mb: BTreeMap<String, f64>,
    pub(super) counted_back: CountedBack,
}

/// How a load went.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Load {
    what: &'static str,
    concurrency: usize,
    calls: usize,
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    /// Processor time of the function.
    cpu_ms_per_call: f64,
}

/// An everyday delivery and read beside a number of things.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Growth {
    pub(super) what: &'static str,
    pub(super) size: usize,
    pub(super) inbound: Load,
    pub(super) read: Load,
}

/// What an event asks of the table.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Cost {
    what: &'static str,
    events: usize,
    table_calls: f64,
    write_units: f64,
    read_units: f64,
    failed_conditions: f64,
    kms_calls: f64,
}

/// What the API showed at the end; it was what had been delivered and sent.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CountedBack {
    pub(super) conversations: u64,
    pub(super) inbound: u64,
    pub(super) outbound: u64,
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
pub(super) fn float(count: usize) -> f64 {
    count as f64
}

/// The value below which that share of an ascending list lies.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index into the list")]
pub(super) fn percentile(ascending: &[f64], share: f64) -> f64 {
    let index = (float(ascending.len()) * share).ceil() as usize;
    ascending.get(index.saturating_sub(1)).or(ascending.last()).copied().unwrap_or_default()
}

impl Load {
    pub(super) fn new(what: &'static str, concurrency: usize, seconds: f64, latencies_ms: &[f64], cpu_ms: f64) -> Self {
        let calls = latencies_ms.len();
        Self {
            what,
            concurrency,
            calls,
            per_second: float(calls) / seconds,
            p50_ms: percentile(latencies_ms, 0.5),
            p99_ms: percentile(latencies_ms, 0.99),
            cpu_ms_per_call: cpu_ms / float(calls.max(1)),
        }
    }
}

impl Cost {
    pub(super) fn new(what: &'static str, events: usize, metered: &Value) -> Self {
        let per_event = |value: &Value| value.as_f64().unwrap_or_default() / float(events.max(1));
        let kms = metered["kms"].as_object().into_iter().flat_map(|calls| calls.values());
        // Not `sum`, which is -0.0 of nothing.
        let kms = kms.filter_map(Value::as_f64).fold(0.0, |sum, calls| sum + calls);
        Self {
            what,
            events,
            table_calls: per_event(&metered["requests"]),
            write_units: per_event(&metered["writeUnits"]),
            read_units: per_event(&metered["readUnits"]),
            failed_conditions: per_event(&metered["failedConditions"]),
            kms_calls: kms / float(events.max(1)),
        }
    }
}

impl Report {
    pub(super) fn new(quick: bool) -> Self {
        Self {
            machine: machine(),
            quick,
            loads: Vec::new(),
            growth: Vec::new(),
            costs: Vec::new(),
            spawn_to_first_poll_ms: Vec::new(),
            peak_memory_mb: BTreeMap::new(),
            counted_back: CountedBack::default(),
        }
    }
}

/// Processor, cores, memory and build, since figures mean nothing without them.
pub(super) fn machine() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown processor");
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory =
        memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse().ok());
    let gigabytes =
        memory.map_or_else(|| "unknown".to_owned(), |kilobytes: f64| format!("{:.0}", kilobytes / 1024.0 / 1024.0));
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    format!(
        "{}, {cores} cores and {gigabytes} GB for functions, table engine, rig and driver together; the last three in a {build} build",
        model.trim_start_matches([' ', '\t', ':'])
    )
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}\n", self.machine)?;
        writeln!(
            formatter,
            "| load | at a time | per second | p50 ms | p99 ms | function's CPU, ms |\n|---|---|---|---|---|---|"
        )?;
        for load in &self.loads {
            let Load { what, concurrency, per_second, p50_ms, p99_ms, cpu_ms_per_call, .. } = load;
            writeln!(
                formatter,
                "| {what} | {concurrency} | {per_second:.0} | {p50_ms:.2} | {p99_ms:.2} | {cpu_ms_per_call:.2} |"
            )?;
        }
        writeln!(
            formatter,
            "\n| per event | table calls | write units | read units | KMS calls |\n|---|---|---|---|---|"
        )?;
        for cost in &self.costs {
            let Cost { what, table_calls, write_units, read_units, kms_calls, .. } = cost;
            writeln!(formatter, "| {what} | {table_calls:.2} | {write_units:.2} | {read_units:.2} | {kms_calls:.2} |")?;
        }
        writeln!(
            formatter,
            "\n| with | inbound text p50 ms | CPU, ms | read p50 ms | CPU, ms |\n|---|---|---|---|---|"
        )?;
        for Growth { what, size, inbound, read } in &self.growth {
            writeln!(
                formatter,
                "| {size} {what} | {:.2} | {:.2} | {:.2} | {:.2} |",
                inbound.p50_ms, inbound.cpu_ms_per_call, read.p50_ms, read.cpu_ms_per_call
            )?;
        }
        let spawn = percentile(&self.spawn_to_first_poll_ms, 0.5);
        writeln!(formatter, "\nspawn to first poll: {spawn:.1} ms median of {}", self.spawn_to_first_poll_ms.len())?;
        let peak = self.peak_memory_mb.iter().max_by(|(_, a), (_, b)| a.total_cmp(b));
        if let Some((function, megabytes)) = peak {
            writeln!(formatter, "most memory of a process: {megabytes:.1} MB ({function})")?;
        }
        self.counted_back.fmt(formatter)
    }
}

impl fmt::Display for CountedBack {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { conversations, inbound, outbound } = self;
        write!(
            formatter,
            "counted back through the API: {inbound} delivered and {outbound} sent messages in {conversations} conversations, none lost, none doubled"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::float_cmp, reason = "the values themselves come back")]
    fn percentiles_are_values_of_the_list() {
        let ascending = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(percentile(&ascending, 0.5), 2.0);
        assert_eq!(percentile(&ascending, 0.99), 4.0);
        assert_eq!(percentile(&[], 0.5), 0.0);
    }
}
