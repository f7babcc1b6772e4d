//! `cargo xtask demo`: three machines, six units from templates, and what became of them.

use std::collections::BTreeMap;
use std::process::Command;

use crate::run::{ChoreError, cargo, check, output, print, programs, say, workspace};
use crate::setup;

/// The ports of the example's instances.
const PORTS: [&str; 3] = ["5555", "6666", "7777"];

/// Brings up the cluster and plays the steps in it.
pub fn run() -> Result<(), ChoreError> {
    setup::install()?;
    say("building fleetd and fleetctl");
    check(&mut cargo(&["build", "--bins", "--package", "fleetd", "--package", "fleetctl"]))?;
    let own = std::env::current_exe().map_err(|err| ChoreError::Other(err.to_string()))?;
    let mut dev = Command::new(programs("debug")?.join("fleetctl"));
    dev.current_dir(workspace()).args(["dev", "--machines", "3", "--"]).arg(own).arg("demo-steps");
    check(&mut dev)
}

/// What is shown, typed as a person would type it.
pub fn steps() -> Result<(), ChoreError> {
    typed("list-machines", &[])?;
    let mut units: Vec<String> = PORTS.iter().map(|port| format!("examples/instances/apache@{port}.service")).collect();
    units.extend(PORTS.iter().map(|port| format!("examples/instances/apache-discovery@{port}.service")));
    let units: Vec<&str> = units.iter().map(String::as_str).collect();
    typed_as("start examples/instances/*", "start", &units)?;
    typed("list-units", &[])?;
    typed("status", &["apache@5555.service"])?;
    check_cluster()?;
    typed("destroy", &["apache*"])
}

fn fleetctl(command: &str, args: &[&str]) -> Result<Command, ChoreError> {
    let mut fleetctl = Command::new(programs("debug")?.join("fleetctl"));
    fleetctl.current_dir(workspace()).arg(command).args(args);
    Ok(fleetctl)
}

fn typed(command: &str, args: &[&str]) -> Result<(), ChoreError> {
    let mut line = vec![command];
    line.extend(args);
    typed_as(&line.join(" "), command, args)
}

fn typed_as(line: &str, command: &str, args: &[&str]) -> Result<(), ChoreError> {
    print(&format!("\n$ fleetctl {line}"));
    check(&mut fleetctl(command, args)?)
}

/// Asks the cluster itself, and the web servers, whether it is as the unit files say.
fn check_cluster() -> Result<(), ChoreError> {
    let rows = output(&mut fleetctl("list-units", &["--no-legend", "--full", "--fields=unit,machine,active"])?)?;
    let mut machine_of: BTreeMap<String, String> = BTreeMap::new();
    for row in rows.lines() {
        let [unit, machine, "active"] = row.split_whitespace().collect::<Vec<_>>()[..] else {
            return Err(ChoreError::Other(format!("not an active unit: {row}")));
        };
        machine_of.insert(unit.to_owned(), machine.to_owned());
    }
    print("");
    let mut mains = BTreeMap::new();
    for port in PORTS {
        let find =
            |unit: String| machine_of.get(&unit).ok_or_else(|| ChoreError::Other(format!("{unit} does not run")));
        let main = find(format!("apache@{port}.service"))?;
        if main != find(format!("apache-discovery@{port}.service"))? {
            return Err(ChoreError::Other(format!("the pair of port {port} is not together")));
        }
        if let Some(other) = mains.insert(main.clone(), port) {
            return Err(ChoreError::Other(format!("the web servers of ports {other} and {port} are on one machine")));
        }
        let address = main.split_once('/').map_or("127.0.0.1", |(_, ip)| ip);
        let url = format!("http://{address}:{port}/");
        // The server listens a moment after systemd has started it.
        let answer = output(Command::new("curl").args([
            "-fs",
            "--retry",
            "20",
            "--retry-connrefused",
            "--retry-delay",
            "1",
            &url,
        ]))?;
        print(&format!("{url} says: {}", answer.trim()));
    }
    print("\nSix units run on three machines: each pair together, no two web servers on one machine.");
    Ok(())
}
