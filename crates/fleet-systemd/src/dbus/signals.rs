//! What arrives from systemd, read in its order: replies and signals.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt as _, Stream, StreamExt as _};
use tokio::sync::mpsc;
use zbus::message::{Header, Type};
use zbus::{Message, MessageStream, OwnedObjectPath, Variant};

use super::Shared;
use super::connection::{MANAGER, MANAGER_PATH, Opened, SYSTEMD, open};
use super::exec::ExecNews;
use super::state::{CallError, State};
use crate::exec::EXEC_PREFIX;
use crate::{ManagerEvent, news};

/// How many messages are handled before those who wait for news are woken, if messages keep coming.
const BURST_MAX: usize = 256;

/// How long to wait before the first new attempt to connect, and at most before a later one; it doubles in between.
///
/// A manager that executes itself anew is back within about 0.1 s. One that stays away is not to be bothered often.
const RECONNECT_FIRST: Duration = Duration::from_millis(20);
/// See [`RECONNECT_FIRST`].
const RECONNECT_MAX: Duration = Duration::from_secs(5);

/// Reads all that arrives, and connects anew when the connection ends. Never returns.
pub(super) async fn drive(shared: Arc<Shared>, mut opened: Opened) {
    let mut reason = listen(&shared, &mut opened.stream).await;
    loop {
        tracing::warn!(address = %shared.address, %reason, "connection to systemd lost");
        shared.lock().lost(&reason);
        shared.news.notify_one();
        drop(opened);
        opened = reconnect(&shared).await;
        let greeting = async {
            match shared.greet().await {
                Ok(()) => {
                    shared.lock().back();
                    shared.news.notify_one();
                    tracing::info!(address = %shared.address, "connection to systemd is back");
                    std::future::pending().await
                }
                Err(err) => err.to_string(),
            }
        };
        reason = tokio::select! {
            reason = listen(&shared, &mut opened.stream) => reason,
            reason = greeting => reason,
        };
    }
}

async fn reconnect(shared: &Shared) -> Opened {
    let mut delay = RECONNECT_FIRST;
    loop {
        // The one place where sleeping is right: nothing tells us when a systemd is there again.
        tokio::time::sleep(delay).await;
        match open(&shared.address).await {
            Ok(opened) => {
                shared.lock().up(opened.connection.clone());
                return opened;
            }
            Err(reason) => {
                shared.lock().lost(&reason);
                delay = RECONNECT_MAX.min(delay * 2);
                tracing::debug!(address = %shared.address, %reason, ?delay, "systemd is not there");
            }
        }
    }
}

/// Tells the news to whoever drives this machine.
pub(super) async fn tell(shared: Arc<Shared>, events: mpsc::Sender<ManagerEvent>) {
    let is_quiet = || !shared.lock().has_news();
    news::tell(&shared.news, events, is_quiet, || shared.lock().next_news()).await;
}

/// Handles messages until the connection ends; says why it ended.
async fn listen(shared: &Arc<Shared>, stream: &mut MessageStream) -> String {
    let take = |message: zbus::Result<Message>| {
        let message = message.map_err(|err| err.to_string())?;
        match handle(&mut shared.lock(), &message) {
            Ok(Next::Nothing) => (),
            Ok(Next::ListAll) => {
                // Not awaited: the reply comes through this very loop.
                let shared = Arc::clone(shared);
                tokio::spawn(async move {
                    if let Err(err) = shared.list_all().await {
                        tracing::warn!(%err, "states after a reload are unknown until the next look");
                    }
                });
            }
            Ok(Next::End(reason)) => return Err(reason),
            // A message that we cannot read says nothing to us; the next look repairs what it might have said.
            Err(err) => tracing::warn!(%err, ?message, "cannot read a message of systemd"),
        }
        Ok(())
    };
    let ring = || {
        if shared.lock().has_news() {
            shared.news.notify_one();
        }
    };
    in_bursts(stream, take, ring).await.err().unwrap_or_else(|| "systemd closed it".to_owned())
}

/// Takes each item of a stream until it ends or `take` fails. Rings whenever no more are there at once, and after [`BURST_MAX`].
async fn in_bursts<T, E>(
    stream: &mut (impl Stream<Item = T> + Unpin),
    mut take: impl FnMut(T) -> Result<(), E>,
    mut ring: impl FnMut(),
) -> Result<(), E> {
    let mut n_taken = 0;
    loop {
        // Not asked when the burst is over: what the stream then gave would be lost.
        let at_once = if n_taken < BURST_MAX { stream.next().now_or_never() } else { None };
        let next = match at_once {
            Some(next) => next,
            None => {
                ring();
                n_taken = 0;
                tokio::task::yield_now().await;
                stream.next().await
            }
        };
        match next {
            Some(item) => take(item)?,
            None => return Ok(()),
        }
        n_taken += 1;
    }
}

/// What a message asks for beyond the state.
enum Next {
    Nothing,
    /// Everything may have changed without a signal.
    ListAll,
    /// The connection is worth nothing any more.
    End(String),
}

fn handle(state: &mut State, message: &Message) -> zbus::Result<Next> {
    let header = message.header();
    match message.message_type() {
        Type::MethodReturn => {
            if let Some(serial) = header.reply_serial() {
                state.reply(serial, Ok(message));
            }
            Ok(Next::Nothing)
        }
        Type::Error => {
            if let Some(serial) = header.reply_serial() {
                let name = header.error_name().map(ToString::to_string).unwrap_or_default();
                // The text is a custom, not a rule.
                let text = message.body().deserialize::<&str>().unwrap_or_default().to_owned();
                state.reply(serial, Err(&CallError::Refused { name, message: text }));
            }
            Ok(Next::Nothing)
        }
        Type::Signal => signal(state, &header, message),
        Type::MethodCall => Ok(Next::Nothing),
    }
}

fn signal(state: &mut State, header: &Header<'_>, message: &Message) -> zbus::Result<Next> {
    let text = |part: Option<&str>| part.unwrap_or_default().to_owned();
    let path = text(header.path().map(|path| path.as_str()));
    let interface = text(header.interface().map(|interface| interface.as_str()));
    let member = text(header.member().map(|member| member.as_str()));
    let body = message.body();
    match (interface.as_str(), member.as_str()) {
        ("org.freedesktop.DBus.Properties", "PropertiesChanged") => {
            // Other units are dropped here, with their bodies unread: most signals are about slices and targets.
            let name = state.at_path(&path);
            if name.is_none() && !state.execs.contains_key(&path) {
                return Ok(Next::Nothing);
            }
            let (of, changed, _): (&str, HashMap<&str, Variant<'_>>, Vec<&str>) = body.deserialize()?;
            let text = |key: &str| match changed.get(key) {
                Some(Variant::Str(text)) => Some(text.as_str()),
                _ => None,
            };
            let Some(name) = name else {
                let number = |key: &str| changed.get(key).and_then(|value| i32::try_from(value).ok());
                let (kind, number) = (number("ExecMainCode"), number("ExecMainStatus"));
                state.exec_told(&path, &ExecNews { active: text("ActiveState"), kind, number, result: text("Result") });
                return Ok(Next::Nothing);
            };
            if of == "org.freedesktop.systemd1.Unit" {
                state.properties(&name, text("ActiveState"), text("SubState"), None);
            } else {
                state.properties(&name, None, None, text("Result"));
            }
        }
        (MANAGER, _) if path != MANAGER_PATH => (),
        (MANAGER, "UnitNew") => {
            let (name, _): (&str, OwnedObjectPath) = body.deserialize()?;
            state.unit_new(name);
        }
        (MANAGER, "UnitRemoved") => {
            let (name, _): (&str, OwnedObjectPath) = body.deserialize()?;
            state.unit_removed(name);
        }
        (MANAGER, "JobRemoved") => {
            let (_, job, unit, result): (u32, OwnedObjectPath, &str, &str) = body.deserialize()?;
            if result == "done" && unit.starts_with(EXEC_PREFIX) {
                // Not where the end of the job is waited for: the command may have ended by then.
                state.exec_started(unit);
            }
            state.job_ended(job.as_str(), result);
        }
        (MANAGER, "Reloading") => {
            let is_under_way = body.deserialize::<bool>()?;
            state.reloading(is_under_way);
            if !is_under_way {
                return Ok(Next::ListAll);
            }
        }
        ("org.freedesktop.DBus", "NameOwnerChanged") => {
            let (name, old, _): (&str, &str, &str) = body.deserialize()?;
            if name == SYSTEMD && !old.is_empty() {
                return Ok(Next::End("systemd left the bus".to_owned()));
            }
        }
        _ => (),
    }
    Ok(Next::Nothing)
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use futures_util::stream;

    use super::*;

    /// Each burst once lost the message that followed it, and with it now and then the end of a job, so that a unit was waited
    /// for without end.
    #[tokio::test]
    async fn no_message_is_lost_between_two_bursts() {
        let n_messages = 3 * BURST_MAX + 7;
        let (taken, in_a_row) = (RefCell::new(Vec::new()), Cell::new(0));
        let take = |n: usize| {
            taken.borrow_mut().push(n);
            in_a_row.set(in_a_row.get() + 1);
            assert!(in_a_row.get() <= BURST_MAX, "nobody is told of the news in between");
            Ok::<(), String>(())
        };
        let ended = in_bursts(&mut stream::iter(0..n_messages), take, || in_a_row.set(0)).await;
        assert_eq!(ended, Ok(()));
        assert_eq!(taken.into_inner(), (0..n_messages).collect::<Vec<_>>());

        let ended = in_bursts(&mut stream::iter(0..3), |n| if n == 1 { Err("one") } else { Ok(()) }, || ()).await;
        assert_eq!(ended, Err("one"));
    }
}
