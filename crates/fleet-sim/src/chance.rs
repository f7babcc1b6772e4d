//! Everything that chance decides, from one seed.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// A stream of chance. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Chance(Arc<Mutex<StdRng>>);

impl Chance {
    /// The stream number `stream` of a seed: what one part of the simulation draws does not move what another one does.
    pub(crate) fn new(seed: u64, stream: u64) -> Chance {
        // The golden ratio's bits keep the streams of neighboring seeds apart.
        let mixed = seed.wrapping_mul(16).wrapping_add(stream).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Chance(Arc::new(Mutex::new(StdRng::seed_from_u64(mixed))))
    }

    /// Whether something happens that happens in `share` (of one) of all cases.
    pub(crate) fn happens(&self, share: f64) -> bool {
        self.with(|rng| rng.random_bool(share))
    }

    /// A number.
    pub(crate) fn number(&self, range: RangeInclusive<u64>) -> u64 {
        self.with(|rng| rng.random_range(range))
    }

    /// An index below `len`, which is not zero.
    pub(crate) fn index(&self, len: usize) -> usize {
        self.with(|rng| rng.random_range(0..len))
    }

    /// One of several.
    pub(crate) fn pick<'a, T>(&self, from: &'a [T]) -> &'a T {
        &from[self.index(from.len())]
    }

    /// A time in milliseconds.
    pub(crate) fn ms(&self, range: &RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.number(range.clone()))
    }

    fn with<T>(&self, draw: impl FnOnce(&mut StdRng) -> T) -> T {
        draw(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
