//! Handlers of `/units/NAME/status` and `/units/NAME/journal`: the words of a machine's own tools.

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
use super::extract::{Asked, Segment};
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
    let (name, places) = places::of_unit(&api, &name, query.machine.as_deref(), query.forwarded)?;
    let asked = places.iter().map(|(machine, place)| places::status(place, machine, &name));
    let answers = join_all(asked).await;
    if let (true, Some(Err(problem))) = (answers.iter().all(Result::is_err), answers.first()) {
        return Err(problem.clone().into());
    }
    // One machine that cannot be asked does not hide what the others say.
    let said = answers.into_iter().zip(&places).map(|(answer, (machine, _))| match answer {
        Ok(text) => text,
        Err(problem) => {
            v2::StatusText { machine: machine.to_string(), text: problem.to_string(), exit_code: EXIT_UNKNOWN }
        }
    });
    Ok(Json(said.collect()))
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
        HostError::Refused { reason } => bad_request(reason),
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
