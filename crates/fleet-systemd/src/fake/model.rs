//! The model of one systemd: units in memory, jobs, processes and time.

use std::collections::{BTreeMap, BTreeSet};

use fleet_core::unit::{Form, UnitName};
use tokio::sync::oneshot;

use super::Script;
use super::exec::Running;
use super::file::{Kind, Restart, Service, UnitFile};
use super::unit::{Content, Due, Phase, Process, Unit};
use crate::{UnitStatus, Verb};

/// How often a unit may be started within [`START_LIMIT_MS`]. Source: systemd-system.conf(5), `DefaultStartLimitBurst=`.
const START_LIMIT_BURST: usize = 5;
/// Source: systemd-system.conf(5), `DefaultStartLimitIntervalSec=`.
const START_LIMIT_MS: u64 = 10_000;

/// A refusal to queue a job: D-Bus error name and message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) name: &'static str,
    pub(super) message: String,
}

/// One systemd.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) now_ms: u64,
    /// What lies in the unit directory.
    pub(super) texts: BTreeMap<UnitName, String>,
    pub(super) scripts: BTreeMap<UnitName, Script>,
    pub(super) n_reloads: u64,
    /// Units in memory.
    pub(super) units: BTreeMap<UnitName, Unit>,
    /// Units whose state changed since this was last taken.
    pub(super) changed: BTreeSet<UnitName>,
    /// Commands that run beside units.
    pub(super) execs: BTreeMap<UnitName, Running>,
    pub(super) last_job: u64,
    pub(super) last_process: u64,
}

impl Model {
    /// `StartUnit`, `StopUnit`, `RestartUnit` with mode `replace`.
    pub(super) fn submit(&mut self, name: &UnitName, verb: Verb) -> Result<oneshot::Receiver<String>, Refusal> {
        if name.form() == Form::Template {
            let message = format!("Unit name {name} is missing the instance name.");
            return Err(Refusal { name: "org.freedesktop.DBus.Error.InvalidArgs", message });
        }
        if let Some(stopped) = self.stop_exec(name) {
            return stopped;
        }
        let mut jobs = BTreeMap::new();
        let planned = match verb {
            Verb::Start => self.plan_start(name, Verb::Start, &mut jobs),
            Verb::Restart => {
                self.plan_start(name, Verb::Restart, &mut jobs).map(|()| self.plan_restarts(name, &mut jobs))
            }
            Verb::Stop => self.plan_stop(name, &mut jobs),
        };
        if let Err(refusal) = planned {
            self.collect();
            return Err(refusal);
        }
        let (tell, told) = oneshot::channel();
        // In the order of names, so that it is always the same where no `After=` asks for one.
        for (unit, verb) in jobs {
            if verb == Verb::Stop {
                self.stop_execs_beside(&unit);
            }
            self.install(&unit, verb);
        }
        if let Some(job) = self.units.get_mut(name).and_then(|unit| unit.job.as_mut()) {
            job.waiting.push(tell);
        }
        self.settle();
        Ok(told)
    }

    /// Runs all jobs that can run, until none can, and drops from memory what nothing keeps there.
    fn settle(&mut self) {
        loop {
            let mut waiting: Vec<(u64, UnitName)> = self
                .units
                .iter()
                .filter_map(|(name, unit)| Some((unit.job.as_ref().filter(|job| !job.running)?.id, name.clone())))
                .collect();
            waiting.sort();
            let Some((_, name)) = waiting.into_iter().find(|(_, name)| self.may_run(name)) else {
                break;
            };
            self.execute(&name);
        }
        self.collect();
    }

    fn execute(&mut self, name: &UnitName) {
        let unit = self.unit_mut(name);
        let Some(job) = &mut unit.job else {
            return;
        };
        job.running = true;
        match (job.verb, unit.phase) {
            (Verb::Start, Phase::Running | Phase::Exited) | (Verb::Stop, Phase::Dead | Phase::Failed) => {
                self.end_job(name, "done");
            }
            (Verb::Start | Verb::Restart, Phase::Dead | Phase::Failed) | (Verb::Start, Phase::AutoRestart) => {
                self.begin_start(name);
            }
            (Verb::Stop, Phase::AutoRestart) => {
                self.enter(name, Phase::Dead);
                self.end_job(name, "done");
            }
            (Verb::Restart, Phase::AutoRestart) => self.begin_start(name),
            (Verb::Stop | Verb::Restart, Phase::Starting | Phase::Running | Phase::Exited) => self.begin_stop(name),
            // What is under way goes on; the job ends, or goes on, with it.
            (Verb::Start, Phase::Starting) | (_, Phase::Stopping) => (),
        }
    }

    fn begin_start(&mut self, name: &UnitName) {
        let now_ms = self.now_ms;
        let script = self.scripts.get(name).cloned().unwrap_or_default();
        self.last_process += 1;
        let number = self.last_process;
        let unit = self.unit_mut(name);
        unit.starts_ms.retain(|&at| now_ms < at + START_LIMIT_MS);
        if unit.starts_ms.len() == START_LIMIT_BURST {
            // As systemd does it: an older failure is not painted over.
            if matches!(unit.result, "" | "success") {
                unit.result = "start-limit-hit";
            }
            self.enter(name, Phase::Failed);
            self.end_job(name, "failed");
            return;
        }
        unit.starts_ms.push(now_ms);
        unit.result = "success";
        let Some(service) = unit.service() else {
            self.enter(name, Phase::Exited);
            self.end_job(name, "done");
            return;
        };
        let (ready_ms, limit_ms) = (script.ready_ms.or(service.ready_ms()), service.start_timeout_ms);
        unit.main = service.start.first().map(|command| Process { line: command.line.clone(), number });
        self.enter(name, Phase::Starting);
        let unit = self.unit_mut(name);
        unit.limit_ms = limit_ms.map(|ms| now_ms + ms);
        if let Some(result) = script.start_fails {
            unit.due = Some((now_ms + ready_ms.unwrap_or(0), Due::Exit(result)));
        } else if ready_ms == Some(0) {
            self.come_up(name);
        } else {
            unit.due = ready_ms.map(|ms| (now_ms + ms, Due::Up));
        }
    }

    /// The start is over, well; for a oneshot: its commands have ended.
    fn come_up(&mut self, name: &UnitName) {
        let now_ms = self.now_ms;
        let script = self.scripts.get(name).cloned().unwrap_or_default();
        let Some(service) = self.unit(name).service() else {
            return;
        };
        if service.kind == Kind::Oneshot {
            let result = if service.start.iter().all(|command| command.succeeds) { "success" } else { "exit-code" };
            self.process_ends(name, result);
            return;
        }
        let exit = script.exit.or_else(|| {
            let command = service.start.first()?;
            let result = if command.succeeds { "success" } else { "exit-code" };
            // No program ends in no time: first it is seen running.
            Some((command.runs_ms?.max(1), result))
        });
        self.enter(name, Phase::Running);
        self.unit_mut(name).due = exit.map(|(after_ms, result)| (now_ms + after_ms, Due::Exit(result)));
        self.end_job(name, "done");
    }

    /// The main process ends by itself, or is killed.
    fn process_ends(&mut self, name: &UnitName, result: &'static str) {
        let now_ms = self.now_ms;
        let unit = self.unit_mut(name);
        let starting = unit.phase == Phase::Starting;
        unit.main = None;
        unit.result = result;
        let Some(service) = unit.service() else {
            return;
        };
        let (well, remains) = (result == "success", service.remain_after_exit);
        let again = match service.restart {
            Restart::No => false,
            Restart::OnFailure => !well,
            Restart::Always => true,
        };
        let restart_ms = service.restart_ms;
        if well && remains {
            self.enter(name, Phase::Exited);
        } else if again {
            self.enter(name, Phase::AutoRestart);
            self.unit_mut(name).due = Some((now_ms + restart_ms, Due::Again));
        } else {
            self.enter(name, if well { Phase::Dead } else { Phase::Failed });
        }
        if starting {
            self.end_job(name, if well { "done" } else { "failed" });
        }
        self.went_down(name);
    }

    fn begin_stop(&mut self, name: &UnitName) {
        let now_ms = self.now_ms;
        let script = self.scripts.get(name).cloned().unwrap_or_default();
        let unit = self.unit_mut(name);
        let service = unit.service();
        let stop_ms = script.stop_ms.or_else(|| service.as_ref().and_then(Service::stop_takes_ms));
        let limit_ms = service.and_then(|service| service.stop_timeout_ms);
        self.enter(name, Phase::Stopping);
        let unit = self.unit_mut(name);
        unit.limit_ms = limit_ms.map(|ms| now_ms + ms);
        unit.due = stop_ms.map(|ms| (now_ms + ms, Due::Down));
        if stop_ms == Some(0) {
            self.come_down(name, "success");
        }
    }

    /// The stop is over.
    fn come_down(&mut self, name: &UnitName, result: &'static str) {
        let unit = self.unit_mut(name);
        unit.main = None;
        unit.result = result;
        self.enter(name, if result == "success" { Phase::Dead } else { Phase::Failed });
        match self.unit(name).job.as_ref().map(|job| (job.running, job.verb)) {
            Some((true, Verb::Restart)) => self.begin_start(name),
            Some((true, Verb::Stop)) => self.end_job(name, "done"),
            Some((true, Verb::Start)) => self.begin_start(name),
            Some((false, _)) | None => (),
        }
        self.went_down(name);
    }

    /// Those bound to a unit that went down by itself go down with it.
    fn went_down(&mut self, name: &UnitName) {
        if !matches!(self.unit(name).phase, Phase::Dead | Phase::Failed | Phase::AutoRestart) {
            return;
        }
        let bound: Vec<UnitName> = self
            .units
            .iter()
            .filter(|(_, unit)| matches!(unit.phase, Phase::Starting | Phase::Running | Phase::Exited))
            .filter(|(_, unit)| unit.file().is_some_and(|file| file.binds_to.contains(name)))
            .map(|(name, _)| name.clone())
            .collect();
        let mut jobs = BTreeMap::new();
        for other in &bound {
            self.plan_stops(other, &mut jobs);
        }
        for (other, verb) in jobs {
            self.install(&other, verb);
        }
    }

    fn enter(&mut self, name: &UnitName, phase: Phase) {
        let unit = self.unit_mut(name);
        unit.phase = phase;
        unit.due = None;
        unit.limit_ms = None;
        self.changed.insert(name.clone());
    }

    /// Ends a unit's job, and with a failed start the starts of those that need the unit.
    fn end_job(&mut self, name: &UnitName, result: &str) {
        let Some(job) = self.unit_mut(name).job.take() else {
            return;
        };
        let failed_start = job.verb != Verb::Stop && result != "done";
        job.end(result);
        if !failed_start {
            return;
        }
        let waits = |unit: &Unit| {
            unit.file().is_some_and(|file| file.needs().any(|needed| needed == name))
                && unit.job.as_ref().is_some_and(|job| job.verb != Verb::Stop && !job.running)
        };
        let dependent: Vec<UnitName> =
            self.units.iter().filter(|(_, unit)| waits(unit)).map(|(name, _)| name.clone()).collect();
        for other in dependent {
            self.end_job(&other, "dependency");
        }
    }

    /// When something happens by itself next.
    pub(super) fn next_ms(&self) -> Option<u64> {
        self.units.values().filter_map(Unit::next_ms).chain(self.next_exec_ms()).min()
    }

    /// Lets time pass.
    pub(super) fn advance_to(&mut self, to_ms: u64) {
        while let Some(at) = self.next_ms().filter(|&at| at <= to_ms) {
            self.now_ms = self.now_ms.max(at);
            self.end_execs();
            let next = self.units.iter().find(|(_, unit)| unit.next_ms() == Some(at)).map(|(name, _)| name.clone());
            if let Some(name) = next {
                self.happen(&name, at);
                self.settle();
            }
        }
        self.now_ms = self.now_ms.max(to_ms);
    }

    fn happen(&mut self, name: &UnitName, at: u64) {
        let unit = self.unit_mut(name);
        if let Some((_, due)) = unit.due.take_if(|(due_at, _)| *due_at == at) {
            match due {
                Due::Up => self.come_up(name),
                Due::Exit(result) => self.process_ends(name, result),
                Due::Down => self.come_down(name, "success"),
                Due::Again => self.install(name, Verb::Start),
            }
        } else if unit.limit_ms.take_if(|limit| *limit == at).is_some() {
            if unit.phase == Phase::Stopping {
                self.come_down(name, "timeout");
            } else {
                self.process_ends(name, "timeout");
            }
        } else if unit.job.as_ref().is_some_and(|job| job.limit_ms == Some(at)) {
            self.end_job(name, "timeout");
        }
    }

    /// Kills a main process.
    ///
    /// # Panics
    /// When there is none: the test is wrong about the world.
    pub(super) fn kill_main(&mut self, name: &UnitName) {
        assert!(self.command_line(name).is_some(), "{name} has no main process to kill");
        if self.unit(name).phase == Phase::Stopping {
            self.come_down(name, "signal");
        } else {
            self.process_ends(name, "signal");
        }
        self.settle();
    }

    /// `Reload`: everything in memory is read anew. Nothing is started or stopped.
    pub(super) fn reload(&mut self) {
        self.n_reloads += 1;
        let names: Vec<UnitName> = self.units.keys().cloned().collect();
        for name in names {
            let content = self.read(&name);
            self.unit_mut(&name).content = content;
            self.load_named(&name);
            self.changed.insert(name);
        }
        self.collect();
    }

    /// `ResetFailedUnit`.
    pub(super) fn reset_failed(&mut self, name: &UnitName) {
        if self.units.get(name).is_some_and(|unit| unit.phase == Phase::Failed) {
            let unit = self.unit_mut(name);
            unit.result = "success";
            unit.starts_ms.clear();
            self.enter(name, Phase::Dead);
            self.collect();
        }
    }

    /// Whether systemd goes on with another content than what is on disk.
    pub(super) fn needs_reload(&self, name: &UnitName) -> bool {
        self.units.get(name).is_some_and(|unit| match &unit.content {
            Content::NotFound => false, // Read again at the next start by itself.
            Content::Bad { text, .. } | Content::Loaded { text, .. } => Some(text) != self.text(name),
        })
    }

    /// Why a unit is not at rest, if it is not.
    pub(super) fn not_at_rest(&self, name: &UnitName) -> Option<String> {
        let unit = self.units.get(name)?;
        if unit.job.is_some() {
            return Some(format!("{name} has a job"));
        }
        let (active, sub) = unit.phase.words();
        (!unit.phase.at_rest()).then(|| format!("{name} is {active} ({sub})"))
    }

    /// How a unit is; one that is not in memory is as loading it would show it.
    pub(super) fn status(&self, name: &UnitName) -> UnitStatus {
        let unit = self.units.get(name);
        let read;
        let content = match unit {
            Some(unit) if !matches!(unit.content, Content::NotFound) => &unit.content,
            _ => {
                read = self.read(name);
                &read
            }
        };
        let load = match content {
            Content::NotFound => "not-found",
            Content::Bad { .. } => "bad-setting",
            Content::Loaded { .. } => "loaded",
        };
        let (active, sub) = unit.map_or(Phase::Dead, |unit| unit.phase).words();
        let has_result = unit.is_some_and(|unit| unit.service().is_some());
        UnitStatus {
            name: name.clone(),
            load: load.to_owned(),
            active: active.to_owned(),
            sub: sub.to_owned(),
            result: unit.filter(|_| has_result).map_or("", |unit| unit.result).to_owned(),
        }
    }

    /// The command line of the main process.
    pub(super) fn command_line(&self, name: &UnitName) -> Option<String> {
        self.main(name).map(|process| process.line.clone())
    }

    /// Which process is the main process.
    pub(super) fn main_number(&self, name: &UnitName) -> Option<u64> {
        self.main(name).map(|process| process.number)
    }

    fn main(&self, name: &UnitName) -> Option<&Process> {
        self.units.get(name)?.main.as_ref()
    }

    /// Nobody hears of the jobs' ends any more.
    pub(super) fn drop_waiting(&mut self) {
        for job in self.units.values_mut().filter_map(|unit| unit.job.as_mut()) {
            job.waiting.clear();
        }
        // The next connection stops them first of all.
        self.execs.clear();
    }

    /// Power off and on: nothing runs, and `/run` is empty.
    pub(super) fn reboot(&mut self) {
        self.units.clear();
        self.texts.clear();
        self.changed.clear();
    }

    pub(super) fn unit(&self, name: &UnitName) -> &Unit {
        self.units.get(name).expect("loaded before it is used, and not collected with a job")
    }

    pub(super) fn unit_mut(&mut self, name: &UnitName) -> &mut Unit {
        self.units.get_mut(name).expect("loaded before it is used, and not collected with a job")
    }

    /// The file of a unit, or of its template.
    pub(super) fn text(&self, name: &UnitName) -> Option<&String> {
        self.texts.get(name).or_else(|| self.texts.get(&name.template()?))
    }

    fn read(&self, name: &UnitName) -> Content {
        match self.text(name) {
            None => Content::NotFound,
            Some(text) => Content::read(name, text),
        }
    }

    /// Takes a unit into memory, with all that it names. What is there already stays as it is, unless it was not found.
    pub(super) fn load(&mut self, name: &UnitName) {
        let content = self.read(name);
        match self.units.get_mut(name) {
            Some(unit) if matches!(unit.content, Content::NotFound) => unit.content = content,
            Some(_) => return,
            None => {
                self.units.insert(name.clone(), Unit::new(content));
            }
        }
        self.load_named(name);
    }

    fn load_named(&mut self, name: &UnitName) {
        let named: Vec<UnitName> = self.unit(name).file().into_iter().flat_map(UnitFile::names).cloned().collect();
        for other in named {
            if other.form() != Form::Template && !self.units.contains_key(&other) {
                self.load(&other);
            }
        }
    }

    /// Drops from memory what is at rest, has no job and is named by nothing that stays.
    fn collect(&mut self) {
        let stays = |unit: &Unit| unit.phase != Phase::Dead || unit.job.is_some();
        let mut kept: BTreeSet<UnitName> =
            self.units.iter().filter(|(_, unit)| stays(unit)).map(|(name, _)| name.clone()).collect();
        let mut to_follow: Vec<UnitName> = kept.iter().cloned().collect();
        while let Some(name) = to_follow.pop() {
            for named in self.units.get(&name).and_then(Unit::file).into_iter().flat_map(UnitFile::names) {
                if self.units.contains_key(named) && kept.insert(named.clone()) {
                    to_follow.push(named.clone());
                }
            }
        }
        self.units.retain(|name, _| kept.contains(name));
    }
}
