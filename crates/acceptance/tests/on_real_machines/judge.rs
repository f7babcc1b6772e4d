//! What the machines' own systemds say: the truth that fleet's words are held against.

use std::process::{Command, Stdio};

use fleet_dev::Machine;

use crate::world::World;

/// Runs a command on a machine; it must succeed. What it printed, without the newline at its end.
#[track_caller]
pub fn on(machine: &Machine, words: &[&str]) -> String {
    output(machine.command(words[0]).args(&words[1..]))
}

/// One property of a unit on a machine, as `systemctl show` prints it.
#[track_caller]
pub fn property(machine: &Machine, unit: &str, name: &str) -> String {
    on(machine, &["systemctl", "--user", "show", "--property", name, "--value", "--", unit])
}

/// The names of the machines on which systemd says that the unit is active.
#[track_caller]
pub fn runs_on(world: &World, unit: &str) -> Vec<String> {
    let is_active = |machine: &&Machine| property(machine, unit, "ActiveState") == "active";
    world.machines().iter().filter(is_active).map(|machine| machine.spec().name.clone()).collect()
}

/// The one machine that runs the unit.
#[track_caller]
pub fn machine_of<'a>(world: &'a World, unit: &str) -> &'a Machine {
    let names = runs_on(world, unit);
    assert_eq!(names.len(), 1, "{unit} runs on one machine: {names:?}");
    world.machines().iter().find(|machine| machine.spec().name == names[0]).expect("one of these")
}

/// The process number of the unit's main process, which must be there.
#[track_caller]
pub fn main_pid(world: &World, unit: &str) -> u32 {
    let pid = property(machine_of(world, unit), unit, "MainPID").parse().expect("a number");
    assert_ne!(pid, 0, "{unit} has no main process");
    pid
}

/// Whether a process is alive (a dead one that nobody has waited for is not).
pub fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, fields)| !fields.trim_start().starts_with(['Z', 'X']))
}

/// The option with which a unit's output goes where [`printed`] finds it. Not to the journal: a process that prints and ends at
/// once may be gone before journald has learned which unit it belonged to.
pub const PRINTS: &str = "StandardOutput=append:/run/printed.%n";

/// The lines that a unit with [`PRINTS`] has printed on that machine, in order.
#[track_caller]
pub fn printed(machine: &Machine, unit: &str) -> Vec<String> {
    let path = machine.run_directory().join(format!("printed.{unit}"));
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(err) => panic!("cannot read {}: {err}", path.display()),
    };
    text.lines().map(str::to_owned).collect()
}

#[track_caller]
fn output(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("the program starts");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} ended with {}\n{stdout}{stderr}", output.status);
    stdout.trim_end().to_owned()
}
