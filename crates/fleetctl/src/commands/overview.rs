//! `status` without a unit: the cluster at a glance.

use fleet_api::v2;

use crate::cli::Status;
use crate::commands::list::structured;
use crate::commands::session::Session;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::render::table;
use crate::wait::{self, Why, legend};

/// Carries it out. It succeeds whatever the units do: it was asked how they are, and says it.
pub async fn run(session: &Session<'_>, args: &Status) -> Result<Exit, CommandError> {
    let list = session.call("list the machines", session.client.machines()).await?;
    let units = session.call("list the units", session.client.units(&[])).await?.units;
    let all = serde_json::json!({ "brake": list.brake, "machines": list.machines, "units": units });
    if structured(session, args.output, &all, units.iter().map(|unit| unit.name.as_str()))? {
        return Ok(Exit::Ok);
    }
    for line in lines(&list, &units) {
        session.console.line(&line)?;
    }
    Ok(Exit::Ok)
}

fn lines(list: &v2::MachineList, units: &[v2::Unit]) -> Vec<String> {
    let machines = &list.machines;
    let known: Vec<&v2::Unit> = units.iter().filter(|unit| wait::exists(unit)).collect();
    let count = |state: v2::State| known.iter().filter(|unit| unit.desired_state == state).count();
    let mut lines: Vec<String> = list.brake.iter().map(wait::brake).collect();
    let n_present = machines.iter().filter(|machine| machine.present).count();
    lines.extend([
        format!("machines: {n_present}"),
        format!(
            "units:    {} ({} launched, {} loaded, {} inactive)",
            known.len(),
            count(v2::State::Launched),
            count(v2::State::Loaded),
            count(v2::State::Inactive)
        ),
    ]);
    let section = |lines: &mut Vec<String>, title: &str, entries: Vec<String>| {
        if !entries.is_empty() {
            lines.push(format!("{title}:"));
            lines.extend(entries.into_iter().map(|entry| format!("  {entry}")));
        }
    };
    let is_special =
        |machine: &&v2::Machine| !machine.present || machine.cordoned || machine.draining.is_some() || machine.given_up;
    let special = machines.iter().filter(is_special);
    let machine_line = |machine: &v2::Machine| {
        let place = legend(&machine.id, machine.ip.as_deref());
        format!("{place}: {}; units: {}", table::machine_state(machine), machine.units)
    };
    section(&mut lines, "machines to look at", special.map(machine_line).collect());
    section(&mut lines, "lost", known.iter().flat_map(|unit| lost(unit)).collect());
    section(&mut lines, "failed", units.iter().flat_map(failures).collect());
    section(&mut lines, "waiting for a machine", known.iter().filter_map(|unit| unplaced(unit)).collect());
    section(&mut lines, "not on all machines that fit", known.iter().filter_map(|unit| missing(unit)).collect());
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

/// What nobody knows: units of machines of which nothing is heard.
fn lost(unit: &v2::Unit) -> Vec<String> {
    let line = |placement: &v2::Placement| {
        let place = legend(&placement.machine, placement.ip.as_deref());
        Some(format!("{}: on {place}, no news for {}", unit.name, wait::age(placement.lost?.silent_ms)))
    };
    unit.placements.iter().filter_map(line).collect()
}

fn missing(unit: &v2::Unit) -> Option<String> {
    let (n, n_fitting) = wait::share(unit).filter(|_| unit.desired_state != v2::State::Inactive)?;
    ((n as u64) < n_fitting).then(|| format!("{}: on {n} of {n_fitting}", unit.name))
}

fn unplaced(unit: &v2::Unit) -> Option<String> {
    Some(Why::NoMachine(wait::no_machine(unit.waiting.as_ref()?)?).sentence(&unit.name))
}

fn under_way(unit: &v2::Unit) -> Vec<String> {
    let busy = |placement: &v2::Placement| {
        if (placement.placed && placement.done) || placement.lost.is_some() {
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
        let machine = v2::Machine { units: 1, ..fixture::machine("4f1c2a7d00") };
        let gone = v2::Machine {
            present: false,
            lost: Some(v2::Lost { silent_ms: 35_000 }),
            ip: Some("10.0.0.9".to_owned()),
            cordoned: true,
            units: 2,
            ..fixture::machine("dead000000")
        };
        let brake = Some(v2::Brake { since_ms: 0, lost: vec!["dead000000".to_owned()] });
        let list = v2::MachineList { revision: 1, brake, machines: vec![machine, gone], next: None };
        let mut away = fixture::placed("away.service", fixture::state("active", "running", "success"));
        away.placements[0] = v2::Placement {
            machine: "dead000000".to_owned(),
            lost: Some(v2::Lost { silent_ms: 35_000 }),
            done: false,
            ..away.placements[0].clone()
        };
        let mut global = fixture::placed("global.service", fixture::state("active", "running", "success"));
        (global.global, global.fitting) = (true, Some(3));
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
        let units = [away, bad, ghost, global, good, slow, stuck, template];
        expect_test::expect![[r#"
            WARNING: the brake is on: 1 machine lost at once, and nothing is moved until each is back or is given up with `fleetctl machine give-up ID`: dead0000...
            machines: 1
            units:    7 (6 launched, 0 loaded, 1 inactive)
            machines to look at:
              dead0000.../10.0.0.9: lost, no news for 35s, cordoned; units: 2
            lost:
              away.service: on dead0000.../10.0.0.1, no news for 35s
            failed:
              bad.service failed on 4f1c2a7d.../10.0.0.1: failed (failed), Result: exit-code
            waiting for a machine:
              stuck.service: no machine can take it: 1 machine: MachineMetadata=disk=ssd (has no disk)
            not on all machines that fit:
              global.service: on 1 of 3
            under way:
              slow.service: activating (start-pre) on 4f1c2a7d.../10.0.0.1
        "#]]
        .assert_eq(&(lines(&list, &units).join("\n") + "\n"));
        let nothing = v2::MachineList { revision: 1, brake: None, machines: Vec::new(), next: None };
        assert_eq!(lines(&nothing, &[]), ["machines: 0", "units:    0 (0 launched, 0 loaded, 0 inactive)"]);
    }
}
