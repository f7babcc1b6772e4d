//! `show`: what systemd knows of units, for scripts, as `systemctl show` prints it.

use std::collections::BTreeMap;

use fleet_api::v2;

use crate::cli::{Format, Show};
use crate::commands::session::{Session, machine_of};
use crate::error::CommandError;
use crate::exit::Exit;
use crate::names::{self, Purpose};
use crate::wait::legend;

/// Carries it out: all units, also behind one that cannot be shown. An empty line stands between two, as with systemctl.
pub async fn run(session: &Session<'_>, args: &Show) -> Result<Exit, CommandError> {
    let (arguments, mut errors) = names::arguments(&args.units, Purpose::Existing);
    let known = session.lookup(&arguments).await?;
    let (selected, unknown) = names::units_of(&arguments, &known);
    errors.extend(session.with_similar(unknown).await);
    let (mut exit, mut shown) = (Exit::Ok, Vec::new());
    for one in &selected {
        match properties(session, args, one.unit).await {
            Ok((code, told)) => {
                exit = exit.and(code);
                shown.extend(told.into_iter().map(|told| (one.unit.name.clone(), told)));
            }
            Err(err) => exit = exit.and(session.report(&err)),
        }
    }
    match args.output {
        Format::Json => session.json(&shown.iter().map(structure).collect::<Vec<_>>())?,
        Format::Yaml => session.yaml(&shown.iter().map(structure).collect::<Vec<_>>())?,
        Format::Name => shown.iter().try_for_each(|(name, _)| session.console.line(name))?,
        Format::Text | Format::Wide => {
            for (idx, (_, told)) in shown.iter().enumerate() {
                if 0 < idx && !args.value {
                    session.console.line("")?;
                }
                lines(told, args.value).iter().try_for_each(|line| session.console.line(line))?;
            }
        }
    }
    Ok(exit.and(session.report_all(&errors)))
}

/// The properties of a unit on each of its machines. A machine that cannot be asked is reported.
async fn properties(
    session: &Session<'_>,
    args: &Show,
    unit: &v2::Unit,
) -> Result<(Exit, Vec<v2::UnitProperties>), CommandError> {
    if unit.placements.is_empty() {
        let (name, state) = (unit.name.clone(), unit.desired_state);
        return Err(CommandError::NotPlaced { name, what: "on any machine", state });
    }
    let machines = unit.placements.iter().map(|placement| placement.machine.as_str());
    let machine = args.machine.as_deref().map(|given| machine_of(given, machines)).transpose()?;
    let names = (!args.property.is_empty()).then(|| args.property.join(","));
    let query = v2::PropertiesQuery { machine, names, forwarded: false };
    let doing = format!("show {}", unit.name);
    let (mut exit, mut shown) = (Exit::Ok, Vec::new());
    for mut told in session.call(&doing, session.client.properties(&unit.name, &query)).await? {
        match told.problem.take() {
            None => shown.push(told),
            Some(problem) => {
                let place = unit.placements.iter().find(|placement| placement.machine == told.machine);
                let place = legend(&told.machine, place.and_then(|placement| placement.ip.as_deref()));
                let err = CommandError::NotToldBySystemd { doing: doing.clone(), place, problem: Box::new(problem) };
                exit = exit.and(session.report(&err));
            }
        }
    }
    Ok((exit, shown))
}

fn lines(told: &v2::UnitProperties, only_values: bool) -> Vec<String> {
    let line = |one: &v2::Property| {
        if only_values { one.value.clone() } else { format!("{}={}", one.name, one.value) }
    };
    told.properties.iter().map(line).collect()
}

/// An object for programs: the unit, the machine, and the properties by name. One that is there several times has all its values, a
/// line each.
fn structure((name, told): &(String, v2::UnitProperties)) -> serde_json::Value {
    let mut properties = BTreeMap::<&str, String>::new();
    for one in &told.properties {
        let value = properties.entry(&one.name).or_default();
        if !value.is_empty() {
            value.push('\n');
        }
        value.push_str(&one.value);
    }
    serde_json::json!({ "name": name, "machine": told.machine, "properties": properties })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms() {
        let property = |name: &str, value: &str| v2::Property { name: name.to_owned(), value: value.to_owned() };
        let properties = vec![property("MainPID", "7"), property("ExecStart", "a=b"), property("ExecStart", "c")];
        let told = v2::UnitProperties { machine: "4f1c2a7d00".to_owned(), properties, problem: None };
        assert_eq!(lines(&told, false), ["MainPID=7", "ExecStart=a=b", "ExecStart=c"]);
        assert_eq!(lines(&told, true), ["7", "a=b", "c"]);
        let json = structure(&("a.service".to_owned(), told)).to_string();
        let expected =
            r#"{"machine":"4f1c2a7d00","name":"a.service","properties":{"ExecStart":"a=b\nc","MainPID":"7"}}"#;
        assert_eq!(json, expected);
    }
}
