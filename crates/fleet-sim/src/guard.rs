//! The guards' side of the world: what `fleetd guard` does on each machine, as a process of its own.
//!
//! It is judged by the guard's own rules ([`fleetd::guard::deadline`]); only the file and the process are ours.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fleet_core::unit::{GUARD_UNIT, UnitName};
use fleet_systemd::fake::{FakeMachine, Script};
use fleetd::guard::deadline::{self, Watch};
use fleetd::guard::{BootTime, Permit};
use tokio::sync::Notify;
use tokio::time::timeout;

/// How long a guard takes to stand, in milliseconds.
const READY_MS: u64 = 5;

/// Until when the guard of one machine may stand: the content of the file, which goes with the power.
#[derive(Debug, Default)]
pub(crate) struct Slip {
    content: Mutex<Option<String>>,
    changed: Notify,
}

impl Slip {
    /// Puts a new content in the place of the old one.
    pub(crate) fn set(&self, content: Option<String>) {
        *self.content.lock().unwrap_or_else(PoisonError::into_inner) = content;
        self.changed.notify_waiters();
    }

    fn content(&self) -> Option<String> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A daemon's hold on the slip.
pub(crate) struct Holder(pub(crate) Arc<Slip>);

impl Permit for Holder {
    fn extend(&self, until: BootTime) -> io::Result<()> {
        self.0.set(Some(deadline::text(until)));
        Ok(())
    }

    fn withdraw(&self) -> io::Result<()> {
        self.0.set(None);
        Ok(())
    }
}

/// What all machines' clocks show.
pub(crate) fn boot_clock() -> BootTime {
    BootTime(fleetd::clock::now().0)
}

/// Is the guard of one machine, whenever its systemd has started one.
pub(crate) async fn stand(fake: FakeMachine, slip: Arc<Slip>) {
    let unit = unit();
    loop {
        let changed = slip.changed.notified();
        match deadline::judge(slip.content().as_deref(), boot_clock()) {
            Ok(Watch { wake_at, .. }) => {
                fake.script(&unit, Some(Script { ready_ms: Some(READY_MS), ..Script::default() }));
                let left = wake_at.since(boot_clock()).max(Duration::from_millis(1));
                // Either is a reason to look again.
                let _ = timeout(left, changed).await;
            }
            Err(_) => {
                let script = Script { start_fails: Some("exit-code"), ready_ms: Some(READY_MS), ..Script::default() };
                fake.script(&unit, Some(script));
                if fake.main_processes().contains_key(&unit) {
                    fake.kill_main(&unit);
                }
                changed.await;
            }
        }
    }
}

/// The guard's unit.
pub(crate) fn unit() -> UnitName {
    GUARD_UNIT.parse().unwrap_or_else(|err| panic!("{GUARD_UNIT} is a unit name: {err}"))
}
