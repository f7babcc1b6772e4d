//! What happens to a simulated cluster, and when: drawn from the seed before anything runs.

use std::collections::BTreeMap;

use fleet_core::engine::EngineConfig;

use crate::chance::Chance;
use crate::units::{FAST, NUMBERS, SLOW};
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
    /// A machine has another disk, as its configuration says from now on, and its daemon, if it runs, reads it anew.
    Reload {
        host: usize,
        disk: &'static str,
    },
    /// A daemon is told to stop, and to leave the cluster; each of the two steps takes so long at most.
    Leave {
        daemon: usize,
        limit_ms: u64,
        back: Back,
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
    /// It is off; said only of one that is.
    GiveUp,
    /// It has this disk, whatever its own configuration says; none hides that.
    Disk(Option<&'static str>),
}

/// What becomes of a machine that has left.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Back {
    /// Its daemon is started again after so many milliseconds.
    After(u64),
    /// It is switched off for good.
    Never,
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
    /// How patient all engines are.
    pub(crate) losses: EngineConfig,
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
            n_numbers: *chance.pick(&NUMBERS),
            resync_s: *chance.pick(&[30, 300]),
            agent_ttl_s: *chance.pick(&[10, 30]),
            losses: EngineConfig {
                brake_share: *chance.pick(&[0.3, 0.5]),
                brake_min: *chance.pick(&[1, 2]),
                ..EngineConfig::default()
            },
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
        scenario.add_operators(chance);
        scenario.add_leaving(chance);
        if chance.happens(0.15) {
            scenario.add_mass_loss(chance);
        }
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
    }

    /// What those do who look after the machines.
    fn add_operators(&mut self, chance: &Chance) {
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
        for _ in 0..few(chance) {
            let host = chance.index(self.n_hosts);
            self.add(self.time(chance, 1).0, Act::Operate { host, what: Operation::GiveUp });
        }
        for _ in 0..few(chance) {
            let at = self.time(chance, 1).0;
            let host = chance.index(self.n_hosts);
            let disk = *chance.pick(&[FAST, SLOW]);
            let act = match chance.happens(0.5) {
                true => Act::Reload { host, disk },
                false => {
                    let disk = Some(disk).filter(|_| chance.happens(0.7));
                    Act::Operate { host, what: Operation::Disk(disk) }
                }
            };
            self.add(at, act);
        }
    }

    /// Machines that leave the cluster. The first one never does so for good: somebody has to stay.
    fn add_leaving(&mut self, chance: &Chance) {
        for _ in 0..few(chance) {
            let (at, for_ms) = self.time(chance, 60_000);
            let daemon = chance.index(self.n_hosts);
            let limit_ms = *chance.pick(&[2_000, 20_000, 90_000]);
            let back = match daemon != 0 && chance.happens(0.3) {
                true => Back::Never,
                false => Back::After(for_ms),
            };
            self.add(at, Act::Leave { daemon, limit_ms, back });
        }
    }

    /// Most machines are lost, one soon after the other, and for long.
    fn add_mass_loss(&mut self, chance: &Chance) {
        let begin = chance.number(1_000..=self.calm_ms);
        self.calm_ms = self.calm_ms.max(begin + 100_000);
        let spared = chance.index(self.n_hosts);
        for idx in (0..self.n_hosts).filter(|idx| *idx != spared || chance.happens(0.2)) {
            let at = begin + chance.number(0..=8_000);
            let end = at + chance.number(40_000..=150_000);
            if chance.happens(0.5) {
                self.add(at, Act::Cut { daemon: idx });
                self.add(end, Act::Heal { daemon: idx });
            } else {
                self.add(at, Act::PowerOff { host: idx });
                self.add(end, Act::PowerOn { host: idx });
                if chance.happens(0.3) {
                    let given_up = at + chance.number(30_000..=80_000);
                    self.add(given_up, Act::Operate { host: idx, what: Operation::GiveUp });
                }
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
