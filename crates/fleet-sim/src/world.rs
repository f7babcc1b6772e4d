//! The world around the daemons: a store, machines, weather, and the judge, who sees all of it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fleet_core::model::{MachineId, Revision};
use fleet_core::unit::{GUARD_UNIT, UnitName};
use fleet_store::mem::Mem;
use fleet_systemd::Receipt;
use fleet_systemd::fake::FakeMachine;
use fleetd::leave::Departure;
use tokio::sync::{Notify, mpsc};

use crate::bug::Bug;
use crate::chance::Chance;
use crate::gate::Gate;
use crate::guard::Slip;
use crate::judge::Judge;
use crate::trace::Trace;
use crate::weather::Weather;

/// Most calls within one simulated millisecond; more is a loop that never rests.
const CALLS_PER_MS_MAX: u32 = 5_000;

/// A process in one of its lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Who {
    /// Which daemon: as the machine it runs on.
    pub(crate) daemon: usize,
    /// Its how manieth life.
    pub(crate) life: u32,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "d{}.{}", self.daemon, self.life)
    }
}

/// How a daemon ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It died at a call.
    Died,
    /// It was told to stop, and has left the cluster, as far as it could.
    Left,
}

/// One machine.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) id: MachineId,
    pub(crate) fake: FakeMachine,
    pub(crate) slip: Arc<Slip>,
}

impl Host {
    /// The main processes of users' units.
    pub(crate) fn running(&self) -> BTreeMap<UnitName, u64> {
        let mut running = self.fake.main_processes();
        running.remove(GUARD_UNIT);
        running
    }

    /// The files of users' units.
    pub(crate) fn files(&self) -> BTreeMap<UnitName, (String, Option<Receipt>)> {
        let mut files = self.fake.files();
        files.remove(GUARD_UNIT);
        files
    }
}

/// All that is not a daemon.
pub(crate) struct World {
    pub(crate) trace: Trace,
    pub(crate) mem: Mem,
    pub(crate) hosts: Vec<Host>,
    /// Decides the fate of each call.
    pub(crate) chance: Chance,
    pub(crate) bug: Option<Bug>,
    weather: Mutex<Weather>,
    judge: Mutex<Judge>,
    ends: mpsc::UnboundedSender<(Who, End)>,
    /// The present millisecond and the calls in it.
    calls: Mutex<(u64, u32)>,
}

impl World {
    pub(crate) fn new(
        trace: Trace,
        mem: Mem,
        hosts: Vec<Host>,
        chance: Chance,
        bug: Option<Bug>,
        judge: Judge,
        ends: mpsc::UnboundedSender<(Who, End)>,
    ) -> World {
        let weather = Mutex::new(Weather::fair());
        World { trace, mem, hosts, chance, bug, weather, judge: Mutex::new(judge), ends, calls: Mutex::default() }
    }

    pub(crate) fn judge(&self) -> MutexGuard<'_, Judge> {
        self.judge.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn weather(&self) -> Weather {
        self.weather.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_weather(&self, weather: Weather) {
        *self.weather.lock().unwrap_or_else(PoisonError::into_inner) = weather;
    }

    /// Whether the bug is planted.
    pub(crate) fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// The judge looks at what has changed in the store.
    pub(crate) fn look_at_store(&self) {
        self.judge().look_at_store(self.trace.now_ms());
    }

    /// The judge looks at what has changed on a machine.
    pub(crate) fn look_at_machine(&self, host: usize) {
        let is_guarded = self.judge().look_at_machine(host, self.hosts[host].running());
        if is_guarded {
            // Another copy may have ended by now without anybody having looked.
            for other in (0..self.hosts.len()).filter(|&other| other != host) {
                self.judge().look_at_machine(other, self.hosts[other].running());
            }
            self.judge().look_for_copies(host);
        }
    }

    /// A daemon ends, at a call of its own or because it was told to.
    pub(crate) fn ends(&self, who: Who, end: End) {
        // The receiver lives as long as the simulation.
        let _ = self.ends.send((who, end));
    }

    /// A machine's record was withdrawn by its daemon.
    pub(crate) fn withdrawn(&self, who: Who) {
        self.look_at_machine(who.daemon);
        let host = &self.hosts[who.daemon];
        if let Some(unit) = host.running().into_keys().chain(host.files().into_keys()).next() {
            let what = format!("{who} withdraws the record of {}, and something of {unit} is there", host.id);
            self.judge().object(self.trace.now_ms(), what);
        }
    }

    /// Counts a call; one too many at this moment is a violation, and the caller waits for ever.
    pub(crate) async fn count_call(&self, who: Who) {
        let now_ms = self.trace.now_ms();
        let too_many = {
            let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
            if calls.0 != now_ms {
                *calls = (now_ms, 0);
            }
            calls.1 += 1;
            CALLS_PER_MS_MAX < calls.1
        };
        if too_many {
            self.judge().object(now_ms, format!("{who} never rests: {CALLS_PER_MS_MAX} calls in one millisecond"));
            std::future::pending::<()>().await;
        }
    }
}

/// What a daemon has heard of the orders to its machine, by when.
#[derive(Debug, Default)]
pub(crate) struct Ear(Mutex<Heard>);

#[derive(Debug, Default)]
struct Heard {
    newest: (u64, Revision),
    /// The newest of an earlier millisecond.
    earlier: Revision,
}

impl Ear {
    pub(crate) fn hears(&self, now_ms: u64, revision: Revision) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.newest.0 < now_ms {
            heard.earlier = heard.newest.1;
        }
        heard.newest = (now_ms, heard.newest.1.max(revision));
    }

    /// The newest revision heard of before this millisecond: what is decided now is decided on that or a newer one.
    pub(crate) fn heard_before(&self, now_ms: u64) -> Revision {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.newest.0 < now_ms { heard.newest.1 } else { heard.earlier }
    }
}

/// A daemon's connection to the store, over all its lives.
#[derive(Debug, Default)]
pub(crate) struct Cable {
    cut: Mutex<bool>,
    changed: Notify,
}

impl Cable {
    pub(crate) fn set_cut(&self, cut: bool) {
        *self.cut.lock().unwrap_or_else(PoisonError::into_inner) = cut;
        self.changed.notify_waiters();
    }

    pub(crate) fn is_cut(&self) -> bool {
        *self.cut.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when the cable is whole.
    pub(crate) async fn whole(&self) {
        loop {
            let changed = self.changed.notified();
            if !self.is_cut() {
                return;
            }
            changed.await;
        }
    }
}

/// One life of a daemon: what all that it has in its hands goes through.
pub(crate) struct Life {
    pub(crate) who: Who,
    pub(crate) world: Arc<World>,
    pub(crate) gate: Gate,
    pub(crate) cable: Arc<Cable>,
    pub(crate) ear: Ear,
    /// Its machine's way out of the cluster.
    pub(crate) departure: Departure,
}

impl Life {
    /// The daemon may die here.
    pub(crate) async fn risk(&self) {
        let share = self.world.weather().deaths;
        if 0.0 < share && self.world.chance.happens(share) {
            self.gate.kill();
            self.world.ends(self.who, End::Died);
        }
        self.gate.pass().await;
    }

    /// Whether a planted bug keeps the daemon from seeing that key of the store.
    pub(crate) fn is_hidden(&self, key: &str) -> bool {
        match self.world.bug {
            Some(Bug::BrakeUnseen) => key == "brake",
            Some(Bug::MetadataUnseen) => key.starts_with("metadata/"),
            _ => false,
        }
    }

    /// Adds a line to the trace.
    pub(crate) fn say(&self, what: impl FnOnce() -> String) {
        self.world.trace.say(&self.who.to_string(), what);
    }
}
