//! Where a unit stands, and what each machine has against it, in words.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::look::{Look, is_wanted};
use super::refusal::Refusal;
use crate::model::{Cluster, MachineId};
use crate::unit::{Form, UnitName};

/// How many different findings one line of an explanation names before it says how many more there are.
pub const FINDINGS_NAMED_MAX: usize = 3;

/// The answer to "why is it not placed?", or "where?".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The unit that was asked about.
    pub unit: UnitName,
    /// Where it stands.
    pub situation: Situation,
    /// The units that have to be placed together with it, without itself; empty unless it waits or its machine is lost or
    /// drained.
    pub group: Vec<UnitName>,
    /// What each present machine says, by machine ID: for units that wait or whose machine is lost or drained, and for global
    /// units.
    pub machines: Vec<Answer>,
}

/// Where a unit stands in the question of placement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Situation {
    /// There is no such unit.
    Unknown,
    /// It is a template: only its instances are placed.
    Template,
    /// Nobody wants it on a machine.
    Inactive,
    /// It is placed there.
    Placed(MachineId),
    /// It is placed there, and that machine is not present: it may run there or not, and is placed elsewhere when the
    /// machine has been away for long enough.
    Lost(MachineId),
    /// It is placed there, and that machine is drained: it moves when another can take it and it is its turn.
    Draining(MachineId),
    /// It is wanted and placed nowhere, and waits until that machine has stopped it: it may not run twice.
    Stopping(MachineId),
    /// It is wanted and placed nowhere.
    Waiting,
    /// It is global and placed on these.
    Global(Vec<MachineId>),
}

/// What one machine says to one unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The machine.
    pub machine: MachineId,
    /// All that speaks against it; empty if the machine can take the unit, or has it.
    pub refusals: Vec<Refusal>,
}

/// One constraint, and how many machines it refuses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reason {
    /// How many machines; one machine may be refused for several reasons and is counted in each.
    pub n_machines: usize,
    /// The constraint with its value: `Conflicts=web@*.service`.
    pub constraint: String,
    /// What was found on those machines ([`Refusal::finding`]), each once, in alphabetical order: `web@1.service`.
    pub findings: Vec<String>,
}

/// Says where the unit stands, and if it waits (or is global), every reason that every machine has against it.
///
/// Looks at each machine and what is placed there once: the cost is that of reading the whole cluster.
pub fn explain(cluster: &Cluster, unit: &UnitName) -> Explanation {
    explain_at(&Look::at(cluster), cluster, unit)
}

/// Says where the unit stands, and what every machine would say if it were to be placed now, by itself: also for one that is
/// placed, to which that is the reason why it is there and nowhere else.
///
/// Of the machines that have nothing against it the engine takes the least loaded, and leaves a unit where it is.
pub fn explain_choice(cluster: &Cluster, unit: &UnitName) -> Explanation {
    let explanation = explain(cluster, unit);
    let Situation::Placed(_) = explanation.situation else { return explanation };
    let mut without = cluster.clone();
    for units in without.placements.values_mut() {
        units.retain(|name, order| name != unit || order.is_leaving());
    }
    Explanation { machines: explain(&without, unit).machines, ..explanation }
}

/// The same, for many units of one cluster.
pub(super) fn explain_at(look: &Look<'_>, cluster: &Cluster, unit: &UnitName) -> Explanation {
    let explanation =
        |situation| Explanation { unit: unit.clone(), situation, group: Vec::new(), machines: Vec::new() };
    let Some((name, definition)) = cluster.units.get_key_value(unit) else {
        return explanation(Situation::Unknown);
    };
    if name.form() == Form::Template {
        return explanation(Situation::Template);
    }
    if !is_wanted(cluster, name) {
        return explanation(Situation::Inactive);
    }
    let mut placed = look.machines_with(name);
    if definition.requirements.global {
        let alone = BTreeSet::from([name]);
        let machines = cluster.machines.iter().map(|(id, machine)| {
            let refusals = if placed.contains(id) { Vec::new() } else { look.refusals(name, &alone, id, machine) };
            Answer { machine: id.clone(), refusals }
        });
        let machines = machines.collect();
        return Explanation { machines, ..explanation(Situation::Global(placed)) };
    }
    let drained = look.drained_with(name);
    if !placed.is_empty() && drained.is_none() {
        return explanation(Situation::Placed(placed.swap_remove(0)));
    }
    let group = look.waiting_group(name);
    let own_or_others = |member: &UnitName, refusal| {
        if member == name {
            refusal
        } else {
            Refusal::GroupMember { member: member.clone(), refusal: Box::new(refusal) }
        }
    };
    let machines = cluster.machines.iter().map(|(id, machine)| {
        let of_member = |member| {
            let refusals = look.refusals(member, &group, id, machine).into_iter();
            refusals.map(move |refusal| own_or_others(member, refusal))
        };
        let mut refusals: Vec<Refusal> = of_member(name).collect();
        refusals.extend(group.iter().filter(|member| **member != name).flat_map(|member| of_member(member)));
        let blocked = look.blocked_moves(&group, id);
        refusals.extend(blocked.into_iter().map(|(member, refusal)| own_or_others(member, refusal)));
        Answer { machine: id.clone(), refusals }
    });
    let machines = machines.collect();
    let group = group.iter().filter(|member| **member != name).map(|member| (*member).clone()).collect();
    let lost = || look.lost_with(name).map(|id| Situation::Lost(id.clone()));
    let stopping = || look.stopping_on(name).map(|id| Situation::Stopping(id.clone()));
    let drained = drained.map(|id| Situation::Draining(id.clone()));
    let situation = drained.or_else(lost).or_else(stopping).unwrap_or(Situation::Waiting);
    Explanation { group, machines, ..explanation(situation) }
}

impl Explanation {
    /// The machines that have nothing against the unit (or have it).
    pub fn able(&self) -> impl Iterator<Item = &MachineId> {
        self.machines.iter().filter(|answer| answer.refusals.is_empty()).map(|answer| &answer.machine)
    }

    /// The reasons by constraint, the one that refuses most machines first.
    pub fn reasons(&self) -> Vec<Reason> {
        let mut by_constraint: BTreeMap<String, (usize, BTreeSet<String>)> = BTreeMap::new();
        for answer in &self.machines {
            let mut counted = BTreeSet::new();
            for refusal in &answer.refusals {
                let constraint = refusal.constraint();
                let (n_machines, findings) = by_constraint.entry(constraint.clone()).or_default();
                findings.extend(Some(refusal.finding()).filter(|finding| !finding.is_empty()));
                *n_machines += usize::from(counted.insert(constraint));
            }
        }
        let reason = |(constraint, (n_machines, findings)): (String, (usize, BTreeSet<String>))| Reason {
            n_machines,
            constraint,
            findings: findings.into_iter().collect(),
        };
        let mut reasons: Vec<Reason> = by_constraint.into_iter().map(reason).collect();
        // Stable: reasons with as many machines stay in alphabetical order.
        reasons.sort_by_key(|reason| std::cmp::Reverse(reason.n_machines));
        reasons
    }
}

/// First a line that says where the unit stands, then one for each reason; no line break at the end.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Explanation { unit, situation, group, machines } = self;
        let n_machines = counted(machines.len());
        match situation {
            Situation::Unknown => return write!(f, "there is no unit {unit}"),
            Situation::Template => {
                return write!(f, "{unit} is a template: its instances are placed, it never is");
            }
            Situation::Inactive => return write!(f, "{unit} is inactive: nobody wants it on a machine"),
            Situation::Placed(machine) => return write!(f, "{unit} is placed on {machine}"),
            Situation::Global(_) if machines.is_empty() => write!(f, "{unit} is global, and there is no machine")?,
            Situation::Global(placed) => write!(f, "{unit} is global and placed on {} of {n_machines}", placed.len())?,
            Situation::Waiting | Situation::Lost(_) | Situation::Draining(_) | Situation::Stopping(_) => {
                // How it stands, and what an able machine waits for.
                let then = match situation {
                    Situation::Lost(machine) => {
                        write!(f, "{unit} is placed on {machine}, which is lost")?;
                        "when its own has been lost for long enough"
                    }
                    Situation::Draining(machine) => {
                        write!(f, "{unit} is placed on {machine}, which is drained")?;
                        "when it is its turn"
                    }
                    Situation::Stopping(machine) => {
                        write!(f, "{unit} is being stopped on {machine}, because it may not run twice")?;
                        "when that is done"
                    }
                    _ => {
                        write!(f, "{unit} waits")?;
                        "and one is about to"
                    }
                };
                if !group.is_empty() {
                    let names: Vec<&str> = group.iter().map(UnitName::as_str).collect();
                    write!(f, ", together with {}", names.join(", "))?;
                }
                match (machines.len(), self.able().count()) {
                    (0, _) if matches!(situation, Situation::Lost(_)) => write!(f, ": there is no other machine")?,
                    (0, _) => write!(f, ": there is no machine")?,
                    (1, 0) => write!(f, ": the only machine cannot take it")?,
                    (_, 0) => write!(f, ": none of {n_machines} can take it")?,
                    (_, n_able) => write!(f, ": {n_able} of {n_machines} can take it, {then}")?,
                }
            }
        }
        self.reasons().iter().try_for_each(|reason| write!(f, "\n  {reason}"))
    }
}

impl Reason {
    /// The first [`FINDINGS_NAMED_MAX`] findings, and how many there are besides; to be read after the constraint.
    pub fn found(&self) -> String {
        let named: Vec<&str> = self.findings.iter().take(FINDINGS_NAMED_MAX).map(String::as_str).collect();
        match self.findings.len() - named.len() {
            0 => named.join(", "),
            n_more => format!("{} and {n_more} more", named.join(", ")),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", counted(self.n_machines), self.constraint)?;
        if self.findings.is_empty() { Ok(()) } else { write!(f, " ({})", self.found()) }
    }
}

fn counted(n_machines: usize) -> String {
    if n_machines == 1 { "1 machine".to_owned() } else { format!("{n_machines} machines") }
}
