//! What a scenario needs beside the unit manager it judges: the world behind it, seen without it.

use std::time::Duration;

use async_trait::async_trait;
use fleet_core::model::{Generation, TargetState};
use fleet_core::unit::{UnitHash, UnitName};
use fleet_systemd::{JobResult, ManagerError, ManagerEvent, Receipt, UnitManager, UnitStatus, Verb, WriteFile};
use tokio::sync::mpsc;

/// How long anything in a scenario may take. Generous: two cores may be shared with a build.
pub const LIMIT: Duration = Duration::from_secs(60);

/// A machine with a systemd, real or not, as its kernel and its administrator see it.
#[async_trait]
pub trait World: Send + Sync {
    /// Another unit manager on this machine, as after a restart of fleetd.
    async fn manager(&self) -> Box<dyn UnitManager>;
    /// The command line of a unit's main process, if it has one.
    async fn command_line(&self, name: &UnitName) -> Option<String>;
    /// Kills a unit's main process with SIGKILL.
    async fn kill_main(&self, name: &UnitName);
    /// `systemctl daemon-reload`, by hand.
    async fn reload(&self);
    /// Something that is another one after each reload, whoever asked for it.
    async fn reload_stamp(&self) -> u64;
    /// `systemctl daemon-reexec`: systemd goes and comes, the units stay.
    async fn reexec(&self);
    /// Power off and on: no process survives, and `/run` is empty.
    async fn reboot(&self);
}

pub fn unit_name(name: &str) -> UnitName {
    name.parse().unwrap_or_else(|err| panic!("{name}: {err}"))
}

pub fn receipt(text: &str) -> Receipt {
    Receipt {
        hash: UnitHash::of_canonical(text),
        generation: Generation(7),
        restarts: 3,
        reached: TargetState::Launched,
        guard: None,
    }
}

pub fn file(name: &str, text: &str) -> WriteFile {
    WriteFile { name: unit_name(name), text: text.to_owned(), receipt: receipt(text) }
}

/// A service that runs until it is stopped; `seconds` only tells one content from another.
/// With `Type=exec` its start ends when the process is the program, and not a moment before.
pub fn sleeper(seconds: u32) -> String {
    format!("[Service]\nType=exec\nExecStart=/bin/sleep {seconds}\n")
}

/// Fails the test instead of waiting for ever.
#[track_caller]
pub fn within<T>(what: &str, work: impl Future<Output = T>) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    let what = what.to_owned();
    async move {
        match tokio::time::timeout(LIMIT, work).await {
            Ok(done) => done,
            Err(_) => panic!("{caller}: {what}: not within {LIMIT:?}"),
        }
    }
}

/// Writes files, all of which must succeed.
pub async fn write(manager: &dyn UnitManager, files: &[WriteFile]) {
    for outcome in within("write", manager.write(files)).await.expect("write") {
        outcome.expect("each file is written");
    }
}

pub async fn run(manager: &dyn UnitManager, name: &str, verb: Verb) -> JobResult {
    within(&format!("{verb:?} {name}"), manager.run(&unit_name(name), verb)).await.expect("connected")
}

pub async fn start(manager: &dyn UnitManager, name: &str) {
    assert_eq!(run(manager, name, Verb::Start).await, JobResult::Done, "start of {name}");
}

pub async fn stop(manager: &dyn UnitManager, name: &str) {
    assert_eq!(run(manager, name, Verb::Stop).await, JobResult::Done, "stop of {name}");
}

pub async fn remove(manager: &dyn UnitManager, name: &str) -> Result<(), ManagerError> {
    let outcomes = within("remove", manager.remove(&[unit_name(name)])).await.expect("remove");
    assert_eq!(outcomes.len(), 1);
    outcomes.into_iter().next().expect("one outcome")
}

/// The state of one unit by a look at everything, as `load active sub result`.
pub async fn state(manager: &dyn UnitManager, name: &str) -> String {
    let look = within("look", manager.look()).await.expect("look");
    let status = look.units.iter().find(|status| status.name.as_str() == name);
    status.map_or_else(|| "nothing".to_owned(), words)
}

pub fn words(status: &UnitStatus) -> String {
    format!("{} {} {} {}", status.load, status.active, status.sub, status.result).trim_end().to_owned()
}

/// The error name of a refusal.
#[track_caller]
pub fn refusal(result: JobResult) -> String {
    match result {
        JobResult::Refused { name, message } => {
            assert!(!message.is_empty(), "a refusal has a message");
            name
        }
        other => panic!("not refused: {other:?}"),
    }
}

/// Takes events until one of `name` fits.
pub async fn until(events: &mut mpsc::Receiver<ManagerEvent>, name: &str, fits: impl Fn(&UnitStatus) -> bool) {
    let taking = async {
        loop {
            match events.recv().await.expect("events go on") {
                ManagerEvent::Changed(status) if status.name.as_str() == name && fits(&status) => return,
                _ => (),
            }
        }
    };
    within(&format!("an event of {name}"), taking).await;
}

/// Takes events until the given one, of those that are not about a unit.
pub async fn until_event(events: &mut mpsc::Receiver<ManagerEvent>, event: &ManagerEvent) {
    let taking = async { while events.recv().await.expect("events go on") != *event {} };
    within(&format!("{event:?}"), taking).await;
}
