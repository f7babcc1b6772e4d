//! Jobs: queued by a call, ended by a signal.

use std::time::Duration;

use fleet_core::unit::UnitName;
use tokio::sync::oneshot;
use zbus::{Message, OwnedObjectPath};

use super::Shared;
use super::connection::{manager_call, property_call};
use super::state::State;
use crate::{JobResult, ManagerError};

/// How long a job may be silent before systemd is asked whether it still has it.
///
/// The end of a job is told by a signal. Should that one ever be missed, whoever waits would wait for ever, and nothing more
/// would be done for the unit. A job that takes that long can bear the one small question.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);

/// The D-Bus interface of a job.
const JOB: &str = "org.freedesktop.systemd1.Job";

/// A job that systemd has queued.
pub(super) struct Job {
    path: String,
    end: oneshot::Receiver<String>,
}

impl Job {
    /// From the reply of a call that queues one, read at its place among the signals.
    pub(super) fn read(state: &mut State, reply: &Message) -> zbus::Result<Job> {
        let job: OwnedObjectPath = reply.body().deserialize()?;
        Ok(Job { path: job.as_str().to_owned(), end: state.await_job(job.as_str()) })
    }
}

impl Shared {
    /// Queues a job.
    pub(super) async fn submit(&self, method: &str, name: &UnitName) -> Result<Job, ManagerError> {
        let _window = self.window.acquire().await;
        let message = manager_call(method, &(name.as_str(), "replace"));
        self.call(method, message, Job::read).await
    }

    /// Waits until a job has ended, however long it takes.
    pub(super) async fn end_of(&self, job: Job) -> Result<JobResult, ManagerError> {
        self.end_or_loss_of(job, SILENCE_LIMIT).await
    }

    async fn end_or_loss_of(&self, mut job: Job, silence: Duration) -> Result<JobResult, ManagerError> {
        let result = loop {
            match tokio::time::timeout(silence, &mut job.end).await {
                Ok(Ok(result)) => break result,
                Ok(Err(oneshot::error::RecvError { .. })) => return Err(self.disconnected()),
                Err(_) if self.has_job(&job.path).await? => (),
                // The answer came at its place among the signals: an end that was told before it is here by now.
                Err(_) => match job.end.try_recv() {
                    Ok(result) => break result,
                    Err(_) => {
                        tracing::error!(address = %self.address, job = job.path, "the end of a job was never told");
                        let reason = format!("the end of {} was never told", job.path);
                        return Err(ManagerError::Disconnected { address: self.address.to_string(), reason });
                    }
                },
            }
        };
        Ok(if result == "done" { JobResult::Done } else { JobResult::Other(result) })
    }

    async fn has_job(&self, path: &str) -> Result<bool, ManagerError> {
        let _window = self.window.acquire().await;
        match self.call("Get State of a job", property_call(path, JOB, "State"), |_, _| Ok(())).await {
            Ok(()) => Ok(true),
            Err(ManagerError::Refused { .. }) => Ok(false),
            Err(err) => Err(err),
        }
    }
}

#[cfg(test)]
mod tests {
    use fleet_dev::{Machine, MachineSpec};

    use super::super::{Address, DbusManager, Dirs};
    use super::*;

    /// Short, so that systemd is asked a few times in this test.
    const SILENCE: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn missed_end_of_a_job_is_noticed() {
        let dir = tempfile::tempdir().expect("a folder");
        let machine = Machine::start(MachineSpec::numbered(1), dir.path()).expect("a machine");
        let units = machine.unit_directory().to_owned();
        std::fs::write(units.join("slow.service"), "[Service]\nType=oneshot\nExecStart=/bin/sleep 1\n")
            .expect("a file");
        let dirs = Dirs { units_directory: machine.run_directory().join("fleet/units"), unit_directory: units };
        let address = Address::Socket(machine.socket().to_owned());
        let manager = DbusManager::connect(address, dirs).await.expect("a manager");
        let shared = &manager.shared;

        // Never told, and systemd has no such job.
        let (_tell, end) = oneshot::channel();
        let lost = Job { path: "/org/freedesktop/systemd1/job/4711".to_owned(), end };
        let outcome = shared.end_or_loss_of(lost, SILENCE).await;
        assert!(matches!(&outcome, Err(ManagerError::Disconnected { reason, .. }) if reason.contains("never told")));

        // Silent for long, and ends all the same.
        let slow = shared.submit("StartUnit", &"slow.service".parse().expect("a name")).await.expect("a job");
        assert_eq!(shared.end_or_loss_of(slow, SILENCE).await, Ok(JobResult::Done));
        drop(manager);
        machine.stop().expect("the machine stops");
    }
}
