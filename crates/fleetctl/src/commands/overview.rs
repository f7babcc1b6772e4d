//! `status` without a unit: the cluster at a glance.

use fleet_api::v2;

use crate::cli::{Format, Status};
use crate::commands::session::Session;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::wait::{self, Why, legend};

/// Carries it out. It succeeds whatever the units do: it was asked how they are, and says it.
pub async fn run(session: &Session<'_>, args: &Status) -> Result<Exit, CommandError> {
    let machines = session.call("list the machines", session.client.machines()).await?.machines;
    let units = session.call("list the units", session.client.units(&[])).await?.units;
    if args.output == Format::Json {
        session.json(&serde_json::json!({ "machines": machines, "units": units }))?;
        return Ok(Exit::Ok);
    }
    for line in lines(&machines, &units) {
        session.console.line(&line)?;
    }
    Ok(Exit::Ok)
}

fn lines(machines: &[v2::Machine], units: &[v2::Unit]) -> Vec<String> {
    let known: Vec<&v2::Unit> = units.iter().filter(|unit| wait::exists(unit)).collect();
    let count = |state: v2::State| known.iter().filter(|unit| unit.desired_state == state).count();
    let mut lines = vec![
        format!("machines: {}", machines.len()),
        format!(
            "units:    {} ({} launched, {} loaded, {} inactive)",
            known.len(),
            count(v2::State::Launched),
            count(v2::State::Loaded),
            count(v2::State::Inactive)
        ),
    ];
    let section = |lines: &mut Vec<String>, title: &str, entries: Vec<String>| {
        if !entries.is_empty() {
            lines.push(format!("{title}:"));
            lines.extend(entries.into_iter().map(|entry| format!("  {entry}")));
        }
    };
    section(&mut lines, "failed", units.iter().flat_map(failures).collect());
    section(&mut lines, "waiting for a machine", known.iter().filter_map(|unit| unplaced(unit)).collect());
    section(&mut lines, "under way", known.iter().flat_map(|unit| under_way(unit)).collect());
    lines
}

/// What has gone wrong with a unit, per machine.
fn failures(unit: &v2::Unit) -> Vec<String> {
    let failed = |placement: &v2::Placement| {
        let state = placement.state.as_ref()?;
        let bad = state.active == "failed" || !state.error.is_empty();
        bad.then(|| {
            let failure = wait::Failure::State {
                machine: placement.machine.clone(),
                ip: placement.ip.clone(),
                state: Box::new(state.clone()),
            };
            format!("{} {failure}", unit.name)
        })
    };
    unit.placements.iter().filter_map(failed).collect()
}

fn unplaced(unit: &v2::Unit) -> Option<String> {
    Some(Why::NoMachine(wait::no_machine(unit.waiting.as_ref()?)?).sentence(&unit.name))
}

fn under_way(unit: &v2::Unit) -> Vec<String> {
    let busy = |placement: &v2::Placement| {
        if placement.placed && placement.done {
            return None;
        }
        let place = legend(&placement.machine, placement.ip.as_deref());
        let doing = match &placement.state {
            Some(state) => format!("{} ({})", state.active, state.sub),
            None => "nothing heard yet".to_owned(),
        };
        let leaving = if placement.placed { "" } else { ", leaving" };
        Some(format!("{}: {doing}{leaving} on {place}", unit.name))
    };
    unit.placements.iter().filter_map(busy).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn a_cluster_at_a_glance() {
        let machine = v2::Machine {
            id: "4f1c2a7d00".to_owned(),
            ip: None,
            metadata: std::collections::BTreeMap::new(),
            version: "1".to_owned(),
            units: 1,
        };
        let good = fixture::placed("good.service", fixture::state("active", "running", "success"));
        let bad = fixture::placed("bad.service", fixture::state("failed", "failed", "exit-code"));
        let mut slow = fixture::placed("slow.service", fixture::state("activating", "start-pre", ""));
        slow.placements[0].done = false;
        let mut stuck = fixture::unit("stuck.service", v2::State::Launched);
        let refusals = fixture::refusals(&[("MachineMetadata=disk=ssd", "has no disk", &["4f1c2a7d00"])]);
        stuck.waiting = Some(v2::Waiting { summary: "stuck.service waits".to_owned(), machines: 1, refusals });
        let mut template = fixture::unit("t@.service", v2::State::Inactive);
        template.generation = 1;
        let mut ghost = fixture::unit("ghost.service", v2::State::Inactive);
        ghost.generation = 0;
        let units = [bad, ghost, good, slow, stuck, template];
        expect_test::expect![[r#"
            machines: 1
            units:    5 (4 launched, 0 loaded, 1 inactive)
            failed:
              bad.service failed on 4f1c2a7d.../10.0.0.1: failed (failed), Result: exit-code
            waiting for a machine:
              stuck.service: no machine can take it: 1 machine: MachineMetadata=disk=ssd (has no disk)
            under way:
              slow.service: activating (start-pre) on 4f1c2a7d.../10.0.0.1
        "#]]
        .assert_eq(&(lines(&[machine], &units).join("\n") + "\n"));
        assert_eq!(lines(&[], &[]), ["machines: 0", "units:    0 (0 launched, 0 loaded, 0 inactive)"]);
    }
}
