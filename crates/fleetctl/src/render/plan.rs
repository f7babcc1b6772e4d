//! Why units are where they are, and what would become of them, in words.

use fleet_api::v2::{Explanation, Fate, MachineAnswer, PlannedUnit, Situation};

use crate::wait::{legend, no_machine, short_id};

/// Where the unit stands, then a line for each machine. `is_wide`: whole machine IDs.
pub fn explanation(told: &Explanation, is_wide: bool) -> Vec<String> {
    let mut lines = vec![told.summary.clone()];
    if !told.group.is_empty() {
        lines.push(format!("placed together with: {}", told.group.join(", ")));
    }
    let name = |answer: &MachineAnswer| match is_wide {
        true => answer.machine.clone(),
        false => legend(&answer.machine, answer.ip.as_deref()),
    };
    let width = told.machines.iter().map(|answer| name(answer).len()).max().unwrap_or_default();
    let line = |answer: &MachineAnswer| {
        let units = if answer.units == 1 { "1 unit".to_owned() } else { format!("{} units", answer.units) };
        let refusals: Vec<&str> = answer.refusals.iter().map(|refusal| refusal.text.as_str()).collect();
        let says = match (answer.placed, refusals.is_empty()) {
            (true, true) => "has it".to_owned(),
            (true, false) => format!("has it, and would not take it now: {}", refusals.join("; ")),
            (false, true) if told.situation == Situation::Placed => "could take it".to_owned(),
            (false, true) => "can take it".to_owned(),
            (false, false) => refusals.join("; "),
        };
        format!("  {:width$}  {units:>9}  {says}", name(answer))
    };
    lines.extend(told.machines.iter().map(line));
    lines
}

/// What would become of one unit.
pub fn fate(unit: &PlannedUnit) -> String {
    let PlannedUnit { name, fate, from, to, waiting } = unit;
    let on = |ids: &[String]| ids.iter().map(|id| short_id(id)).collect::<Vec<_>>().join(", ");
    let why = waiting.as_ref().and_then(no_machine).map(|why| format!(": {why}")).unwrap_or_default();
    match fate {
        Fate::Placed => format!("{name} would be placed on {}", on(to)),
        Fate::Moved => format!("{name} would move from {} to {}", on(from), on(to)),
        Fate::Removed if to.is_empty() => format!("{name} would be taken from {}", on(from)),
        Fate::Removed => format!("{name} would be left on {} alone", on(to)),
        Fate::Stays if to.is_empty() => format!("{name} would be on no machine"),
        Fate::Stays => format!("{name} would stay on {}{why}", on(to)),
        Fate::Waits => format!("{name} would wait{why}"),
        Fate::Rests => format!("{name} would be on no machine"),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use fleet_api::v2::{MachineRefusal, Waiting};

    use super::*;

    fn answer(machine: &str, placed: bool, units: u64, refusals: &[&str]) -> MachineAnswer {
        let refusal = |text: &&str| MachineRefusal { constraint: "x".to_owned(), text: (*text).to_owned() };
        MachineAnswer {
            machine: machine.to_owned(),
            ip: Some("10.0.0.1".to_owned()).filter(|_| machine == "4f1c2a7d00"),
            placed,
            able: refusals.is_empty(),
            units,
            refusals: refusals.iter().map(refusal).collect(),
        }
    }

    #[test]
    fn why_it_is_there() {
        let told = Explanation {
            revision: 1,
            name: "a.service".to_owned(),
            situation: Situation::Placed,
            summary: "a.service is placed on 4f1c2a7d00".to_owned(),
            on: vec!["4f1c2a7d00".to_owned()],
            group: vec!["b.service".to_owned()],
            machines: vec![
                answer("4f1c2a7d00", true, 1, &[]),
                answer("abcdef0123", false, 12, &["lacks disk=ssd (has no disk)", "is cordoned"]),
                answer("ffffffffff", false, 0, &[]),
            ],
        };
        expect![[r#"
            a.service is placed on 4f1c2a7d00
            placed together with: b.service
              4f1c2a7d.../10.0.0.1     1 unit  has it
              abcdef01...            12 units  lacks disk=ssd (has no disk); is cordoned
              ffffffff...             0 units  could take it"#]]
        .assert_eq(&explanation(&told, false).join("\n"));
    }

    #[test]
    fn what_would_become_of_units() {
        let reason = Waiting { summary: "there is no machine".to_owned(), machines: 0, refusals: Vec::new() };
        let said = |told: Fate, from: &[&str], to: &[&str], waiting: Option<&Waiting>| {
            let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
            let name = "a.service".to_owned();
            fate(&PlannedUnit { name, fate: told, from: ids(from), to: ids(to), waiting: waiting.cloned() })
        };
        let lines = [
            said(Fate::Placed, &[], &["4f1c2a7d00"], None),
            said(Fate::Moved, &["4f1c2a7d00"], &["abcdef0123"], None),
            said(Fate::Removed, &["4f1c2a7d00"], &[], None),
            said(Fate::Removed, &["4f1c2a7d00", "abcdef0123"], &["abcdef0123"], None),
            said(Fate::Stays, &["4f1c2a7d00"], &["4f1c2a7d00"], None),
            said(Fate::Stays, &["4f1c2a7d00"], &["4f1c2a7d00"], Some(&reason)),
            said(Fate::Waits, &[], &[], Some(&reason)),
            said(Fate::Rests, &[], &[], None),
        ];
        expect![[r#"
            a.service would be placed on 4f1c2a7d...
            a.service would move from 4f1c2a7d... to abcdef01...
            a.service would be taken from 4f1c2a7d...
            a.service would be left on abcdef01... alone
            a.service would stay on 4f1c2a7d...
            a.service would stay on 4f1c2a7d...: there is no machine
            a.service would wait: there is no machine
            a.service would be on no machine"#]]
        .assert_eq(&lines.join("\n"));
    }
}
