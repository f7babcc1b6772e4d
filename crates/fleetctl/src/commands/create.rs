//! `submit`, `load`, `start`: units from files, from templates, or from the cluster, all in one request.

use std::collections::BTreeMap;
use std::path::PathBuf;

use fleet_api::v2;
use fleet_core::unit::{Form, Strictness, UnitName};

use crate::cli::{Block, Files, Load, Start, Submit};
use crate::commands::session::Session;
use crate::commands::waiting::{self, Order};
use crate::create::{self, Known, Planned, Wish};
use crate::error::CommandError;
use crate::exit::Exit;
use crate::names::{self, Argument, Purpose, Selected};
use crate::render::plan;
use crate::wait::{Expected, Goal, legend};

/// `fleetctl submit`.
pub async fn submit(session: &Session<'_>, args: &Submit) -> Result<Exit, CommandError> {
    run(session, v2::State::Inactive, &args.units, args.files, Way::Done).await
}

/// `fleetctl load`.
pub async fn load(session: &Session<'_>, args: &Load) -> Result<Exit, CommandError> {
    run(session, v2::State::Loaded, &args.units, args.files, Way::of(args.block, args.dry_run)).await
}

/// `fleetctl start`.
pub async fn start(session: &Session<'_>, args: &Start) -> Result<Exit, CommandError> {
    run(session, v2::State::Launched, &args.units, args.files, Way::of(args.block, args.dry_run)).await
}

/// What is done with the changes.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// They are asked for.
    Done,
    /// They are asked for, and waited for.
    Waited(Block),
    /// It is said what would come of them.
    Rehearsed,
}

impl Way {
    fn of(block: Block, dry_run: bool) -> Way {
        if dry_run { Way::Rehearsed } else { Way::Waited(block) }
    }
}

/// The word of the command that takes units to `target`.
fn verb(target: v2::State) -> &'static str {
    match target {
        v2::State::Inactive => "submit",
        v2::State::Loaded => "load",
        v2::State::Launched => "start",
    }
}

async fn run(
    session: &Session<'_>,
    target: v2::State,
    units: &[String],
    files: Files,
    way: Way,
) -> Result<Exit, CommandError> {
    if units.is_empty() {
        return Err(CommandError::NoUnits { command: verb(target) });
    }
    if files.sign {
        return Err(CommandError::Signing);
    }
    let purpose = if target == v2::State::Inactive { Purpose::Submit } else { Purpose::Activate };
    let (arguments, errors) = names::arguments(units, purpose);
    let mut exit = session.report_all(&errors);
    let mut known = Known { units: session.lookup(&arguments).await?, ..Known::default() };
    let (wanted, errors) = wanted(&arguments, &known.units);
    let errors = session.with_similar(errors).await;
    exit = exit.and(session.report_all(&errors));
    if files.replace {
        fetch_templates(session, &wanted, &mut known).await?;
    }
    let strictness = if files.lenient { Strictness::Lenient } else { Strictness::Strict };
    let wish = Wish { target, replace: files.replace, strictness };
    let mut planned = Vec::new();
    for (name, path) in &wanted {
        match create::plan(name, path, &wish, &known) {
            Ok(plan) => planned.push(plan),
            Err(err) => exit = exit.and(session.report_all(&session.with_similar(vec![err]).await)),
        }
    }
    exit = exit.and(carry_out(session, target, planned, way).await?);
    Ok(exit)
}

/// The units that are meant, with the place of their files.
fn wanted(arguments: &[Argument], known: &BTreeMap<String, v2::Unit>) -> (Vec<(UnitName, PathBuf)>, Vec<CommandError>) {
    let (patterns, units): (Vec<Argument>, Vec<Argument>) =
        arguments.iter().cloned().partition(|argument| matches!(argument, Argument::Pattern { .. }));
    let mut wanted: Vec<(UnitName, PathBuf)> = Vec::new();
    for argument in units {
        if let Argument::Unit { name, path, .. } = argument {
            wanted.push((name, path));
        }
    }
    // What no file matched is matched with the cluster. A template there cannot be taken to a machine, as on disk.
    let (selected, errors) = names::units_of(&patterns, known);
    for Selected { unit, .. } in selected {
        if let Ok(name) = unit.name.parse::<UnitName>()
            && name.form() != Form::Template
            && !wanted.iter().any(|(already, _)| *already == name)
        {
            let path = PathBuf::from(name.as_str());
            wanted.push((name, path));
        }
    }
    (wanted, errors)
}

async fn fetch_templates(
    session: &Session<'_>,
    wanted: &[(UnitName, PathBuf)],
    known: &mut Known,
) -> Result<(), CommandError> {
    for (name, path) in wanted {
        if let Some(template) = create::template_needed(name, path, known)
            && !known.template_files.contains_key(template.as_str())
        {
            let doing = format!("read the file of {template}");
            let file = session.call(&doing, session.client.unit_file(template.as_str())).await?;
            known.template_files.insert(template.to_string(), file);
        }
    }
    Ok(())
}

async fn carry_out(
    session: &Session<'_>,
    target: v2::State,
    planned: Vec<Planned>,
    way: Way,
) -> Result<Exit, CommandError> {
    let quiet = matches!(way, Way::Waited(Block { quiet: true, .. }));
    let mut changes = Vec::new();
    let mut globals = BTreeMap::new();
    for plan in planned {
        plan.warnings.iter().for_each(|warning| session.console.talk(warning));
        for line in plan.lines.iter().filter(|_| !quiet) {
            session.console.line(line)?;
        }
        if let Some(change) = plan.change {
            globals.insert(change.name.clone(), plan.global);
            changes.push(change);
        }
    }
    if let Way::Rehearsed = way {
        return rehearse(session, v2::PlanRequest { changes, ..v2::PlanRequest::default() }).await;
    }
    let response = change(session, changes).await?;
    let mut exit = Exit::Ok;
    let (mut expected, mut in_order) = (BTreeMap::new(), Vec::new());
    for result in response.results {
        for warning in &result.warnings {
            session.console.talk(&format!("WARNING: Unit {}: {warning}", result.name));
        }
        match accepted(result) {
            Ok(result) => {
                let is_new = match result.outcome {
                    v2::Outcome::Created => true,
                    v2::Outcome::Replaced => target == v2::State::Inactive,
                    v2::Outcome::Changed | v2::Outcome::Unchanged | v2::Outcome::Destroyed | v2::Outcome::Refused => {
                        false
                    }
                };
                if is_new && !quiet {
                    session.console.line(&format!("Unit {} inactive", result.name))?;
                }
                let goal = match target {
                    v2::State::Inactive => continue,
                    v2::State::Loaded => Goal::Loaded,
                    v2::State::Launched => Goal::Launched,
                };
                // A start leaves a restart that somebody else asked for alone: only the generation counts.
                in_order.push(result.name.clone());
                expected.insert(result.name, Expected { goal, generation: result.generation, restarts: 0 });
            }
            Err(err) => exit = exit.and(session.report(&err)),
        }
    }
    let Way::Waited(block) = way else {
        return Ok(exit);
    };
    if block.no_block {
        for name in in_order.iter().filter(|_| !quiet) {
            let global = if globals.get(name) == Some(&true) { "global " } else { "" };
            session.console.line(&format!("Triggered {global}unit {name} {}", verb(target)))?;
        }
        return Ok(exit);
    }
    let order = Order { expected, revision: response.revision, limit: block.limit(), quiet };
    let reached = |_: &str, unit: Option<&v2::Unit>| if quiet { Ok(()) } else { report_state(session, unit, target) };
    Ok(exit.and(waiting::wait(session, order, reached).await?))
}

/// Says what would come of it, and changes nothing. The exit code is 1 if something would be refused, or could not leave a machine that
/// is to be drained.
pub async fn rehearse(session: &Session<'_>, request: v2::PlanRequest) -> Result<Exit, CommandError> {
    let told = session.call("think that out", session.client.plan(&request)).await?;
    let mut exit = Exit::Ok;
    for result in told.results {
        for warning in &result.warnings {
            session.console.talk(&format!("WARNING: Unit {}: {warning}", result.name));
        }
        if let Err(err) = accepted(result) {
            exit = exit.and(session.report(&err));
        }
    }
    for unit in &told.units {
        session.console.line(&plan::fate(unit))?;
        if unit.fate == v2::Fate::Stays && unit.waiting.is_some() {
            exit = exit.and(Exit::Failed);
        }
    }
    if told.units.is_empty() {
        session.console.line("nothing would change")?;
    }
    if !told.rests {
        session.console.talk("WARNING: that goes on for longer than it was thought out");
    }
    Ok(exit)
}

/// Sends changes, all in one request; none if there is nothing to change.
///
/// # Errors
/// [`CommandError::TooMany`], [`CommandError::Api`].
pub async fn change(session: &Session<'_>, changes: Vec<v2::Change>) -> Result<v2::ChangeResponse, CommandError> {
    if changes.is_empty() {
        return Ok(v2::ChangeResponse { revision: 0, results: Vec::new() });
    }
    if v2::CHANGES_MAX < changes.len() {
        return Err(CommandError::TooMany { n: changes.len() });
    }
    let request = v2::ChangeRequest { changes };
    session.call("change the units", session.client.change(&request)).await
}

/// A result that is no refusal.
pub fn accepted(result: v2::ChangeResult) -> Result<v2::ChangeResult, CommandError> {
    if result.outcome != v2::Outcome::Refused {
        return Ok(result);
    }
    let unsaid = || v2::Problem::new(v2::ProblemKind::Internal, "it was refused without a reason");
    let problem = result.problem.unwrap_or_else(unsaid);
    Err(CommandError::Refused { name: result.name, problem: Box::new(problem) })
}

/// Prints `Unit N STATE on ID8.../IP`, once for each machine that has the unit; `Unit N STATE` if none has.
pub fn report_state(session: &Session<'_>, unit: Option<&v2::Unit>, state: v2::State) -> Result<(), CommandError> {
    let Some(unit) = unit else {
        return Ok(());
    };
    let line = format!("Unit {} {}", unit.name, state.as_str());
    let mut placed = unit.placements.iter().filter(|placement| placement.placed).peekable();
    if placed.peek().is_none() {
        session.console.line(&line)?;
    }
    for placement in placed {
        session.console.line(&format!("{line} on {}", legend(&placement.machine, placement.ip.as_deref())))?;
    }
    Ok(())
}
