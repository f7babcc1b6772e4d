//! `status UNIT...`: what systemctl says on the unit's machines, or why the unit is on none.

use anstyle::{AnsiColor, Style};
use fleet_api::v2;

use crate::cli::{Format, Status};
use crate::commands::list::{print, structured};
use crate::commands::session::{Session, machine_of};
use crate::error::CommandError;
use crate::exit::Exit;
use crate::names::{self, Purpose};
use crate::render::table;
use crate::wait::{self, legend};

/// Carries it out: all units, also after one that is not running. The exit code is the first that is not 0, as with systemctl.
pub async fn run(session: &Session<'_>, args: &Status) -> Result<Exit, CommandError> {
    let (arguments, mut errors) = names::arguments(&args.units, Purpose::Existing);
    let known = session.lookup(&arguments).await?;
    let (selected, unknown) = names::units_of(&arguments, &known);
    errors.extend(session.with_similar(unknown).await);
    let mut exit = Exit::Ok;
    if args.output == Format::Text {
        for (idx, one) in selected.iter().enumerate() {
            if 0 < idx {
                session.console.line("")?;
            }
            let code = match show(session, one.unit, args).await {
                Ok(code) => code,
                Err(err @ CommandError::Output(_)) => return Err(err),
                Err(err) => session.report(&err),
            };
            exit = first(exit, code);
        }
    } else {
        let machine = args.machine.as_deref();
        let mut units = Vec::new();
        for one in &selected {
            match on_machine(one.unit.clone(), machine) {
                Ok(unit) => {
                    exit = first(exit, standing(&unit));
                    units.push(unit);
                }
                Err(err) => exit = first(exit, session.report(&err)),
            }
        }
        let names = units.iter().map(|unit| unit.name.as_str());
        if !structured(session, args.output, &units, names)? {
            let columns = table::units().choose(None, true)?;
            print(session, false, true, &columns.table(&table::unit_rows(&units), false))?;
        }
    }
    Ok(errors.iter().fold(exit, |exit, err| first(exit, session.report(err))))
}

fn first(exit: Exit, next: Exit) -> Exit {
    if exit == Exit::Ok { next } else { exit }
}

async fn show(session: &Session<'_>, unit: &v2::Unit, args: &Status) -> Result<Exit, CommandError> {
    if unit.placements.is_empty() {
        for line in nowhere(unit) {
            session.console.line(&line)?;
        }
        return Ok(Exit::NotRunning);
    }
    let machines = unit.placements.iter().map(|placement| placement.machine.as_str());
    let machine = args.machine.as_deref().map(|given| machine_of(given, machines)).transpose()?;
    let mut exit = Exit::Ok;
    if let Some((n, n_fitting)) = wait::share(unit) {
        session.console.line(&format!("{} is global: on {n} of {n_fitting} machines that fit", unit.name))?;
    }
    let mut is_heard_of = false;
    for placement in unit.placements.iter().filter(|one| machine.as_ref().is_none_or(|id| *id == one.machine)) {
        match lost(unit, placement) {
            Some(lines) => {
                for line in lines {
                    session.console.line(&line)?;
                }
                exit = first(exit, Exit::NotRunning);
            }
            None => is_heard_of = true,
        }
    }
    if !is_heard_of {
        return Ok(exit);
    }
    let doing = format!("ask for the status of {}", unit.name);
    let query = v2::StatusQuery { machine, lines: Some(args.lines), forwarded: false };
    let texts = session.call(&doing, session.client.status(&unit.name, &query)).await?;
    for (idx, status) in texts.iter().enumerate() {
        if 0 < idx {
            session.console.line("")?;
        }
        // One machine has its own words; with several, which is which is not to be seen from them.
        if 1 < unit.placements.len() {
            let ip = unit.placements.iter().find(|placement| placement.machine == status.machine);
            let place = legend(&status.machine, ip.and_then(|placement| placement.ip.as_deref()));
            session.console.line(&format!("{} on {place}:", unit.name))?;
        }
        let text = status.text.trim_end();
        let placement = unit.placements.iter().find(|placement| placement.machine == status.machine);
        match placement.filter(|_| session.console.screen().is_some()) {
            Some(placement) => session.console.line(&on_screen(text, unit, placement))?,
            None => session.console.line(text)?,
        }
        exit = first(exit, exit_of(status.exit_code));
    }
    Ok(exit)
}

/// The unit with its placement on one machine alone, if one is asked for.
fn on_machine(mut unit: v2::Unit, machine: Option<&str>) -> Result<v2::Unit, CommandError> {
    if let Some(given) = machine {
        let id = machine_of(given, unit.placements.iter().map(|placement| placement.machine.as_str()))?;
        unit.placements.retain(|placement| placement.machine == id);
    }
    Ok(unit)
}

/// The exit code that systemctl would give on the unit's machines, by what they last said.
pub fn standing(unit: &v2::Unit) -> Exit {
    let on = |placement: &v2::Placement| match &placement.state {
        Some(state) if placement.lost.is_none() => match (state.load.as_str(), state.active.as_str()) {
            ("not-found", "inactive" | "failed") => Exit::NoSuchUnit,
            (_, "inactive" | "failed") => Exit::NotRunning,
            _ => Exit::Ok,
        },
        Some(_) | None => Exit::NotRunning,
    };
    if unit.placements.is_empty() {
        return Exit::NotRunning;
    }
    unit.placements.iter().map(on).fold(Exit::Ok, first)
}

/// systemctl's exit code as ours: they mean the same.
fn exit_of(code: i32) -> Exit {
    match code {
        0 => Exit::Ok,
        3 => Exit::NotRunning,
        4 => Exit::NoSuchUnit,
        other => u8::try_from(other).map_or(Exit::Failed, Exit::Of),
    }
}

/// systemctl's words for people: where the unit is, which systemctl does not know, and the colours that it has on a terminal.
fn on_screen(text: &str, unit: &v2::Unit, placement: &v2::Placement) -> String {
    let active = placement.state.as_ref().map_or("", |state| state.active.as_str());
    let style = match active {
        "active" | "reloading" | "refreshing" => AnsiColor::Green.on_default().bold(),
        "failed" => AnsiColor::Red.on_default().bold(),
        "activating" | "deactivating" => AnsiColor::Yellow.on_default().bold(),
        _ => Style::new(),
    };
    let place = legend(&placement.machine, placement.ip.as_deref());
    let mut lines = Vec::new();
    for (idx, line) in text.lines().enumerate() {
        let dot = line.chars().next().filter(|first| idx == 0 && !first.is_ascii());
        if let Some(dot) = dot {
            lines.push(format!("{style}{dot}{style:#}{}", &line[dot.len_utf8()..]));
        } else if let Some(rest) = line.strip_prefix(ACTIVE) {
            // Up to the reason or the time.
            let end = rest.find(" since ").unwrap_or(rest.len());
            let (state, since) = rest.split_at(end);
            lines.push(format!("{ACTIVE}{style}{state}{style:#}{since}"));
            lines.push(format!("      Fleet: {} on {place}", unit.desired_state.as_str()));
        } else {
            lines.push(line.to_owned());
        }
    }
    lines.join("\n")
}

/// How the line with the state begins. The words of systemctl are not translated.
const ACTIVE: &str = "     Active: ";

/// The same for a unit whose machine is lost: nobody knows how it is.
fn lost(unit: &v2::Unit, placement: &v2::Placement) -> Option<Vec<String>> {
    let silent = wait::age(placement.lost?.silent_ms);
    let place = legend(&placement.machine, placement.ip.as_deref());
    Some(vec![title(unit), format!("     Fleet: lost; on {place}, of which there is no news for {silent}")])
}

fn title(unit: &v2::Unit) -> String {
    let description = unit.description.as_deref().unwrap_or_default();
    let dash = if description.is_empty() { "" } else { " - " };
    format!("{}{dash}{description}", unit.name)
}

/// In the shape of systemctl: the unit, and how it is.
fn nowhere(unit: &v2::Unit) -> Vec<String> {
    let mut lines = vec![title(unit)];
    let desired = unit.desired_state.as_str();
    let stuck = unit.waiting.as_ref().filter(|waiting| wait::no_machine(waiting).is_some());
    match (stuck, unit.desired_state) {
        (_, v2::State::Inactive) => lines.push(format!("     Fleet: {desired}; on no machine")),
        (None, _) => lines.push(format!("     Fleet: to be {desired}; on no machine yet")),
        (Some(waiting), _) => {
            let n = wait::n_machines(usize::try_from(waiting.machines).unwrap_or(usize::MAX));
            lines.push(format!("     Fleet: to be {desired}; none of {n} can take it:"));
            lines.extend(waiting.refusals.iter().map(|refusal| {
                let which: Vec<String> = refusal.machines.iter().map(|id| wait::short_id(id)).collect();
                format!("            {}: {}", wait::refusal(refusal), which.join(" "))
            }));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn units_on_no_machine() {
        let mut unit = fixture::unit("web.service", v2::State::Launched);
        assert_eq!(nowhere(&unit), ["web.service", "     Fleet: to be launched; on no machine yet"]);
        unit.description = Some("A web server".to_owned());
        unit.waiting = Some(v2::Waiting {
            summary: "web.service waits".to_owned(),
            machines: 3,
            refusals: fixture::refusals(&[
                ("MachineMetadata=disk=ssd", "has no disk", &["4f1c2a7d00", "9a8b7c6d00"]),
                ("Conflicts=db.service", "", &["c0ffee1100"]),
            ]),
        });
        assert_eq!(
            nowhere(&unit),
            [
                "web.service - A web server",
                "     Fleet: to be launched; none of 3 machines can take it:",
                "            2 machines: MachineMetadata=disk=ssd (has no disk): 4f1c2a7d... 9a8b7c6d...",
                "            1 machine: Conflicts=db.service: c0ffee11...",
            ]
        );
        unit.desired_state = v2::State::Inactive;
        assert_eq!(nowhere(&unit), ["web.service - A web server", "     Fleet: inactive; on no machine"]);
    }

    #[test]
    fn the_words_of_systemctl_on_a_screen() {
        let text = "● web.service - Web\n     Loaded: loaded (/x; static)\n     Active: active (running) since Sun; 1s ago\n\nNov 22 m1 sh[1]: ● hi";
        let unit = fixture::placed("web.service", fixture::state("active", "running", "success"));
        let shown = on_screen(text, &unit, &unit.placements[0]);
        let expected = "{1m{32m●{0m web.service - Web\n     Loaded: loaded (/x; static)\n     Active: {1m{32mactive (running){0m since Sun; 1s ago\n      \
                        Fleet: launched on 4f1c2a7d.../10.0.0.1\n\nNov 22 m1 sh[1]: ● hi";
        assert_eq!(shown.replace("\u{1b}[", "{"), expected);
    }

    #[test]
    fn codes_of_states() {
        let mut unit = fixture::unit("web.service", v2::State::Launched);
        assert_eq!(standing(&unit), Exit::NotRunning);
        for (load, active, code) in [
            ("loaded", "active", 0),
            ("loaded", "activating", 0),
            ("loaded", "reloading", 0),
            ("loaded", "inactive", 3),
            ("loaded", "failed", 3),
            ("not-found", "inactive", 4),
        ] {
            let state = v2::UnitState { load: load.to_owned(), ..fixture::state(active, "", "") };
            unit = fixture::placed("web.service", state);
            assert_eq!(standing(&unit).code(), code, "{load} {active}");
        }
        unit = fixture::placed("web.service", fixture::state("active", "running", ""));
        unit.placements[0].lost = Some(v2::Lost { silent_ms: 1 });
        assert_eq!(standing(&unit).code(), 3, "nobody knows");
    }

    #[test]
    fn the_first_code_that_is_not_zero_counts() {
        let fold = |codes: &[i32]| codes.iter().fold(Exit::Ok, |exit, code| first(exit, exit_of(*code))).code();
        assert_eq!(fold(&[0, 0]), 0);
        assert_eq!(fold(&[0, 3, 4]), 3);
        assert_eq!(fold(&[4, 0]), 4);
        assert_eq!(fold(&[-1]), 1);
        assert_eq!(fold(&[5]), 5);
    }
}
