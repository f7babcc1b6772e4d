//! What is known of one systemd, kept up by its signals. No I/O: the callers send and receive.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::num::NonZeroU32;

use fleet_core::unit::UnitName;
use tokio::sync::oneshot;
use zbus::{Connection, Message, OwnedObjectPath};

use super::exec::Begun;
use super::path::{result_interface, unit_path};
use crate::news::News;
use crate::{ManagerEvent, UnitStatus};

/// How many ends of jobs nobody waited for are remembered: one may be the job of a call whose reply we have not read yet. Far
/// more than the calls that can be under way, since the jobs of others end meanwhile too.
const EARLY_ENDS_MAX: usize = 1024;

/// A row of systemd's lists: name, description, load, active, sub, following, path, job, its type, its path.
///
/// Source: org.freedesktop.systemd1(5), `ListUnits()`.
pub(super) type Row = (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

/// What became of a call.
pub(super) type Reply<'a> = Result<&'a Message, &'a CallError>;

/// Why a call has no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CallError {
    /// systemd answered with an error.
    Refused { name: String, message: String },
    /// The connection ended first.
    Lost(String),
}

/// What is done with a reply, at its place among the signals: what systemd said later is handled later.
pub(super) type Handler = Box<dyn FnOnce(&mut State, Reply<'_>) + Send>;

/// The state of a connection and of the units behind it.
#[derive(Default)]
pub(super) struct State {
    /// The connection, or why there is none.
    pub(super) link: Link,
    pending: HashMap<NonZeroU32, Handler>,
    /// Who waits for which job, by the job's object path.
    jobs: HashMap<String, Vec<oneshot::Sender<String>>>,
    /// Jobs that ended with nobody waiting, newest last, with their results. A manager does not use a job's path twice.
    early: VecDeque<(String, String)>,
    /// Our units: those whose file or receipt is on disk.
    ours: BTreeMap<UnitName, UnitStatus>,
    /// The same by object path, to drop the signals of all other units before reading them.
    paths: HashMap<String, UnitName>,
    /// All units, not only ours, that systemd holds in memory.
    in_memory: HashSet<String>,
    /// `in_memory` is complete: everything was listed on this connection and since the last reload.
    memory_is_known: bool,
    /// systemd reads its files anew: until it is done, units seem to go and come.
    reloading: bool,
    news: News,
    /// The commands that were begun on this connection, by object path.
    pub(super) execs: HashMap<String, Begun>,
}

/// Whether there is a connection.
pub(super) enum Link {
    Up(Connection),
    Down(String),
}

impl Default for Link {
    fn default() -> Link {
        Link::Down("not connected yet".to_owned())
    }
}

impl State {
    /// There is a connection.
    pub(super) fn up(&mut self, connection: Connection) {
        self.link = Link::Up(connection);
    }

    /// Expects the reply to a call.
    pub(super) fn expect(&mut self, serial: NonZeroU32, handler: Handler) {
        self.pending.insert(serial, handler);
    }

    /// Hands a reply to the one who expects it.
    pub(super) fn reply(&mut self, serial: NonZeroU32, reply: Reply<'_>) {
        if let Some(handler) = self.pending.remove(&serial) {
            handler(self, reply);
        }
    }

    /// Waits for a job that was queued. The receiver hears its result; the sender goes when the connection does.
    pub(super) fn await_job(&mut self, job: &str) -> oneshot::Receiver<String> {
        let (tell, told) = oneshot::channel();
        let early = self.early.iter().position(|(path, _)| path == job).and_then(|at| self.early.remove(at));
        match early {
            // The one who waits may be gone already, here and below; then nobody wants to know.
            Some((_, result)) => drop(tell.send(result)),
            None => self.jobs.entry(job.to_owned()).or_default().push(tell),
        }
        told
    }

    /// `JobRemoved`: the job ended.
    pub(super) fn job_ended(&mut self, job: &str, result: &str) {
        if let Some(waiting) = self.jobs.remove(job) {
            for tell in waiting {
                drop(tell.send(result.to_owned()));
            }
            return;
        }
        if self.early.len() == EARLY_ENDS_MAX {
            self.early.pop_front();
        }
        self.early.push_back((job.to_owned(), result.to_owned()));
    }

    /// The connection is gone: everyone who waits hears so.
    pub(super) fn lost(&mut self, reason: &str) {
        self.link = Link::Down(reason.to_owned());
        let error = CallError::Lost(reason.to_owned());
        for (_, handler) in std::mem::take(&mut self.pending) {
            handler(self, Err(&error));
        }
        self.jobs.clear();
        self.execs.clear();
        self.early.clear();
        self.in_memory.clear();
        self.memory_is_known = false;
        self.reloading = false;
        self.news.lost();
    }

    /// The connection is back and everything was listed.
    pub(super) fn back(&mut self) {
        self.news.back();
    }

    /// Counts a unit among ours.
    pub(super) fn track(&mut self, name: &UnitName) {
        if !self.ours.contains_key(name) {
            self.paths.insert(unit_path(name.as_str()), name.clone());
            self.ours.insert(name.clone(), unheard_of(name));
        }
    }

    /// No longer ours.
    pub(super) fn untrack(&mut self, name: &UnitName) {
        self.paths.remove(&unit_path(name.as_str()));
        self.ours.remove(name);
        self.news.forget(name);
    }

    pub(super) fn is_ours(&self, name: &UnitName) -> bool {
        self.ours.contains_key(name)
    }

    /// The unit of ours that an object path stands for.
    pub(super) fn at_path(&self, path: &str) -> Option<UnitName> {
        self.paths.get(path).cloned()
    }

    pub(super) fn status(&self, name: &UnitName) -> Option<&UnitStatus> {
        self.ours.get(name)
    }

    pub(super) fn ours_in_memory(&self) -> Vec<UnitName> {
        self.ours.keys().filter(|name| self.in_memory(name)).cloned().collect()
    }

    pub(super) fn in_memory(&self, name: &UnitName) -> bool {
        self.in_memory.contains(name.as_str())
    }

    /// Whether systemd may hold a unit in memory: also true while that is not known.
    pub(super) fn may_be_in_memory(&self, name: &UnitName) -> bool {
        !self.memory_is_known || self.in_memory(name)
    }

    /// `Reloading`: all units seem to go, and those that are there come back. A list has to follow the end of it.
    pub(super) fn reloading(&mut self, is_under_way: bool) {
        self.reloading = is_under_way;
        self.memory_is_known = false;
    }

    /// `UnitNew`: systemd took a unit into memory.
    pub(super) fn unit_new(&mut self, name: &str) {
        self.in_memory.insert(name.to_owned());
    }

    /// `UnitRemoved`: systemd dropped a unit from memory, which it does when the unit is inactive and nothing refers to it.
    pub(super) fn unit_removed(&mut self, name: &str) {
        self.in_memory.remove(name);
        if self.reloading {
            return;
        }
        self.exec_ended(&unit_path(name));
        if let Some(unit_name) = self.paths.get(&unit_path(name)).cloned() {
            self.change(&unit_name, |status| {
                status.active = "inactive".to_owned();
                status.sub = "dead".to_owned();
                status.result = String::new();
            });
        }
    }

    /// `PropertiesChanged` of a unit of ours: whatever of these it had.
    pub(super) fn properties(
        &mut self,
        name: &UnitName,
        active: Option<&str>,
        sub: Option<&str>,
        result: Option<&str>,
    ) {
        self.change(name, |status| {
            if let Some(active) = active {
                active.clone_into(&mut status.active);
                // The load state has no signal. What is not inactive was loaded; what became inactive stays what it was.
                if active != "inactive" {
                    "loaded".clone_into(&mut status.load);
                }
            }
            if let Some(sub) = sub {
                sub.clone_into(&mut status.sub);
            }
            if let Some(result) = result {
                result.clone_into(&mut status.result);
            }
        });
    }

    /// A list of certain units: what it says of ours.
    pub(super) fn listed(&mut self, rows: &[Row]) {
        for (name, _, load, active, sub, ..) in rows {
            let Ok(name) = name.parse::<UnitName>() else {
                continue;
            };
            if !self.is_ours(&name) {
                continue;
            }
            let has_result = result_interface(name.unit_type()).is_some();
            self.change(&name, |status| {
                load.clone_into(&mut status.load);
                active.clone_into(&mut status.active);
                sub.clone_into(&mut status.sub);
                // Lists have no result. One that runs has not failed; the others keep theirs, and are asked for it if unknown.
                if active == "active" && has_result && status.result.is_empty() {
                    "success".clone_into(&mut status.result);
                }
            });
        }
    }

    /// The list of all units in memory.
    pub(super) fn listed_all(&mut self, rows: &[Row]) {
        self.in_memory = rows.iter().map(|row| row.0.clone()).collect();
        self.memory_is_known = !self.reloading;
        let not_there: Vec<UnitName> =
            self.ours.keys().filter(|name| !self.in_memory.contains(name.as_str())).cloned().collect();
        for name in not_there {
            self.change(&name, |status| {
                status.active = "inactive".to_owned();
                status.sub = "dead".to_owned();
                status.result = String::new();
            });
        }
        self.listed(rows);
    }

    fn change(&mut self, name: &UnitName, change: impl FnOnce(&mut UnitStatus)) {
        let Some(status) = self.ours.get_mut(name) else {
            return;
        };
        let before = status.clone();
        change(status);
        if *status != before {
            self.news.changed(name);
        }
    }

    /// Whether there is something to tell.
    pub(super) fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    /// The next thing to tell, as it is now.
    pub(super) fn next_news(&mut self) -> Option<ManagerEvent> {
        self.news.next(|name| self.ours.get(name).cloned())
    }
}

/// A unit of which nothing was heard: its file is there, systemd has not read it.
fn unheard_of(name: &UnitName) -> UnitStatus {
    UnitStatus {
        name: name.clone(),
        load: "loaded".to_owned(),
        active: "inactive".to_owned(),
        sub: "dead".to_owned(),
        result: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: &str = "/org/freedesktop/systemd1/job/7";

    #[test]
    fn end_of_a_job_reaches_all_who_wait_whenever_they_begin() {
        let mut state = State::default();
        let (mut one, mut two) = (state.await_job(JOB), state.await_job(JOB));
        state.job_ended("/org/freedesktop/systemd1/job/8", "failed");
        assert!(one.try_recv().is_err(), "that was another job");
        state.job_ended(JOB, "done");
        assert_eq!((one.try_recv().as_deref(), two.try_recv().as_deref()), (Ok("done"), Ok("done")));
        // The end came before the reply that named the job.
        assert_eq!(state.await_job("/org/freedesktop/systemd1/job/8").try_recv().as_deref(), Ok("failed"));
    }

    #[test]
    fn ends_of_other_jobs_take_no_memory_without_bound() {
        let mut state = State::default();
        for number in 0..10 * EARLY_ENDS_MAX {
            state.job_ended(&format!("/job/{number}"), "done");
        }
        assert_eq!(state.early.len(), EARLY_ENDS_MAX);
        let newest = format!("/job/{}", 10 * EARLY_ENDS_MAX - 1);
        assert_eq!(state.await_job(&newest).try_recv().as_deref(), Ok("done"));
    }

    #[test]
    fn loss_of_the_connection_ends_every_wait() {
        let mut state = State::default();
        let mut job = state.await_job(JOB);
        let (tell, mut told) = oneshot::channel();
        let handler = move |_: &mut State, reply: Reply<'_>| drop(tell.send(reply.err().cloned()));
        state.expect(NonZeroU32::MIN, Box::new(handler));
        state.lost("gone");
        assert_eq!(job.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        assert_eq!(told.try_recv(), Ok(Some(CallError::Lost("gone".to_owned()))));
        assert_eq!(state.next_news(), Some(ManagerEvent::Disconnected));
        assert_eq!(state.next_news(), None);
    }

    /// As around a `daemon-reload`, in which systemd tells of all units as removed and new.
    #[test]
    fn reload_makes_no_unit_seem_dead() {
        let name: UnitName = "a.service".parse().expect("a name");
        let mut state = State::default();
        state.track(&name);
        state.unit_new("a.service");
        state.properties(&name, Some("active"), Some("running"), Some("success"));
        let before = state.status(&name).cloned();
        state.reloading(true);
        state.unit_removed("a.service");
        state.unit_new("a.service");
        state.reloading(false);
        assert_eq!(state.status(&name).cloned(), before);
        assert!(state.in_memory(&name));
        state.unit_removed("a.service");
        assert_eq!(state.status(&name).map(|status| status.active.as_str()), Some("inactive"));
    }

    /// A file is removed without asking systemd only if its unit is known not to be there.
    #[test]
    fn what_is_not_known_may_be_in_memory() {
        let name: UnitName = "a.service".parse().expect("a name");
        let mut state = State::default();
        assert!(state.may_be_in_memory(&name), "before the first list");
        state.listed_all(&[]);
        assert!(!state.may_be_in_memory(&name));
        state.unit_new("a.service");
        assert!(state.may_be_in_memory(&name));
        state.unit_removed("a.service");
        assert!(!state.may_be_in_memory(&name));
        state.reloading(true);
        assert!(state.may_be_in_memory(&name), "while all units seem to go");
        state.listed_all(&[]);
        assert!(state.may_be_in_memory(&name), "a list in the middle of it says nothing");
        state.reloading(false);
        assert!(state.may_be_in_memory(&name), "until the list that follows");
        state.listed_all(&[]);
        assert!(!state.may_be_in_memory(&name));
        state.lost("gone");
        assert!(state.may_be_in_memory(&name));
    }
}
