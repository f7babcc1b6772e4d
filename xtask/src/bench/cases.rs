//! What is measured.

use std::time::{Duration, Instant};

use super::Scale;
use super::process;
use super::report::{Report, Row, Samples};
use super::rig::{Rig, Taken};
use crate::run::{ChoreError, cargo, output, say};

/// Both sides of one comparison.
#[derive(Default)]
struct Pair {
    floor: Samples,
    fleet: Samples,
}

/// One unit at a time, with nothing else there.
pub fn one(scale: &Scale, report: &mut Report) -> Result<(), ChoreError> {
    say("one unit");
    let mut rig = Rig::start(1)?;
    let (mut wall, mut systemd, mut fleet) = (Pair::default(), Pair::default(), Samples::default());
    // The kernel counts CPU time in ticks longer than a start, so a turn's starts are taken together.
    let each = |time: Duration| time.div_f64(scale.n_starts as f64);
    for _ in 0..scale.n_rounds_one {
        rig.fleetd_off()?;
        let begun = rig.managers_cpu()?;
        for n in 0..scale.n_starts {
            wall.floor.push_ms(rig.floor_start(n, n + 1, true)?.wall);
            rig.floor_stop(n, n + 1)?;
        }
        systemd.floor.push_ms(each(rig.managers_cpu()?.saturating_sub(begun)));
        rig.fleetd_on()?;
        let (begun, fleet_begun) = (rig.managers_cpu()?, rig.fleet_cpu()?);
        for n in 0..scale.n_starts {
            wall.fleet.push_ms(rig.fleet_start(n, n + 1)?.wall);
            rig.fleet_destroy()?;
        }
        systemd.fleet.push_ms(each(rig.managers_cpu()?.saturating_sub(begun)));
        fleet.push_ms(each(rig.fleet_cpu()?.saturating_sub(fleet_begun)));
    }
    rig.stop()?;
    report.add(compared("start of 1 unit", wall, "at most 30 more"));
    report.add(compared("  start and stop: CPU of systemd", systemd, ""));
    report.add(alone("  start and destroy: CPU of fleet", "ms", fleet, ""));
    Ok(())
}

/// The three ways in which many units are started.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// Bare calls, with the slices that fleet would choose.
    FloorInSlices,
    /// Bare calls, all in systemd's default slice.
    Floor,
    Fleet,
}

const WAYS: [Way; 3] = [Way::FloorInSlices, Way::Floor, Way::Fleet];

/// Many units at once, on several numbers of machines.
pub fn many(scale: &Scale, report: &mut Report) -> Result<(), ChoreError> {
    for &n_machines in scale.machines {
        let mut rig = Rig::start(n_machines)?;
        for &n_units in scale.units {
            say(&format!("{n_units} units on {n_machines} machines"));
            many_on(&mut rig, n_machines, n_units, scale, report)?;
        }
        rig.stop()?;
    }
    Ok(())
}

fn many_on(
    rig: &mut Rig,
    n_machines: u8,
    n_units: usize,
    scale: &Scale,
    report: &mut Report,
) -> Result<(), ChoreError> {
    let (mut wall, mut no_slices, mut systemd, mut stop) =
        (Pair::default(), Samples::default(), Pair::default(), Pair::default());
    let mut fleet = Samples::default();
    for round in 0..scale.n_rounds_many {
        // Each way is first, second and third in turn: managers get slower with what they have had in memory.
        for turn in 0..WAYS.len() {
            let way = WAYS[(round + turn) % WAYS.len()];
            match way {
                Way::FloorInSlices | Way::Floor => {
                    rig.fleetd_off()?;
                    let slices = matches!(way, Way::FloorInSlices);
                    let started = rig.floor_start(0, n_units, slices)?;
                    let stopped = rig.floor_stop(0, n_units)?;
                    if slices {
                        wall.floor.push_ms(started.wall);
                        systemd.floor.push_ms(started.systemd);
                        stop.floor.push_ms(stopped.wall);
                    } else {
                        no_slices.push_ms(started.wall);
                    }
                }
                Way::Fleet => {
                    rig.fleetd_on()?;
                    let started: Taken = rig.fleet_start(0, n_units)?;
                    wall.fleet.push_ms(started.wall);
                    systemd.fleet.push_ms(started.systemd);
                    fleet.push_ms(started.fleet);
                    stop.fleet.push_ms(rig.fleet_destroy()?.wall);
                }
            }
        }
    }
    let machines = if n_machines == 1 { "1 machine".to_owned() } else { format!("{n_machines} machines") };
    let what = format!("start of {n_units} units on {machines}");
    let aim = if n_units == 1_000 { "at most 1.15 times" } else { "" };
    let without = Pair { floor: no_slices, fleet: wall.fleet.clone() };
    report.add(compared(&what, wall, aim));
    report.add(compared("  floor without slices", without, ""));
    report.add(compared("  CPU of systemd", systemd, ""));
    report.add(alone("  CPU of fleet", "ms", fleet, ""));
    report.add(compared("  stop (fleet: destroy)", stop, ""));
    Ok(())
}

/// Lists, and idling, while many units run.
pub fn running(scale: &Scale, list: bool, idle: bool, report: &mut Report) -> Result<(), ChoreError> {
    let n_units = scale.n_running;
    say(&format!("{n_units} running units"));
    let rig = Rig::start(1)?;
    rig.fleet_start(0, n_units)?;
    if list {
        measure_list(&rig, scale, report)?;
    }
    if idle {
        measure_idle(&rig, scale, report)?;
    }
    rig.fleet_destroy()?;
    rig.stop()
}

fn measure_list(rig: &Rig, scale: &Scale, report: &mut Report) -> Result<(), ChoreError> {
    let n_units = scale.n_running;
    let mut pair = Pair::default();
    let timed = |list: &dyn Fn() -> Result<String, ChoreError>| -> Result<Duration, ChoreError> {
        let begun = Instant::now();
        let text = list()?;
        let elapsed = begun.elapsed();
        let n_rows = text.lines().filter(|line| line.contains("bench-")).count();
        match n_rows == n_units {
            true => Ok(elapsed),
            false => Err(ChoreError::Other(format!("a list shows {n_rows} of {n_units} units"))),
        }
    };
    for _ in 0..scale.n_lists {
        let floor = timed(&|| rig.systemctl(&["list-units", "--plain", "--no-legend", "--no-pager", "bench-*"]))?;
        pair.floor.push_ms(floor);
        pair.fleet.push_ms(timed(&|| rig.fleetctl(&["list-units", "--no-legend"]))?);
    }
    report.add(compared(&format!("list-units of {n_units} (floor: systemctl)"), pair, ""));
    Ok(())
}

fn measure_idle(rig: &Rig, scale: &Scale, report: &mut Report) -> Result<(), ChoreError> {
    let (n_units, idle_s) = (scale.n_running, scale.idle_s);
    let fleetd = rig.fleetd()?;
    let (begun, begun_systemd) = (process::cpu(fleetd)?, rig.managers_cpu()?);
    let begun_wakeups = process::wakeups(fleetd)?;
    // Not for something to happen: that nothing happens is what is measured.
    std::thread::sleep(Duration::from_secs(idle_s));
    let (mut cpu, mut systemd, mut wakeups) = (Samples::default(), Samples::default(), Samples::default());
    cpu.push_ms(process::cpu(fleetd)?.saturating_sub(begun));
    systemd.push_ms(rig.managers_cpu()?.saturating_sub(begun_systemd));
    wakeups.push(process::wakeups(fleetd)?.saturating_sub(begun_wakeups) as f64);
    report.add(alone(
        &format!("{idle_s} s idle with {n_units} units: CPU of fleetd"),
        "ms",
        cpu,
        "none to be measured",
    ));
    report.add(alone("  CPU of systemd", "ms", systemd, ""));
    report.add(alone("  fleetd wakes up", "times", wakeups, ""));
    Ok(())
}

/// The engine alone, as an example of fleet-core measures and prints it: `10000 machines, 100000 units at once: 512000 placements/s planned, ...`.
pub fn planner(report: &mut Report) -> Result<(), ChoreError> {
    say("the planner");
    let text =
        output(&mut cargo(&["run", "--release", "--quiet", "--package", "fleet-core", "--example", "placements"]))?;
    for line in text.lines() {
        let (what, figure, unit, more) = planner_line(line).ok_or_else(|| {
            ChoreError::Other(format!("the example `placements` printed a line of another form: {line}"))
        })?;
        let is_aim = what.starts_with("10000 machines") && unit == "placements/s";
        let mut samples = Samples::default();
        samples.push(figure);
        report.add(alone(
            &format!("planner, {what}: {unit} {more}"),
            "per s",
            samples,
            if is_aim { "500000" } else { "" },
        ));
    }
    Ok(())
}

fn planner_line(line: &str) -> Option<(&str, f64, &str, &str)> {
    let (what, rest) = line.split_once(": ")?;
    let (figure, rest) = rest.split_once(' ')?;
    let (unit, more) = rest.split_once(' ')?;
    Some((what, figure.parse().ok()?, unit, more))
}

fn compared(what: &str, pair: Pair, aim: &'static str) -> Row {
    Row { what: what.to_owned(), unit: "ms", floor: Some(pair.floor), fleet: pair.fleet, aim }
}

fn alone(what: &str, unit: &'static str, fleet: Samples, aim: &'static str) -> Row {
    Row { what: what.to_owned(), unit, floor: None, fleet, aim }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_planner() {
        let line = "10000 machines, 100000 units at once: 512345 placements/s planned, 300000 units/s taken in";
        let expected =
            ("10000 machines, 100000 units at once", 512_345.0, "placements/s", "planned, 300000 units/s taken in");
        assert_eq!(planner_line(line), Some(expected));
        for other in ["", "10000 machines", "10000 machines: many placements/s (x)", "10000 machines: 5"] {
            assert_eq!(planner_line(other), None, "`{other}`");
        }
    }
}
