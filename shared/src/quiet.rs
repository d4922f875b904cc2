//! Whether nothing has come for unusually long: a webhook that the provider no longer calls tells nobody.

/// How many of the newest conversations are looked at.
pub const LOOKED_AT: usize = 20;
/// Fewer conversations than this tell nothing of what is usual.
const FEWEST: usize = 5;
/// A night, or a Sunday's beginning, is never unusual.
const AT_LEAST_MS: i64 = 24 * 60 * 60 * 1000;
/// How much longer than usual it has to be.
const TIMES: i64 = 3;

/// Since when nothing has come, where that is unusual: longer than a day, than three times the usual gap, and than any gap before.
/// `heard` is when the customers of the newest conversations last wrote; what was before `connected_at` could not come. All of them
/// epoch milliseconds.
#[must_use]
pub fn quiet_since(heard: &[i64], connected_at: i64, now_ms: i64) -> Option<i64> {
    if heard.len() < FEWEST {
        return None;
    }
    let mut heard = heard.to_vec();
    heard.sort_unstable();
    let (first, last) = (*heard.first()?, *heard.last()?);
    let gaps = i64::try_from(heard.len() - 1).ok()?;
    // Not the median: customers who write in bursts would make every pause an unusual one.
    let usual = (last - first) / gaps;
    let longest = heard.windows(2).map(|pair| pair[1] - pair[0]).max()?;
    let since = last.max(connected_at);
    let is_unusual = now_ms - since > AT_LEAST_MS.max(TIMES * usual).max(longest);
    is_unusual.then_some(since)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 60 * 60 * 1000;
    const DAY_MS: i64 = 24 * HOUR_MS;

    /// So many customers, one every so often, the last one at 0.
    fn every(gap_ms: i64, count: i64) -> Vec<i64> {
        (0..count).map(|number| -number * gap_ms).collect()
    }

    fn is_quiet(heard: &[i64], after_ms: i64) -> bool {
        quiet_since(heard, -1000 * DAY_MS, after_ms).is_some()
    }

    #[test]
    fn busy_account_is_quiet_after_a_day() {
        let busy = every(HOUR_MS, 20);
        assert!(!is_quiet(&busy, DAY_MS));
        assert_eq!(quiet_since(&busy, -DAY_MS, DAY_MS + 1), Some(0));
    }

    #[test]
    fn slow_account_is_quiet_after_three_times_its_gap() {
        let slow = every(2 * DAY_MS, 20);
        assert!(!is_quiet(&slow, 6 * DAY_MS));
        assert!(is_quiet(&slow, 6 * DAY_MS + 1));
    }

    #[test]
    fn weekend_that_was_there_before_is_not_unusual() {
        // Ten customers on Thursday and Friday, ten on Monday and Tuesday after the weekend.
        let before: Vec<_> = every(4 * HOUR_MS, 10).into_iter().map(|at| at - 96 * HOUR_MS).collect();
        let heard = [before, every(4 * HOUR_MS, 10)].concat();
        assert!(!is_quiet(&heard, 59 * HOUR_MS));
        assert!(is_quiet(&heard, 70 * HOUR_MS));
    }

    #[test]
    fn few_customers_tell_nothing_of_what_is_usual() {
        assert!(!is_quiet(&every(HOUR_MS, 4), 1000 * DAY_MS));
        assert!(!is_quiet(&[], 1000 * DAY_MS));
        assert!(is_quiet(&every(HOUR_MS, 5), 1000 * DAY_MS));
    }

    #[test]
    fn time_before_it_was_connected_does_not_count() {
        let heard = every(HOUR_MS, 20);
        assert_eq!(quiet_since(&heard, 30 * DAY_MS, 31 * DAY_MS), None);
        assert_eq!(quiet_since(&heard, 30 * DAY_MS, 31 * DAY_MS + 1), Some(30 * DAY_MS));
    }
}
