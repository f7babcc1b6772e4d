//! Commands beside units of this daemon's machines: how many there are, what they print, and that none outlives those who wait for it.

use std::collections::{BTreeMap, VecDeque};
use std::future::pending;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use fleet_api::v2;
use fleet_core::model::MachineId;
use fleet_core::unit::UnitName;
use fleet_systemd::exec::{ExecEnd, ExecOrder, ExecPipes};
use fleet_systemd::{ManagerError, UnitManager, Verb};
use futures_util::{Stream, stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tracing::Span;

/// How long an answer is silent at most, so that both sides notice a connection that is none any more.
const HEARTBEAT: Duration = Duration::from_secs(v2::HEARTBEAT_S);

/// How much of a command's output is read at once, in bytes. So much is in a pipe.
const PIECE: usize = 64 << 10;

/// How long output may take to come when the command has ended. Usually it is there; a process that has left the command's cgroup
/// could hold the other end for ever.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// How long the end of a command that could not be begun may take to be told: it is told with the failed start.
const REASON_LIMIT: Duration = Duration::from_secs(5);

/// How long commands may take to stop when the daemon ends: more than systemd gives them.
const STOP_LIMIT: Duration = Duration::from_secs(8);

/// The commands that run, or have not been stopped yet, by machine. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Executions(Arc<watch::Sender<BTreeMap<MachineId, usize>>>);

/// The place of one command among those of its machine.
#[derive(Debug)]
pub struct Place {
    executions: Executions,
    machine: MachineId,
}

impl Executions {
    /// A place for one more, if there are fewer than `max` on the machine.
    pub fn enter(&self, machine: &MachineId, max: usize) -> Option<Place> {
        let has_room = self.0.send_if_modified(|running| {
            let n_running = running.entry(machine.clone()).or_default();
            let has_room = *n_running < max;
            *n_running += usize::from(has_room);
            has_room
        });
        has_room.then(|| Place { executions: self.clone(), machine: machine.clone() })
    }

    /// Waits until all have stopped; not for ever.
    pub async fn stopped(&self) {
        let mut running = self.0.subscribe();
        let stopped = running.wait_for(|running| running.values().all(|n_running| *n_running == 0));
        if tokio::time::timeout(STOP_LIMIT, stopped).await.is_err() {
            tracing::warn!("commands beside units did not stop within {} s; systemd stops them", STOP_LIMIT.as_secs());
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.executions.0.send_modify(|running| {
            if let Some(n_running) = running.get_mut(&self.machine) {
                *n_running -= 1;
            }
        });
    }
}

/// What is to be run.
#[derive(Debug)]
pub struct Asked {
    /// The unit beside which it runs.
    pub unit: UnitName,
    /// Tells it from all other commands on this machine.
    pub id: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// What it reads.
    pub stdin: Vec<u8>,
    /// How long it may run.
    pub limit: Duration,
}

/// Why a command was not begun.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    #[error("cannot make pipes")]
    Pipes(#[source] std::io::Error),
    #[error(transparent)]
    Systemd(#[from] ManagerError),
    #[error("{reason}")]
    NotStarted { reason: String },
}

/// A command that was begun. Dropped, it is stopped with all its children.
#[derive(Debug)]
pub struct Run {
    service: UnitName,
    machine: MachineId,
    limit: Duration,
    /// What is to be told before what comes.
    first: VecDeque<v2::ExecEvent>,
    stdout: Output,
    stderr: Output,
    end: Option<oneshot::Receiver<ExecEnd>>,
    /// How it ended, as soon as that is known.
    how: Option<v2::ExecEnded>,
    /// Whether all was told.
    is_over: bool,
    /// Writes what it reads; ends with this.
    _stdin: JoinSet<()>,
    stop: Stop,
}

/// One of the two outputs, until its end.
#[derive(Debug)]
struct Output(Option<Receiver>);

/// Stops a command that has not ended by itself.
struct Stop {
    manager: Arc<dyn UnitManager>,
    name: Option<UnitName>,
    place: Option<Place>,
    runtime: Handle,
    span: Span,
}

impl std::fmt::Debug for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Stop").field(&self.name).finish()
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        let (manager, place) = (Arc::clone(&self.manager), self.place.take());
        let Some(name) = self.name.take() else { return };
        self.span.in_scope(|| tracing::info!(%name, "nobody waits for a command any more; it is stopped"));
        self.runtime.spawn(async move {
            // It may have ended meanwhile: then there is nothing to stop, which is what the error says. If the connection to systemd is
            // lost, it is stopped as soon as that is back.
            let _ = manager.run(&name, Verb::Stop).await;
            drop(place);
        });
    }
}

/// Begins a command, and returns when its program runs, or has ended. It is stopped if the caller goes away meanwhile.
///
/// # Errors
/// As [`ExecError`] says; nothing runs then.
pub async fn begin(
    manager: Arc<dyn UnitManager>,
    machine: MachineId,
    asked: Asked,
    place: Place,
) -> Result<Run, ExecError> {
    let span = Span::current();
    // In a task, so that what has begun is not forgotten when the caller does not wait for the answer.
    let (tell, told) = oneshot::channel();
    tokio::spawn(async move {
        // The caller may be gone; then the command is dropped here, and stopped by that.
        drop(tell.send(begin_here(manager, machine, asked, place, span).await));
    });
    told.await.unwrap_or_else(|_| Err(ExecError::NotStarted { reason: "the daemon ends".to_owned() }))
}

async fn begin_here(
    manager: Arc<dyn UnitManager>,
    machine: MachineId,
    asked: Asked,
    place: Place,
    span: Span,
) -> Result<Run, ExecError> {
    let Asked { unit, id, command, stdin, limit } = asked;
    let (stdin_theirs, stdin_ours) = std::io::pipe().map_err(ExecError::Pipes)?;
    let (stdout_ours, stdout_theirs) = std::io::pipe().map_err(ExecError::Pipes)?;
    let (stderr_ours, stderr_theirs) = std::io::pipe().map_err(ExecError::Pipes)?;
    let reader = |ours: std::io::PipeReader| Receiver::from_owned_fd(OwnedFd::from(ours)).map_err(ExecError::Pipes);
    let (stdout, stderr) = (reader(stdout_ours)?, reader(stderr_ours)?);
    let mut writer = Sender::from_owned_fd(OwnedFd::from(stdin_ours)).map_err(ExecError::Pipes)?;
    let pipes = ExecPipes { stdin: stdin_theirs.into(), stdout: stdout_theirs.into(), stderr: stderr_theirs.into() };
    let execution = manager.exec(ExecOrder { unit, id, command, limit, pipes }).await?;
    let mut feeding = JoinSet::new();
    feeding.spawn(async move {
        // A command need not read it: no error.
        let _ = writer.write_all(&stdin).await;
    });
    let name = execution.name;
    let stop = Stop { manager, name: Some(name.clone()), place: Some(place), runtime: Handle::current(), span };
    let mut run = Run {
        service: name,
        machine,
        limit,
        first: VecDeque::new(),
        stdout: Output(Some(stdout)),
        stderr: Output(Some(stderr)),
        end: Some(execution.end),
        how: None,
        is_over: false,
        _stdin: feeding,
        stop,
    };
    if !execution.started {
        run.look_at_failure().await?;
    }
    let started = v2::ExecStarted { machine: run.machine.to_string(), service: run.service.to_string() };
    run.first.push_front(v2::ExecEvent { started: Some(started), ..v2::ExecEvent::default() });
    Ok(run)
}

impl Run {
    /// Tells a command that failed at once from one that was not begun: the latter has printed nothing.
    async fn look_at_failure(&mut self) -> Result<(), ExecError> {
        let Some(end) = self.end.take() else { return Ok(()) };
        let Ok(Ok(end)) = tokio::time::timeout(REASON_LIMIT, end).await else {
            return Err(ExecError::NotStarted { reason: "systemd does not say why".to_owned() });
        };
        self.stop.name = None;
        if let ExecEnd::NotStarted { status, reason } = end {
            for (output, event) in [
                (&mut self.stdout, v2::ExecEvent::of_stdout as fn(Vec<u8>) -> v2::ExecEvent),
                (&mut self.stderr, v2::ExecEvent::of_stderr),
            ] {
                if let Ok(Some(piece)) = tokio::time::timeout(DRAIN_LIMIT, output.piece()).await {
                    self.first.push_back(event(piece));
                }
            }
            if self.first.is_empty() {
                return Err(ExecError::NotStarted { reason });
            }
            self.how = Some(self.words(ExecEnd::Exited(status)));
        } else {
            self.how = Some(self.words(end));
        }
        Ok(())
    }

    /// What comes, as lines of JSON, until the command has ended or `ending` has.
    pub fn lines(
        self,
        ending: impl Future<Output = ()> + Send + 'static,
    ) -> impl Stream<Item = Result<String, std::io::Error>> {
        stream::unfold((self, Box::pin(ending)), |(mut run, mut ending)| async move {
            let event = run.next(&mut ending).await?;
            // A wire type of texts and numbers always has a JSON form.
            let mut line = serde_json::to_string(&event).unwrap_or_default();
            line.push('\n');
            Some((Ok(line), (run, ending)))
        })
    }

    /// What comes next; `None` when all was told.
    async fn next(&mut self, ending: &mut (impl Future<Output = ()> + Unpin)) -> Option<v2::ExecEvent> {
        if self.is_over {
            return None;
        }
        if let Some(first) = self.first.pop_front() {
            return Some(first);
        }
        loop {
            if let (Output(None), Output(None), Some(how)) = (&self.stdout, &self.stderr, &self.how) {
                let how = how.clone();
                return Some(self.over(how));
            }
            let patience = if self.how.is_some() { DRAIN_LIMIT } else { HEARTBEAT };
            tokio::select! {
                piece = self.stdout.piece() => if let Some(piece) = piece {
                    return Some(v2::ExecEvent::of_stdout(piece));
                },
                piece = self.stderr.piece() => if let Some(piece) = piece {
                    return Some(v2::ExecEvent::of_stderr(piece));
                },
                end = end_of(&mut self.end) => {
                    self.end = None;
                    // What has ended by itself need not be stopped, but what nobody knows anything of is.
                    self.stop.name = self.stop.name.take().filter(|_| end.is_none());
                    self.how = Some(match end {
                        Some(end) => self.words(end),
                        None => stopped("the connection to systemd was lost, so nobody knows how it ended; it is stopped"),
                    });
                }
                () = &mut *ending => return Some(self.over(stopped("its fleetd ends, and the command with it"))),
                () = tokio::time::sleep(patience) => {
                    if self.how.is_none() {
                        return Some(v2::ExecEvent::default());
                    }
                    (self.stdout, self.stderr) = (Output(None), Output(None));
                }
            }
        }
    }

    /// The last that is told.
    fn over(&mut self, ended: v2::ExecEnded) -> v2::ExecEvent {
        self.is_over = true;
        self.stop
            .span
            .in_scope(|| tracing::info!(service = %self.service, ?ended, "a command beside a unit has ended"));
        v2::ExecEvent { ended: Some(ended), ..v2::ExecEvent::default() }
    }

    fn words(&self, end: ExecEnd) -> v2::ExecEnded {
        match end {
            ExecEnd::Exited(code) => v2::ExecEnded { exit_code: Some(code), ..v2::ExecEnded::default() },
            ExecEnd::Killed(signal) => v2::ExecEnded { signal: Some(signal), ..v2::ExecEnded::default() },
            ExecEnd::TimedOut => {
                stopped(&format!("it was over the limit of {:?} (exec_timeout), and was stopped", self.limit))
            }
            ExecEnd::NotStarted { reason, .. } => stopped(&reason),
        }
    }
}

fn stopped(reason: &str) -> v2::ExecEnded {
    v2::ExecEnded { reason: Some(reason.to_owned()), ..v2::ExecEnded::default() }
}

/// Waits for the end, which comes once; `None`: it will not be told.
async fn end_of(end: &mut Option<oneshot::Receiver<ExecEnd>>) -> Option<ExecEnd> {
    match end {
        Some(end) => end.await.ok(),
        None => pending().await,
    }
}

impl Output {
    /// Waits for a piece; `None` is the end, which is told once.
    async fn piece(&mut self) -> Option<Vec<u8>> {
        let Some(pipe) = &mut self.0 else { return pending().await };
        let mut piece = vec![0; PIECE];
        match pipe.read(&mut piece).await {
            Ok(len) if 0 < len => {
                piece.truncate(len);
                Some(piece)
            }
            // A pipe has no errors that could come here.
            Ok(_) | Err(_) => {
                self.0 = None;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use fleet_systemd::fake::{FakeMachine, FakeManager};
    use fleet_systemd::{Receipt, WriteFile};
    use futures_util::StreamExt as _;

    use super::*;

    fn machine() -> MachineId {
        "00000000000000000000000000000001".parse().expect("a machine ID")
    }

    /// A systemd with one unit in it.
    async fn systemd() -> Arc<FakeManager> {
        let manager = Arc::new(FakeMachine::on_tokio_time().manager());
        let text = "[Service]\nExecStart=/bin/sleep 1000\n".to_owned();
        let receipt = Receipt {
            hash: fleet_core::unit::UnitHash::of_canonical(&text),
            generation: fleet_core::model::Generation(1),
            restarts: 0,
            reached: fleet_core::model::TargetState::Loaded,
            guard: None,
        };
        let file = WriteFile { name: "a.service".parse().expect("a name"), text, receipt };
        for written in manager.write(&[file]).await.expect("it is connected") {
            written.expect("the disk is well");
        }
        manager
    }

    async fn begun(manager: &Arc<FakeManager>, place: Place, command: &[&str]) -> Result<Run, ExecError> {
        let asked = Asked {
            unit: "a.service".parse().expect("a name"),
            id: "1".to_owned(),
            command: command.iter().map(|&word| word.to_owned()).collect(),
            stdin: vec![b'x'; 1 << 20],
            limit: Duration::from_secs(60),
        };
        let manager: Arc<dyn UnitManager> = manager.clone();
        begin(manager, machine(), asked, place).await
    }

    /// All lines: what was told, and how many that say nothing.
    async fn told(run: Run, ending: impl Future<Output = ()> + Send + 'static) -> (Vec<String>, usize) {
        let lines: Vec<String> =
            run.lines(ending).map(|line| line.expect("no errors").trim_end().to_owned()).collect().await;
        let (silent, told): (Vec<String>, Vec<String>) = lines.into_iter().partition(|line| line == "{}");
        (told, silent.len())
    }

    const STARTED: &str =
        r#"{"started":{"machine":"00000000000000000000000000000001","service":"fleet-exec-1.service"}}"#;

    #[tokio::test(start_paused = true)]
    async fn the_end_is_the_last_word() {
        let (manager, executions) = (systemd().await, Executions::default());
        let place = || executions.enter(&machine(), 1).expect("there is room");
        let run = begun(&manager, place(), &["false"]).await.expect("it begins");
        assert_eq!(
            told(run, pending()).await,
            (vec![STARTED.to_owned(), r#"{"ended":{"exit_code":1}}"#.to_owned()], 0)
        );
        // Silence is told as such.
        let run = begun(&manager, place(), &["sleep", "39"]).await.expect("it begins");
        assert_eq!(
            told(run, pending()).await,
            (vec![STARTED.to_owned(), r#"{"ended":{"exit_code":0}}"#.to_owned()], 7)
        );
        let run = begun(&manager, place(), &["sleep", "1000"]).await.expect("it begins");
        let (late, _) = told(run, pending()).await;
        assert!(late[1].contains("over the limit of 60s (exec_timeout)"), "{late:?}");
        let run = begun(&manager, place(), &["sleep", "1000"]).await.expect("it begins");
        let (ended, _) = told(run, std::future::ready(())).await;
        assert!(ended[1].contains("its fleetd ends"), "{ended:?}");
        executions.stopped().await;
        let run = begun(&manager, place(), &["sleep", "1000"]).await.expect("it begins");
        manager.machine().disconnect("gone");
        let (lost, _) = told(run, pending()).await;
        assert!(lost[1].contains("the connection to systemd was lost"), "{lost:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_taken_until_the_command_has_stopped() {
        let (manager, executions) = (systemd().await, Executions::default());
        let place = executions.enter(&machine(), 1).expect("there is room");
        let run = begun(&manager, place, &["sleep", "1000"]).await.expect("it begins");
        assert!(executions.enter(&machine(), 1).is_none(), "it is full");
        let other = "00000000000000000000000000000002".parse().expect("a machine ID");
        assert!(executions.enter(&other, 1).is_some(), "that is another machine's");
        drop(run);
        executions.stopped().await;
        let place = executions.enter(&machine(), 1).expect("there is room again");
        // What was not begun takes none.
        let unknown = Asked {
            unit: "b.service".parse().expect("a name"),
            id: "2".to_owned(),
            command: vec!["true".to_owned()],
            stdin: Vec::new(),
            limit: Duration::from_secs(60),
        };
        let refused = begin(manager, machine(), unknown, place).await;
        assert!(matches!(refused, Err(ExecError::Systemd(ManagerError::Refused { .. }))), "{refused:?}");
        assert!(executions.enter(&machine(), 1).is_some());
    }
}
