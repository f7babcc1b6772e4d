//! Handler of `/units/NAME/exec`: a command beside a unit, on this daemon's machine or through another's.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use fleet_api::v2;
use fleet_core::model::MachineId;
use fleet_core::unit::UnitName;
use fleet_systemd::exec::NO_SERVICE;
use fleet_systemd::{ManagerError, NO_SUCH_UNIT};
use futures_util::StreamExt as _;

use super::Api;
use super::extract::{Asked, Given, Segment};
use super::parameters::OfUnit;
use super::peer::Peer;
use super::places::{self, Place};
use super::problem::{Kind, Refused, bad_request, causes, problem};
use super::request;
use crate::clock;
use crate::exec::{self, ExecError, Executions};
use crate::host::Host;

/// How much of a command is logged, in characters.
const LOGGED_MAX: usize = 1_000;

/// Runs a command beside a unit, on the unit's machine. It runs as long as the answer is read, and `exec_timeout` at most.
#[utoipa::path(
    post,
    path = "/units/{name}/exec",
    tag = "units",
    operation_id = "exec_beside_unit",
    params(OfUnit, v2::ExecQuery),
    request_body = v2::ExecRequest,
    responses(
        (
            status = 200,
            description = "Lines, as they come; the last one says how the command ended",
            body = v2::ExecEvent,
            content_type = "application/jsonl"
        ),
        Refused
    )
)]
pub async fn exec(
    State(api): State<Api>,
    Segment(name): Segment,
    Asked(query): Asked<v2::ExecQuery>,
    peer: Peer,
    Given { value: request, .. }: Given<v2::ExecRequest>,
) -> Result<Response, Refused> {
    let stdin = check(&request)?;
    let (unit, machine, place) = places::one_of_unit(&api, &name, query.machine.as_deref(), query.forwarded)?;
    let command = shown(&request.command);
    tracing::info!(%unit, %machine, %peer, command, "a command beside a unit is asked for");
    let body = match place {
        Place::Here(host) => {
            let asked =
                exec::Asked { unit, id: id(), command: request.command, stdin, limit: api.limits().exec.timeout };
            Body::from_stream(here(&api, &host, machine, asked).await?.lines(api.ended()))
        }
        Place::There(client) => {
            let id = request::current();
            let pieces = places::exec(&client, &machine, &unit, &request, id.as_deref()).await?;
            Body::from_stream(pieces.take_until(Box::pin(api.ended())))
        }
        Place::Nowhere(problem) => return Err(problem.into()),
    };
    Ok(([(header::CONTENT_TYPE, "application/jsonl")], body).into_response())
}

/// Begins a command on a machine that is served here.
async fn here(api: &Api, host: &Host, machine: MachineId, asked: exec::Asked) -> Result<exec::Run, v2::Problem> {
    let limits = api.limits().exec;
    let short = machine.short().to_owned();
    if !limits.allowed {
        let problem = problem(Kind::ExecOff, format!("commands beside units are switched off on machine {short}"));
        return Err(problem.with_hint("by `exec = false` in the configuration of its fleetd"));
    }
    let Some(systemd) = host.systemd().await else {
        let detail = format!("fleetd has no connection to the systemd of machine {short} yet");
        return Err(problem(Kind::MachineUnreachable, detail).with_hint("try again"));
    };
    let Some(place) = api.executions.enter(&machine, limits.at_once) else {
        let detail = format!("{} commands run on machine {short} already (exec_max)", limits.at_once);
        return Err(problem(Kind::TooMany, detail));
    };
    let unit = asked.unit.clone();
    exec::begin(systemd, machine, asked, place).await.map_err(|err| not_begun(&short, &unit, &err))
}

/// Why a command was not begun, for the one who asked.
fn not_begun(machine: &str, unit: &UnitName, err: &ExecError) -> v2::Problem {
    let problem = match err {
        ExecError::Systemd(ManagerError::Refused { name, message, .. }) if name == NO_SUCH_UNIT => {
            problem(Kind::NoMachine, format!("machine {machine} has not loaded {unit}: {message}"))
                .with_hint(format!("see `fleetctl status {unit}`"))
        }
        ExecError::Systemd(ManagerError::Refused { name, message, .. }) if name == NO_SERVICE => {
            bad_request(message.clone())
        }
        ExecError::Systemd(ManagerError::Refused { message, .. }) => {
            problem(Kind::CommandNotStarted, format!("systemd of machine {machine} refused the command: {message}"))
        }
        ExecError::Systemd(err @ ManagerError::Disconnected { .. }) => {
            problem(Kind::MachineUnreachable, err.to_string()).with_hint("try again")
        }
        ExecError::NotStarted { reason } => {
            problem(Kind::CommandNotStarted, format!("the command could not be begun on machine {machine}: {reason}"))
        }
        ExecError::Pipes(_) | ExecError::Systemd(ManagerError::File { .. }) => {
            v2::Problem { findings: causes(err), ..problem(Kind::Internal, err.to_string()) }
        }
    };
    problem.about(unit.as_str())
}

/// Checks what is asked for; gives what the command is to read.
fn check(request: &v2::ExecRequest) -> Result<Vec<u8>, v2::Problem> {
    let v2::ExecRequest { command, stdin, stdin_base64 } = request;
    if command.first().is_none_or(String::is_empty) {
        return Err(bad_request("`command` has no program").about("command"));
    }
    if command.iter().any(|word| word.contains('\0')) {
        return Err(
            bad_request("a word of `command` has a zero byte in it, which no program can be given").about("command")
        );
    }
    let too_large = |what: String| Err(problem(Kind::TooLarge, what));
    if v2::EXEC_WORDS_MAX < command.len() {
        return too_large(format!("{} words are over the limit of {} of a command", command.len(), v2::EXEC_WORDS_MAX));
    }
    let n_bytes: usize = command.iter().map(String::len).sum();
    if v2::EXEC_COMMAND_BYTES_MAX < n_bytes {
        return too_large(format!("{n_bytes} bytes are over the limit of {} of a command", v2::EXEC_COMMAND_BYTES_MAX));
    }
    if stdin.is_some() && stdin_base64.is_some() {
        return Err(bad_request("`stdin` and `stdin_base64` are both given: one of them is enough").about("stdin"));
    }
    let stdin = request.stdin_bytes().map_err(|err| bad_request(err.to_string()).about("stdin_base64"))?;
    if v2::EXEC_STDIN_BYTES_MAX < stdin.len() {
        let n_bytes = stdin.len();
        return too_large(format!("{n_bytes} bytes are over the limit of {} to be read", v2::EXEC_STDIN_BYTES_MAX));
    }
    Ok(stdin)
}

/// A command as it is logged.
fn shown(command: &[String]) -> String {
    let line = format!("{command:?}");
    match line.char_indices().nth(LOGGED_MAX) {
        Some((at, _)) => format!("{}...", &line[..at]),
        None => line,
    }
}

/// A name for a command, unlike all that this daemon or an earlier one has given.
fn id() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("{:x}-{:x}-{number}", clock::now().0, std::process::id())
}

impl Api {
    /// The commands that run on the machines that are served here.
    pub(crate) fn executions(&self) -> Executions {
        self.executions.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests() {
        let asked = |command: Vec<String>| v2::ExecRequest { command, ..v2::ExecRequest::default() };
        let words = |words: &[&str]| asked(words.iter().map(|&word| word.to_owned()).collect());
        let told = |request: &v2::ExecRequest| match check(request) {
            Ok(stdin) => format!("{} bytes to read", stdin.len()),
            Err(problem) => format!("{} {problem}", problem.kind),
        };
        assert_eq!(told(&words(&["cat", ""])), "0 bytes to read");
        assert_eq!(told(&words(&[])), "bad-request `command` has no program");
        assert_eq!(told(&words(&["", "x"])), "bad-request `command` has no program");
        assert!(told(&words(&["a", "b\0"])).contains("zero byte"));
        let many = asked(vec!["x".to_owned(); v2::EXEC_WORDS_MAX + 1]);
        assert_eq!(told(&many), "too-large 1001 words are over the limit of 1000 of a command");
        let long = asked(vec!["x".repeat(v2::EXEC_COMMAND_BYTES_MAX), "y".to_owned()]);
        assert_eq!(told(&long), "too-large 131073 bytes are over the limit of 131072 of a command");
        let text = |text: &str| Some(text.to_owned());
        let both = v2::ExecRequest { stdin: text(""), stdin_base64: text(""), ..words(&["cat"]) };
        assert!(told(&both).contains("both given"), "{}", told(&both));
        assert_eq!(told(&v2::ExecRequest { stdin_base64: text("AP8="), ..words(&["cat"]) }), "2 bytes to read");
        let broken = told(&v2::ExecRequest { stdin_base64: text("?"), ..words(&["cat"]) });
        assert!(broken.starts_with("bad-request `stdin_base64` is no base64"), "{broken}");
        let full = v2::ExecRequest { stdin: Some("x".repeat(v2::EXEC_STDIN_BYTES_MAX + 1)), ..words(&["cat"]) };
        assert!(told(&full).starts_with("too-large 16777217 bytes"), "{}", told(&full));
    }

    #[test]
    fn what_is_logged_is_bounded_and_one_line() {
        assert_eq!(shown(&["a\nb".to_owned(), "c".to_owned()]), r#"["a\nb", "c"]"#);
        assert_eq!(shown(&["é".repeat(5_000)]).chars().count(), LOGGED_MAX + 3);
        assert_ne!(id(), id());
    }
}
