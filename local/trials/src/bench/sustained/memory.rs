//! The memory of each process over time, and whether it grows.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use super::super::{driver::Process, report::percentile};

/// How far the memory of a process may move after its first minute.
pub(super) const MOST_CHANGE: f64 = 0.05;
/// What is compared: the second of them that a process lives through, and its last.
const WINDOW: Duration = Duration::from_mins(1);

/// Megabytes, and when after the start of the run.
type Reading = (Duration, f64);

/// What was read, in order of time.
#[derive(Debug, Default)]
pub(super) struct Memory(BTreeMap<Process, Vec<Reading>>);

/// How the memory of one process went.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Course {
    pub(super) function: String,
    pub(super) pid: u64,
    pub(super) max_mb: f64,
    /// Of a process that lived long enough.
    pub(super) change: Option<Change>,
}

/// Medians of two minutes.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Change {
    pub(super) second_minute_mb: f64,
    pub(super) last_minute_mb: f64,
    /// 0.05: five percent more.
    pub(super) share: f64,
}

impl Memory {
    pub(super) fn record(&mut self, at: Duration, processes: Vec<(Process, f64)>) {
        for (process, megabytes) in processes {
            self.0.entry(process).or_default().push((at, megabytes));
        }
    }

    pub(super) fn courses(&self) -> Vec<Course> {
        let course = |(process, readings): (&Process, &Vec<Reading>)| Course {
            function: process.function.clone(),
            pid: process.pid,
            max_mb: readings.iter().map(|(_, megabytes)| *megabytes).fold(0.0, f64::max),
            change: change(readings),
        };
        self.0.iter().map(course).collect()
    }

    /// The largest process of each function over time.
    pub(super) fn by_function(&self) -> BTreeMap<String, BTreeMap<Duration, f64>> {
        let mut functions = BTreeMap::<_, BTreeMap<_, _>>::new();
        for (process, readings) in &self.0 {
            let largest = functions.entry(process.function.clone()).or_default();
            for (at, megabytes) in readings {
                let most = largest.entry(*at).or_insert(0.0_f64);
                *most = most.max(*megabytes);
            }
        }
        functions
    }
}

impl Change {
    pub(super) fn is_flat(&self) -> bool {
        self.share.abs() <= MOST_CHANGE
    }
}

/// Nothing for a process that did not live for three minutes: its second would be its last.
fn change(readings: &[Reading]) -> Option<Change> {
    let (born, died) = (readings.first()?.0, readings.last()?.0);
    if died < born + 3 * WINDOW {
        return None;
    }
    let second_minute_mb = median(readings, |at| at >= born + WINDOW && at < born + 2 * WINDOW)?;
    let last_minute_mb = median(readings, |at| at + WINDOW > died)?;
    Some(Change { second_minute_mb, last_minute_mb, share: last_minute_mb / second_minute_mb - 1.0 })
}

fn median(readings: &[Reading], is_in: impl Fn(Duration) -> bool) -> Option<f64> {
    let own = readings.iter().filter(|(at, _)| is_in(*at));
    let mut megabytes: Vec<f64> = own.map(|(_, megabytes)| *megabytes).collect();
    megabytes.sort_by(f64::total_cmp);
    (!megabytes.is_empty()).then(|| percentile(&megabytes, 0.5))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process of that age, born at second 100, with its memory by its age.
    fn readings(age_secs: u64, megabytes: impl Fn(u64) -> f64) -> Vec<Reading> {
        (0..=age_secs).map(|age| (Duration::from_secs(100 + age), megabytes(age))).collect()
    }

    fn share(readings: &[Reading]) -> f64 {
        change(readings).unwrap().share
    }

    #[test]
    fn what_grows_in_the_first_minute_only_is_flat() {
        let change = change(&readings(600, |age| if age < 60 { 5.0 } else { 8.0 })).unwrap();

        assert_eq!(change, Change { second_minute_mb: 8.0, last_minute_mb: 8.0, share: 0.0 });
        assert!(change.is_flat());
    }

    #[test]
    fn what_goes_on_growing_is_not() {
        let grown = readings(600, |age| if age < 540 { 8.0 } else { 8.5 });
        let shrunk = readings(600, |age| if age < 540 { 8.0 } else { 7.5 });

        assert!((share(&grown) - 0.0625).abs() < 1e-9);
        assert!((share(&shrunk) + 0.0625).abs() < 1e-9);
        assert!(!change(&grown).unwrap().is_flat());
        assert!(!change(&shrunk).unwrap().is_flat());
    }

    #[test]
    fn a_moment_in_which_it_needs_more_is_not_growth() {
        assert!(change(&readings(600, |age| if age == 580 { 80.0 } else { 8.0 })).unwrap().is_flat());
    }

    #[test]
    fn a_young_process_is_not_judged() {
        assert_eq!(change(&readings(179, |_| 8.0)), None);
        assert!(change(&readings(180, |_| 8.0)).is_some());
        assert_eq!(change(&[]), None);
    }

    #[test]
    fn the_largest_process_stands_for_its_function() {
        let process = |pid| Process { function: "send-message".to_owned(), pid };
        let mut memory = Memory::default();

        memory.record(Duration::ZERO, vec![(process(1), 7.0), (process(2), 9.0)]);
        memory.record(Duration::from_secs(1), vec![(process(1), 8.0)]);

        let largest = BTreeMap::from([(Duration::ZERO, 9.0), (Duration::from_secs(1), 8.0)]);
        assert_eq!(memory.by_function(), BTreeMap::from([("send-message".to_owned(), largest)]));
        assert_eq!(memory.courses().iter().map(|course| course.max_mb).collect::<Vec<_>>(), [8.0, 9.0]);
    }
}
