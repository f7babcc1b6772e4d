//! Whether a process goes on, stands still, or is dead: what it asks of the world and hears from it passes here.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// One process's way to the world.
///
/// A paused process (SIGSTOP) hears nothing and does nothing. Its timers go on, as if they were late in reality; what follows
/// from them waits here. Nothing passes any more once it is dead, whatever its tasks still do before they are dropped.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    Paused,
    Dead,
}

impl Gate {
    /// Returns when the process goes on, and never if it is dead.
    pub(crate) async fn pass(&self) {
        loop {
            let changed = self.changed.notified();
            let state = *self.lock();
            match state {
                State::Open => return,
                State::Paused => changed.await,
                State::Dead => std::future::pending().await,
            }
        }
    }

    pub(crate) fn pause(&self) {
        self.set(State::Paused);
    }

    pub(crate) fn resume(&self) {
        self.set(State::Open);
    }

    pub(crate) fn kill(&self) {
        self.set(State::Dead);
    }

    fn set(&self, state: State) {
        let mut now = self.lock();
        if *now != State::Dead {
            *now = state;
        }
        drop(now);
        self.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
