//! `GET /events`: what happens, as server-sent events whose ids are the store's revisions.
//!
//! Nothing is queued for a reader: each goes along what is kept of the recent past ([`crate::recent`]) at its own pace, and one
//! that falls behind the end of it is told so.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse as _, Response};
use fleet_api::v2::{self, Event, EventKind, Order, Present, Wanted};
use fleet_core::model::{Brake, MachineId, Placement, Revision, UnitState};
use fleet_core::unit::{Glob, UnitName};
use fleet_store::registry::{Key, LeaderRecord, MachineRecord, MetadataRecord, UnitRecord, Value, ValueError};
use fleet_store::{Batch, Change, KeyValue};
use futures_util::{Stream, StreamExt as _, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::extract::Params;
use super::machines::machine_of;
use super::problem::{Kind, Refused, bad_request, problem};
use super::{Api, convert};
use crate::recent::Since;
use crate::view::SharedView;

/// Most streams of events at a time. Each holds a connection and no more memory than one piece of text.
const STREAMS_MAX: usize = 1_000;

/// How long a stream is silent at most. A reader also knows by it that it has missed nothing, for the id goes with it.
const HEARTBEAT: Duration = Duration::from_secs(v2::HEARTBEAT_S);

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The places of the streams.
#[derive(Debug)]
pub struct Streams(Arc<Semaphore>);

impl Default for Streams {
    fn default() -> Streams {
        Streams(Arc::new(Semaphore::new(STREAMS_MAX)))
    }
}

/// Which events are asked for. Of each filter that is given one value has to fit; an event that has no unit does not fit a filter of
/// units. `reset` fits all.
#[derive(Default)]
struct Filter {
    kinds: BTreeSet<EventKind>,
    units: Vec<Glob>,
    machines: BTreeSet<MachineId>,
}

impl Filter {
    fn fits(&self, event: &Event) -> bool {
        let unit = event.unit.as_deref();
        let machine = event.machine.as_deref();
        (self.kinds.is_empty() || self.kinds.contains(&event.kind))
            && (self.units.is_empty() || unit.is_some_and(|unit| self.units.iter().any(|glob| glob.matches(unit))))
            && (self.machines.is_empty()
                || machine.is_some_and(|machine| self.machines.iter().any(|id| id.as_str() == machine)))
    }
}

/// What happens in the cluster, as server-sent events: `id:` is the store's revision, `event:` the kind, `data:` an `Event`.
#[utoipa::path(
    get,
    path = "/events",
    tag = "cluster",
    operation_id = "follow_events",
    params(
        ("kind" = Option<Vec<v2::EventKind>>, Query, description = "Kinds of events"),
        ("unit" = Option<Vec<String>>, Query, description = "Globs, one of which the unit has to match"),
        ("machine" = Option<Vec<String>>, Query, description = "Machine IDs"),
        (
            "after" = Option<u64>,
            Query,
            description = "Begin after this revision; without it, with what happens from now on"
        ),
        ("Last-Event-ID" = Option<u64>, Header, description = "The same, as a reader says it that lost its connection")
    ),
    responses(
        (status = 200, description = "Events, without an end", body = v2::Event, content_type = "text/event-stream"),
        Refused
    )
)]
pub async fn follow(State(api): State<Api>, headers: HeaderMap, mut params: Params) -> Result<Response, Refused> {
    let mut filter = Filter {
        kinds: params.each("kind")?.into_iter().collect(),
        units: params.each("unit")?,
        machines: BTreeSet::new(),
    };
    for id in params.all("machine") {
        filter.machines.insert(machine_of(&api, &id)?);
    }
    let after: Option<u64> = params.one("after")?;
    params.end("kind, unit, machine, after")?;
    let after = last_event_id(&headers)?.or(after).map(Revision);
    let full = |_| problem(Kind::TooMany, format!("{STREAMS_MAX} streams of events are open already"));
    let place = Arc::clone(&api.streams.0).try_acquire_owned().map_err(full)?;
    let at = after.unwrap_or_else(|| api.view.read().revision());
    let events = events(api.view.clone(), filter, at, place).take_until(Box::pin(api.ended()));
    let head = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((head, Body::from_stream(events)).into_response())
}

/// The id that a reader which lost its connection has seen last.
fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Refused> {
    let Some(given) = headers.get(LAST_EVENT_ID) else { return Ok(None) };
    let given = String::from_utf8_lossy(given.as_bytes()).into_owned();
    let refused =
        || bad_request(format!("header Last-Event-ID is `{given}`, which is no id of ours")).about("Last-Event-ID");
    given.trim().parse().map(Some).map_err(|_| refused().into())
}

fn events(
    view: SharedView,
    filter: Filter,
    at: Revision,
    place: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<String, Infallible>> {
    // The place goes with the stream.
    let begin = (view, filter, at, place, true);
    stream::unfold(begin, |(view, filter, mut at, place, is_first)| async move {
        let mut text = String::new();
        if is_first {
            // Where it begins, so that a reader that loses its connection at once can go on from there.
            text = id_line(": events come as they happen\n", at);
        }
        let due = Instant::now() + HEARTBEAT;
        while text.is_empty() {
            // A lot may happen that is not asked for: then the time is over too.
            if due <= Instant::now() {
                text = id_line(":\n", at);
                break;
            }
            match tokio::time::timeout_at(due, view.since(at)).await {
                Err(_) => continue,
                Ok(Since::Forgotten(now)) => {
                    at = now;
                    write_event(&mut text, &Event::new(now.0, EventKind::Reset));
                }
                Ok(Since::Batches(batches, upto)) => {
                    for batch in batches {
                        told(&batch).iter().filter(|event| filter.fits(event)).for_each(|event| {
                            write_event(&mut text, event);
                        });
                    }
                    at = upto;
                }
            }
        }
        Some((Ok(text), (view, filter, at, place, false)))
    })
}

/// A block without data: it is no event, and sets the id from which a reader goes on.
fn id_line(comment: &str, at: Revision) -> String {
    format!("{comment}id: {}\n\n", at.0)
}

fn write_event(text: &mut String, event: &Event) {
    // A wire type of strings and numbers always has a JSON form, on one line; writing to a text does not fail.
    let data = serde_json::to_string(event).unwrap_or_default();
    let _ = write!(text, "id: {}\nevent: {}\ndata: {data}\n\n", event.revision, event.kind.as_str());
}

/// The events of one revision. What cannot be read is told as gone: nobody can do more with it than that.
fn told(batch: &Batch) -> Vec<Event> {
    let one = |change: &Change| {
        let key = Key::parse(change.key())?;
        let kv = match change {
            Change::Put(kv) => Some(kv),
            Change::Delete { .. } => None,
        };
        let event = event(batch.revision, &key, kv)?;
        Some(event.unwrap_or_else(|_| Event { removed: true, ..bare(batch.revision, &key) }))
    };
    batch.changes.iter().filter_map(one).collect()
}

/// What the key alone tells.
fn bare(revision: Revision, key: &Key) -> Event {
    let (kind, unit, machine): (_, Option<&UnitName>, Option<&MachineId>) = match key {
        Key::Unit(unit) => (EventKind::Unit, Some(unit), None),
        Key::Placement(machine, unit) => (EventKind::Placement, Some(unit), Some(machine)),
        Key::State(machine, unit) => (EventKind::State, Some(unit), Some(machine)),
        Key::Machine(machine) => (EventKind::Machine, None, Some(machine)),
        Key::Metadata(machine, _) => (EventKind::Metadata, None, Some(machine)),
        Key::Cordon(machine) => (EventKind::Cordon, None, Some(machine)),
        Key::Drain(machine) => (EventKind::Drain, None, Some(machine)),
        Key::GivenUp(machine) => (EventKind::GivenUp, None, Some(machine)),
        Key::Brake => (EventKind::Brake, None, None),
        Key::Leader | Key::File(_) | Key::Operators(_) | Key::Request(..) => (EventKind::Leader, None, None),
    };
    let (unit, machine) = (unit.map(ToString::to_string), machine.map(ToString::to_string));
    Event { unit, machine, ..Event::new(revision.0, kind) }
}

/// `None` for what is not told.
fn event(revision: Revision, key: &Key, kv: Option<&KeyValue>) -> Option<Result<Event, ValueError>> {
    if matches!(key, Key::File(_) | Key::Operators(_) | Key::Request(..)) {
        return None;
    }
    let bare = bare(revision, key);
    let Some(kv) = kv else { return Some(Ok(Event { removed: true, ..bare })) };
    Some(put(bare, key, kv))
}

fn put(bare: Event, key: &Key, kv: &KeyValue) -> Result<Event, ValueError> {
    Ok(match key {
        Key::Unit(_) => {
            let record = UnitRecord::decode(&kv.value)?;
            let wanted = Wanted {
                desired_state: convert::state(record.target),
                generation: kv.create_revision.0.saturating_add(record.changes),
                restarts: record.restarts,
                hash: record.hash.to_string(),
            };
            Event { wanted: Some(wanted), ..bare }
        }
        Key::Placement(..) => {
            let Placement { target, generation, leaving, .. } = Placement::decode(&kv.value)?;
            let order =
                Order { desired_state: convert::state(target), generation: generation.0, leaving: leaving.is_some() };
            Event { order: Some(order), ..bare }
        }
        Key::State(..) => {
            let state = UnitState::decode(&kv.value)?;
            Event { state: Some(convert::unit_state(&state, true)), ..bare }
        }
        Key::Machine(_) => {
            let MachineRecord { public_ip, metadata, version, .. } = MachineRecord::decode(&kv.value)?;
            let ip = Some(public_ip).filter(|ip| !ip.is_empty());
            Event { present: Some(Present { ip, version, metadata }), ..bare }
        }
        Key::Metadata(_, name) => {
            let value = match MetadataRecord::decode(&kv.value)? {
                MetadataRecord::Set(value) => Some(value),
                MetadataRecord::Removed => None,
            };
            Event { metadata: Some(BTreeMap::from([(name.to_string(), value)])), ..bare }
        }
        Key::Brake => {
            let brake = Brake::decode(&kv.value)?;
            Event { lost: brake.lost.iter().map(ToString::to_string).collect(), ..bare }
        }
        Key::Leader => {
            let leader = LeaderRecord::decode(&kv.value)?.id;
            Event { machine: Some(convert::leader_machine(&leader).to_owned()), ..bare }
        }
        Key::Cordon(_) | Key::Drain(_) | Key::GivenUp(_) => bare,
        Key::File(_) | Key::Operators(_) | Key::Request(..) => bare,
    })
}
