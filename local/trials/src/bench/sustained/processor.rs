//! How busy the cores of this machine are, whatever keeps them so.

use std::{fs, time::Duration};

/// Hundredths of a second since the machine was started, of all cores together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ticks {
    busy: u64,
    all: u64,
}

/// What was read, in order of time.
#[derive(Debug, Default)]
pub(super) struct Processor(Vec<(Duration, Ticks)>);

impl Processor {
    /// Reads, where the system is one that tells.
    pub(super) fn record(&mut self, at: Duration) {
        let ticks = fs::read_to_string("/proc/stat").ok().and_then(|stat| ticks(&stat));
        self.0.extend(ticks.map(|ticks| (at, ticks)));
    }

    /// The share of all cores' time that was used between two times.
    #[expect(clippy::cast_precision_loss, reason = "ticks far below 2^52")]
    pub(super) fn busy(&self, from: Duration, to: Duration) -> Option<f64> {
        let mut inside = self.0.iter().filter(|(at, _)| *at >= from && *at <= to);
        let (first, last) = (inside.next()?.1, inside.next_back()?.1);
        let all = last.all - first.all;
        (all > 0).then(|| (last.busy - first.busy) as f64 / all as f64)
    }
}

/// Of the line of all cores: user, nice, system, idle, waiting for a disk, interrupts (two), stolen. What follows is part of the first two.
fn ticks(stat: &str) -> Option<Ticks> {
    let fields = stat.lines().find_map(|line| line.strip_prefix("cpu "))?.split_whitespace().take(8);
    let fields: Vec<u64> = fields.map_while(|field| field.parse().ok()).collect();
    let all = fields.iter().sum();
    let idle = fields.get(3)? + fields.get(4)?;
    Some(Ticks { busy: all - idle, all })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_and_waiting_for_a_disk_is_not_busy() {
        let stat = "cpu  10 20 30 400 50 6 7 8 9 9\ncpu0 1 2 3 4 5 6 7 8 9 9\n";

        assert_eq!(ticks(stat), Some(Ticks { busy: 81, all: 531 }));
        assert_eq!(ticks("intr 1 2 3"), None);
    }

    #[test]
    fn only_the_time_between_counts() {
        let readings = [(0, 0, 0), (10, 100, 100), (20, 150, 300), (30, 150, 400)];
        let reading = |(at, busy, all)| (Duration::from_secs(at), Ticks { busy, all });
        let processor = Processor(readings.map(reading).into());
        let busy = |from, to| processor.busy(Duration::from_secs(from), Duration::from_secs(to));

        assert_eq!(busy(10, 20), Some(0.25));
        assert_eq!(busy(0, 30), Some(0.375));
        assert_eq!(busy(11, 29), None);
    }
}
