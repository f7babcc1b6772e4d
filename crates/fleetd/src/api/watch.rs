//! `POST /watch`: the picture of some units, and each change of it.
//!
//! A unit that waits is shown at once, and why it waits a little later: to work out the reasons asks every machine, and most
//! units wait only until the engine has looked at them. Measured: a start of 1,000 units spent an eighth of this daemon's
//! time on reasons that were past before anyone could read them, and one unit's change asked for those of all that wait.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fleet_api::v2;
use fleet_core::model::Revision;
use fleet_core::unit::UnitName;
use fleet_store::registry::{Key, View};
use futures_util::stream::{self, Stream};
use tokio::time::Instant;

use super::convert;
use super::problem::{Kind, problem};
use crate::view::{Changes, Listener, Picture, SharedView};

/// How long a unit waits, or its reasons are old, before they are worked out. An engine at work has placed it by then; a person
/// does not notice.
const REASONS_AFTER: Duration = Duration::from_millis(100);

/// The pause before reasons are worked out is at least so many times what all of them took the last time, so that one
/// watcher of many stuck units in a lively cluster does not keep the daemon busy.
const REASONS_PAUSE_FACTOR: u32 = 4;

/// Of so many units the reasons are worked out in one go: changes of the picture wait for that.
const REASONS_AT_ONCE: usize = 50;

/// How long a watch is silent at most.
const HEARTBEAT: Duration = Duration::from_secs(v2::HEARTBEAT_S);

/// What one watch follows, and where it is.
struct Follow {
    listener: Listener,
    view: SharedView,
    /// `None` for all.
    names: Option<BTreeSet<UnitName>>,
    reasons: Reasons,
    begun: bool,
}

/// Why units of this watch wait. The reasons of each change with any machine and any unit.
#[derive(Default)]
struct Reasons {
    /// The units that wait, with the reasons that were sent last.
    waiting: BTreeMap<UnitName, Option<v2::Waiting>>,
    /// Those of them whose reasons may be other ones by now.
    stale: BTreeSet<UnitName>,
    /// When to look at the stale ones, if there are any.
    due: Option<Instant>,
    /// How long all the goes since the last pause took.
    spent: Duration,
}

/// JSON lines, several in a piece when they came together.
pub async fn follow(
    view: &SharedView,
    request: v2::WatchRequest,
) -> Result<impl Stream<Item = Result<String, std::convert::Infallible>> + use<>, v2::Problem> {
    let mut names = BTreeSet::new();
    for name in &request.units {
        names.insert(
            name.parse().map_err(|err: fleet_core::unit::UnitNameError| {
                problem(Kind::BadUnitName, err.to_string()).about(name)
            })?,
        );
    }
    // Heard from here on, so nothing is missed between the first picture and the first change.
    let listener = view.listen();
    view.reached(Revision(request.revision)).await;
    let names = (!names.is_empty()).then_some(names);
    let follow = Follow { listener, view: view.clone(), names, reasons: Reasons::default(), begun: false };
    Ok(stream::unfold(follow, |mut follow| async move {
        let lines = follow.next().await;
        Some((Ok(lines), follow))
    }))
}

impl Follow {
    async fn next(&mut self) -> String {
        if !self.begun {
            self.begun = true;
            let view = self.view.clone();
            let view = view.read();
            let names = self.all(&view);
            return lines(&view, names, &mut self.reasons) + &without_name(&view);
        }
        // A lot may happen that is not asked for: the time goes on meanwhile.
        let beat = Instant::now() + HEARTBEAT;
        let Follow { listener, view, names, reasons, .. } = self;
        loop {
            let due = reasons.due;
            let lines = tokio::select! {
                lines = listener.next(|view, changes| {
                    let (changed, reasons_changed) = match changes {
                        Changes::Everything => (all(view, names.as_ref()), true),
                        Changes::Keys(keys) => concerned(view, &keys, names.as_ref()),
                    };
                    if reasons_changed {
                        reasons.all_stale();
                    }
                    lines(view, changed, reasons)
                }) => lines,
                () = until(due) => reasons.go(&view.read()),
                () = tokio::time::sleep_until(beat) => without_name(&view.read()),
            };
            if !lines.is_empty() {
                return lines;
            }
        }
    }

    fn all(&self, view: &View) -> BTreeSet<UnitName> {
        all(view, self.names.as_ref())
    }
}

impl Reasons {
    /// Takes in how a unit is. For one that waits, gives the reasons that are known.
    fn note(&mut self, name: &UnitName, waits: bool) -> Option<v2::Waiting> {
        if !waits {
            self.waiting.remove(name);
            self.stale.remove(name);
            return None;
        }
        self.stale.insert(name.clone());
        self.plan();
        self.waiting.entry(name.clone()).or_default().clone()
    }

    fn all_stale(&mut self) {
        self.stale.extend(self.waiting.keys().cloned());
        self.plan();
    }

    fn plan(&mut self) {
        if self.due.is_none() && !self.stale.is_empty() {
            let pause = REASONS_AFTER.max(std::mem::take(&mut self.spent) * REASONS_PAUSE_FACTOR);
            self.due = Some(Instant::now() + pause);
        }
    }

    /// Works out the reasons of some stale units; gives the lines of those whose reasons are other ones.
    fn go(&mut self, view: &Picture) -> String {
        let begun = Instant::now();
        let mut lines = String::new();
        for _ in 0..REASONS_AT_ONCE {
            let Some(name) = self.stale.pop_first() else { break };
            let unit = convert::unit(view, &name, convert::Reasons::Explained);
            let Some(reasons) = unit.as_ref().and_then(|unit| unit.waiting.clone()) else {
                // It waits no longer, which is told by its own change.
                self.waiting.remove(&name);
                continue;
            };
            let known = self.waiting.entry(name.clone()).or_default();
            if known.as_ref() != Some(&reasons) {
                *known = Some(reasons);
                lines += &line(&v2::WatchEvent { revision: view.revision().0, name: name.to_string(), unit });
            }
        }
        let took = begun.elapsed();
        self.spent += took;
        // Those that are left come soon, but others get as much time in between.
        self.due = (!self.stale.is_empty()).then(|| Instant::now() + took);
        lines
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

fn all(view: &View, names: Option<&BTreeSet<UnitName>>) -> BTreeSet<UnitName> {
    match names {
        Some(names) => names.clone(),
        None => convert::names(view),
    }
}

/// The units of this watch that a change of these keys shows in, and whether the reasons of all that wait may be others.
fn concerned(view: &View, keys: &BTreeSet<Key>, names: Option<&BTreeSet<UnitName>>) -> (BTreeSet<UnitName>, bool) {
    let mut changed = BTreeSet::new();
    let mut reasons_changed = false;
    for key in keys {
        match key {
            Key::State(_, name) => {
                changed.insert(name.clone());
            }
            Key::Unit(name) | Key::Placement(_, name) => {
                changed.insert(name.clone());
                reasons_changed = true;
            }
            Key::Machine(id) => {
                // It is lost or back, and so is what it has.
                let placed = view.cluster().placements.get(id).into_iter().flatten();
                changed.extend(placed.map(|(name, _)| name.clone()));
                reasons_changed = true;
            }
            Key::Metadata(..) | Key::Cordon(_) | Key::Drain(_) | Key::GivenUp(_) | Key::Brake => {
                reasons_changed = true;
            }
            Key::File(_) | Key::Leader | Key::Operators(_) | Key::Request(..) => (),
        }
    }
    match names {
        Some(names) => (changed.intersection(names).cloned().collect(), reasons_changed),
        None => (changed, reasons_changed),
    }
}

fn lines(view: &Picture, names: BTreeSet<UnitName>, reasons: &mut Reasons) -> String {
    let mut lines = String::new();
    for name in names {
        let mut unit = convert::unit(view, &name, convert::Reasons::Left);
        let known = reasons.note(&name, unit.as_ref().is_some_and(convert::waits));
        if let Some(unit) = &mut unit {
            unit.waiting = known;
        }
        lines += &line(&v2::WatchEvent { revision: view.revision().0, name: name.to_string(), unit });
    }
    lines
}

/// What says that all units were shown, and later that nothing was missed up to this revision.
fn without_name(view: &Picture) -> String {
    line(&v2::WatchEvent { revision: view.revision().0, name: String::new(), unit: None })
}

fn line(event: &v2::WatchEvent) -> String {
    // A wire type of strings and numbers always has a JSON form.
    let mut line = serde_json::to_string(event).unwrap_or_default();
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::sync::Arc;

    use fleet_core::model::{TargetState, Timestamp};
    use fleet_core::unit::UnitFile;
    use fleet_store::mem::Mem;
    use fleet_store::registry::ops::{self, NewUnit};
    use fleet_store::{Store, Txn, TxnOutcome};
    use futures_util::StreamExt as _;

    use super::*;

    /// How long a piece may take: far more than it does.
    const LIMIT: Duration = Duration::from_secs(20);

    const TEXT: &str = "[Service]\nExecStart=/bin/true\n";

    async fn commit(store: &dyn Store, view: &SharedView, txn: Txn) {
        match store.commit(&txn).await.expect("the store is there") {
            TxnOutcome::Committed(revision) => view.reached(revision).await,
            TxnOutcome::Conflict(revision) => panic!("a conflict at {revision:?}"),
        }
    }

    async fn create(store: &dyn Store, view: &SharedView, name: &str) {
        let (name, file) = (name.parse().expect("a name"), UnitFile::parse(TEXT).expect("a unit file"));
        let new = NewUnit { name: &name, original: TEXT, file: &file, target: TargetState::Launched, template: None };
        let txn = ops::create_unit(&view.read(), &new, Timestamp(0)).expect("it is new");
        commit(store, view, txn).await;
    }

    /// The next piece, each line as the unit's name and what it says of its waiting.
    async fn piece(stream: &mut Pin<&mut impl Stream<Item = Result<String, std::convert::Infallible>>>) -> Vec<String> {
        let piece = tokio::time::timeout(LIMIT, stream.next()).await.expect("in time").expect("endless");
        let line = |line: &str| {
            let event: v2::WatchEvent = serde_json::from_str(line).expect("a watch event");
            let waits = event.unit.as_ref().map_or("", |unit| match unit.waiting {
                Some(_) => " waits for a reason",
                None if convert::waits(unit) => " waits",
                None => "",
            });
            format!("{}{waits}", event.name)
        };
        piece.unwrap_or_default().lines().map(line).collect()
    }

    #[tokio::test]
    async fn reasons_follow_and_are_said_once() {
        let store: Arc<dyn Store> = Arc::new(Mem::default());
        let view = SharedView::new();
        let _follower = tokio::spawn(view.clone().follow(Arc::clone(&store), LIMIT));
        view.reached(Revision(0)).await;
        create(&*store, &view, "a.service").await;
        let request = v2::WatchRequest { units: Vec::new(), revision: 0 };
        let mut stream = pin!(follow(&view, request).await.expect("a watch"));
        assert_eq!(piece(&mut stream).await, ["a.service waits", ""]);
        assert_eq!(piece(&mut stream).await, ["a.service waits for a reason"]);

        // Another unit is a reason to look at the reasons again; they are the same and not said again.
        create(&*store, &view, "b.service").await;
        assert_eq!(piece(&mut stream).await, ["b.service waits"]);
        assert_eq!(piece(&mut stream).await, ["b.service waits for a reason"]);

        // What nobody wants any more waits no longer.
        let a = "a.service".parse().expect("a name");
        let txn = ops::set_target(&view.read(), &a, TargetState::Inactive, Timestamp(0)).expect("it exists");
        commit(&*store, &view, txn).await;
        assert_eq!(piece(&mut stream).await, ["a.service"]);
    }

    /// Time is the test's.
    #[tokio::test(start_paused = true)]
    async fn a_watch_on_which_nothing_happens_tells_that_it_is_there() {
        let store: Arc<dyn Store> = Arc::new(Mem::default());
        let view = SharedView::new();
        let _follower = tokio::spawn(view.clone().follow(Arc::clone(&store), LIMIT));
        view.reached(Revision(0)).await;
        create(&*store, &view, "a.service").await;
        let request = v2::WatchRequest { units: vec!["b.service".to_owned()], revision: 0 };
        let mut stream = pin!(follow(&view, request).await.expect("a watch"));
        assert_eq!(piece(&mut stream).await, ["b.service", ""]);
        let begun = Instant::now();
        for n in 1..=3 {
            assert_eq!(piece(&mut stream).await, [""]);
            assert_eq!(begun.elapsed(), n * HEARTBEAT);
        }
    }
}
