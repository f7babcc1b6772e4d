//! Handlers of `/units/NAME/status`, `properties`, `act` and `journal`: what a machine's own tools say and do.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use fleet_api::v2;
use fleet_core::unit::UnitName;
use futures_util::future::join_all;
use futures_util::{Stream, StreamExt as _, stream};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStdout};
use tokio::task::JoinSet;

use super::Api;
use super::extract::{Asked, Given, Segment};
use super::parameters::OfUnit;
use super::places::{self, Place};
use super::problem::{Kind, Refused, bad_request, causes, problem};
use crate::host::{Host, HostError};
use crate::journal::JournalRequest;
use crate::nudge;

/// What systemctl ends with when nothing is known of a unit.
const EXIT_UNKNOWN: i32 = 4;

/// How long a followed journal is silent at most, if its reader wants to know that.
const HEARTBEAT: Duration = Duration::from_secs(v2::HEARTBEAT_S);

/// What to do when journalctl does not understand what it is asked, which are times: all else was checked before.
const TIMES_HINT: &str = "times are as systemd reads them: `-1h`, `yesterday`, `18:30`, `2026-11-22 18:30`";

/// Bytes that are read from `journalctl` at once.
const JOURNAL_PIECE: usize = 64 << 10;

/// What `systemctl status` says of a unit, on each of its machines.
#[utoipa::path(
    get,
    path = "/units/{name}/status",
    tag = "units",
    operation_id = "get_unit_status",
    params(OfUnit, v2::StatusQuery),
    responses((status = 200, description = "The words of each machine", body = Vec<v2::StatusText>), Refused)
)]
pub async fn status(
    State(api): State<Api>,
    Segment(name): Segment,
    Asked(query): Asked<v2::StatusQuery>,
) -> Result<Json<Vec<v2::StatusText>>, Refused> {
    if let Some(lines) = query.lines.filter(|lines| v2::STATUS_LINES_MAX < *lines) {
        let limit = format!("{lines} lines are over the limit of {}", v2::STATUS_LINES_MAX);
        return Err(bad_request(limit).about("lines").into());
    }
    let (name, places) = places::of_unit(&api, &name, query.machine.as_deref(), query.forwarded)?;
    let asked = places.iter().map(|(machine, place)| places::status(place, machine, &name, query.lines));
    let answers = join_all(asked).await;
    unless_all_failed(&answers)?;
    let said = answers.into_iter().zip(&places).map(|(answer, (machine, _))| match answer {
        Ok(text) => text,
        Err(problem) => {
            v2::StatusText { machine: machine.to_string(), text: problem.to_string(), exit_code: EXIT_UNKNOWN }
        }
    });
    Ok(Json(said.collect()))
}

/// What systemd knows of a unit, on each of its machines: what `systemctl show` prints.
#[utoipa::path(
    get,
    path = "/units/{name}/properties",
    tag = "units",
    operation_id = "get_unit_properties",
    params(OfUnit, v2::PropertiesQuery),
    responses((status = 200, description = "The properties on each machine", body = Vec<v2::UnitProperties>), Refused)
)]
pub async fn properties(
    State(api): State<Api>,
    Segment(name): Segment,
    Asked(query): Asked<v2::PropertiesQuery>,
) -> Result<Json<Vec<v2::UnitProperties>>, Refused> {
    let names: Vec<String> = query.names.iter().flat_map(|names| names.split(',')).map(str::to_owned).collect();
    if v2::PROPERTIES_MAX < names.len() {
        let limit = format!("{} properties are over the limit of {}", names.len(), v2::PROPERTIES_MAX);
        return Err(bad_request(limit).about("names").into());
    }
    if let Some(wrong) = names.iter().find(|name| !is_word(name, "")) {
        return Err(bad_request(format!("`{wrong}` is no name of a property")).about("names").into());
    }
    let (name, places) = places::of_unit(&api, &name, query.machine.as_deref(), query.forwarded)?;
    let asked = places.iter().map(|(machine, place)| places::properties(place, machine, &name, &names));
    let answers = join_all(asked).await;
    unless_all_failed(&answers)?;
    let told = answers.into_iter().zip(&places).map(|(answer, (machine, _))| match answer {
        Ok(told) => told,
        Err(problem) => {
            v2::UnitProperties { machine: machine.to_string(), properties: Vec::new(), problem: Some(problem) }
        }
    });
    Ok(Json(told.collect()))
}

/// Has the systemd of the unit's machines do something at once: send a signal, reload the unit, or forget a failure.
///
/// What is wanted of the unit stays as it is.
#[utoipa::path(
    post,
    path = "/units/{name}/act",
    tag = "units",
    operation_id = "act_on_unit",
    params(OfUnit),
    request_body = v2::ActRequest,
    responses((status = 200, description = "What came of it on each machine", body = Vec<v2::Acted>), Refused)
)]
pub async fn act(
    State(api): State<Api>,
    Segment(name): Segment,
    given: Given<v2::ActRequest>,
) -> Result<Json<Vec<v2::Acted>>, Refused> {
    let request = given.value;
    let verb = verb(&request)?;
    let (name, places) = places::of_unit(&api, &name, request.machine.as_deref(), request.forwarded)?;
    tracing::info!(unit = name.as_str(), "systemctl {}", verb.join(" "));
    let asked = places.iter().map(|(machine, place)| places::act(place, machine, &name, &request, &verb));
    let answers = join_all(asked).await;
    unless_all_failed(&answers)?;
    let done = answers.into_iter().zip(&places);
    let done = done.map(|(answer, (machine, _))| v2::Acted { machine: machine.to_string(), problem: answer.err() });
    Ok(Json(done.collect()))
}

/// What systemctl is called with, but for the unit.
fn verb(request: &v2::ActRequest) -> Result<Vec<String>, v2::Problem> {
    let signal = request.signal.as_deref().unwrap_or("SIGTERM");
    if !is_word(signal, "+-") {
        return Err(bad_request(format!("`{signal}` is no signal")).about("signal"));
    }
    if request.act != v2::Act::Kill && (request.signal.is_some() || request.whom.is_some()) {
        return Err(bad_request("`signal` and `whom` are for `kill` alone").about("act"));
    }
    let whom = request.whom.unwrap_or(v2::Whom::All).as_str();
    let words = match request.act {
        // Since systemd 252 it is `--kill-whom`, and this is still known.
        v2::Act::Kill => vec!["kill".to_owned(), format!("--signal={signal}"), format!("--kill-who={whom}")],
        v2::Act::Reload => vec!["reload".to_owned()],
        v2::Act::ResetFailed => vec!["reset-failed".to_owned()],
    };
    Ok(words)
}

/// Letters and digits, and these characters.
fn is_word(text: &str, more: &str) -> bool {
    let is_plain = |ch: char| ch.is_ascii_alphanumeric() || more.contains(ch);
    !text.is_empty() && text.len() <= v2::WORD_LEN_MAX && text.chars().all(is_plain)
}

/// The first problem, if no machine has anything else to say. One that cannot be asked does not hide the others.
fn unless_all_failed<T>(answers: &[Result<T, v2::Problem>]) -> Result<(), v2::Problem> {
    match answers.first() {
        Some(Err(problem)) if answers.iter().all(Result::is_err) => Err(problem.clone()),
        _ => Ok(()),
    }
}

/// A unit's journal on one machine, as journalctl prints it.
#[utoipa::path(
    get,
    path = "/units/{name}/journal",
    tag = "units",
    operation_id = "get_unit_journal",
    params(OfUnit, v2::JournalQuery),
    responses(
        (
            status = 200,
            description = "The lines, as they come if they are followed",
            body = String,
            content_type = "text/plain; charset=utf-8"
        ),
        Refused
    )
)]
pub async fn journal(
    State(api): State<Api>,
    Segment(name): Segment,
    Asked(query): Asked<v2::JournalQuery>,
) -> Result<Response, Refused> {
    let request = JournalRequest::read(&query).map_err(bad_request)?;
    let (name, machine, place) = places::one_of_unit(&api, &name, query.machine.as_deref(), query.forwarded)?;
    let text = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    let body = match place {
        Place::Here(host) => {
            Body::from_stream(own_journal(&host, &name, &request).await?.take_until(Box::pin(api.ended())))
        }
        Place::There(client) => {
            let pieces = places::journal(&client, &machine, &name, query).await?;
            Body::from_stream(pieces.take_until(Box::pin(api.ended())))
        }
        Place::Nowhere(problem) => return Err(problem.into()),
    };
    Ok((text, body).into_response())
}

/// What journalctl prints here.
async fn own_journal(
    host: &Host,
    name: &UnitName,
    request: &JournalRequest,
) -> Result<impl Stream<Item = std::io::Result<Vec<u8>>> + use<>, v2::Problem> {
    let mut child = host.journal(name, request).await.map_err(|err| match err {
        HostError::Refused { reason } => bad_request(reason).with_hint(TIMES_HINT),
        err => failed(&err),
    })?;
    let stdout = child.stdout.take().expect("the journal's stdout is a pipe");
    let mut beside = JoinSet::new();
    if let Some(pid) = child.id().filter(|_| request.follow) {
        beside.spawn(nudge::follower(pid));
    }
    let reading = Reading { child, stdout, _beside: beside, heartbeat: request.heartbeat, between_lines: true };
    Ok(stream::try_unfold(
        reading,
        |mut reading| async move { Ok(reading.next().await?.map(|piece| (piece, reading))) },
    ))
}

/// A journal that is being read. The child travels with its output and ends with it: nobody listens, nobody reads. So does what runs
/// beside it.
struct Reading {
    child: Child,
    stdout: ChildStdout,
    _beside: JoinSet<()>,
    /// Whether an empty line comes when nothing else does.
    heartbeat: bool,
    /// Whether what was read last ended with a line.
    between_lines: bool,
}

impl Reading {
    async fn next(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let mut piece = vec![0; JOURNAL_PIECE];
        let len = loop {
            let limit = if self.heartbeat { HEARTBEAT } else { Duration::MAX };
            match tokio::time::timeout(limit, self.stdout.read(&mut piece)).await {
                Ok(len) => break len?,
                Err(_) if self.between_lines => return Ok(Some(b"\n".to_vec())),
                // In the middle of a line there is no place for one.
                Err(_) => (),
            }
        };
        piece.truncate(len);
        match piece.last() {
            Some(last) => {
                self.between_lines = *last == b'\n';
                Ok(Some(piece))
            }
            None => {
                self.child.wait().await?;
                Ok(None)
            }
        }
    }
}

pub(super) fn failed(err: &HostError) -> v2::Problem {
    v2::Problem { findings: causes(err), ..problem(Kind::Internal, err.to_string()) }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use tokio::io::AsyncWriteExt as _;
    use tokio::process::Command;

    use super::*;

    /// Time is the test's and passes where nothing happens, so a heartbeat may be there before what was written.
    #[tokio::test(start_paused = true)]
    async fn heartbeats_come_between_lines() {
        let mut cat = Command::new("cat");
        let mut child = cat.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("cat");
        let (mut stdin, stdout) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
        let mut reading = Reading { child, stdout, _beside: JoinSet::new(), heartbeat: true, between_lines: true };
        let mut piece = async || {
            reading.next().await.expect("it can be read").map(|piece| String::from_utf8(piece).expect("UTF-8"))
        };
        assert_eq!(piece().await.as_deref(), Some("\n"));
        stdin.write_all(b"one\ntw").await.expect("cat reads");
        let mut next = piece().await;
        while next.as_deref() == Some("\n") {
            next = piece().await;
        }
        assert_eq!(next.as_deref(), Some("one\ntw"));
        assert!(tokio::time::timeout(10 * HEARTBEAT, piece()).await.is_err(), "not within a line");
        stdin.write_all(b"o\n").await.expect("cat reads");
        assert_eq!(piece().await.as_deref(), Some("o\n"));
        assert_eq!(piece().await.as_deref(), Some("\n"));
        drop(stdin);
        while next.is_some() {
            next = piece().await;
        }
    }
}
