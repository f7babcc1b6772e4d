//! Runs one seed: lets the scenario happen to the cluster, then waits for rest, and asks the judge.

use std::sync::Arc;
use std::time::Duration;

use fleet_core::model::{MachineId, Revision, TargetState};
use fleet_core::unit::UnitName;
use fleet_store::Store as _;
use fleet_store::mem::Mem;
use fleet_store::registry::{CordonRecord, DrainRecord, GivenUpRecord, ops};
use fleet_systemd::fake::FakeMachine;
use fleetd::parts::Settings;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::bug::Bug;
use crate::chance::Chance;
use crate::daemon::{Daemon, Told, settings};
use crate::guard;
use crate::judge::Judge;
use crate::scenario::{Act, Asking, Back, Operation, Scenario};
use crate::trace::Trace;
use crate::units::{DISK, FAST, Family, SLOW, VERSION_MAX};
use crate::users::{Ledger, Wish};
use crate::weather::Weather;
use crate::world::{Cable, End, Host, Who, World};

/// How long after all faults the cluster may take to come to rest.
///
/// What adds up in the worst case: the last request under way (5 s), a pause of the agent after many failures (60 s), the lease of
/// a machine that was cut off, its grace, and the stop allowance (70 s), a stop that takes systemd's patience (20 s), and calls
/// between. No look at everything that is due only then: who needs that to notice something has missed its news.
const REST_LIMIT: Duration = Duration::from_secs(180);

/// How much longer if a watch has lost an event: what was in it is seen when everything is looked at anew, up to 300 s later.
const DEAF_LIMIT: Duration = Duration::from_secs(300);

/// How much longer if a machine leaves: twice the longest limit of its steps.
const LEAVE_LIMIT: Duration = Duration::from_secs(180);

/// How long nothing may be written once there is rest.
const IDLE: Duration = Duration::from_secs(60);

/// After so many looks without a write there may be rest.
const IDLE_LOOKS: u32 = 2;

/// How often is looked whether there is rest.
const LOOK_EVERY: Duration = Duration::from_secs(5);

pub(crate) struct Driver {
    world: Arc<World>,
    settings: Settings,
    scenario: Scenario,
    origin: Instant,
    /// One for each machine; `None` while it does not run.
    daemons: Vec<Option<Daemon>>,
    lives: Vec<u32>,
    boots: Vec<u32>,
    has_power: Vec<bool>,
    /// What each machine's own configuration says.
    disks: Vec<&'static str>,
    /// What becomes of each machine once it has left.
    back: Vec<Back>,
    /// Switched off for good, after it was told to leave.
    is_away: Vec<bool>,
    is_calm: bool,
    cables: Vec<Arc<Cable>>,
    users: Chance,
    ledger: Ledger,
    answers: mpsc::UnboundedSender<Told>,
    told: mpsc::UnboundedReceiver<Told>,
    ends: mpsc::UnboundedReceiver<(Who, End)>,
}

impl Driver {
    /// A cluster on which nothing has happened yet. Must be called on a runtime with paused time.
    ///
    /// # Errors
    /// Not on a new store.
    pub(crate) async fn new(seed: u64, bug: Option<Bug>, trace: Trace) -> Result<Driver, fleet_store::StoreError> {
        let scenario = Scenario::draw(&Chance::new(seed, 0));
        let mem = Mem::default();
        let ids: Vec<MachineId> = (0..scenario.n_hosts).map(machine_id).collect();
        let judge = Judge::new(trace.clone(), mem.clone(), ids.clone(), scenario.losses).await?;
        let host = |id| Host { id, fake: FakeMachine::on_tokio_time(), slip: Arc::default() };
        let hosts: Vec<Host> = ids.into_iter().map(host).collect();
        for host in &hosts {
            // Ends with the runtime.
            tokio::spawn(guard::stand(host.fake.clone(), Arc::clone(&host.slip)));
        }
        let (tell_end, ends) = mpsc::unbounded_channel();
        let (answers, told) = mpsc::unbounded_channel();
        let world = World::new(trace, mem, hosts, Chance::new(seed, 1), bug, judge, tell_end);
        let n_hosts = scenario.n_hosts;
        let mut losses = scenario.losses;
        if world.has(Bug::NoBrake) {
            losses.brake_share = 1.0;
        }
        Ok(Driver {
            world: Arc::new(world),
            settings: settings(scenario.resync_s, scenario.agent_ttl_s, losses),
            scenario,
            origin: Instant::now(),
            daemons: (0..n_hosts).map(|_| None).collect(),
            lives: vec![0; n_hosts],
            boots: vec![1; n_hosts],
            has_power: vec![true; n_hosts],
            disks: (0..n_hosts).map(|idx| if idx.is_multiple_of(2) { FAST } else { SLOW }).collect(),
            back: vec![Back::After(0); n_hosts],
            is_away: vec![false; n_hosts],
            is_calm: false,
            cables: (0..n_hosts).map(|_| Arc::default()).collect(),
            users: Chance::new(seed, 2),
            ledger: Ledger::default(),
            answers,
            told,
            ends,
        })
    }

    /// Lets it all happen.
    ///
    /// # Errors
    /// What the judge found.
    pub(crate) async fn run(mut self) -> Result<(), String> {
        let (hosts, resync) = (self.scenario.n_hosts, self.scenario.resync_s);
        self.say(|| format!("{hosts} machines, a resync every {resync} s"));
        (0..hosts).for_each(|daemon| self.start(daemon));
        while let Some((&(at_ms, number), _)) = self.scenario.acts.first_key_value() {
            if self.scenario.calm_ms < at_ms {
                break;
            }
            self.pass_time_until(self.origin + Duration::from_millis(at_ms)).await?;
            if let Some(act) = self.scenario.acts.remove(&(at_ms, number)) {
                self.happens(act);
            }
        }
        self.pass_time_until(self.origin + Duration::from_millis(self.scenario.calm_ms)).await?;
        self.calm_down();
        self.come_to_rest().await
    }

    /// Goes on until then, or to the first violation.
    async fn pass_time_until(&mut self, until: Instant) -> Result<(), String> {
        loop {
            self.judged()?;
            tokio::select! {
                biased;
                Some((who, end)) = self.ends.recv() => self.ended(who, end),
                Some(told) = self.told.recv() => self.answered(told),
                () = sleep_until(until) => return self.judged(),
            }
        }
    }

    fn judged(&mut self) -> Result<(), String> {
        let now_ms = self.world.trace.now_ms();
        self.world.look_at_store();
        for daemon in self.daemons.iter_mut().flatten() {
            if let Some(how) = daemon.ended() {
                self.world.judge().object(now_ms, format!("{}: {how}", daemon.who()));
            }
        }
        match self.world.judge().violation() {
            Some(violation) => Err(violation.to_owned()),
            None => Ok(()),
        }
    }

    /// Operators have a way to the store of their own, so what they say is there at once.
    fn operate(&self, host: usize, what: Operation) {
        if matches!(what, Operation::GiveUp) && self.has_power[host] {
            return;
        }
        let machine = &self.world.hosts[host].id;
        let since = fleetd::clock::now();
        let txn = match what {
            Operation::Cordon => ops::cordon(machine, &CordonRecord { since }),
            Operation::Drain(max_at_once) => ops::drain(machine, &DrainRecord { since, max_at_once }),
            Operation::Uncordon => ops::uncordon(machine, since),
            Operation::GiveUp => ops::give_up(machine, &GivenUpRecord { since }),
            Operation::Disk(disk) => {
                let key = DISK.parse().unwrap_or_else(|err| panic!("{DISK} is a key: {err}"));
                let set = ops::set_metadata(&[(machine.clone(), key, disk.map(str::to_owned))], since);
                set.unwrap_or_else(|err| panic!("one key is not too large: {err}"))
            }
        };
        let mem = self.world.mem.clone();
        tokio::spawn(async move { mem.commit(&txn).await });
    }

    /// A daemon has ended by itself.
    fn ended(&mut self, who: Who, end: End) {
        let host = who.daemon;
        if self.daemons[host].as_ref().is_none_or(|daemon| daemon.who() != who) {
            return;
        }
        self.daemons[host] = None;
        let after_ms = match (end, self.back[host]) {
            (End::Died, _) => {
                self.say(|| format!("{who} dies at a call"));
                self.world.chance.number(100..=8_000)
            }
            (End::Left, Back::After(ms)) => {
                self.say(|| format!("{who} has left"));
                ms
            }
            (End::Left, Back::Never) => {
                self.say(|| format!("{who} has left, and its machine is switched off for good"));
                self.switch_off(host);
                self.is_away[host] = true;
                return;
            }
        };
        if self.is_calm {
            self.start(host);
        } else {
            self.scenario.add(self.world.trace.now_ms() + after_ms, Act::Start { daemon: host });
        }
    }

    fn switch_off(&mut self, host: usize) {
        self.daemons[host] = None;
        self.has_power[host] = false;
        self.boots[host] += 1;
        self.world.judge().power(host);
        self.world.hosts[host].fake.reboot();
        self.world.hosts[host].slip.set(None);
    }

    fn answered(&mut self, told: Told) {
        for (unit, wish, answer) in told {
            self.world.trace.say("user", || format!("{wish:?} {unit}: {answer:?}"));
            let now_ms = self.world.trace.now_ms();
            if let Err(why) = self.ledger.answered(now_ms, &unit, wish, answer) {
                self.world.judge().object(now_ms, why);
            }
        }
    }

    fn start(&mut self, daemon: usize) {
        if self.daemons[daemon].is_none() && self.has_power[daemon] && !self.is_away[daemon] {
            self.lives[daemon] += 1;
            let who = Who { daemon, life: self.lives[daemon] };
            let (boot_id, cable, disk) = (self.boot_id(daemon), &self.cables[daemon], self.disks[daemon]);
            let started = Daemon::start(&self.world, who, boot_id, cable, self.settings, disk);
            self.daemons[daemon] = Some(started);
        }
    }

    fn happens(&mut self, act: Act) {
        self.say(|| format!("{act:?}"));
        let now_ms = self.world.trace.now_ms();
        match act {
            Act::Ask(asking) => self.ask(asking),
            Act::Crash { daemon, for_ms } => {
                self.daemons[daemon] = None;
                self.scenario.add(now_ms + for_ms, Act::Start { daemon });
            }
            Act::Start { daemon } => self.start(daemon),
            Act::Pause { daemon } => self.daemons[daemon].iter().for_each(|daemon| daemon.gate().pause()),
            Act::Resume { daemon } => self.daemons[daemon].iter().for_each(|daemon| daemon.gate().resume()),
            Act::Cut { daemon } => self.cables[daemon].set_cut(true),
            Act::Heal { daemon } => self.cables[daemon].set_cut(false),
            Act::PowerOff { host } => self.switch_off(host),
            Act::PowerOn { host } if self.is_away[host] => (),
            Act::PowerOn { host } => {
                self.has_power[host] = true;
                self.start(host);
            }
            Act::Reload { host, disk } => {
                self.disks[host] = disk;
                self.daemons[host].iter().for_each(|daemon| daemon.reload(disk));
            }
            Act::Leave { daemon, limit_ms, back } => {
                if let Some(running) = self.daemons[daemon].as_mut().filter(|daemon| !daemon.is_leaving()) {
                    self.back[daemon] = back;
                    running.leave(Duration::from_millis(limit_ms));
                }
            }
            Act::SystemdGone { host } => self.world.hosts[host].fake.disconnect("cut by the simulation"),
            Act::SystemdBack { host } => self.world.hosts[host].fake.reconnect(),
            Act::KillUnit { host } => self.kill_unit(host),
            Act::DiskFull { host } => self.fill_disk(host, Some("no space left on device")),
            Act::DiskFree { host } => self.fill_disk(host, None),
            Act::Operate { host, what } => self.operate(host, what),
            Act::CutWatches => self.world.mem.cut_watches(),
            Act::Compact => {
                let revision = self.world.judge().view().revision();
                self.world.mem.compact(Revision(revision.0 + 1));
            }
            Act::StoreGone => self.cables.iter().for_each(|cable| cable.set_cut(true)),
            Act::StoreBack => self.cables.iter().for_each(|cable| cable.set_cut(false)),
            Act::Weather(weather) => self.world.set_weather(weather),
        }
    }

    fn kill_unit(&self, host: usize) {
        self.world.look_at_machine(host);
        let fake = &self.world.hosts[host].fake;
        let running: Vec<UnitName> = self.world.hosts[host].running().into_keys().collect();
        if !running.is_empty() {
            let unit = self.users.pick(&running);
            self.say(|| format!("kills {unit} on {}", self.world.hosts[host].id));
            self.world.judge().excuse(host, unit);
            fake.kill_main(unit);
            self.world.look_at_machine(host);
        }
    }

    fn fill_disk(&self, host: usize, reason: Option<&str>) {
        for unit in all_units(self.scenario.n_numbers) {
            self.world.hosts[host].fake.fail_writes(&unit, reason);
        }
    }

    /// A user has a wish and asks one of the daemons that run.
    fn ask(&mut self, asking: Asking) {
        let users = self.users.clone();
        let all = all_units(self.scenario.n_numbers);
        let wishes: Vec<(UnitName, Wish)> = match asking {
            Asking::One => {
                let unit = users.pick(&all).clone();
                let target = *users.pick(&[TargetState::Inactive, TargetState::Loaded, TargetState::Launched]);
                let wish = match users.number(0..=5) {
                    0 | 1 => Wish::Put(users.number(1..=VERSION_MAX), target),
                    2 => Wish::Set(target),
                    3 => Wish::Set(TargetState::Launched),
                    4 => Wish::Restart,
                    _ => Wish::Destroy,
                };
                vec![(unit, wish)]
            }
            Asking::StartMany => {
                let share = *users.pick(&[0.3, 0.6, 1.0]);
                let some = all.into_iter().filter(|_| users.happens(share)).collect::<Vec<_>>();
                some.into_iter()
                    .map(|unit| (unit, Wish::Put(users.number(1..=VERSION_MAX), TargetState::Launched)))
                    .collect()
            }
            Asking::DestroyMany => {
                let share = *users.pick(&[0.5, 1.0]);
                let existing = self.ledger.existing().into_iter();
                existing.filter(|_| users.happens(share)).map(|unit| (unit, Wish::Destroy)).collect()
            }
        };
        let running: Vec<usize> = (0..self.daemons.len()).filter(|&idx| self.daemons[idx].is_some()).collect();
        if running.is_empty() {
            return;
        }
        let daemon = *users.pick(&running);
        let free: Vec<_> = wishes.into_iter().filter(|(unit, _)| self.ledger.begin(unit)).collect();
        if let Some(daemon) = self.daemons[daemon].as_mut().filter(|_| !free.is_empty()) {
            daemon.ask(free, self.answers.clone());
        }
    }

    /// All faults end.
    fn calm_down(&mut self) {
        self.say(|| "all faults end, and users are content".to_owned());
        self.is_calm = true;
        self.world.set_weather(Weather::fair());
        self.cables.iter().for_each(|cable| cable.set_cut(false));
        for host in 0..self.scenario.n_hosts {
            self.has_power[host] = !self.is_away[host];
            self.world.hosts[host].fake.reconnect();
            self.fill_disk(host, None);
            self.daemons[host].iter().for_each(|daemon| daemon.gate().resume());
            self.start(host);
        }
    }

    /// Waits until everything is as it has to be, and then that nothing is written any more.
    async fn come_to_rest(&mut self) -> Result<(), String> {
        let mut limit = REST_LIMIT;
        if self.world.judge().is_deaf() {
            limit += DEAF_LIMIT;
        }
        if self.daemons.iter().flatten().any(Daemon::is_leaving) {
            limit += LEAVE_LIMIT;
        }
        let give_up = Instant::now() + limit;
        let (mut last_worked, mut n_idle) = (Revision(0), 0);
        loop {
            self.pass_time_until(Instant::now() + LOOK_EVERY).await?;
            self.write_off();
            let unrest = match self.ledger.is_quiet() {
                true => self.unrest(),
                false => vec!["a user still waits for an answer".to_owned()],
            };
            // A write whose answer got lost is tried again.
            let worked = self.world.judge().worked();
            let is_idle = std::mem::replace(&mut last_worked, worked) == worked;
            n_idle = if is_idle { n_idle + 1 } else { 0 };
            if unrest.is_empty() && IDLE_LOOKS <= n_idle {
                break;
            }
            if give_up <= Instant::now() {
                return Err(format!("no rest {} s after the last fault: {}", limit.as_secs(), unrest.join("; ")));
            }
        }
        self.say(|| "rest".to_owned());
        let before = self.world.judge().worked();
        self.pass_time_until(Instant::now() + IDLE).await?;
        let after = self.world.judge().worked();
        if after != before {
            return Err(format!("written while idle: revision {}", after.0));
        }
        let unrest = self.unrest();
        if unrest.is_empty() { Ok(()) } else { Err(format!("the rest did not last: {}", unrest.join("; "))) }
    }

    /// Operators give up what was switched off for good and could not leave properly.
    fn write_off(&self) {
        for host in (0..self.scenario.n_hosts).filter(|&host| self.is_away[host]) {
            if self.world.judge().waits_for(&self.world.hosts[host].id) {
                self.operate(host, Operation::GiveUp);
            }
        }
    }

    fn unrest(&self) -> Vec<String> {
        if let Some(leaving) = self.daemons.iter().flatten().find(|daemon| daemon.is_leaving()) {
            return vec![format!("{} has not left yet", leaving.who())];
        }
        let daemons: Vec<Option<Who>> = self.daemons.iter().map(|daemon| daemon.as_ref().map(Daemon::who)).collect();
        self.world.judge().unrest(&self.world.hosts, &daemons, &self.disks, &self.ledger)
    }

    /// The ID of a machine's present boot.
    fn boot_id(&self, host: usize) -> String {
        format!("boot-{host}-{}", self.boots[host])
    }

    fn say(&self, what: impl FnOnce() -> String) {
        self.world.trace.say("----", what);
    }
}

/// All units that users think of.
fn all_units(n_numbers: u64) -> Vec<UnitName> {
    (1..=n_numbers).flat_map(|number| Family::ALL.map(|family| family.name(number))).collect()
}

fn machine_id(idx: usize) -> MachineId {
    let id = format!("m{idx}");
    id.parse().unwrap_or_else(|err| panic!("{id} is a machine ID: {err}"))
}
