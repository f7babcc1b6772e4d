//! `POST /watch`: the picture of some units, and each change of it.

use std::collections::BTreeSet;

use fleet_api::v2;
use fleet_core::model::Revision;
use fleet_core::unit::UnitName;
use fleet_store::registry::{Key, View};
use futures_util::stream::{self, Stream};

use super::convert::{self, Reasons};
use super::problem::problem;
use crate::view::{Changes, Listener, SharedView};

/// What one watch follows, and where it is.
struct Follow {
    listener: Listener,
    view: SharedView,
    /// `None` for all.
    names: Option<BTreeSet<UnitName>>,
    /// What was sent last for units that wait: their reasons change with any machine or unit.
    waiting: BTreeSet<UnitName>,
    begun: bool,
}

/// JSON lines, several in a piece when they came together.
pub async fn follow(
    view: &SharedView,
    request: v2::WatchRequest,
) -> Result<impl Stream<Item = Result<String, std::convert::Infallible>> + use<>, v2::Problem> {
    let mut names = BTreeSet::new();
    for name in &request.units {
        names.insert(
            name.parse()
                .map_err(|err: fleet_core::unit::UnitNameError| problem("bad-unit-name", 400, err.to_string()))?,
        );
    }
    // Heard from here on, so nothing is missed between the first picture and the first change.
    let listener = view.listen();
    view.reached(Revision(request.revision)).await;
    let names = (!names.is_empty()).then_some(names);
    let follow = Follow { listener, view: view.clone(), names, waiting: BTreeSet::new(), begun: false };
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
            let mut lines = lines(&view, names, &mut self.waiting);
            lines += &line(&v2::WatchEvent { revision: view.revision().0, name: String::new(), unit: None });
            return lines;
        }
        let Follow { listener, names, waiting, .. } = self;
        loop {
            let lines = listener
                .next(|view, changes| {
                    let changed = match changes {
                        Changes::Everything => all(view, names.as_ref()),
                        Changes::Keys(keys) => concerned(&keys, names.as_ref(), waiting),
                    };
                    lines(view, changed, waiting)
                })
                .await;
            if !lines.is_empty() {
                return lines;
            }
        }
    }

    fn all(&self, view: &View) -> BTreeSet<UnitName> {
        all(view, self.names.as_ref())
    }
}

fn all(view: &View, names: Option<&BTreeSet<UnitName>>) -> BTreeSet<UnitName> {
    match names {
        Some(names) => names.clone(),
        None => convert::names(view),
    }
}

/// The units of this watch that a change of these keys may show in.
fn concerned(
    keys: &BTreeSet<Key>,
    names: Option<&BTreeSet<UnitName>>,
    waiting: &BTreeSet<UnitName>,
) -> BTreeSet<UnitName> {
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
            Key::Machine(_) | Key::Metadata(..) => reasons_changed = true,
            Key::File(_) | Key::Leader => (),
        }
    }
    if reasons_changed {
        changed.extend(waiting.iter().cloned());
    }
    match names {
        Some(names) => changed.intersection(names).cloned().collect(),
        None => changed,
    }
}

fn lines(view: &View, names: BTreeSet<UnitName>, waiting: &mut BTreeSet<UnitName>) -> String {
    let mut lines = String::new();
    for name in names {
        let unit = convert::unit(view, &name, Reasons::Explained);
        match unit.as_ref().is_some_and(|unit| unit.waiting.is_some()) {
            true => waiting.insert(name.clone()),
            false => waiting.remove(&name),
        };
        lines += &line(&v2::WatchEvent { revision: view.revision().0, name: name.to_string(), unit });
    }
    lines
}

fn line(event: &v2::WatchEvent) -> String {
    // A wire type of strings and numbers always has a JSON form.
    let mut line = serde_json::to_string(event).unwrap_or_default();
    line.push('\n');
    line
}
