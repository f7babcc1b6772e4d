//! Where a machine's own tools are asked: on this box, or through the `fleetd` that serves the machine.

use std::collections::BTreeSet;
use std::time::Duration;

use fleet_api::{Client, ClientError, TextStream, v2};
use fleet_core::model::MachineId;
use fleet_core::unit::UnitName;

use super::problem::{Kind, bad_request, causes, problem, unknown_unit};
use super::{Api, convert};
use crate::host::{Host, HostError};
use crate::tls::Sides;
use crate::view::Picture;

/// How long another `fleetd` may take for an answer, or for the begin of one: longer than its own tools may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(25);

/// Lines of the journal in a status, if nothing is said. Source: systemctl.
const STATUS_LINES: u32 = 10;

/// Who is asked about units on one machine.
pub enum Place {
    /// The machine's tools.
    Here(Host),
    /// Its `fleetd`.
    There(Client),
    /// Nobody, and why.
    Nowhere(v2::Problem),
}

/// The machines of a unit, or the one of them that is `wanted`, and who is asked there: that one also while the unit is being taken away
/// from it. What is `forwarded` goes no further.
pub fn of_unit(
    api: &Api,
    name: &str,
    wanted: Option<&str>,
    forwarded: bool,
) -> Result<(UnitName, Vec<(MachineId, Place)>), v2::Problem> {
    let name: UnitName = name.parse().map_err(|_| unknown_unit(name))?;
    let view = api.view.read();
    if !view.units().contains_key(&name) {
        return Err(unknown_unit(name.as_str()));
    }
    let here: BTreeSet<&MachineId> = match wanted {
        None => view.placed_on(&name).collect(),
        Some(wanted) => {
            let reporting = view.states_of(&name).map(|(machine, _)| machine);
            view.placed_on(&name).chain(reporting).filter(|id| id.is_named_by(wanted)).collect()
        }
    };
    let place = |id: &MachineId| match (api.hosts.get(id), view.machines().get(id)) {
        (Some(host), _) => Place::Here(host.clone()),
        (None, None) => {
            Place::Nowhere(problem(Kind::MachineAbsent, format!("machine {} is absent: nobody can ask it", id.short())))
        }
        (None, Some(_)) if forwarded => Place::Nowhere(problem(
            Kind::MachineUnreachable,
            format!("machine {} is not served by the fleetd that says so at this address", id.short()),
        )),
        (None, Some(entry)) => there(id, &entry.record.api, api.tls()),
    };
    let places: Vec<(MachineId, Place)> = here.into_iter().map(|id| (id.clone(), place(id))).collect();
    if places.is_empty() {
        return Err(nowhere(&view, &name, wanted));
    }
    Ok((name, places))
}

/// The one machine of a unit that is wanted, or that it has, and who is asked there.
pub fn one_of_unit(
    api: &Api,
    name: &str,
    wanted: Option<&str>,
    forwarded: bool,
) -> Result<(UnitName, MachineId, Place), v2::Problem> {
    let (name, mut places) = of_unit(api, name, wanted, forwarded)?;
    match (places.pop(), &places[..]) {
        (Some((machine, place)), []) => Ok((name, machine, place)),
        (last, others) => {
            let ids: Vec<&str> = others.iter().chain(&last).map(|(machine, _)| machine.short()).collect();
            let problem = bad_request(format!("unit {name} is on {} machines: {}", ids.len(), ids.join(", ")));
            Err(problem.about(name.as_str()).with_hint("name one with --machine"))
        }
    }
}

/// Why a unit is not where it was looked for.
fn nowhere(view: &Picture, name: &UnitName, wanted: Option<&str>) -> v2::Problem {
    let about = |detail: String| problem(Kind::NoMachine, detail).about(name.as_str());
    let elsewhere: Vec<&str> = view.placed_on(name).map(MachineId::short).collect();
    let waiting = || convert::unit(view, name, convert::Reasons::Explained).and_then(|unit| unit.waiting);
    match wanted {
        Some(machine) if !elsewhere.is_empty() => {
            about(format!("unit {name} is not on machine {machine}, but on {}", elsewhere.join(", ")))
        }
        _ => match waiting() {
            Some(waiting) => about(format!("unit {name} is on no machine: {}", waiting.summary)),
            None => about(format!("unit {name} is on no machine: nobody has asked for that"))
                .with_hint(format!("start it: `fleetctl start {name}`")),
        },
    }
}

fn there(id: &MachineId, url: &str, tls: Option<Sides>) -> Place {
    if url.is_empty() {
        let title = format!("machine {} has another fleetd, whose API cannot be reached from here", id.short());
        let problem = problem(Kind::MachineUnreachable, title).with_hint(
            "let it listen where the other machines reach it: `listen = unix:///run/fleet.sock,ADDRESS:PORT`",
        );
        return Place::Nowhere(problem);
    }
    let client = |endpoint| {
        let begun = Client::builder(endpoint).timeout(Some(ANSWER_LIMIT));
        let begun = tls.into_iter().fold(begun, |begun, sides| begun.tls(sides.client));
        begun.build().map_err(|err| err.to_string())
    };
    match url.parse().map_err(|err: fleet_api::EndpointError| err.to_string()).and_then(client) {
        Ok(client) => Place::There(client),
        Err(reason) => {
            let title = format!("machine {} says a useless address of its API: {reason}", id.short());
            Place::Nowhere(problem(Kind::MachineUnreachable, title))
        }
    }
}

/// What `systemctl status` says on one machine, with so many lines of the journal.
pub async fn status(
    place: &Place,
    machine: &MachineId,
    name: &UnitName,
    lines: Option<u32>,
) -> Result<v2::StatusText, v2::Problem> {
    match place {
        Place::Here(host) => {
            let (text, exit_code) =
                host.status(name, lines.unwrap_or(STATUS_LINES)).await.map_err(|err| super::tools::failed(&err))?;
            Ok(v2::StatusText { machine: machine.to_string(), text, exit_code })
        }
        Place::There(client) => {
            let query = v2::StatusQuery { machine: Some(machine.to_string()), lines, forwarded: true };
            let texts = client.status(name.as_str(), &query).await.map_err(|err| unreachable(machine, err))?;
            texts.into_iter().next().ok_or_else(|| silent(machine, name))
        }
        Place::Nowhere(problem) => Err(problem.clone()),
    }
}

/// What systemd knows of a unit on one machine.
pub async fn properties(
    place: &Place,
    machine: &MachineId,
    name: &UnitName,
    names: &[String],
) -> Result<v2::UnitProperties, v2::Problem> {
    match place {
        Place::Here(host) => {
            let text = host.properties(name, names).await.map_err(|err| super::tools::failed(&err))?;
            let property =
                |(name, value): (&str, &str)| v2::Property { name: name.to_owned(), value: value.to_owned() };
            let properties = text.lines().filter_map(|line| line.split_once('=')).map(property).collect();
            Ok(v2::UnitProperties { machine: machine.to_string(), properties, problem: None })
        }
        Place::There(client) => {
            let names = (!names.is_empty()).then(|| names.join(","));
            let query = v2::PropertiesQuery { machine: Some(machine.to_string()), names, forwarded: true };
            let told = client.properties(name.as_str(), &query).await.map_err(|err| unreachable(machine, err))?;
            told.into_iter().next().ok_or_else(|| silent(machine, name))
        }
        Place::Nowhere(problem) => Err(problem.clone()),
    }
}

/// Has the systemd of one machine do something with a unit.
pub async fn act(
    place: &Place,
    machine: &MachineId,
    name: &UnitName,
    request: &v2::ActRequest,
    verb: &[String],
) -> Result<(), v2::Problem> {
    match place {
        Place::Here(host) => host.act(name, verb).await.map_err(|err| match err {
            HostError::Refused { reason } => problem(Kind::SystemdRefused, reason).about(name.as_str()),
            err => super::tools::failed(&err),
        }),
        Place::There(client) => {
            let request = v2::ActRequest { machine: Some(machine.to_string()), forwarded: true, ..request.clone() };
            let told = client.act(name.as_str(), &request).await.map_err(|err| unreachable(machine, err))?;
            told.into_iter().next().ok_or_else(|| silent(machine, name))?.problem.map_or(Ok(()), Err)
        }
        Place::Nowhere(problem) => Err(problem.clone()),
    }
}

fn silent(machine: &MachineId, name: &UnitName) -> v2::Problem {
    problem(Kind::MachineUnreachable, format!("machine {} says nothing of {name}", machine.short()))
}

/// A unit's journal by the `fleetd` of its machine.
pub async fn journal(
    client: &Client,
    machine: &MachineId,
    name: &UnitName,
    query: v2::JournalQuery,
) -> Result<TextStream, v2::Problem> {
    let query = v2::JournalQuery { machine: Some(machine.to_string()), forwarded: true, ..query };
    match tokio::time::timeout(ANSWER_LIMIT, client.journal(name.as_str(), &query)).await {
        Ok(opened) => opened.map_err(|err| unreachable(machine, err)),
        Err(_) => {
            let title = format!("no answer from the fleetd of machine {} within {ANSWER_LIMIT:?}", machine.short());
            Err(problem(Kind::MachineSilent, title))
        }
    }
}

/// A command beside a unit by the `fleetd` of its machine, under the ID of the request that asked for it.
pub async fn exec(
    client: &Client,
    machine: &MachineId,
    name: &UnitName,
    request: &v2::ExecRequest,
    request_id: Option<&str>,
) -> Result<TextStream, v2::Problem> {
    let query = v2::ExecQuery { machine: Some(machine.to_string()), forwarded: true };
    match tokio::time::timeout(ANSWER_LIMIT, client.exec_for(name.as_str(), &query, request, request_id)).await {
        Ok(begun) => begun.map_err(|err| unreachable(machine, err)),
        Err(_) => {
            let title = format!("no answer from the fleetd of machine {} within {ANSWER_LIMIT:?}", machine.short());
            Err(problem(Kind::MachineSilent, title))
        }
    }
}

fn unreachable(machine: &MachineId, err: ClientError) -> v2::Problem {
    match err {
        ClientError::Problem(problem) => *problem,
        err => {
            let findings = causes(&err);
            // Between our own words and the system's there are only the HTTP library's layers.
            let root = findings.last().map(|root| format!(": {}", root.message)).unwrap_or_default();
            let detail = format!("cannot ask machine {}: {err}{root}", machine.short());
            v2::Problem { findings, ..problem(Kind::MachineUnreachable, detail) }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use fleet_core::model::{Placement, TargetState, Timestamp, Unit, UnitState};
    use fleet_core::unit::{UnitFile, WhenIsolated};
    use fleet_store::mem::Mem;
    use fleet_store::registry::ops::{self, NewUnit, PlacementChange, Seat};
    use fleet_store::registry::{Key, MachineRecord, View};
    use fleet_store::{LeaseId, Store, Txn, TxnOutcome};
    use futures_util::StreamExt as _;
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    use super::*;
    use crate::listen::Listener;
    use crate::view::SharedView;

    const MACHINE: &str = "00000000000000000000000000000001";
    const UNIT: &str = "a.service";
    const TEXT: &str = "[Service]\nExecStart=/bin/true\n";

    /// One unit on one machine, as several daemons see it.
    struct Cluster {
        store: Arc<dyn Store>,
        view: SharedView,
        servers: JoinSet<()>,
    }

    impl Cluster {
        async fn new() -> Cluster {
            let store: Arc<dyn Store> = Arc::new(Mem::default());
            let (view, mut servers) = (SharedView::new(), JoinSet::new());
            servers.spawn(view.clone().follow(Arc::clone(&store), Duration::from_secs(600)));
            let cluster = Cluster { store, view, servers };
            let (name, file) = (UNIT.parse().expect("a name"), UnitFile::parse(TEXT).expect("a unit file"));
            let target = TargetState::Launched;
            let new = NewUnit { name: &name, original: TEXT, file: &file, target, template: None };
            cluster.write(|view| ops::create_unit(view, &new, Timestamp(0))).await;
            cluster.write(|view| ops::change_placements(view, &[placed(view)])).await;
            cluster
        }

        async fn write(&self, txn: impl FnOnce(&View) -> Result<Txn, ops::OpsError>) {
            let txn = txn(&self.view.read()).expect("a transaction");
            match self.store.commit(&txn).await.expect("the store is there") {
                TxnOutcome::Committed(revision) => self.view.reached(revision).await,
                TxnOutcome::Conflict(revision) => panic!("a conflict at {revision:?}"),
            }
        }

        /// The machine is there, and says this address of its API.
        async fn announce(&self, api: &str) -> LeaseId {
            let lease = self.store.grant(Duration::from_secs(600)).await.expect("a lease");
            let record = MachineRecord { api: api.to_owned(), ..MachineRecord::default() };
            let id = machine();
            let seen = self.view.read().mod_revision(&Key::Machine(id.clone()));
            self.write(|_| ops::announce(&id, &record, lease, seen)).await;
            lease
        }

        /// A daemon that serves these machines; gives the address of its API.
        async fn daemon(&mut self, hosts: BTreeMap<MachineId, Host>) -> String {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
            let url = format!("http://{}", listener.local_addr().expect("its address"));
            let api = Api::new(Arc::clone(&self.store), self.view.clone(), hosts);
            self.servers.spawn(crate::api::serve(api, Listener::Tcp(listener)));
            url
        }
    }

    fn machine() -> MachineId {
        MACHINE.parse().expect("a machine ID")
    }

    fn placed(view: &View) -> PlacementChange {
        let unit: UnitName = UNIT.parse().expect("a name");
        let wanted = &view.cluster().units[&unit];
        let placement = Placement {
            hash: wanted.hash,
            target: wanted.target,
            generation: wanted.generation,
            restarts: wanted.restarts,
            when_isolated: WhenIsolated::Keep,
            leaving: None,
        };
        PlacementChange { machine: machine(), unit, placement: Some(placement) }
    }

    /// Tools that print how they were called.
    fn telltale() -> BTreeMap<MachineId, Host> {
        BTreeMap::from([(machine(), Host::through(&["/bin/echo"]))])
    }

    fn client(url: &str) -> Client {
        Client::new(url.parse().expect("an endpoint"), Some(ANSWER_LIMIT)).expect("a client")
    }

    fn kind<T>(answer: Result<T, ClientError>) -> String {
        match answer {
            Ok(_) => "an answer".to_owned(),
            Err(ClientError::Problem(problem)) => problem.kind,
            Err(err) => err.to_string(),
        }
    }

    /// A unit that is being taken away says its last words where it was.
    #[tokio::test]
    async fn a_machine_is_asked_as_long_as_it_speaks_of_the_unit() {
        let mut cluster = Cluster::new().await;
        let lease = cluster.announce("").await;
        let serves = cluster.daemon(telltale()).await;
        let client = client(&serves);
        let of_one = v2::JournalQuery { machine: Some(MACHINE.to_owned()), ..v2::JournalQuery::default() };
        let of_any = v2::JournalQuery::default();
        let ask = async |query| kind(client.journal(UNIT, query).await);
        assert_eq!((ask(&of_one).await, ask(&of_any).await), ("an answer".to_owned(), "an answer".to_owned()));
        cluster
            .write(|view| {
                Ok(ops::report_states(&machine(), [(&unit(), Some(&state(view)))], seat(view, lease))?.remove(0))
            })
            .await;
        cluster
            .write(|view| ops::change_placements(view, &[PlacementChange { placement: None, ..placed(view) }]))
            .await;
        assert_eq!((ask(&of_one).await, ask(&of_any).await), ("an answer".to_owned(), "no-machine".to_owned()));
        cluster.write(|view| Ok(ops::report_states(&machine(), [(&unit(), None)], seat(view, lease))?.remove(0))).await;
        assert_eq!(ask(&of_one).await, "no-machine");
    }

    fn unit() -> UnitName {
        UNIT.parse().expect("a name")
    }

    fn seat(view: &View, lease: LeaseId) -> Seat {
        Seat { lease, record: view.mod_revision(&Key::Machine(machine())).expect("it is there") }
    }

    fn state(view: &View) -> UnitState {
        let Unit { hash, generation, restarts, .. } = view.cluster().units[&unit()];
        let [load, active, sub] = ["loaded", "deactivating", "stop-sigterm"].map(str::to_owned);
        let (result, error) = (String::new(), String::new());
        let (reached, since, left) = (TargetState::Launched, Timestamp(0), None);
        UnitState { load, active, sub, result, hash, done: generation, restarts, reached, error, since, left }
    }

    #[tokio::test]
    async fn the_daemon_of_the_machine_is_asked() {
        let mut cluster = Cluster::new().await;
        let serves = cluster.daemon(telltale()).await;
        let other = cluster.daemon(BTreeMap::new()).await;
        let asked = client(&other);
        let all = v2::StatusQuery::default();
        let status = || asked.status(UNIT, &all);

        assert_eq!(kind(status().await), "machine-absent");
        cluster.announce("").await;
        assert_eq!(kind(status().await), "machine-unreachable", "it says no address");
        // Two that take each other for the right one: nothing goes in circles.
        cluster.announce(&other).await;
        assert_eq!(kind(status().await), "machine-unreachable");
        cluster.announce("http://127.0.0.1:1").await;
        assert_eq!(kind(status().await), "machine-unreachable", "nobody listens there");

        cluster.announce(&serves).await;
        let texts = status().await.expect("an answer");
        let [status] = &texts[..] else { panic!("not one machine: {texts:?}") };
        assert_eq!((status.machine.as_str(), status.exit_code), (MACHINE, 0));
        assert_eq!(status.text, "systemctl status --full --no-pager --lines=10 -- a.service\n");
        let more = v2::StatusQuery { lines: Some(99), ..v2::StatusQuery::default() };
        let texts = asked.status(UNIT, &more).await.expect("an answer");
        assert_eq!(texts[0].text, "systemctl status --full --no-pager --lines=99 -- a.service\n");
        let names =
            |names: &str| v2::PropertiesQuery { names: Some(names.to_owned()), ..v2::PropertiesQuery::default() };
        let told = asked.properties(UNIT, &names("MainPID,Id")).await.expect("an answer");
        let property = v2::Property {
            name: "systemctl show --all --no-pager --property".to_owned(),
            value: "MainPID --property=Id -- a.service".to_owned(),
        };
        assert_eq!((told[0].machine.as_str(), &told[0].properties[..]), (MACHINE, &[property][..]));
        for wrong in ["Main PID", "--all", "MainPID,", &"x".repeat(v2::WORD_LEN_MAX + 1)] {
            assert_eq!(kind(asked.properties(UNIT, &names(wrong)).await), "bad-request", "{wrong}");
        }
        let act = |signal: &str| v2::ActRequest {
            act: v2::Act::Kill,
            signal: Some(signal.to_owned()),
            whom: Some(v2::Whom::Main),
            machine: None,
            forwarded: false,
        };
        let done = asked.act(UNIT, &act("HUP")).await.expect("an answer");
        assert_eq!(done, [v2::Acted { machine: MACHINE.to_owned(), problem: None }]);
        assert_eq!(kind(asked.act(UNIT, &act("HUP --all")).await), "bad-request");
        let reload = v2::ActRequest { act: v2::Act::Reload, ..act("HUP") };
        assert_eq!(kind(asked.act(UNIT, &reload).await), "bad-request", "only `kill` has a signal");

        let query = v2::JournalQuery { lines: Some(3), ..v2::JournalQuery::default() };
        let mut pieces = asked.journal(UNIT, &query).await.expect("an answer");
        let mut text = Vec::new();
        while let Some(piece) = pieces.next().await {
            text.extend(piece.expect("a piece"));
        }
        assert_eq!(
            String::from_utf8_lossy(&text),
            "journalctl --no-pager --quiet --output=short --lines=3 --unit a.service\n"
        );
    }
}
