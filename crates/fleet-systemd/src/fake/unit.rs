//! One unit in the model's memory, and its job.

use std::sync::Arc;

use fleet_core::unit::UnitName;
use tokio::sync::oneshot;

use super::file::{Kind, Service, UnitFile, parse};
use crate::Verb;

/// A unit in memory.
#[derive(Debug)]
pub(super) struct Unit {
    /// What was read when it was loaded, which need not be what is on disk now.
    pub(super) content: Content,
    pub(super) phase: Phase,
    pub(super) result: &'static str,
    pub(super) main: Option<Process>,
    /// What happens by itself next, and when.
    pub(super) due: Option<(u64, Due)>,
    /// When the patience with a start or stop ends.
    pub(super) limit_ms: Option<u64>,
    pub(super) starts_ms: Vec<u64>,
    pub(super) job: Option<Job>,
}

/// A main process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    /// Its command line.
    pub(super) line: String,
    /// Which process it is: no other on this machine ever had or has this number.
    pub(super) number: u64,
}

#[derive(Debug)]
pub(super) enum Content {
    NotFound,
    Bad { text: String, why: String },
    Loaded { text: String, file: Arc<UnitFile> },
}

/// Where a unit is; [`Phase::words`] are systemd's active and sub state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// At rest.
    Dead,
    /// At rest, remembered.
    Failed,
    /// Its start is under way.
    Starting,
    /// Its main process runs.
    Running,
    /// Up without a process.
    Exited,
    /// Its stop is under way.
    Stopping,
    /// Waits to be started again (`Restart=`).
    AutoRestart,
}

/// What happens by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// The start succeeds.
    Up,
    /// The main process ends with this result.
    Exit(&'static str),
    /// The stop is done.
    Down,
    /// The time of `RestartSec=` is over.
    Again,
}

#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: u64,
    pub(super) verb: Verb,
    pub(super) running: bool,
    pub(super) limit_ms: Option<u64>,
    pub(super) waiting: Vec<oneshot::Sender<String>>,
}

impl Phase {
    pub(super) fn words(self) -> (&'static str, &'static str) {
        match self {
            Phase::Dead => ("inactive", "dead"),
            Phase::Failed => ("failed", "failed"),
            Phase::Starting => ("activating", "start"),
            Phase::Running => ("active", "running"),
            Phase::Exited => ("active", "exited"),
            Phase::Stopping => ("deactivating", "stop"),
            Phase::AutoRestart => ("activating", "auto-restart"),
        }
    }

    pub(super) fn at_rest(self) -> bool {
        matches!(self, Phase::Dead | Phase::Failed)
    }
}

impl Content {
    /// What systemd makes of a text.
    pub(super) fn read(name: &UnitName, text: &str) -> Content {
        match parse(name, text) {
            Ok(file) => Content::Loaded { text: text.to_owned(), file: Arc::new(file) },
            Err(why) => Content::Bad { text: text.to_owned(), why },
        }
    }
}

impl Unit {
    /// A unit just taken into memory, at rest.
    pub(super) fn new(content: Content) -> Unit {
        Unit {
            content,
            phase: Phase::Dead,
            result: "",
            main: None,
            due: None,
            limit_ms: None,
            starts_ms: Vec::new(),
            job: None,
        }
    }

    pub(super) fn file(&self) -> Option<&UnitFile> {
        match &self.content {
            Content::Loaded { file, .. } => Some(file),
            Content::NotFound | Content::Bad { .. } => None,
        }
    }

    pub(super) fn service(&self) -> Option<Service> {
        self.file().and_then(|file| file.service.clone())
    }

    pub(super) fn next_ms(&self) -> Option<u64> {
        let job_limit = self.job.as_ref().and_then(|job| job.limit_ms);
        [self.due.map(|(at, _)| at), self.limit_ms, job_limit].into_iter().flatten().min()
    }
}

impl Job {
    pub(super) fn end(self, result: &str) {
        for tell in self.waiting {
            // The one who waits may be gone; then nobody wants to know.
            drop(tell.send(result.to_owned()));
        }
    }
}

impl Service {
    /// How long a start takes by itself; `None` is for ever.
    pub(super) fn ready_ms(&self) -> Option<u64> {
        match self.kind {
            Kind::Simple => Some(0),
            Kind::Notify => None,
            Kind::Oneshot => {
                // The first that fails is the last.
                let failing = self.start.iter().position(|command| !command.succeeds);
                let n_run = failing.map_or(self.start.len(), |at| at + 1);
                self.start[..n_run].iter().map(|command| command.runs_ms).sum()
            }
        }
    }

    /// How long the stop commands take; the process itself ends at once.
    pub(super) fn stop_takes_ms(&self) -> Option<u64> {
        self.stop.iter().map(|command| command.runs_ms).sum()
    }
}
