//! What a unit manager must do with commands beside units.

use std::os::fd::OwnedFd;
use std::time::Duration;

use fleet_systemd::exec::{EXEC_PREFIX, ExecEnd, ExecOrder, ExecPipes, Execution, NO_SERVICE};
use fleet_systemd::{ManagerError, ManagerEvent, NO_SUCH_UNIT, UnitManager, Verb};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;

use crate::world::*;

/// A command's output, both of it, as it comes; it ends when nobody has the other end any more.
struct Output(Receiver);

impl Output {
    async fn whole(mut self) -> String {
        let mut text = String::new();
        within("the end of the output", self.0.read_to_string(&mut text)).await.expect("text");
        text
    }
}

fn order(unit: &str, id: &str, command: &[&str]) -> (ExecOrder, Output) {
    let (stdin, _) = std::io::pipe().expect("a pipe");
    let (output, stdout) = std::io::pipe().expect("a pipe");
    let stderr = stdout.try_clone().expect("a copy");
    let order = ExecOrder {
        unit: unit_name(unit),
        id: id.to_owned(),
        command: command.iter().map(|&word| word.to_owned()).collect(),
        limit: Duration::from_secs(1000),
        pipes: ExecPipes { stdin: stdin.into(), stdout: stdout.into(), stderr: stderr.into() },
    };
    (order, Output(Receiver::from_owned_fd(OwnedFd::from(output)).expect("a pipe")))
}

async fn begin(manager: &dyn UnitManager, order: ExecOrder) -> Execution {
    within("the begin of a command", manager.exec(order)).await.expect("it begins")
}

async fn end(execution: Execution) -> Option<ExecEnd> {
    within("the end of a command", execution.end).await.ok()
}

/// The error name of a refusal.
async fn refused(manager: &dyn UnitManager, unit: &str) -> String {
    match within("a refusal", manager.exec(order(unit, "refused", &["/bin/true"]).0)).await {
        Err(ManagerError::Refused { name, message, .. }) => {
            assert!(!message.is_empty(), "a refusal has a message");
            name
        }
        other => panic!("not refused: {other:?}"),
    }
}

pub async fn command_beside_a_unit_ends_with_its_exit_code(world: &dyn World) {
    let manager = world.manager().await;
    write(&*manager, &[file("up.service", &sleeper(1000)), file("down.service", &sleeper(1000))]).await;
    start(&*manager, "up.service").await;
    for (number, unit) in ["up.service", "down.service"].into_iter().enumerate() {
        for (program, code) in [("/bin/true", 0), ("false", 1)] {
            let (order, output) = order(unit, &format!("{number}-{code}"), &[program]);
            let execution = begin(&*manager, order).await;
            assert!(execution.name.as_str().starts_with(EXEC_PREFIX), "{}", execution.name);
            assert_eq!(end(execution).await, Some(ExecEnd::Exited(code)), "{program} beside {unit}");
            assert_eq!(output.whole().await, "");
        }
    }
    assert_eq!(state(&*manager, "up.service").await, "loaded active running success");
    assert_eq!(state(&*manager, "down.service").await, "loaded inactive dead");
    assert_eq!(manager.look().await.expect("look").units.len(), 2, "commands are no units of ours");
}

pub async fn command_is_stopped_by_its_name(world: &dyn World) {
    let manager = world.manager().await;
    write(&*manager, &[file("a.service", &sleeper(1000))]).await;
    let (order, output) = order("a.service", "stopped", &["/bin/sleep", "1000"]);
    let execution = begin(&*manager, order).await;
    let name = execution.name.to_string();
    stop(&*manager, &name).await;
    assert_eq!(end(execution).await, Some(ExecEnd::Killed(15)));
    assert_eq!(output.whole().await, "");
    assert_eq!(refusal(run(&*manager, &name, Verb::Stop).await), NO_SUCH_UNIT, "nothing is left of it");
}

pub async fn command_over_its_limit_is_stopped(world: &dyn World) {
    let manager = world.manager().await;
    write(&*manager, &[file("a.service", &sleeper(1000))]).await;
    let (order, output) = order("a.service", "slow", &["/bin/sleep", "1000"]);
    let execution = begin(&*manager, ExecOrder { limit: Duration::from_secs(1), ..order }).await;
    assert_eq!(end(execution).await, Some(ExecEnd::TimedOut));
    assert_eq!(output.whole().await, "");
}

pub async fn command_stops_with_its_unit(world: &dyn World) {
    let manager = world.manager().await;
    write(&*manager, &[file("a.service", &sleeper(1000)), file("b.service", &sleeper(1000))]).await;
    start(&*manager, "a.service").await;
    let (beside_a, _) = order("a.service", "a", &["/bin/sleep", "1000"]);
    let (beside_b, _) = order("b.service", "b", &["/bin/sleep", "1000"]);
    let (beside_a, mut beside_b) = (begin(&*manager, beside_a).await, begin(&*manager, beside_b).await);
    stop(&*manager, "a.service").await;
    assert_eq!(end(beside_a).await, Some(ExecEnd::Killed(15)));
    assert!(beside_b.end.try_recv().is_err(), "the other goes on");
    // A file is removed although a command named its unit.
    remove(&*manager, "a.service").await.expect("at rest");
    assert_eq!(refused(&*manager, "a.service").await, NO_SUCH_UNIT);
    stop(&*manager, beside_b.name.as_str()).await;
}

/// A reload comes with every unit file that changes.
pub async fn command_goes_on_over_a_reload(world: &dyn World) {
    let manager = world.manager().await;
    write(&*manager, &[file("a.service", &sleeper(1000))]).await;
    start(&*manager, "a.service").await;
    let (order, output) = order("a.service", "long", &["/bin/sleep", "2"]);
    let mut execution = begin(&*manager, order).await;
    let before = world.reload_stamp().await;
    world.reload().await;
    write(&*manager, &[file("a.service", &sleeper(2000))]).await;
    assert_ne!(world.reload_stamp().await, before, "there was a reload");
    assert!(execution.end.try_recv().is_err(), "it goes on");
    assert_eq!(end(execution).await, Some(ExecEnd::Exited(0)));
    assert_eq!(output.whole().await, "");
}

pub async fn command_needs_a_service_that_is_loaded(world: &dyn World) {
    let manager = world.manager().await;
    write(&*manager, &[file("a.timer", "[Timer]\nOnBootSec=1h\n"), file("bad.service", "[Service]\n")]).await;
    assert_eq!(refused(&*manager, "unknown.service").await, NO_SUCH_UNIT);
    assert_eq!(refused(&*manager, "bad.service").await, NO_SUCH_UNIT);
    assert_eq!(refused(&*manager, "a.timer").await, NO_SERVICE);
}

/// As after the death of a fleetd.
pub async fn command_that_nobody_waits_for_is_stopped(world: &dyn World) {
    let manager = world.manager().await;
    write(&*manager, &[file("a.service", &sleeper(1000))]).await;
    let (order, output) = order("a.service", "left", &["/bin/sleep", "1000"]);
    let execution = begin(&*manager, order).await;
    drop(manager);
    let _next = world.manager().await;
    assert_eq!(output.whole().await, "", "it has ended");
    drop(execution);
}

pub async fn command_ends_unknown_when_systemd_is_lost(world: &dyn World) {
    let manager = world.manager().await;
    let mut events = manager.events().expect("first taker");
    write(&*manager, &[file("a.service", &sleeper(1000))]).await;
    let (order, output) = order("a.service", "lost", &["/bin/sleep", "1000"]);
    let execution = begin(&*manager, order).await;
    world.reexec().await;
    assert_eq!(end(execution).await, None);
    until_event(&mut events, &ManagerEvent::Connected).await;
    assert_eq!(output.whole().await, "", "it was stopped");
}
