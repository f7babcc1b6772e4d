//! Clusters and plans as text.
//!
//! A cluster is a list of entries with `;` between them. `A: r=1 d=ssd cordoned drain(2)` is a machine with metadata. `A! gone`
//! is one that is not present: `held`, `stop-held`, `gone` or `given-up`; `brake A,B` is the brake, waiting for those.
//! Everything else is a unit: its name, then in any order `inactive`, `loaded` or (if neither) launched; `global`; `on A,B`
//! (its placements, up to date) or `stale on A` (for an older file); `leaving A,B` (its leaving orders) and `stopping A`
//! (the same, to be stopped first); `up A,B` (where its newest order is carried out), `down A` (the same, with the unit
//! stopped), `failed A` (the same, badly); and `Key=value` as in `[X-Fleet]`, several values with commas. `.service` may be
//! left out. A plan is its groups: `+a@B` is a put, `~a@A` one of a leaving order, `!a@A` one that stops first, `-a@A` a
//! delete, `[...]` holds what is one transaction; before them `brake(A B)` or `no-brake`.

use fleet_core::engine::{BrakeWrite, PlacementWrite, Plan};
use fleet_core::model::{
    Absence, Brake, Cluster, Drain, Generation, Machine, MachineId, Placement, Report, Revision, TargetState,
    Timestamp, Unit,
};
use fleet_core::unit::{Glob, Requirements, UnitHash, UnitName, WhenIsolated};

/// The revision of each cluster here, and of the orders by which units leave.
const NOW_AT: Revision = Revision(1);

/// Reads a cluster.
pub fn cluster(text: &str) -> Cluster {
    let mut cluster = Cluster { revision: NOW_AT, ..Cluster::default() };
    for entry in text.split(';').map(str::trim).filter(|entry| !entry.is_empty()) {
        if let Some(ids) = entry.strip_prefix("brake ") {
            let lost = ids.split(',').map(machine_id).collect();
            cluster.brake = Some(Brake { since: Timestamp(0), lost });
        } else if let Some((id, absence)) = entry.split_once('!') {
            cluster.absent.insert(machine_id(id), read_absence(absence.trim()));
        } else if let Some((id, metadata)) = entry.split_once(':') {
            put_machine(&mut cluster, id, metadata);
        } else {
            put_unit(&mut cluster, entry);
        }
    }
    cluster
}

/// Prints a plan.
pub fn plan_text(plan: &Plan) -> String {
    let show = |write: &PlacementWrite| {
        let sign = match write {
            PlacementWrite::Put { placement, .. } if placement.is_stop() => '!',
            PlacementWrite::Put { placement, .. } if placement.is_leaving() => '~',
            PlacementWrite::Put { .. } => '+',
            PlacementWrite::Delete { .. } => '-',
        };
        let name = write.name().as_str();
        format!("{sign}{}@{}", name.strip_suffix(".service").unwrap_or(name), write.machine())
    };
    let groups = plan.groups.iter().map(|group| {
        let writes: Vec<String> = group.writes.iter().map(show).collect();
        if writes.len() == 1 { writes.concat() } else { format!("[{}]", writes.join(" ")) }
    });
    let brake = plan.brake.as_ref().map(|write| match write {
        BrakeWrite::On(brake) => {
            let lost: Vec<&str> = brake.lost.iter().map(MachineId::as_str).collect();
            format!("brake({})", lost.join(" "))
        }
        BrakeWrite::Off => "no-brake".to_owned(),
    });
    brake.into_iter().chain(groups).collect::<Vec<_>>().join(" ")
}

/// Carries out a plan.
pub fn apply(cluster: &mut Cluster, plan: &Plan) {
    if let Some(write) = &plan.brake {
        cluster.brake = write.brake().cloned();
    }
    for write in plan.writes().cloned() {
        match write {
            PlacementWrite::Put { machine, name, placement } => {
                cluster.placements.entry(machine).or_default().insert(name, placement);
            }
            PlacementWrite::Delete { machine, name } => {
                let units = cluster.placements.get_mut(&machine).expect("only what is placed is deleted");
                units.remove(&name).expect("only what is placed is deleted");
                if units.is_empty() {
                    cluster.placements.remove(&machine);
                }
            }
        }
    }
}

/// A unit's name, with `.service` if it has no type.
pub fn unit_name(text: &str) -> UnitName {
    full_name(text).parse().expect("a unit name")
}

fn full_name(text: &str) -> String {
    if text.contains('.') || text.ends_with('*') { text.to_owned() } else { format!("{text}.service") }
}

fn machine_id(text: &str) -> MachineId {
    text.trim().parse().expect("a machine ID")
}

fn read_absence(word: &str) -> Absence {
    match word {
        "held" => Absence::Held,
        "stop-held" => Absence::StopHeld,
        "gone" => Absence::Gone,
        "given-up" => Absence::GivenUp,
        _ => panic!("`{word}` is no absence"),
    }
}

fn put_machine(cluster: &mut Cluster, id: &str, metadata: &str) {
    let (marks, pairs): (Vec<&str>, Vec<&str>) = metadata.split_whitespace().partition(|word| !word.contains('='));
    let cordoned = marks.contains(&"cordoned");
    let drain = marks.iter().find_map(|mark| mark.strip_prefix("drain(")?.strip_suffix(')'));
    let draining = drain.map(|max| Drain { max_at_once: max.parse().expect("how many at once") });
    let pairs = pairs.into_iter().map(|pair| pair.split_once('=').expect("metadata is key=value"));
    let metadata = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let machine = Machine { public_ip: String::new(), metadata, version: String::new(), cordoned, draining };
    cluster.machines.insert(machine_id(id), machine);
}

fn put_unit(cluster: &mut Cluster, entry: &str) {
    let mut words = entry.split_whitespace();
    let name = unit_name(words.next().expect("a unit has a name"));
    let hash = UnitHash::of_canonical("new");
    let mut unit = Unit {
        hash,
        target: TargetState::Launched,
        generation: Generation(2),
        restarts: 0,
        changed: Timestamp(0),
        requirements: Requirements::default().into(),
    };
    let mut requires = Requirements::default();
    let (mut is_stale, mut on, mut leaving, mut stopping) = (false, "", "", "");
    let mut reports: Vec<(Report, &str)> = Vec::new();
    let done = unit.generation;
    while let Some(word) = words.next() {
        match word {
            "inactive" | "loaded" => unit.target = word.parse().expect("a target state"),
            "global" => requires.global = true,
            "stale" => is_stale = true,
            "on" => on = words.next().expect("`on` names machines"),
            "leaving" => leaving = words.next().expect("`leaving` names machines"),
            "stopping" => stopping = words.next().expect("`stopping` names machines"),
            "up" | "down" | "failed" => {
                let report = Report { done, is_up: word != "failed", left: (word == "down").then_some(NOW_AT) };
                reports.push((report, words.next().expect("a report names machines")));
            }
            _ => {
                let (option, values) = word.split_once('=').unwrap_or_else(|| panic!("`{word}` in `{entry}`"));
                require(&mut requires, option, values);
            }
        }
    }
    let when_isolated = requires.when_isolated;
    unit.requirements = requires.into();
    for id in on.split(',').filter(|id| !id.is_empty()) {
        let mut placement = Placement {
            hash,
            // An order is never about an inactive unit: this one was wanted when it was placed.
            target: if unit.target == TargetState::Inactive { TargetState::Launched } else { unit.target },
            generation: unit.generation,
            restarts: 0,
            when_isolated,
            leaving: None,
        };
        if is_stale {
            placement.hash = UnitHash::of_canonical("old");
            placement.generation = Generation(1);
        }
        cluster.placements.entry(machine_id(id)).or_default().insert(name.clone(), placement);
    }
    for (ids, target) in [(leaving, TargetState::Launched), (stopping, TargetState::Loaded)] {
        for id in ids.split(',').filter(|id| !id.is_empty()) {
            let (generation, restarts, leaving) = (unit.generation, 0, Some(NOW_AT));
            let placement = Placement { hash, target, generation, restarts, when_isolated, leaving };
            cluster.placements.entry(machine_id(id)).or_default().insert(name.clone(), placement);
        }
    }
    for (report, ids) in reports {
        for id in ids.split(',') {
            cluster.reports.entry(machine_id(id)).or_default().insert(name.clone(), report);
        }
    }
    cluster.units.insert(name, unit);
}

fn require(requires: &mut Requirements, option: &str, values: &str) {
    for value in values.split(',') {
        let glob = || Glob::new(&full_name(value)).expect("a valid pattern");
        match option {
            "WhenIsolated" => {
                requires.when_isolated = if value == "stop" { WhenIsolated::Stop } else { WhenIsolated::Keep };
            }
            "MachineID" => requires.machine_id = Some(value.to_owned()),
            "MachineOf" => drop(requires.machine_of.insert(unit_name(value))),
            "Conflicts" => requires.conflicts.push(glob()),
            "Replaces" => requires.replaces.push(glob()),
            "Never" => requires.never.push(value.replace('_', " ")),
            // All else is `MachineMetadata`, since several of its keys are common in these tables: `r=1 d=ssd`.
            key => drop(requires.metadata.entry(key.to_owned()).or_default().insert(value.to_owned())),
        }
    }
}
