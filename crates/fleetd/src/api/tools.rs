//! Handlers of `/units/NAME/status` and `/units/NAME/journal`: the words of a machine's own tools.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use fleet_api::v2;
use fleet_core::model::MachineId;
use fleet_core::unit::UnitName;
use futures_util::{StreamExt as _, stream};
use serde::Deserialize;
use tokio::io::AsyncReadExt as _;

use super::Api;
use super::problem::{Refused, bad_request, problem, unknown_unit};
use crate::host::{Host, HostError, JournalRequest};

/// Lines of a journal when nothing is said.
const JOURNAL_LINES: u32 = 10;

/// Bytes that are read from `journalctl` at once.
const JOURNAL_PIECE: usize = 64 << 10;

/// Output modes of journalctl that make sense in a stream of text.
const OUTPUTS: [&str; 11] = [
    "short",
    "short-full",
    "short-iso",
    "short-iso-precise",
    "short-precise",
    "short-monotonic",
    "short-unix",
    "verbose",
    "json",
    "json-pretty",
    "cat",
];

/// The query of `status`.
#[derive(Debug, Deserialize)]
pub struct StatusQuery {
    machine: Option<String>,
}

/// `GET /units/NAME/status?machine=ID`.
pub async fn status(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(query): Query<StatusQuery>,
) -> Result<Json<Vec<v2::StatusText>>, Refused> {
    let (name, hosts) = hosts(&api, &name, query.machine.as_deref())?;
    let mut texts = Vec::new();
    for (machine, host) in hosts {
        let (text, exit_code) = host.status(&name).await.map_err(|err| failed(&err))?;
        texts.push(v2::StatusText { machine: machine.to_string(), text, exit_code });
    }
    Ok(Json(texts))
}

/// `GET /units/NAME/journal`.
pub async fn journal(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(query): Query<v2::JournalQuery>,
) -> Result<Response, Refused> {
    let output = query.output.unwrap_or_else(|| "short".to_owned());
    if !OUTPUTS.contains(&output.as_str()) {
        return Err(bad_request(format!("`{output}` is no output mode: {} are known", OUTPUTS.join(", "))).into());
    }
    let lines = query.lines.unwrap_or(JOURNAL_LINES);
    if v2::JOURNAL_LINES_MAX < lines {
        return Err(bad_request(format!("{lines} lines are over the limit of {}", v2::JOURNAL_LINES_MAX)).into());
    }
    let (name, hosts) = hosts(&api, &name, query.machine.as_deref())?;
    let [(_, host)] = &hosts[..] else {
        let ids: Vec<&str> = hosts.iter().map(|(machine, _)| machine.short()).collect();
        let mut problem = bad_request(format!("unit {name} is on {} machines: {}", ids.len(), ids.join(", ")));
        problem.hint = Some("name one with --machine".to_owned());
        return Err(problem.into());
    };
    let request = JournalRequest { lines, follow: query.follow, output, this_run: query.this_run };
    let mut child = host.journal(&name, &request).await.map_err(|err| failed(&err))?;
    let stdout = child.stdout.take().expect("the journal's stdout is a pipe");
    // The child travels with its output and ends with it: nobody listens, nobody reads.
    let pieces = stream::try_unfold((child, stdout), |(mut child, mut stdout)| async move {
        let mut piece = vec![0; JOURNAL_PIECE];
        let len = stdout.read(&mut piece).await?;
        piece.truncate(len);
        if len == 0 {
            child.wait().await?;
            return Ok::<_, std::io::Error>(None);
        }
        Ok(Some((piece, (child, stdout))))
    });
    Ok((
        [(header::CONTENT_TYPE, "text/plain; charset=utf-8")],
        Body::from_stream(pieces.take_until(Box::pin(api.ended()))),
    )
        .into_response())
}

/// The machines of a unit that can be asked from here.
fn hosts(api: &Api, name: &str, machine: Option<&str>) -> Result<(UnitName, Vec<(MachineId, Host)>), Refused> {
    let name: UnitName = name.parse().map_err(|_| unknown_unit(name))?;
    let view = api.view.read();
    if !view.units().contains_key(&name) {
        return Err(unknown_unit(name.as_str()).into());
    }
    let placed = view.placed_on(&name).filter(|id| machine.is_none_or(|wanted| id.is_named_by(wanted)));
    let hosts: Vec<(MachineId, Host)> =
        placed.filter_map(|id| Some((id.clone(), api.hosts.get(id)?.clone()))).collect();
    if hosts.is_empty() {
        let place = machine.map_or_else(|| "any machine".to_owned(), |machine| format!("machine {machine}"));
        return Err(problem("no-machine", 404, format!("unit {name} is not on {place}")).into());
    }
    Ok((name, hosts))
}

fn failed(err: &HostError) -> v2::Problem {
    let mut problem = problem("internal", 500, err.to_string());
    problem.details.extend(std::error::Error::source(err).map(ToString::to_string));
    problem
}
