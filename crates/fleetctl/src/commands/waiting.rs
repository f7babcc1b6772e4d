//! Waits for units: one stream of changes from fleetd, judged by `wait`, until all are as asked for.

use std::collections::BTreeMap;
use std::future;
use std::time::{Duration, Instant};

use fleet_api::{WatchStream, v2};
use futures_util::{FutureExt as _, StreamExt as _};
use indicatif::ProgressStyle;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::commands::session::Session;
use crate::commands::watching;
use crate::error::{CommandError, Interruption};
use crate::exit::Exit;
use crate::render::progress::{self, QUIET_MS, Spoken};
use crate::wait::{Expected, Failure, Goal, Verdict, Why, judge};

/// How often a broken watch is opened again, and how long to wait in between: a daemon that is replaced by a newer one is back
/// long before.
pub const RECONNECTS_MAX: u32 = 60;
pub const RECONNECT_PAUSE: Duration = Duration::from_millis(500);

/// How many of the last journal lines are shown of a unit that failed.
const JOURNAL_LINES: u32 = 10;

/// Of how many failed units the journal is shown; with more, the terminal would hold nothing else.
const JOURNALS_MAX: usize = 20;

/// How many of the units that failed are named at the end.
const FAILED_NAMES_MAX: usize = 20;

/// How many units of a wait that ran out are reported one by one.
const TIMED_OUT_MAX: usize = 20;

/// What is waited for.
pub struct Order {
    /// The units.
    pub expected: BTreeMap<String, Expected>,
    /// The store's revision after the changes: what is older is not looked at.
    pub revision: u64,
    /// When to give up.
    pub limit: Option<Duration>,
    /// Whether only what goes wrong is worth a word.
    pub quiet: bool,
}

/// Waits until every unit is as asked for, has failed, or the limit is over.
///
/// `reached` is called for each unit as it gets there. Failures are reported here and make the exit code.
///
/// # Errors
/// [`CommandError::Interrupted`], [`CommandError::WatchLost`], and what `reached` returns.
pub async fn wait(
    session: &Session<'_>,
    order: Order,
    reached: impl FnMut(&str, Option<&v2::Unit>) -> Result<(), CommandError>,
) -> Result<Exit, CommandError> {
    if order.expected.is_empty() {
        return Ok(Exit::Ok);
    }
    let mut waiter = Waiter::new(session, order, reached)?;
    let result = waiter.run().await;
    session.console.hide_bar();
    waiter.sum_up();
    result
}

struct Waiter<'a, 'b, F> {
    session: &'a Session<'b>,
    order: Order,
    reached: F,
    /// The units that are not there yet. All of `expected` at first.
    pending: BTreeMap<String, Why>,
    spoken: Spoken,
    begun: Instant,
    exit: Exit,
    n_journals: usize,
    failed: Vec<String>,
    signals: Signals,
}

impl<F: FnMut(&str, Option<&v2::Unit>) -> Result<(), CommandError>> Waiter<'_, '_, F> {
    fn new<'a, 'b>(session: &'a Session<'b>, order: Order, reached: F) -> Result<Waiter<'a, 'b, F>, CommandError> {
        let pending = order.expected.keys().map(|name| (name.clone(), Why::NotPlaced)).collect();
        Ok(Waiter {
            session,
            order,
            reached,
            pending,
            spoken: Spoken::default(),
            begun: Instant::now(),
            exit: Exit::Ok,
            n_journals: 0,
            failed: Vec::new(),
            signals: Signals::new()?,
        })
    }

    async fn run(&mut self) -> Result<Exit, CommandError> {
        let deadline = self.order.limit.map(|limit| tokio::time::Instant::now() + limit);
        let mut out_of_time = Box::pin(async move {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => future::pending().await,
            }
        })
        .fuse();
        let quiet_until = tokio::time::Instant::now() + Duration::from_millis(QUIET_MS);
        let mut quiet_is_over = Box::pin(tokio::time::sleep_until(quiet_until)).fuse();
        let mut stream = self.open().await?;
        let mut n_reconnects = 0;
        let mut has_news = false;
        while !self.pending.is_empty() {
            tokio::select! {
                // In this order: what has arrived counts, also when the limit is over just then.
                biased;
                how = self.signals.next() => return Err(self.interrupted(how)),
                event = stream.next() => match event {
                    Some(Ok(event)) => {
                        n_reconnects = 0;
                        self.look_at(&event).await?;
                        has_news = true;
                    }
                    lost => {
                        n_reconnects += 1;
                        stream = self.reopen(n_reconnects, lost.and_then(Result::err)).await?;
                    }
                },
                () = &mut out_of_time => {
                    self.report_timed_out();
                    return Ok(self.exit);
                }
                () = &mut quiet_is_over => {
                    if !self.order.quiet {
                        self.show_bar();
                    }
                    self.speak();
                }
                // Last: what to say is made of all units that are waited for, so not once for each of a thousand changes
                // that came together.
                () = future::ready(()), if has_news => {
                    has_news = false;
                    self.speak();
                }
            }
        }
        Ok(self.exit)
    }

    async fn open(&self) -> Result<WatchStream, CommandError> {
        let units = self.pending.keys().cloned().collect();
        let request = v2::WatchRequest { units, revision: self.order.revision };
        watching::open(self.session, &request).await
    }

    /// Opens a broken watch again. What was asked for is stored, so a daemon that restarts is only waited for.
    async fn reopen(
        &mut self,
        first_try: u32,
        mut err: Option<fleet_api::ClientError>,
    ) -> Result<WatchStream, CommandError> {
        if first_try == 1 {
            self.session.console.talk("lost fleetd; trying to reach it again, the units are not touched by that");
        }
        for _ in first_try..=RECONNECTS_MAX {
            tokio::select! {
                () = tokio::time::sleep(RECONNECT_PAUSE) => (),
                how = self.signals.next() => return Err(self.interrupted(how)),
            }
            match self.open().await {
                Ok(stream) => return Ok(stream),
                Err(CommandError::Api { err: newer, .. }) => err = Some(newer),
                Err(_) => (),
            }
        }
        Err(CommandError::WatchLost { err })
    }

    async fn look_at(&mut self, event: &v2::WatchEvent) -> Result<(), CommandError> {
        if event.name.is_empty() || event.revision < self.order.revision {
            return Ok(());
        }
        let Some(expected) = self.order.expected.get(&event.name).filter(|_| self.pending.contains_key(&event.name))
        else {
            return Ok(());
        };
        match judge(event.unit.as_ref(), expected) {
            Verdict::Waiting(why) => {
                self.pending.insert(event.name.clone(), why);
            }
            Verdict::Reached => {
                self.pending.remove(&event.name);
                (self.reached)(&event.name, event.unit.as_ref())?;
            }
            Verdict::Failed(failure) => {
                let goal = expected.goal;
                self.pending.remove(&event.name);
                self.failed.push(event.name.clone());
                let journal = self.journal_of(&event.name, goal, &failure).await;
                let err = CommandError::UnitFailed { name: event.name.clone(), failure, journal };
                self.exit = self.exit.and(self.session.report(&err));
            }
        }
        Ok(())
    }

    /// The last lines of a unit that failed to start, with what stands over them.
    async fn journal_of(&mut self, name: &str, goal: Goal, failure: &Failure) -> Vec<String> {
        let (Goal::Launched, Failure::State { machine, .. }) = (goal, failure) else {
            return Vec::new();
        };
        self.n_journals += 1;
        if JOURNALS_MAX < self.n_journals {
            return Vec::new();
        }
        let query = v2::JournalQuery {
            machine: Some(machine.clone()),
            lines: Some(JOURNAL_LINES),
            this_run: true,
            ..v2::JournalQuery::default()
        };
        let read = async {
            let doing = format!("read the journal of {name}");
            let mut pieces = self.session.call(&doing, self.session.client.journal(name, &query)).await?;
            let mut text = Vec::new();
            while let Some(piece) = pieces.next().await {
                text.extend(piece.map_err(|err| self.session.api_error(&doing, err))?);
            }
            Ok::<Vec<u8>, CommandError>(text)
        };
        match tokio::time::timeout(self.session.settings.request_timeout, read).await {
            Ok(Ok(text)) => {
                let text = String::from_utf8_lossy(&text);
                let lines: Vec<String> =
                    text.lines().filter(|line| !line.is_empty()).map(|line| format!("  {line}")).collect();
                let title = if lines.is_empty() { "journal: no line of this run" } else { "journal:" };
                std::iter::once(title.to_owned()).chain(lines).collect()
            }
            Ok(Err(err)) => vec![format!("journal: {err}")],
            Err(_) => vec!["journal: no answer in time".to_owned()],
        }
    }

    fn show_bar(&self) {
        let bar = self.session.console.bar();
        bar.set_length(self.order.expected.len() as u64);
        let template = if self.order.expected.len() == 1 {
            "{spinner} {wide_msg}"
        } else {
            "{spinner} {pos} of {len} units; {wide_msg}"
        };
        bar.set_style(ProgressStyle::with_template(template).expect("the template is well formed"));
        self.session.console.show_bar();
        bar.enable_steady_tick(Duration::from_millis(100));
    }

    fn speak(&mut self) {
        let n_total = self.order.expected.len();
        let now_ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        if self.order.quiet {
            return;
        }
        if self.session.console.is_watched() {
            for line in self.spoken.lines_on_screen(&self.pending, now_ms) {
                self.session.console.talk(&line);
            }
            let bar = self.session.console.bar();
            bar.set_position((n_total - self.pending.len()) as u64);
            bar.set_message(progress::status_line(&self.pending));
            return;
        }
        for line in self.spoken.lines(&self.pending, n_total, now_ms) {
            self.session.console.talk(&line);
        }
    }

    /// Names what failed among several: the reports are far apart by now, and each may be long.
    fn sum_up(&mut self) {
        let n_total = self.order.expected.len();
        if !self.failed.is_empty() && 1 < n_total {
            self.failed.sort();
            let names: Vec<&str> = self.failed.iter().map(String::as_str).collect();
            let text =
                format!("{} of {n_total} units failed: {}", names.len(), progress::some_of(&names, FAILED_NAMES_MAX));
            self.session.console.talk(&text);
        }
    }

    fn report_timed_out(&mut self) {
        for (name, why) in self.pending.iter().take(TIMED_OUT_MAX) {
            let goal = self.order.expected[name].goal;
            let err = CommandError::TimedOut { name: name.clone(), goal, why: why.sentence(name) };
            self.exit = self.exit.and(self.session.report(&err));
        }
        if TIMED_OUT_MAX < self.pending.len() {
            self.session.console.talk(&format!("and {} more units", self.pending.len() - TIMED_OUT_MAX));
        }
    }

    fn interrupted(&self, how: Interruption) -> CommandError {
        let names: Vec<&str> = self.pending.keys().map(String::as_str).collect();
        let goal = self.order.expected.values().next().map_or(Goal::Launched, |expected| expected.goal);
        let only = names.first().filter(|_| names.len() == 1).map(|&name| name.to_owned());
        CommandError::Interrupted { units: progress::some_of(&names, progress::NAMES_MAX), only, how, goal }
    }
}

/// The signals that end a wait.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Takes the signals over: from now on they no longer end the process by themselves.
    ///
    /// # Errors
    /// [`CommandError::Signals`].
    pub fn new() -> Result<Signals, CommandError> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt()).map_err(CommandError::Signals)?,
            terminate: signal(SignalKind::terminate()).map_err(CommandError::Signals)?,
        })
    }

    /// The next of them.
    pub async fn next(&mut self) -> Interruption {
        tokio::select! {
            _ = self.interrupt.recv() => Interruption::Interrupt,
            _ = self.terminate.recv() => Interruption::Terminate,
        }
    }
}
