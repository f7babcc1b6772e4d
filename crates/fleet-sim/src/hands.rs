//! A daemon's way to its machine's systemd: calls take time, and the caller may die at each of them.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use fleet_core::unit::{GUARD_UNIT, UnitName};
use fleet_systemd::exec::{ExecOrder, Execution};
use fleet_systemd::fake::FakeManager;
use fleet_systemd::{JobResult, Look, ManagerError, ManagerEvent, Receipt, UnitManager, UnitStatus, Verb, WriteFile};
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::bug::Bug;
use crate::judge::Job;
use crate::world::Life;

/// The systemd of one machine as one life of its daemon sees it.
pub(crate) struct Hands {
    life: Arc<Life>,
    fake: FakeManager,
    /// It has looked at the machine before.
    has_looked: AtomicBool,
}

impl Hands {
    pub(crate) fn new(life: Arc<Life>, fake: FakeManager) -> Hands {
        Hands { life, fake, has_looked: AtomicBool::new(false) }
    }

    fn host(&self) -> usize {
        self.life.who.daemon
    }

    async fn before(&self) {
        self.life.world.count_call(self.life.who).await;
        self.life.risk().await;
        let weather = self.life.world.weather();
        sleep(self.life.world.chance.ms(&weather.systemd_ms)).await;
        self.life.gate.pass().await;
    }

    async fn after(&self) {
        self.life.world.look_at_machine(self.host());
        let weather = self.life.world.weather();
        sleep(self.life.world.chance.ms(&weather.systemd_ms)).await;
        self.life.risk().await;
    }

    /// Does wrong what the planted bug does wrong.
    async fn spoil_look(&self, look: Result<Look, ManagerError>) -> Result<Look, ManagerError> {
        let is_first = !self.has_looked.swap(true, Ordering::Relaxed);
        match (look, self.life.world.bug) {
            (Ok(mut look), Some(Bug::ReceiptsIgnored)) => {
                look.files.iter_mut().for_each(|(_, receipt)| *receipt = None);
                Ok(look)
            }
            (Ok(look), Some(Bug::AdoptionRestarts)) if is_first => {
                for status in look.units.iter().filter(|status| status.is_live()) {
                    self.run(&status.name, Verb::Restart).await?;
                }
                Ok(look)
            }
            (look, _) => look,
        }
    }
}

#[async_trait]
impl UnitManager for Hands {
    async fn look(&self) -> Result<Look, ManagerError> {
        self.before().await;
        let look = self.fake.look().await;
        self.life.say(|| match &look {
            Ok(look) => format!("looks at its machine: {} files", look.files.len()),
            Err(err) => format!("looks at its machine: {err}"),
        });
        let look = self.spoil_look(look).await;
        self.after().await;
        look
    }

    async fn write(&self, files: &[WriteFile]) -> Result<Vec<Result<(), ManagerError>>, ManagerError> {
        self.before().await;
        let written = self.fake.write(files).await;
        self.life.say(|| format!("writes {}", joined(files.iter().map(|file| &file.name))));
        self.after().await;
        written
    }

    async fn provide(&self, name: &UnitName, text: &str) -> Result<(), ManagerError> {
        self.before().await;
        let provided = self.fake.provide(name, text).await;
        self.after().await;
        provided
    }

    async fn write_receipt(&self, name: &UnitName, receipt: &Receipt) -> Result<(), ManagerError> {
        self.before().await;
        let written = self.fake.write_receipt(name, receipt).await;
        self.life.say(|| format!("notes that {name} is {} by generation {}", receipt.reached, receipt.generation));
        if written.is_ok() {
            self.life.world.judge().receipt(self.host(), name, receipt);
        }
        self.after().await;
        written
    }

    async fn remove(&self, names: &[UnitName]) -> Result<Vec<Result<(), ManagerError>>, ManagerError> {
        self.before().await;
        let removed = self.fake.remove(names).await;
        self.life.say(|| match &removed {
            Ok(results) if results.iter().all(Result::is_ok) => format!("removes {}", joined(names)),
            Ok(results) => format!("cannot remove all of {}: {results:?}", joined(names)),
            Err(err) => format!("cannot remove {}: {err}", joined(names)),
        });
        self.after().await;
        removed
    }

    async fn run(&self, name: &UnitName, verb: Verb) -> Result<JobResult, ManagerError> {
        let world = &self.life.world;
        // What is decided now is decided on what was heard before now.
        let heard = self.life.ear.heard_before(world.trace.now_ms());
        self.before().await;
        if verb == Verb::Stop && world.has(Bug::StopAssumed) {
            // The job is queued, and nobody waits for it.
            let assumed = self.fake.machine().manager();
            let unit = name.clone();
            tokio::spawn(async move { assumed.run(&unit, Verb::Stop).await });
            self.after().await;
            return Ok(JobResult::Done);
        }
        if name.as_str() == GUARD_UNIT {
            let ended = self.fake.run(name, verb).await;
            self.life.say(|| format!("{} the guard: {ended:?}", verb.as_str()));
            self.after().await;
            return ended;
        }
        world.look_at_store();
        world.look_at_machine(self.host());
        let receipt = self.fake.machine().files().remove(name).and_then(|(_, receipt)| receipt);
        let unloads = self.life.departure.unload.is_cancelled();
        world.judge().job(world.trace.now_ms(), self.life.who, name, Job { verb, heard, receipt, unloads });
        let mut job = pin!(self.fake.run(name, verb));
        self.life.say(|| format!("{} {name}", verb.as_str()));
        let ended = match futures_util::poll!(job.as_mut()) {
            std::task::Poll::Ready(ended) => ended,
            std::task::Poll::Pending => {
                world.look_at_machine(self.host());
                job.await
            }
        };
        self.life.say(|| format!("{} {name} ended: {ended:?}", verb.as_str()));
        self.after().await;
        ended
    }

    async fn exec(&self, order: ExecOrder) -> Result<Execution, ManagerError> {
        self.before().await;
        let begun = self.fake.exec(order).await;
        self.after().await;
        begun
    }

    async fn invocation(&self, name: &UnitName) -> Result<String, ManagerError> {
        self.before().await;
        let run = self.fake.invocation(name).await;
        self.after().await;
        run
    }

    fn status(&self, name: &UnitName) -> Option<UnitStatus> {
        self.fake.status(name)
    }

    fn events(&self) -> Option<mpsc::Receiver<ManagerEvent>> {
        let mut events = self.fake.events()?;
        // Room for one: what is not taken stays with the fake, which merges it.
        let (tell, told) = mpsc::channel(1);
        let life = Arc::clone(&self.life);
        // Ends when the daemon's ears are gone: at its death.
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                life.gate.pass().await;
                if life.world.has(Bug::SignalsLost) && life.world.chance.happens(0.05) {
                    continue;
                }
                if tell.send(event).await.is_err() {
                    return;
                }
            }
        });
        Some(told)
    }
}

fn joined<'a>(names: impl IntoIterator<Item = &'a UnitName>) -> String {
    names.into_iter().map(UnitName::as_str).collect::<Vec<_>>().join(" ")
}
