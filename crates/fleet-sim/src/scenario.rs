//! What happens to a simulated cluster, and when: drawn from the seed before anything runs.

use std::collections::BTreeMap;

use crate::chance::Chance;
use crate::weather::Weather;

/// One thing that happens.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// A user asks a daemon for something, which is drawn when it is time.
    Ask(Asking),
    /// A daemon dies and is started again after a while.
    Crash {
        daemon: usize,
        for_ms: u64,
    },
    /// A daemon is started, if it does not run and its machine has power.
    Start {
        daemon: usize,
    },
    /// A daemon stands still (SIGSTOP), or goes on.
    Pause {
        daemon: usize,
    },
    Resume {
        daemon: usize,
    },
    /// A machine is cut off from the store, or not any more.
    Cut {
        daemon: usize,
    },
    Heal {
        daemon: usize,
    },
    /// A machine loses its power, or has it again.
    PowerOff {
        host: usize,
    },
    PowerOn {
        host: usize,
    },
    /// The connection to systemd breaks, or comes back.
    SystemdGone {
        host: usize,
    },
    SystemdBack {
        host: usize,
    },
    /// The main process of some unit is killed.
    KillUnit {
        host: usize,
    },
    /// The disk takes no unit file any more, or again.
    DiskFull {
        host: usize,
    },
    DiskFree {
        host: usize,
    },
    /// An operator says something of a machine.
    Operate {
        host: usize,
        what: Operation,
    },
    /// All watches break.
    CutWatches,
    /// The store forgets its history.
    Compact,
    /// The store is away for all, or back.
    StoreGone,
    StoreBack,
    /// The weather turns.
    Weather(Weather),
}

/// What operators say of machines.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation {
    Cordon,
    /// So many units at once.
    Drain(u32),
    Uncordon,
}

/// How much a user asks for at once.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asking {
    One,
    /// Many units are started.
    StartMany,
    /// All that there is, or nearly, is destroyed.
    DestroyMany,
}

/// A cluster and its fate.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) n_hosts: usize,
    /// How many units of each family users think of.
    pub(crate) n_numbers: u64,
    /// How often everything is looked at anew although nothing was missed; seconds.
    pub(crate) resync_s: u64,
    pub(crate) agent_ttl_s: u64,
    /// By milliseconds; the second number tells apart what comes at the same time.
    pub(crate) acts: BTreeMap<(u64, u32), Act>,
    /// When all faults end and users are content.
    pub(crate) calm_ms: u64,
}

impl Scenario {
    /// Draws one.
    pub(crate) fn draw(chance: &Chance) -> Scenario {
        let n_hosts = chance.number(2..=4) as usize;
        let calm_ms = chance.number(20_000..=120_000);
        let mut scenario = Scenario {
            n_hosts,
            n_numbers: chance.number(1..=3),
            resync_s: *chance.pick(&[30, 300]),
            agent_ttl_s: *chance.pick(&[10, 30]),
            acts: BTreeMap::new(),
            calm_ms,
        };
        scenario.add(300, Act::Ask(Asking::StartMany));
        for _ in 0..chance.number(3..=25) {
            let asking = *chance.pick(&[Asking::One, Asking::One, Asking::One, Asking::StartMany, Asking::DestroyMany]);
            scenario.add(chance.number(500..=calm_ms), Act::Ask(asking));
        }
        if chance.happens(0.7) {
            scenario.add(chance.number(0..=5_000), Act::Weather(Weather::foul(chance)));
        }
        scenario.add_faults(chance);
        scenario
    }

    /// Each kind of fault comes in some seeds only.
    fn add_faults(&mut self, chance: &Chance) {
        for _ in 0..few(chance) {
            let (at, for_ms) = self.time(chance, 15_000);
            let daemon = chance.index(self.n_hosts);
            self.add(at, Act::Crash { daemon, for_ms });
        }
        for _ in 0..few(chance) {
            let (at, for_ms) = self.time(chance, 60_000);
            let daemon = chance.index(self.n_hosts);
            self.add(at, Act::Pause { daemon });
            self.add(at + for_ms, Act::Resume { daemon });
        }
        for _ in 0..few(chance) {
            let (at, for_ms) = self.time(chance, 90_000);
            let daemon = chance.index(self.n_hosts);
            self.add(at, Act::Cut { daemon });
            self.add(at + for_ms, Act::Heal { daemon });
        }
        for _ in 0..few(chance) {
            let (at, for_ms) = self.time(chance, 90_000);
            let host = chance.index(self.n_hosts);
            self.add(at, Act::PowerOff { host });
            self.add(at + for_ms, Act::PowerOn { host });
        }
        for _ in 0..few(chance) {
            let (at, for_ms) = self.time(chance, 20_000);
            let host = chance.index(self.n_hosts);
            self.add(at, Act::SystemdGone { host });
            self.add(at + for_ms, Act::SystemdBack { host });
        }
        for _ in 0..few(chance) {
            let (at, for_ms) = self.time(chance, 20_000);
            let host = chance.index(self.n_hosts);
            self.add(at, Act::DiskFull { host });
            self.add(at + for_ms, Act::DiskFree { host });
        }
        for _ in 0..few(chance) {
            let host = chance.index(self.n_hosts);
            self.add(self.time(chance, 1).0, Act::KillUnit { host });
        }
        for _ in 0..few(chance) {
            self.add(self.time(chance, 1).0, Act::CutWatches);
        }
        for _ in 0..few(chance) {
            self.add(self.time(chance, 1).0, Act::Compact);
        }
        if chance.happens(0.2) {
            let (at, for_ms) = self.time(chance, 60_000);
            self.add(at, Act::StoreGone);
            self.add(at + for_ms, Act::StoreBack);
        }
        for _ in 0..few(chance) {
            let (at, for_ms) = self.time(chance, 60_000);
            let host = chance.index(self.n_hosts);
            let what =
                *chance.pick(&[Operation::Cordon, Operation::Drain(1), Operation::Drain(4), Operation::Drain(4)]);
            self.add(at, Act::Operate { host, what });
            if chance.happens(0.7) {
                self.add(at + for_ms, Act::Operate { host, what: Operation::Uncordon });
            }
        }
    }

    fn time(&self, chance: &Chance, for_max_ms: u64) -> (u64, u64) {
        (chance.number(1_000..=self.calm_ms), chance.number(1..=for_max_ms))
    }

    /// Adds an act; after what is to happen at the same time.
    pub(crate) fn add(&mut self, at_ms: u64, act: Act) {
        let number = self.acts.range((at_ms, 0)..=(at_ms, u32::MAX)).count() as u32;
        self.acts.insert((at_ms, number), act);
    }
}

/// Most often none.
fn few(chance: &Chance) -> u64 {
    *chance.pick(&[0, 0, 0, 1, 2, 4])
}
