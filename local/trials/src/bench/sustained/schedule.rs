//! What arrives when: fixed before the run, so that no arrival waits for the answer to another.

use std::time::Duration;

use fastrand::Rng;

/// How many tenants keep to a low rate. The more there are, the more of their calls are measured beside the same noise: with ten, a p99
/// that means something would take more noise than two cores have room for.
pub(super) const QUIET_TENANTS: usize = 200;
/// How many times as much as one of them the noisy one sends.
pub(super) const NOISE: usize = 1_000;
/// The noisy tenant's number; those of the quiet ones are below.
pub(super) const NOISY_TENANT: usize = QUIET_TENANTS;

/// What a quiet tenant does, ten times: three statuses follow each reply, and a console reads.
const EVERYDAY: [Kind; 10] = [
    Kind::Text,
    Kind::Text,
    Kind::Text,
    Kind::Status,
    Kind::Status,
    Kind::Status,
    Kind::Reply,
    Kind::Conversations,
    Kind::Messages,
    Kind::Messages,
];

/// What arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A customer writes.
    Text,
    /// The provider reports what became of a reply.
    Status,
    /// The tenant replies.
    Reply,
    /// The tenant lists its conversations.
    Conversations,
    /// The tenant lists the messages of one.
    Messages,
}

impl Kind {
    pub(super) const ALL: [Self; 5] = [Self::Text, Self::Status, Self::Reply, Self::Conversations, Self::Messages];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Text => "inbound text",
            Self::Status => "status",
            Self::Reply => "reply",
            Self::Conversations => "list conversations",
            Self::Messages => "list messages",
        }
    }
}

/// One arrival.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Arrival {
    /// After the start of the run.
    pub(super) at: Duration,
    pub(super) tenant: usize,
    pub(super) kind: Kind,
}

impl Arrival {
    pub(super) fn is_quiet(&self) -> bool {
        self.tenant != NOISY_TENANT
    }
}

/// A part of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Everybody: processes are started and their buffers grow. Not timed.
    WarmUp,
    /// The quiet tenants alone.
    Alone,
    /// The same once more, beside the noisy one.
    Beside,
}

impl Phase {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::WarmUp => "warm-up",
            Self::Alone => "quiet tenants alone",
            Self::Beside => "beside the noisy tenant",
        }
    }
}

/// When the parts of the run are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeline {
    pub(super) warm_up: Duration,
    /// Each of the two timed ones.
    pub(super) phase: Duration,
}

impl Timeline {
    /// A tenth warms up, and the rest is halved.
    pub(super) fn of(whole: Duration) -> Self {
        Self { warm_up: whole / 10, phase: whole * 9 / 20 }
    }

    pub(super) fn end(&self) -> Duration {
        self.warm_up + 2 * self.phase
    }

    pub(super) fn start(&self, phase: Phase) -> Duration {
        match phase {
            Phase::WarmUp => Duration::ZERO,
            Phase::Alone => self.warm_up,
            Phase::Beside => self.warm_up + self.phase,
        }
    }

    pub(super) fn at(&self, at: Duration) -> Phase {
        match at {
            at if at < self.start(Phase::Alone) => Phase::WarmUp,
            at if at < self.start(Phase::Beside) => Phase::Alone,
            _ => Phase::Beside,
        }
    }
}

/// How many events a second one quiet tenant sends, when all tenants together send `rate`.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
pub(super) fn quiet_rate(rate: f64) -> f64 {
    rate / (QUIET_TENANTS + NOISE) as f64
}

/// All arrivals in order. They come at random, with exponential times between them: customers of many tenants do not take turns, and at a
/// fixed rate no two would ever meet.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
pub(super) fn schedule(timeline: Timeline, rate: f64, seed: u64) -> Vec<Arrival> {
    let random = &mut Rng::with_seed(seed);
    let (alone, beside) = (timeline.start(Phase::Alone), timeline.start(Phase::Beside));
    let mut arrivals = Vec::new();
    for tenant in 0..QUIET_TENANTS {
        let mut everyday = |length| {
            let times = random_times(random, quiet_rate(rate), length);
            let arrival = |at| Arrival { at, tenant, kind: EVERYDAY[random.usize(..EVERYDAY.len())] };
            times.into_iter().map(arrival).collect::<Vec<_>>()
        };
        arrivals.extend(everyday(timeline.warm_up));
        for arrival in everyday(timeline.phase) {
            arrivals.extend([alone, beside].map(|start| Arrival { at: start + arrival.at, ..arrival }));
        }
    }
    for (start, length) in [(Duration::ZERO, timeline.warm_up), (beside, timeline.phase)] {
        let times = random_times(random, quiet_rate(rate) * NOISE as f64, length);
        let noise = |at| Arrival { at: start + at, tenant: NOISY_TENANT, kind: Kind::Text };
        arrivals.extend(times.into_iter().map(noise));
    }
    arrivals.sort_by_key(|arrival| arrival.at);
    arrivals
}

fn random_times(random: &mut Rng, per_second: f64, length: Duration) -> Vec<Duration> {
    let mut at = 0.0;
    let next = || {
        at -= (1.0 - random.f64()).ln() / per_second;
        Some(at).filter(|at| *at < length.as_secs_f64()).map(Duration::from_secs_f64)
    };
    std::iter::from_fn(next).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMELINE: Timeline = Timeline { warm_up: Duration::from_mins(1), phase: Duration::from_mins(10) };
    const RATE: f64 = 120.0;

    fn of_phase(arrivals: &[Arrival], phase: Phase) -> Vec<Arrival> {
        let own = arrivals.iter().filter(|arrival| TIMELINE.at(arrival.at) == phase);
        own.map(|arrival| Arrival { at: arrival.at.saturating_sub(TIMELINE.start(phase)), ..*arrival }).collect()
    }

    #[test]
    fn a_seed_has_one_schedule_in_order() {
        let arrivals = schedule(TIMELINE, RATE, 1);

        assert_eq!(arrivals, schedule(TIMELINE, RATE, 1));
        assert_ne!(arrivals, schedule(TIMELINE, RATE, 2));
        assert!(arrivals.is_sorted_by_key(|arrival| arrival.at));
        assert!(arrivals.iter().all(|arrival| arrival.at < TIMELINE.end()));
    }

    #[test]
    fn quiet_tenants_do_the_same_alone_and_beside_the_noisy_one() {
        let arrivals = schedule(TIMELINE, RATE, 1);

        let alone = of_phase(&arrivals, Phase::Alone);
        let beside = of_phase(&arrivals, Phase::Beside);

        let (quiet, noise): (Vec<_>, Vec<_>) = beside.into_iter().partition(Arrival::is_quiet);
        assert_eq!(alone, quiet);
        assert!(!noise.is_empty());
        assert!(Kind::ALL.iter().all(|kind| alone.iter().any(|arrival| arrival.kind == *kind)));
    }

    #[test]
    fn noisy_tenant_sends_a_thousand_times_as_much() {
        let beside = of_phase(&schedule(TIMELINE, RATE, 1), Phase::Beside);

        let (quiet, noise): (Vec<_>, Vec<_>) = beside.into_iter().partition(Arrival::is_quiet);

        // Of ten minutes: 60 of each quiet one, 60,000 of the noisy one. Random numbers are rarely this far off.
        assert!((11_560..12_440).contains(&quiet.len()), "{}", quiet.len());
        assert!((59_000..61_000).contains(&noise.len()), "{}", noise.len());
    }

    #[test]
    fn a_tenth_of_the_run_warms_up() {
        let timeline = Timeline::of(Duration::from_mins(10));

        assert_eq!((timeline.warm_up, timeline.phase), (Duration::from_mins(1), Duration::from_secs(270)));
        assert_eq!(timeline.end(), Duration::from_mins(10));
        assert_eq!(timeline.at(Duration::from_secs(59)), Phase::WarmUp);
        assert_eq!(timeline.at(Duration::from_mins(1)), Phase::Alone);
        assert_eq!(timeline.at(Duration::from_secs(330)), Phase::Beside);
    }
}
