//! What would become of a cluster.

#[expect(dead_code, reason = "the notation of all tests of the engine; this one writes no plans")]
mod notation;

use fleet_core::engine::{Fate, fates, forecast};
use fleet_core::model::MachineId;
use fleet_core::schedule::explain_choice;
use notation::{cluster, unit_name};

fn ids<'a>(ids: impl IntoIterator<Item = &'a MachineId>) -> String {
    ids.into_iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

#[track_caller]
fn check(text: &str, expected: &str) {
    let before = cluster(text);
    let (after, rests) = forecast(before.clone());
    assert!(rests, "{text}");
    let fate = |(name, Fate { before, after }): (&fleet_core::unit::UnitName, &Fate)| {
        format!("{}: {}>{}", name.as_str().trim_end_matches(".service"), ids(before), ids(after))
    };
    let told: Vec<String> = fates(&before, &after).iter().map(fate).collect();
    assert_eq!(told.join("; "), expected, "{text}");
}

#[test]
fn what_would_become_of_it() {
    check("A:; B:; a on A", "");
    check("A:; B:; a on A; b; c", "b: >B; c: >A");
    check("A:; B: d=ssd; a d=ssd; b d=nvme; g global", "a: >B; g: >A,B");
    // To the end, one after the other, and also what is stopped first.
    check("A: drain(1); B:; a on A; b on A; s WhenIsolated=stop on A; g global on A,B", "a: A>B; b: A>B; s: A>B");
    // What another machine cannot take stays; what waits for room gets it.
    check("A: d=ssd drain(4); B:; a d=ssd on A; b on A", "b: A>B");
    check("A: drain(4); B:; a on A; b Conflicts=a", "a: A>B");
    check("A:; a inactive on A; b on A", "a: A>");
    // Nobody knows when a lost machine is back.
    check("A! held; B:; a on A; b", "b: >B");
    check("A! given-up; B:; a on A", "a: A>B");
}

#[test]
fn why_a_unit_is_where_it_is() {
    let cluster = cluster("A: d=ssd; B:; C: d=ssd cordoned; a d=ssd on A; b Conflicts=a on B");
    let explanation = explain_choice(&cluster, &unit_name("a"));
    let lines: Vec<String> = explanation
        .machines
        .iter()
        .map(|answer| {
            let refusals: Vec<String> = answer.refusals.iter().map(ToString::to_string).collect();
            format!("{}: {}", answer.machine, refusals.join(", "))
        })
        .collect();
    assert_eq!(explanation.to_string(), "a.service is placed on A");
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0], "A: ");
    assert!(lines[1].contains("lacks d=ssd") && lines[1].contains("conflicts with b.service"), "{}", lines[1]);
    assert!(lines[2].contains("cordoned"), "{}", lines[2]);
}
