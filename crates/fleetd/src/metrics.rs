//! What is counted and timed, and shown at `/metrics` in Prometheus' text format; each metric is described in `docs/fleetd.md`.
//!
//! One registry for the process, because a process is what Prometheus asks. Nothing here decides anything, and nothing else reads
//! it. Names that the original had mean what they meant there, as far as there is such a thing here.

use std::sync::LazyLock;
use std::time::Duration;

use fleet_core::engine::{PlacementWrite, Plan};
use fleet_core::model::{MachineId, TargetState};
use fleet_store::registry::View;
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Encoder as _, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

/// Bounds in seconds, from a round over a few units to an etcd that hardly answers.
const SECONDS: [f64; 12] = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0];

/// The metrics of this process.
pub static METRICS: LazyLock<Metrics> =
    LazyLock::new(|| Metrics::new().expect("names are valid and there is one of each"));

/// All that is measured.
pub struct Metrics {
    registry: Registry,
    leader_start_time: Gauge,
    tasks: IntCounterVec,
    tasks_failed: IntCounterVec,
    rounds: IntCounter,
    rounds_failed: IntCounterVec,
    round_seconds: Histogram,
    store_calls: IntCounterVec,
    store_calls_failed: IntCounterVec,
    store_seconds: HistogramVec,
    jobs: IntCounterVec,
    requests: IntCounterVec,
    request_seconds: HistogramVec,
    connections: IntGaugeVec,
    machines: IntGauge,
    units: IntGaugeVec,
    units_waiting: IntGauge,
    unit_states: IntGaugeVec,
    store_revision: Gauge,
}

/// What an engine asked to be written, as the original counted it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tasks {
    placed: u64,
    taken_away: u64,
    /// Of those, how many from a machine that is lost.
    machine_away: u64,
}

impl Tasks {
    /// The tasks of a plan.
    pub fn of(plan: &Plan, is_present: impl Fn(&MachineId) -> bool) -> Tasks {
        let mut tasks = Tasks::default();
        for write in plan.writes() {
            match write {
                PlacementWrite::Put { .. } => tasks.placed += 1,
                PlacementWrite::Delete { machine, .. } => {
                    tasks.taken_away += 1;
                    tasks.machine_away += u64::from(!is_present(machine));
                }
            }
        }
        tasks
    }
}

impl Metrics {
    fn new() -> prometheus::Result<Metrics> {
        let registry = Registry::new();
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let add = Add(&registry);
        let build = add.gauges("fleet_build_info", "Always 1; the label says which fleetd this is.", &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1.0);
        Ok(Metrics {
            leader_start_time: add.gauge(
                "fleet_engine_leader_start_time",
                "When this engine took the lead, in seconds since the epoch; 0 while it does not lead.",
            )?,
            tasks: add.counters("fleet_engine_task_count_total", "Placements that the engine wrote or took away.", &["type"])?,
            tasks_failed: add.counters(
                "fleet_engine_task_failure_count_total",
                "Those of them that could not be written; they are decided anew.",
                &["type"],
            )?,
            rounds: add.counter("fleet_engine_reconcile_count_total", "How often the engine looked at what changed.")?,
            rounds_failed: add.counters(
                "fleet_engine_reconcile_failure_count_total",
                "What went wrong: `machine_away` is a unit taken from a lost machine, `run` a plan that was not written.",
                &["type"],
            )?,
            round_seconds: add.histogram("fleet_engine_reconcile_duration_second", "How long a look of the engine took.")?,
            store_calls: add.counters("fleet_registry_operation_count_total", "Calls of the store.", &["type"])?,
            store_calls_failed: add.counters("fleet_registry_operation_failed_count_total", "Those of them that failed.", &["type"])?,
            store_seconds: add.histograms("fleet_registry_operation_duration_second", "How long they took.", "ops")?,
            jobs: add.counters("fleet_agent_jobs_total", "Jobs of systemd that the agents ran, by how they ended.", &["job", "result"])?,
            requests: add.counters("fleet_api_requests_total", "Requests that were answered.", &["api", "method", "code"])?,
            request_seconds: add.histograms("fleet_api_request_duration_seconds", "How long they took until their answer began.", "api")?,
            connections: add.int_gauges("fleet_api_connections", "Open connections.", "socket")?,
            machines: add.int_gauge("fleet_machines", "Machines that are present.")?,
            units: add.int_gauges("fleet_units", "Units, by how far they are to be taken.", "desired_state")?,
            units_waiting: add.int_gauge("fleet_units_waiting", "Units that are wanted on a machine and are on none.")?,
            unit_states: add.int_gauges("fleet_unit_states", "What machines say of their units, by systemd's active state.", "active")?,
            store_revision: add.gauge("fleet_store_revision", "The store's revision that this daemon has seen.")?,
            registry,
        })
    }

    /// This engine leads now, or no more.
    pub fn lead(&self, since: Option<fleet_core::model::Timestamp>) {
        self.leader_start_time.set(since.map_or(0.0, |since| Duration::from_millis(since.0).as_secs_f64()));
    }

    /// The engine looked at what changed.
    pub fn round(&self, took: Duration) {
        self.rounds.inc();
        self.round_seconds.observe(took.as_secs_f64());
    }

    /// The engine asked for this to be written.
    pub fn planned(&self, tasks: Tasks) {
        self.tasks.with_label_values(&["attemptscheduleunit"]).inc_by(tasks.placed);
        self.tasks.with_label_values(&["unscheduleunit"]).inc_by(tasks.taken_away);
        self.rounds_failed.with_label_values(&["machine_away"]).inc_by(tasks.machine_away);
    }

    /// It was not written.
    pub fn not_written(&self, tasks: Tasks) {
        self.tasks_failed.with_label_values(&["attemptscheduleunit"]).inc_by(tasks.placed);
        self.tasks_failed.with_label_values(&["unscheduleunit"]).inc_by(tasks.taken_away);
        self.rounds_failed.with_label_values(&["run"]).inc();
    }

    /// The store was called.
    pub fn store_call(&self, kind: &str, took: Duration, worked: bool) {
        self.store_calls.with_label_values(&[kind]).inc();
        self.store_seconds.with_label_values(&[kind]).observe(took.as_secs_f64());
        if !worked {
            self.store_calls_failed.with_label_values(&[kind]).inc();
        }
    }

    /// An agent's job ended.
    pub fn job(&self, job: &str, result: &str) {
        self.jobs.with_label_values(&[job, result]).inc();
    }

    /// A request was answered. `method` is one of those that HTTP names: a label has no values of a client's choice.
    pub fn request(&self, api: &str, method: &str, code: u16, took: Duration) {
        self.requests.with_label_values(&[api, method, &code.to_string()]).inc();
        self.request_seconds.with_label_values(&[api]).observe(took.as_secs_f64());
    }

    /// A connection is there, until what is given back is dropped.
    pub fn connection(&self, socket: &str) -> Connected {
        let gauge = self.connections.with_label_values(&[socket]);
        gauge.inc();
        Connected(gauge)
    }

    /// All of it as text, with what the picture shows at this moment.
    ///
    /// # Errors
    /// None that are known; the encoder's interface allows for some.
    pub fn text(&self, view: &View) -> prometheus::Result<String> {
        self.look(view);
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        String::from_utf8(text).map_err(|err| prometheus::Error::Msg(err.to_string()))
    }

    fn look(&self, view: &View) {
        self.machines.set(count(view.machines().len()));
        #[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
        self.store_revision.set(view.revision().0 as f64);
        self.units_waiting.set(count(
            view.units()
                .iter()
                .filter(|(name, unit)| unit.target != TargetState::Inactive && view.placed_on(name).next().is_none())
                .count(),
        ));
        for target in [TargetState::Inactive, TargetState::Loaded, TargetState::Launched] {
            let n = view.units().values().filter(|unit| unit.target == target).count();
            self.units.with_label_values(&[target.as_str()]).set(count(n));
        }
        // What no unit is any more is shown no more.
        self.unit_states.reset();
        for state in view.states().values().flat_map(|states| states.values()) {
            self.unit_states.with_label_values(&[&state.active]).inc();
        }
    }
}

/// The content type of [`Metrics::text`], as the original had it.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// An open connection.
pub struct Connected(IntGauge);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Makes metrics that are in the registry.
struct Add<'a>(&'a Registry);

impl Add<'_> {
    fn keep<M: prometheus::core::Collector + Clone + 'static>(&self, metric: M) -> prometheus::Result<M> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn counter(&self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        self.keep(IntCounter::new(name, help)?)
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
        self.keep(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    fn gauge(&self, name: &str, help: &str) -> prometheus::Result<Gauge> {
        self.keep(Gauge::new(name, help)?)
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<GaugeVec> {
        self.keep(GaugeVec::new(Opts::new(name, help), labels)?)
    }

    fn int_gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.keep(IntGauge::new(name, help)?)
    }

    fn int_gauges(&self, name: &str, help: &str, label: &str) -> prometheus::Result<IntGaugeVec> {
        self.keep(IntGaugeVec::new(Opts::new(name, help), &[label])?)
    }

    fn histogram(&self, name: &str, help: &str) -> prometheus::Result<Histogram> {
        self.keep(Histogram::with_opts(HistogramOpts::new(name, help).buckets(SECONDS.to_vec()))?)
    }

    fn histograms(&self, name: &str, help: &str, label: &str) -> prometheus::Result<HistogramVec> {
        self.keep(HistogramVec::new(HistogramOpts::new(name, help).buckets(SECONDS.to_vec()), &[label])?)
    }
}
