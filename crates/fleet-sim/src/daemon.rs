//! One `fleetd`: the real shells, on a store and a systemd that are ours.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fleet_api::v2;
use fleet_core::agent::SLICES_DEFAULT;
use fleet_core::engine::EngineConfig;
use fleet_core::model::Revision;
use fleet_core::unit::UnitName;
use fleet_store::Store;
use fleet_store::registry::MachineRecord;
use fleetd::Api;
use fleetd::guard::Site;
use fleetd::leave::{Departure, Served, leave};
use fleetd::parts::{self, Settings};
use fleetd::view::SharedView;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::bug::Bug;
use crate::gate::Gate;
use crate::guard::{Holder, boot_clock};
use crate::hands::Hands;
use crate::link::Link;
use crate::units::DISK;
use crate::users::{Answer, Wish};
use crate::world::{Cable, Ear, End, Life, Who, World};

/// The guard's service as the fake systemd has to know it; what it does is in `guard`.
const GUARD_TEXT: &str = "[Service]\nType=notify\nExecStart=/opt/guard\nTimeoutStopSec=1s\n";

/// How long a request waits for the first look at the store. As in the API's server.
const FIRST_LOOK_LIMIT: Duration = Duration::from_secs(5);

/// A `fleetd` that runs. Dropping it is its death, at whatever it does.
pub(crate) struct Daemon {
    life: Arc<Life>,
    parts: JoinSet<()>,
    calls: JoinSet<()>,
    api: Api,
    view: SharedView,
    /// What it tells of its machine; `None` once it leaves.
    record: Option<watch::Sender<MachineRecord>>,
}

/// What users wished together, and what each was told.
pub(crate) type Told = Vec<(UnitName, Wish, Answer)>;

impl Daemon {
    /// Starts one.
    pub(crate) fn start(
        world: &Arc<World>,
        who: Who,
        boot_id: String,
        cable: &Arc<Cable>,
        settings: Settings,
        disk: &str,
    ) -> Daemon {
        let host = &world.hosts[who.daemon];
        let life = Arc::new(Life {
            who,
            world: Arc::clone(world),
            gate: Gate::default(),
            cable: Arc::clone(cable),
            ear: Ear::default(),
            departure: Departure::default(),
        });
        let store: Arc<dyn Store> = Arc::new(Link(Arc::clone(&life)));
        let view = SharedView::new();
        let leader_id = Some(format!("{} {boot_id}", host.id));
        let mut parts = JoinSet::new();
        parts::serve_cluster(&mut parts, Arc::clone(&store), view.clone(), settings, leader_id);
        let record = MachineRecord {
            public_ip: format!("192.0.2.{}", who.daemon + 1),
            metadata: [(DISK.to_owned(), disk.to_owned())].into(),
            version: "0".to_owned(),
            name: None,
            boot_id,
            api: String::new(),
            leaving: false,
            capabilities: Default::default(),
        };
        let manager = Arc::new(Hands::new(Arc::clone(&life), host.fake.manager()));
        let (record, told) = watch::channel(record);
        let site = Site { unit_text: GUARD_TEXT.to_owned(), permit: Box::new(Holder(Arc::clone(&host.slip))) };
        let departure = life.departure.clone();
        parts.spawn(parts::serve_machine(
            host.id.clone(),
            told,
            Arc::clone(&store),
            manager,
            site,
            settings,
            departure,
        ));
        let api = Api::new(store, view.clone(), Default::default());
        life.say(|| "starts".to_owned());
        Daemon { life, parts, calls: JoinSet::new(), api, view, record: Some(record) }
    }

    /// Reads its configuration anew (SIGHUP), which has another disk.
    pub(crate) fn reload(&self, disk: &str) {
        if let Some(record) = &self.record {
            record.send_modify(|record| record.metadata = [(DISK.to_owned(), disk.to_owned())].into());
        }
    }

    /// Is told to stop (SIGTERM), with `leave_on_stop` set: each of the two steps takes `limit` at most.
    pub(crate) fn leave(&mut self, limit: Duration) {
        let Some(record) = self.record.take() else { return };
        let (life, view) = (Arc::clone(&self.life), self.view.clone());
        let departure = life.departure.clone();
        if life.world.has(Bug::LeavesInHaste) {
            departure.unload.cancel();
        }
        if life.world.has(Bug::WithdrawsFirst) {
            departure.empty.cancel();
        }
        let until_ms = life.world.trace.now_ms() + u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        life.world.judge().leaves(life.who, until_ms);
        let machines = BTreeMap::from([(life.world.hosts[life.who.daemon].id.clone(), Served { record, departure })]);
        self.calls.spawn(async move {
            leave(&view, &machines, limit).await;
            life.gate.pass().await;
            life.world.ends(life.who, End::Left);
        });
    }

    /// Whether it is on its way out.
    pub(crate) fn is_leaving(&self) -> bool {
        self.record.is_none()
    }

    pub(crate) fn who(&self) -> Who {
        self.life.who
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.life.gate
    }

    /// Asks for something; the answer, or that there will be none, goes to `answers`.
    pub(crate) fn ask(&mut self, wishes: Vec<(UnitName, Wish)>, answers: mpsc::UnboundedSender<Told>) {
        let (api, view) = (self.api.clone(), self.view.clone());
        let asked = Asked { wishes, answers };
        self.calls.spawn(async move {
            if timeout(FIRST_LOOK_LIMIT, view.reached(Revision(0))).await.is_err() {
                return asked.told(|_| Answer::NotWritten);
            }
            let changes = asked.wishes.iter().map(|(unit, wish)| wish.change(unit)).collect();
            match api.change(v2::ChangeRequest { changes }).await {
                Ok(response) => asked.told(|idx| match response.results.get(idx).map(|result| result.outcome) {
                    None => Answer::Unknown,
                    Some(v2::Outcome::Refused) if is_unknown(&response.results[idx]) => Answer::NoSuchUnit,
                    Some(v2::Outcome::Refused) => Answer::NotWritten,
                    Some(v2::Outcome::Unchanged) => Answer::Same,
                    Some(_) => Answer::Done,
                }),
                Err(_) => asked.told(|_| Answer::Unknown),
            }
        });
    }

    /// A part that ended, which none does by itself.
    pub(crate) fn ended(&mut self) -> Option<String> {
        while self.calls.try_join_next().is_some() {}
        self.parts.try_join_next().map(|ended| match ended {
            Ok(()) => "a part of it ended".to_owned(),
            Err(err) => format!("a part of it ended: {err}"),
        })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Its tasks are dropped when the runtime comes to them; until then they can do nothing any more.
        self.life.gate.kill();
    }
}

fn is_unknown(result: &v2::ChangeResult) -> bool {
    result.problem.as_ref().is_some_and(|problem| problem.is(v2::ProblemKind::UnknownUnit))
}

/// A question that is always answered: if not by the daemon, then by its death.
struct Asked {
    wishes: Vec<(UnitName, Wish)>,
    answers: mpsc::UnboundedSender<Told>,
}

impl Asked {
    fn told(mut self, answer: impl Fn(usize) -> Answer) {
        self.tell(answer);
    }

    fn tell(&mut self, answer: impl Fn(usize) -> Answer) {
        let wishes = std::mem::take(&mut self.wishes);
        let told: Told = wishes.into_iter().enumerate().map(|(idx, (unit, wish))| (unit, wish, answer(idx))).collect();
        if !told.is_empty() {
            // The simulation may be over.
            let _ = self.answers.send(told);
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.tell(|_| Answer::Unknown);
    }
}

/// How long the lead outlives its leader's last sign of life, as a daemon has it by default.
const LEADER_TTL: Duration = Duration::from_secs(10);

/// The settings of all daemons of a simulation.
pub(crate) fn settings(resync_s: u64, agent_ttl_s: u64, losses: EngineConfig) -> Settings {
    Settings {
        resync: Duration::from_secs(resync_s),
        agent_ttl: Duration::from_secs(agent_ttl_s),
        losses,
        leader_ttl: LEADER_TTL,
        n_slices: SLICES_DEFAULT,
        boot_clock,
    }
}
