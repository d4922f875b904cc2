//! What a sustained load came to: as JSON, as tables and as a chart.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use emulator::lambda::{ENVIRONMENTS, WEBHOOK_ENVIRONMENTS};
use serde::Serialize;

use super::{
    super::{
        chart::{Band, Chart, Colour, Line, Plot, number},
        report::{CountedBack, float, machine, percentile},
    },
    Load, Readings, Sample,
    memory::{Change, Course, MOST_CHANGE},
    schedule::{Arrival, Kind, NOISE, Phase, QUIET_TENANTS, Timeline, quiet_rate},
};

/// The most that the quiet tenants' p99 may become beside the noisy one: times what it is without.
const MOST_P99: f64 = 1.20;
/// Below this a p99 is the luck of a few calls.
const ENOUGH_SAMPLES: usize = 1_000;
/// Parts of the run that the chart shows as one point each: a tenth, which warms up, is two.
const WINDOWS: u32 = 20;
/// Points of a line of memory in the chart.
const MEMORY_POINTS: usize = 120;

/// What the figures say less about Lambda for.
fn shared() -> String {
    format!(
        "Shared here, and not on Lambda: all processes of all functions, the engine of the table, the rig and the driver run on the same cores, \
        and a request waits when the webhook has {WEBHOOK_ENVIRONMENTS} under way, or another function {ENVIRONMENTS}. On Lambda each request \
        that is under way has a process with a processor share of its own, and the table is elsewhere."
    )
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    machine: String,
    shared: String,
    seed: u64,
    minutes: f64,
    /// Events a second.
    rate: f64,
    quiet_tenants: usize,
    quiet_rate_per_tenant: f64,
    noise: usize,
    quiet: Compared,
    quiet_by_kind: Vec<Compared>,
    /// How much the p99 of the quiet tenants moved; at most [`MOST_P99`].
    p99_ratio: f64,
    p99_held: bool,
    enough_samples: bool,
    noisy: Latencies,
    /// Of all cores, whatever kept them so.
    busy: Busy,
    /// Nothing where no process lived long enough.
    memory_flat: Option<bool>,
    memory: Vec<Course>,
    windows: Vec<Window>,
    counted_back: CountedBack,
    #[serde(skip)]
    timeline: Timeline,
    #[serde(skip)]
    memory_by_function: BTreeMap<String, BTreeMap<Duration, f64>>,
}

/// Calls of a kind in both timed phases.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Compared {
    what: &'static str,
    alone: Latencies,
    beside: Latencies,
}

/// Shares of the cores' time; nothing where the system does not tell.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Busy {
    alone: Option<f64>,
    beside: Option<f64>,
}

/// From the time at which each call was due until its answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Latencies {
    calls: usize,
    p50_ms: f64,
    p99_ms: f64,
}

/// A part of the run; what was due in it, and what was answered in it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Window {
    from_secs: f64,
    quiet: Latencies,
    quiet_events_per_second: f64,
    noisy_events_per_second: f64,
}

impl Latencies {
    fn of<'a>(samples: impl Iterator<Item = &'a Sample>) -> Self {
        let mut ascending: Vec<f64> = samples.map(|sample| sample.latency.as_secs_f64() * 1000.0).collect();
        ascending.sort_by(f64::total_cmp);
        Self { calls: ascending.len(), p50_ms: percentile(&ascending, 0.5), p99_ms: percentile(&ascending, 0.99) }
    }
}

impl Compared {
    fn new(what: &'static str, samples: &[Sample], timeline: Timeline, is_of: impl Fn(&Arrival) -> bool) -> Self {
        let of_phase = |phase| {
            let own = |sample: &&Sample| timeline.at(sample.arrival.at) == phase && is_of(&sample.arrival);
            Latencies::of(samples.iter().filter(own))
        };
        Self { what, alone: of_phase(Phase::Alone), beside: of_phase(Phase::Beside) }
    }

    fn p99_ratio(&self) -> f64 {
        self.beside.p99_ms / self.alone.p99_ms
    }
}

impl Report {
    pub(super) fn new(
        load: &Load,
        timeline: Timeline,
        samples: &[Sample],
        readings: &Readings,
        counted_back: CountedBack,
    ) -> Self {
        let quiet = Compared::new("all", samples, timeline, Arrival::is_quiet);
        let by_kind = |kind: Kind| {
            Compared::new(kind.name(), samples, timeline, |arrival| arrival.is_quiet() && arrival.kind == kind)
        };
        let noisy = Compared::new("noisy", samples, timeline, |arrival| !arrival.is_quiet());
        let courses = readings.memory.courses();
        let changes: Vec<_> = courses.iter().filter_map(|course| course.change.as_ref()).collect();
        Self {
            machine: machine(),
            shared: shared(),
            seed: load.seed,
            minutes: minutes(load.length),
            rate: load.rate,
            quiet_tenants: QUIET_TENANTS,
            quiet_rate_per_tenant: quiet_rate(load.rate),
            noise: NOISE,
            p99_ratio: quiet.p99_ratio(),
            p99_held: quiet.p99_ratio() <= MOST_P99,
            enough_samples: quiet.alone.calls.min(quiet.beside.calls) >= ENOUGH_SAMPLES,
            quiet,
            quiet_by_kind: Kind::ALL.map(by_kind).into(),
            noisy: noisy.beside,
            busy: Busy {
                alone: readings.processor.busy(timeline.start(Phase::Alone), timeline.start(Phase::Beside)),
                beside: readings.processor.busy(timeline.start(Phase::Beside), timeline.end()),
            },
            memory_flat: (!changes.is_empty()).then(|| changes.iter().all(|change| change.is_flat())),
            memory: courses,
            windows: windows(samples, timeline),
            counted_back,
            timeline,
            memory_by_function: readings.memory.by_function(),
        }
    }

    /// Nothing, or which processes' memory is not flat. Lost and doubled messages are an error before there is a report.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        let judged = self.memory.iter().filter_map(|course| Some((course, course.change.as_ref()?)));
        let moved: Vec<_> = judged
            .filter(|(_, change)| !change.is_flat())
            .map(|(Course { function, pid, .. }, change)| {
                format!(
                    "{function} (process {pid}) went from {:.1} to {:.1} MB",
                    change.second_minute_mb, change.last_minute_mb
                )
            })
            .collect();
        (!moved.is_empty()).then(|| format!("memory is not flat: {}", moved.join("; ")))
    }

    /// The chart, as SVG.
    #[must_use]
    pub fn chart(&self) -> String {
        let Self { rate, machine, timeline, .. } = self;
        let band = |phase: Phase, length: Duration| {
            let start = timeline.start(phase);
            Band { name: phase.name(), from: minutes(start), to: minutes(start + length) }
        };
        let chart = Chart {
            title: format!(
                "{QUIET_TENANTS} quiet tenants, and one that sends {} times as much as each of them",
                number(float(NOISE))
            ),
            subtitle: format!(
                "Open loop, {rate:.0} events a second of all together; latency from the time at which a call was due"
            ),
            note: machine.clone(),
            across: ("minutes since the start", minutes(timeline.end())),
            bands: vec![
                band(Phase::WarmUp, timeline.warm_up),
                band(Phase::Alone, timeline.phase),
                band(Phase::Beside, timeline.phase),
            ],
            plots: vec![self.latency_plot(), self.throughput_plot(), self.memory_plot()],
        };
        chart.svg()
    }

    /// A point for each window in which something was due, in its middle.
    fn points(&self, value: impl Fn(&Window) -> f64) -> Vec<(f64, f64)> {
        let half = minutes(self.timeline.end()) / f64::from(WINDOWS) / 2.0;
        let windows = self.windows.iter().filter(|window| window.quiet.calls > 0);
        windows.map(|window| (window.from_secs / 60.0 + half, value(window))).collect()
    }

    fn latency_plot(&self) -> Plot {
        let line = |name: &str, dashed, points| Line { name: name.to_owned(), colour: Colour::Blue, dashed, points };
        Plot {
            title: format!(
                "Latency of the quiet tenants, ms (windows of {:.0} s)",
                self.timeline.end().as_secs_f64() / f64::from(WINDOWS)
            ),
            lines: vec![
                line("p99", false, self.points(|window| window.quiet.p99_ms)),
                line("p50", true, self.points(|window| window.quiet.p50_ms)),
            ],
        }
    }

    fn throughput_plot(&self) -> Plot {
        let line = |name: &str, colour, points| Line { name: name.to_owned(), colour, dashed: false, points };
        Plot {
            title: "Throughput, events answered per second".to_owned(),
            lines: vec![
                line("noisy tenant", Colour::Orange, self.points(|window| window.noisy_events_per_second)),
                line("quiet tenants", Colour::Blue, self.points(|window| window.quiet_events_per_second)),
            ],
        }
    }

    fn memory_plot(&self) -> Plot {
        const COLOURS: [Colour; 5] = [Colour::Green, Colour::Violet, Colour::Red, Colour::Amber, Colour::Grey];
        let lines =
            self.memory_by_function.iter().zip(COLOURS.into_iter().cycle()).map(|((function, largest), colour)| {
                let points = largest.iter().step_by(largest.len().div_ceil(MEMORY_POINTS));
                let points = points.map(|(at, megabytes)| (minutes(*at), *megabytes)).collect();
                Line { name: function.clone(), colour, dashed: false, points }
            });
        Plot { title: "Memory of the largest process of each function, MB".to_owned(), lines: lines.collect() }
    }
}

fn minutes(time: Duration) -> f64 {
    time.as_secs_f64() / 60.0
}

fn windows(samples: &[Sample], timeline: Timeline) -> Vec<Window> {
    let width = timeline.end() / WINDOWS;
    let window = |index: u32| {
        let is_in = |at: Duration| at >= width * index && at < width * (index + 1);
        let due = samples.iter().filter(|sample| sample.arrival.is_quiet() && is_in(sample.arrival.at));
        let answered = |quiet: bool| {
            let own =
                |sample: &&Sample| sample.arrival.is_quiet() == quiet && is_in(sample.arrival.at + sample.latency);
            float(samples.iter().filter(own).count()) / width.as_secs_f64()
        };
        Window {
            from_secs: (width * index).as_secs_f64(),
            quiet: Latencies::of(due),
            quiet_events_per_second: answered(true),
            noisy_events_per_second: answered(false),
        }
    };
    (0..WINDOWS).map(window).collect()
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}\n\n{}\n", self.machine, self.shared)?;
        self.describe_load(formatter)?;
        self.list_latencies(formatter)?;
        self.list_memory(formatter)?;
        self.counted_back.fmt(formatter)
    }
}

impl Report {
    fn describe_load(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rate, minutes, seed, quiet_tenants, quiet_rate_per_tenant, noise, .. } = self;
        let noise = number(float(*noise));
        writeln!(
            formatter,
            "Open loop, {minutes} minutes, {rate} events a second, seed {seed}: {quiet_tenants} quiet tenants with {quiet_rate_per_tenant:.2} events \
            a second each; the noisy one has {noise} times as many, all of them texts, one to a delivery. Warm-up \
            {:.0} s, quiet tenants alone {:.0} s, the same beside the noisy one {:.0} s.\n",
            self.timeline.warm_up.as_secs_f64(),
            self.timeline.phase.as_secs_f64(),
            self.timeline.phase.as_secs_f64()
        )
    }

    fn list_latencies(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "| quiet tenants | calls | alone p50 ms | p99 ms | beside the noisy one p50 ms | p99 ms | p99, times |\n|---|---|---|---|---|---|---|"
        )?;
        for compared in std::iter::once(&self.quiet).chain(&self.quiet_by_kind) {
            let Compared { what, alone, beside } = compared;
            writeln!(
                formatter,
                "| {what} | {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} |",
                alone.calls,
                alone.p50_ms,
                alone.p99_ms,
                beside.p50_ms,
                beside.p99_ms,
                compared.p99_ratio()
            )?;
        }
        let Latencies { calls, p50_ms, p99_ms } = self.noisy;
        writeln!(formatter, "\nthe noisy tenant: {calls} texts, p50 {p50_ms:.2} ms, p99 {p99_ms:.2} ms")?;
        if let Busy { alone: Some(alone), beside: Some(beside) } = self.busy {
            let (alone, beside) = (alone * 100.0, beside * 100.0);
            writeln!(
                formatter,
                "cores busy, with everything that ran here: {alone:.0} % alone, {beside:.0} % beside the noisy one"
            )?;
        }
        let held = if self.p99_held { "held" } else { "not held" };
        write!(
            formatter,
            "the others' p99: {:.2} times what it is alone; at most {MOST_P99:.2}: {held}",
            self.p99_ratio
        )?;
        if !self.enough_samples {
            write!(formatter, ", but with fewer than {ENOUGH_SAMPLES} calls in each phase that is luck")?;
        }
        writeln!(formatter)
    }

    fn list_memory(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "\n| memory | processes | second minute MB | last minute MB | moved | at most MB |\n|---|---|---|---|---|---|"
        )?;
        let functions: BTreeSet<_> = self.memory.iter().map(|course| &course.function).collect();
        for function in functions {
            let own: Vec<_> = self.memory.iter().filter(|course| course.function == *function).collect();
            let most = own.iter().map(|course| course.max_mb).fold(0.0, f64::max);
            let changes = own.iter().filter_map(|course| course.change.as_ref());
            let worst = changes.max_by(|one, other| one.share.abs().total_cmp(&other.share.abs()));
            let change = worst.map_or_else(
                || "– | – | –".to_owned(),
                |Change { second_minute_mb, last_minute_mb, share }| {
                    format!("{second_minute_mb:.1} | {last_minute_mb:.1} | {:+.1} %", share * 100.0)
                },
            );
            writeln!(formatter, "| {function} | {} | {change} | {most:.1} |", own.len())?;
        }
        let flat = match self.memory_flat {
            Some(true) => "flat",
            Some(false) => "not flat",
            None => "not judged, since no process lived for three minutes",
        };
        writeln!(
            formatter,
            "\nmemory, ±{:.0} % from the second minute of each process to its last: {flat}",
            MOST_CHANGE * 100.0
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{super::driver::Process, memory::Memory, schedule::NOISY_TENANT},
        *,
    };

    const LOAD: Load = Load { length: Duration::from_mins(10), rate: 404.0, seed: 1 };

    fn sample(at_secs: u64, latency_ms: u64) -> Sample {
        let arrival = Arrival { at: Duration::from_secs(at_secs), tenant: 0, kind: Kind::Text };
        Sample { arrival, latency: Duration::from_millis(latency_ms) }
    }

    fn noise(at_secs: u64, latency_ms: u64) -> Sample {
        let quiet = sample(at_secs, latency_ms);
        Sample { arrival: Arrival { tenant: NOISY_TENANT, ..quiet.arrival }, ..quiet }
    }

    fn report(samples: &[Sample], memory: Memory) -> Report {
        let readings = Readings { memory, ..Readings::default() };
        Report::new(&LOAD, Timeline::of(LOAD.length), samples, &readings, CountedBack::default())
    }

    fn memory(megabytes: impl Fn(u64) -> f64) -> Memory {
        let mut memory = Memory::default();
        for second in 0..=600 {
            let process = Process { function: "send-message".to_owned(), pid: 7 };
            memory.record(Duration::from_secs(second), vec![(process, megabytes(second))]);
        }
        memory
    }

    #[test]
    fn quiet_tenants_are_compared_without_the_warm_up() {
        let samples = [sample(10, 900), sample(100, 10), sample(400, 12), noise(401, 500)];

        let report = report(&samples, Memory::default());

        assert_eq!((report.quiet.alone.p99_ms, report.quiet.beside.p99_ms), (10.0, 12.0));
        assert_eq!((report.noisy.calls, report.noisy.p99_ms), (1, 500.0));
        assert!(report.p99_held);
        assert!(!report.enough_samples);
    }

    #[test]
    fn a_p99_that_moves_by_more_than_a_fifth_is_not_held() {
        let samples = [sample(100, 10), sample(400, 13)];

        let report = report(&samples, Memory::default());

        assert!(!report.p99_held);
        assert!(report.to_string().contains("1.30 times what it is alone; at most 1.20: not held"));
        assert_eq!(report.failure(), None);
    }

    #[test]
    fn memory_that_grows_fails_the_run_and_a_short_run_judges_none() {
        let flat = report(&[], memory(|_| 8.0));
        let grown = report(&[], memory(|second| if second < 500 { 8.0 } else { 9.0 }));
        let unknown = report(&[], Memory::default());

        assert_eq!((flat.memory_flat, flat.failure()), (Some(true), None));
        let failure = "memory is not flat: send-message (process 7) went from 8.0 to 9.0 MB";
        assert_eq!((grown.memory_flat, grown.failure().as_deref()), (Some(false), Some(failure)));
        assert_eq!((unknown.memory_flat, unknown.failure()), (None, None));
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "the values themselves come back")]
    fn throughput_counts_what_is_answered_when_it_is() {
        // Windows of 30 s; due in the last second of the third, answered in the fourth.
        let samples = [sample(89, 2_000), noise(91, 10)];

        let windows = report(&samples, Memory::default()).windows;

        assert_eq!((windows[2].quiet.calls, windows[3].quiet.calls), (1, 0));
        assert_eq!((windows[2].quiet_events_per_second, windows[3].quiet_events_per_second), (0.0, 1.0 / 30.0));
        assert_eq!(windows[3].noisy_events_per_second, 1.0 / 30.0);
    }

    #[test]
    fn the_chart_has_a_line_for_each_function() {
        let svg = report(&[sample(100, 10)], memory(|_| 8.0)).chart();

        assert!(svg.contains(">send-message</text>"));
        assert!(!svg.contains("NaN"));
    }
}
