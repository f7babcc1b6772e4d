//! How well the parts of the cluster hear each other.

use std::ops::RangeInclusive;

use crate::chance::Chance;

/// What happens to calls, by chance. Times in milliseconds, shares of one.
#[derive(Clone, Debug)]
pub(crate) struct Weather {
    /// How long a request to the store takes, and how long its answer.
    pub(crate) store_ms: RangeInclusive<u64>,
    /// Requests to the store that get lost: the caller waits in vain.
    pub(crate) requests_lost: f64,
    /// Answers of the store that get lost: it *was* done, and the caller waits in vain.
    pub(crate) answers_lost: f64,
    /// How long news of a watch take.
    pub(crate) watch_ms: RangeInclusive<u64>,
    /// Batches of a watch that get lost without anybody noticing.
    pub(crate) batches_lost: f64,
    /// How long a call to systemd takes, and how long its answer.
    pub(crate) systemd_ms: RangeInclusive<u64>,
    /// Calls (to the store or to systemd) at which the caller's process dies, right before or right after.
    pub(crate) deaths: f64,
}

impl Weather {
    /// As it is when nothing is wrong.
    pub(crate) fn fair() -> Weather {
        Weather {
            store_ms: 0..=2,
            requests_lost: 0.0,
            answers_lost: 0.0,
            watch_ms: 0..=3,
            batches_lost: 0.0,
            systemd_ms: 0..=2,
            deaths: 0.0,
        }
    }

    /// Some troubles, each of them in some seeds only: what hides behind one trouble is seen where that one is not.
    pub(crate) fn foul(chance: &Chance) -> Weather {
        let mut weather = Weather::fair();
        if chance.happens(0.3) {
            weather.store_ms = 0..=*chance.pick(&[20, 300, 3_000]);
        }
        if chance.happens(0.3) {
            weather.requests_lost = 0.02;
        }
        if chance.happens(0.3) {
            weather.answers_lost = 0.03;
        }
        if chance.happens(0.3) {
            weather.watch_ms = 0..=*chance.pick(&[50, 1_000]);
        }
        if chance.happens(0.15) {
            weather.batches_lost = 0.05;
        }
        if chance.happens(0.3) {
            weather.systemd_ms = 0..=*chance.pick(&[30, 1_500]);
        }
        if chance.happens(0.25) {
            weather.deaths = 0.01;
        }
        weather
    }
}
