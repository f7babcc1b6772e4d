//! What a unit manager must do, each written once. They hold for the fake and for a real systemd.

use std::collections::BTreeSet;

use fleet_systemd::{JobResult, ManagerError, ManagerEvent, NO_SUCH_UNIT, Verb};
use futures_util::future::join_all;

pub use crate::commands::*;
use crate::world::*;

pub async fn new_file_starts_without_a_reload(world: &dyn World) {
    let manager = world.manager().await;
    let before = world.reload_stamp().await;
    write(&*manager, &[file("a.service", &sleeper(1000))]).await;
    assert_eq!(state(&*manager, "a.service").await, "loaded inactive dead");
    start(&*manager, "a.service").await;
    assert_eq!(state(&*manager, "a.service").await, "loaded active running success");
    assert_eq!(world.command_line(&unit_name("a.service")).await.as_deref(), Some("/bin/sleep 1000"));
    assert_eq!(world.reload_stamp().await, before, "no reload");
}

pub async fn a_hundred_units_in_one_batch(world: &dyn World) {
    let manager = world.manager().await;
    let before = world.reload_stamp().await;
    let names: Vec<String> = (0..100).map(|n| format!("many@{n}.service")).collect();
    let files: Vec<_> = names.iter().map(|name| file(name, &sleeper(1000))).collect();
    write(&*manager, &files).await;
    join_all(names.iter().map(|name| start(&*manager, name))).await;
    let look = manager.look().await.expect("look");
    assert_eq!(look.files.len(), 100);
    assert_eq!(look.units.iter().filter(|status| words(status) == "loaded active running success").count(), 100);
    join_all(names.iter().map(|name| stop(&*manager, name))).await;
    let all: Vec<_> = names.iter().map(|name| unit_name(name)).collect();
    for outcome in manager.remove(&all).await.expect("remove") {
        outcome.expect("each is removed");
    }
    let look = manager.look().await.expect("look");
    assert_eq!((look.files.len(), look.units.len()), (0, 0));
    assert_eq!(world.reload_stamp().await, before, "no reload");
}

pub async fn restart_runs_the_changed_file(world: &dyn World) {
    let manager = world.manager().await;
    let name = unit_name("a.service");
    write(&*manager, &[file("a.service", &sleeper(1000))]).await;
    start(&*manager, "a.service").await;
    write(&*manager, &[file("a.service", &sleeper(2000))]).await;
    assert_eq!(world.command_line(&name).await.as_deref(), Some("/bin/sleep 1000"), "writing disturbs nothing");
    assert_eq!(run(&*manager, "a.service", Verb::Restart).await, JobResult::Done);
    assert_eq!(world.command_line(&name).await.as_deref(), Some("/bin/sleep 2000"));
    // The same again is no change: no reload for it.
    let before = world.reload_stamp().await;
    write(&*manager, &[file("a.service", &sleeper(2000))]).await;
    assert_eq!(world.reload_stamp().await, before, "unchanged content needs no reload");
}

pub async fn failed_unit_runs_the_changed_file(world: &dyn World) {
    let manager = world.manager().await;
    write(&*manager, &[file("a.service", "[Service]\nType=oneshot\nExecStart=/bin/false\n")]).await;
    assert_eq!(run(&*manager, "a.service", Verb::Start).await, JobResult::Other("failed".to_owned()));
    assert_eq!(state(&*manager, "a.service").await, "loaded failed failed exit-code");
    write(&*manager, &[file("a.service", &sleeper(1000))]).await;
    start(&*manager, "a.service").await;
    assert_eq!(world.command_line(&unit_name("a.service")).await.as_deref(), Some("/bin/sleep 1000"));
    assert_eq!(state(&*manager, "a.service").await, "loaded active running success");
}

pub async fn slow_stop_then_written_anew_runs_the_new(world: &dyn World) {
    let manager = world.manager().await;
    let slow = "[Service]\nExecStart=/bin/sleep 1000\nExecStop=/bin/sleep 1\n";
    // Another unit names it, so that systemd keeps it in memory when it is stopped and removed.
    let other = "[Unit]\nAfter=a.service\n[Service]\nExecStart=/bin/sleep 1000\n";
    write(&*manager, &[file("a.service", slow), file("other.service", other)]).await;
    start(&*manager, "a.service").await;
    start(&*manager, "other.service").await;
    stop(&*manager, "a.service").await;
    remove(&*manager, "a.service").await.expect("at rest");
    write(&*manager, &[file("a.service", &sleeper(2000))]).await;
    start(&*manager, "a.service").await;
    assert_eq!(world.command_line(&unit_name("a.service")).await.as_deref(), Some("/bin/sleep 2000"));
}

pub async fn removed_unit_does_not_come_back(world: &dyn World) {
    let manager = world.manager().await;
    let other = "[Unit]\nWants=a.service\nAfter=a.service\n[Service]\nExecStart=/bin/sleep 1000\n";
    write(&*manager, &[file("a.service", &sleeper(1000)), file("other.service", other)]).await;
    start(&*manager, "other.service").await;
    assert!(world.command_line(&unit_name("a.service")).await.is_some(), "pulled in");
    stop(&*manager, "a.service").await;
    remove(&*manager, "a.service").await.expect("at rest");
    assert_eq!(run(&*manager, "other.service", Verb::Restart).await, JobResult::Done);
    assert_eq!(world.command_line(&unit_name("a.service")).await, None, "not pulled in from memory");
    assert_eq!(refusal(run(&*manager, "a.service", Verb::Start).await), NO_SUCH_UNIT);
}

pub async fn dependency_may_be_written_later(world: &dyn World) {
    let manager = world.manager().await;
    let first =
        "[Unit]\nWants=late.service\nPartOf=late.service\nAfter=late.service\n[Service]\nExecStart=/bin/sleep 1000\n";
    write(&*manager, &[file("first.service", first)]).await;
    start(&*manager, "first.service").await;
    write(&*manager, &[file("late.service", &sleeper(1000))]).await;
    assert_eq!(run(&*manager, "first.service", Verb::Restart).await, JobResult::Done);
    assert_eq!(state(&*manager, "late.service").await, "loaded active running success", "pulled in");
    stop(&*manager, "late.service").await;
    assert_eq!(world.command_line(&unit_name("first.service")).await, None, "stopped with it");
}

pub async fn job_of_a_oneshot_ends_with_its_process(world: &dyn World) {
    let manager = world.manager().await;
    let mut events = manager.events().expect("first taker");
    assert!(manager.events().is_none(), "one taker only");
    write(
        &*manager,
        &[
            file("once.service", "[Service]\nType=oneshot\nExecStart=/bin/sleep 1\n"),
            file("stays.service", "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n"),
        ],
    )
    .await;
    start(&*manager, "once.service").await;
    until(&mut events, "once.service", |status| status.active == "activating").await;
    until(&mut events, "once.service", |status| status.active == "inactive").await;
    assert_eq!(state(&*manager, "once.service").await, "loaded inactive dead");
    start(&*manager, "stays.service").await;
    assert_eq!(state(&*manager, "stays.service").await, "loaded active exited success");
}

pub async fn job_results_are_systemds_own(world: &dyn World) {
    let manager = world.manager().await;
    let mut events = manager.events().expect("first taker");
    let other = |result: &str| JobResult::Other(result.to_owned());
    let needs = "[Unit]\nRequires=fails.service\nAfter=fails.service\n[Service]\nExecStart=/bin/sleep 1000\n";
    let endless = "[Service]\nType=oneshot\nExecStart=/bin/sleep 1000\n";
    write(
        &*manager,
        &[
            file("fails.service", "[Service]\nType=oneshot\nExecStart=/bin/false\n"),
            file("needs.service", needs),
            file("endless.service", endless),
            file("slow.service", &format!("{endless}TimeoutStartSec=1\n")),
            file("impatient.service", &format!("[Unit]\nJobTimeoutSec=1\n{endless}")),
        ],
    )
    .await;
    assert_eq!(run(&*manager, "fails.service", Verb::Start).await, other("failed"));
    assert_eq!(run(&*manager, "needs.service", Verb::Start).await, other("dependency"));
    assert_eq!(run(&*manager, "slow.service", Verb::Start).await, other("failed"));
    assert_eq!(state(&*manager, "slow.service").await, "loaded failed failed timeout");
    assert_eq!(run(&*manager, "impatient.service", Verb::Start).await, other("timeout"));
    let replaced = async {
        until(&mut events, "endless.service", |status| status.active == "activating").await;
        run(&*manager, "endless.service", Verb::Stop).await
    };
    let (started, stopped) = tokio::join!(run(&*manager, "endless.service", Verb::Start), replaced);
    assert_eq!((started, stopped), (other("canceled"), JobResult::Done));
}

pub async fn two_who_want_the_same_job_both_hear_of_its_end(world: &dyn World) {
    let manager = world.manager().await;
    write(&*manager, &[file("once.service", "[Service]\nType=oneshot\nExecStart=/bin/sleep 1\n")]).await;
    tokio::join!(start(&*manager, "once.service"), start(&*manager, "once.service"));
}

pub async fn bound_pair_lives_and_dies_together(world: &dyn World) {
    let manager = world.manager().await;
    let mut events = manager.events().expect("first taker");
    let kick = "[Unit]\nBindsTo=main@1.service\nAfter=main@1.service\n[Service]\nExecStart=/bin/sleep 1000\n";
    write(&*manager, &[file("kick@1.service", kick), file("main@1.service", &sleeper(2000))]).await;
    start(&*manager, "kick@1.service").await;
    assert_eq!(state(&*manager, "main@1.service").await, "loaded active running success", "pulled in");
    world.kill_main(&unit_name("main@1.service")).await;
    // In no particular order: events of different units are merged apart.
    let mut open = vec!["loaded failed failed signal main@1.service", "loaded inactive dead kick@1.service"];
    let both = async {
        while !open.is_empty() {
            if let ManagerEvent::Changed(status) = events.recv().await.expect("events go on") {
                let told = format!("{} {}", words(&status), status.name).replace("dead success", "dead");
                open.retain(|wanted| *wanted != told);
            }
        }
    };
    within("the end of both", both).await;
    assert_eq!(world.command_line(&unit_name("kick@1.service")).await, None);
}

pub async fn no_such_unit_is_a_refusal(world: &dyn World) {
    let manager = world.manager().await;
    assert_eq!(refusal(run(&*manager, "nowhere.service", Verb::Start).await), NO_SUCH_UNIT);
    // And leaves nothing behind that would hide the file when it comes.
    write(&*manager, &[file("nowhere.service", &sleeper(1000))]).await;
    start(&*manager, "nowhere.service").await;
}

pub async fn template_is_refused(world: &dyn World) {
    let manager = world.manager().await;
    write(&*manager, &[file("t@.service", &sleeper(1000))]).await;
    assert_eq!(refusal(run(&*manager, "t@.service", Verb::Start).await), "org.freedesktop.DBus.Error.InvalidArgs");
    // Its file is there all the same, and goes like any other.
    assert_eq!(manager.look().await.expect("look").files.len(), 1);
    remove(&*manager, "t@.service").await.expect("a template is at rest");
    assert_eq!(manager.look().await.expect("look").files.len(), 0);
}

pub async fn bad_file_hurts_nobody_else(world: &dyn World) {
    let manager = world.manager().await;
    let bad = "[Service]\nType=simple\n";
    let good: Vec<String> = (0..10).map(|n| format!("good{n}.service")).collect();
    let mut files: Vec<_> = good.iter().map(|name| file(name, &sleeper(1000))).collect();
    files.insert(5, file("bad.service", bad));
    write(&*manager, &files).await;
    let (bad_result, ()) = tokio::join!(run(&*manager, "bad.service", Verb::Start), async {
        join_all(good.iter().map(|name| start(&*manager, name))).await;
    });
    assert_eq!(refusal(bad_result), "org.freedesktop.systemd1.BadUnitSetting");
    assert_eq!(state(&*manager, "bad.service").await, "bad-setting inactive dead");
    write(&*manager, &[file("bad.service", &sleeper(1000))]).await;
    start(&*manager, "bad.service").await;
    assert_eq!(state(&*manager, "bad.service").await, "loaded active running success");
}

pub async fn running_units_file_is_not_removed(world: &dyn World) {
    let manager = world.manager().await;
    write(&*manager, &[file("a.service", &sleeper(1000)), file("b.service", &sleeper(1000))]).await;
    start(&*manager, "a.service").await;
    let outcomes = manager.remove(&[unit_name("a.service"), unit_name("b.service")]).await.expect("remove");
    assert!(matches!(&outcomes[0], Err(ManagerError::Refused { .. })), "{outcomes:?}");
    assert_eq!(outcomes[1], Ok(()), "the other one of the batch is removed");
    let look = manager.look().await.expect("look");
    assert_eq!(look.files, [(unit_name("a.service"), Some(receipt(&sleeper(1000))))]);
    assert_eq!(state(&*manager, "a.service").await, "loaded active running success");
}

pub async fn removing_forgets_a_failure(world: &dyn World) {
    let manager = world.manager().await;
    let fails = "[Service]\nType=oneshot\nExecStart=/bin/false\n";
    write(&*manager, &[file("a.service", fails)]).await;
    assert_eq!(run(&*manager, "a.service", Verb::Start).await, JobResult::Other("failed".to_owned()));
    remove(&*manager, "a.service").await.expect("failed is at rest");
    assert_eq!(state(&*manager, "a.service").await, "nothing");
    // Removing what is not there is done already.
    remove(&*manager, "a.service").await.expect("gone is gone");
    write(&*manager, &[file("a.service", fails)]).await;
    assert_eq!(state(&*manager, "a.service").await, "loaded inactive dead");
}

pub async fn death_of_a_process_is_an_event(world: &dyn World) {
    let manager = world.manager().await;
    let mut events = manager.events().expect("first taker");
    write(&*manager, &[file("a.service", &sleeper(1000))]).await;
    start(&*manager, "a.service").await;
    until(&mut events, "a.service", |status| words(status) == "loaded active running success").await;
    world.kill_main(&unit_name("a.service")).await;
    until(&mut events, "a.service", |status| words(status) == "loaded failed failed signal").await;
    assert_eq!(state(&*manager, "a.service").await, "loaded failed failed signal");
}

pub async fn hanging_stop_holds_up_nobody_else(world: &dyn World) {
    let manager = world.manager().await;
    let slow = "[Service]\nExecStart=/bin/sleep 1000\nExecStop=/bin/sleep 1000\nTimeoutStopSec=3\n";
    write(&*manager, &[file("slow.service", slow), file("quick.service", &sleeper(1000))]).await;
    start(&*manager, "slow.service").await;
    let slow_name = unit_name("slow.service");
    let stopping = manager.run(&slow_name, Verb::Stop);
    tokio::pin!(stopping);
    let quick = async {
        start(&*manager, "quick.service").await;
        stop(&*manager, "quick.service").await;
        state(&*manager, "slow.service").await
    };
    let seen = tokio::select! {
        biased; // The stop is asked for first.
        _ = &mut stopping => panic!("the hanging stop cannot end first"),
        seen = quick => seen,
    };
    assert!(seen.starts_with("loaded deactivating"), "{seen}");
    assert!(matches!(remove(&*manager, "slow.service").await, Err(ManagerError::Refused { .. })));
    assert_eq!(within("the end of the stop", stopping).await, Ok(JobResult::Done));
    assert_eq!(state(&*manager, "slow.service").await, "loaded failed failed timeout");
}

pub async fn another_manager_adopts_what_runs(world: &dyn World) {
    let first = world.manager().await;
    let fails = "[Service]\nType=oneshot\nExecStart=/bin/false\n";
    write(&*first, &[file("a.service", &sleeper(1000)), file("b.service", fails), file("c.service", &sleeper(1000))])
        .await;
    start(&*first, "a.service").await;
    assert_eq!(run(&*first, "b.service", Verb::Start).await, JobResult::Other("failed".to_owned()));
    let newer = fleet_systemd::Receipt { restarts: 9, ..receipt(&sleeper(1000)) };
    first.write_receipt(&unit_name("a.service"), &newer).await.expect("the file is there");
    let before = first.look().await.expect("look");
    drop(first);
    let second = world.manager().await;
    let mut events = second.events().expect("first taker");
    let look = second.look().await.expect("look");
    assert_eq!(look, before);
    let states: Vec<String> = look.units.iter().map(words).collect();
    assert_eq!(states, ["loaded active running success", "loaded failed failed exit-code", "loaded inactive dead"]);
    assert_eq!(look.files[0], (unit_name("a.service"), Some(newer)));
    world.kill_main(&unit_name("a.service")).await;
    until(&mut events, "a.service", |status| status.active == "failed").await;
}

pub async fn receipt_needs_a_file(world: &dyn World) {
    let manager = world.manager().await;
    let outcome = manager.write_receipt(&unit_name("a.service"), &receipt("")).await;
    assert!(matches!(outcome, Err(ManagerError::File { .. })), "{outcome:?}");
    assert_eq!(manager.look().await.expect("look").files, []);
}

pub async fn reload_by_hand_loses_nothing(world: &dyn World) {
    let manager = world.manager().await;
    let mut events = manager.events().expect("first taker");
    write(
        &*manager,
        &[file("once.service", "[Service]\nType=oneshot\nExecStart=/bin/sleep 2\n"), file("a.service", &sleeper(1000))],
    )
    .await;
    start(&*manager, "a.service").await;
    let reloads = async {
        until(&mut events, "once.service", |status| status.active == "activating").await;
        world.reload().await;
        world.reload().await;
    };
    tokio::join!(start(&*manager, "once.service"), reloads);
    assert_eq!(state(&*manager, "a.service").await, "loaded active running success");
    world.kill_main(&unit_name("a.service")).await;
    until(&mut events, "a.service", |status| words(status) == "loaded failed failed signal").await;
}

pub async fn power_loss_is_told_and_survived(world: &dyn World) {
    let manager = world.manager().await;
    let mut events = manager.events().expect("first taker");
    write(
        &*manager,
        &[
            file("endless.service", "[Service]\nType=oneshot\nExecStart=/bin/sleep 1000\n"),
            file("a.service", &sleeper(1000)),
        ],
    )
    .await;
    start(&*manager, "a.service").await;
    let endless = unit_name("endless.service");
    let lost = async {
        until(&mut events, "endless.service", |status| status.active == "activating").await;
        world.reboot().await;
    };
    let (outcome, ()) =
        within("the end of the connection", async { tokio::join!(manager.run(&endless, Verb::Start), lost) }).await;
    assert!(matches!(outcome, Err(ManagerError::Disconnected { .. })), "{outcome:?}");
    until_event(&mut events, &ManagerEvent::Disconnected).await;
    until_event(&mut events, &ManagerEvent::Connected).await;
    let look = manager.look().await.expect("look");
    assert_eq!((look.files.len(), look.units.len()), (0, 0), "nothing runs, and /run is empty: {look:?}");
    write(&*manager, &[file("a.service", &sleeper(2000))]).await;
    start(&*manager, "a.service").await;
    until(&mut events, "a.service", |status| words(status) == "loaded active running success").await;
    assert_eq!(world.command_line(&unit_name("a.service")).await.as_deref(), Some("/bin/sleep 2000"));
}

pub async fn untaken_events_are_merged_and_the_last_state_is_kept(world: &dyn World) {
    let manager = world.manager().await;
    let names: Vec<String> = (0..40).map(|n| format!("u{n}.service")).collect();
    let files: Vec<_> = names.iter().map(|name| file(name, &sleeper(1000))).collect();
    write(&*manager, &files).await;
    // Far more changes than there is room for events, none of them taken.
    for _ in 0..15 {
        join_all(names.iter().map(|name| start(&*manager, name))).await;
        join_all(names.iter().map(|name| stop(&*manager, name))).await;
    }
    start(&*manager, "u7.service").await;
    let mut events = manager.events().expect("first taker");
    let mut last: std::collections::BTreeMap<String, String> = std::collections::BTreeMap::new();
    write(&*manager, &[file("z.service", &sleeper(1000))]).await;
    start(&*manager, "z.service").await;
    // The changes are told in no particular order among units; all is told when everyone's state is the final one.
    let taking = async {
        while last.len() < 41
            || last.iter().any(|(name, active)| {
                (active == "active") != (matches!(name.as_str(), "u7.service" | "z.service"))
                    || !matches!(active.as_str(), "active" | "inactive")
            })
        {
            if let ManagerEvent::Changed(status) = events.recv().await.expect("events go on") {
                last.insert(status.name.as_str().to_owned(), status.active);
            }
        }
    };
    within("the final states", taking).await;
}

pub async fn stop_of_nothing_is_a_refusal(world: &dyn World) {
    let manager = world.manager().await;
    assert_eq!(refusal(run(&*manager, "nowhere.service", Verb::Stop).await), NO_SUCH_UNIT);
    write(&*manager, &[file("bad.service", "[Service]\nType=simple\n"), file("a.service", &sleeper(1000))]).await;
    assert_eq!(refusal(run(&*manager, "bad.service", Verb::Stop).await), NO_SUCH_UNIT);
    // A unit that is there and at rest is stopped already.
    stop(&*manager, "a.service").await;
}

pub async fn needed_unit_takes_those_that_need_it_along(world: &dyn World) {
    let manager = world.manager().await;
    let needs = "[Unit]\nRequires=base.service\nAfter=base.service\n[Service]\nExecStart=/bin/sleep 1000\n";
    write(&*manager, &[file("base.service", &sleeper(1000)), file("top.service", needs)]).await;
    start(&*manager, "top.service").await;
    assert_eq!(state(&*manager, "base.service").await, "loaded active running success");
    let mut events = manager.events().expect("first taker");
    assert_eq!(run(&*manager, "base.service", Verb::Restart).await, JobResult::Done);
    // It is restarted with it, by a job of its own, which may end later.
    let restarting = async {
        while state(&*manager, "top.service").await != "loaded active running success" {
            events.recv().await.expect("events go on");
        }
    };
    within("it is restarted with it", restarting).await;
    stop(&*manager, "base.service").await;
    assert_eq!(state(&*manager, "top.service").await.split(' ').nth(1), Some("inactive"), "stopped with it");
    // And what it needs must be there.
    remove(&*manager, "base.service").await.expect("at rest");
    assert_eq!(refusal(run(&*manager, "top.service", Verb::Start).await), NO_SUCH_UNIT);
}

pub async fn start_while_stopping_waits_and_then_runs(world: &dyn World) {
    let manager = world.manager().await;
    let mut events = manager.events().expect("first taker");
    let slow = "[Service]\nExecStart=/bin/sleep 1000\nExecStop=/bin/sleep 1\n";
    write(&*manager, &[file("a.service", slow)]).await;
    start(&*manager, "a.service").await;
    let again = async {
        until(&mut events, "a.service", |status| status.active == "deactivating").await;
        run(&*manager, "a.service", Verb::Start).await
    };
    let (stopped, started) = tokio::join!(run(&*manager, "a.service", Verb::Stop), again);
    assert_eq!((stopped, started), (JobResult::Other("canceled".to_owned()), JobResult::Done));
    assert_eq!(state(&*manager, "a.service").await, "loaded active running success");
}

pub async fn unit_that_restarts_by_itself_is_told(world: &dyn World) {
    let manager = world.manager().await;
    let mut events = manager.events().expect("first taker");
    let stubborn = "[Service]\nExecStart=/bin/sleep 1000\nRestart=always\nRestartSec=300ms\n";
    write(&*manager, &[file("a.service", stubborn)]).await;
    start(&*manager, "a.service").await;
    until(&mut events, "a.service", |status| status.active == "active").await;
    world.kill_main(&unit_name("a.service")).await;
    until(&mut events, "a.service", |status| words(status) == "loaded activating auto-restart signal").await;
    until(&mut events, "a.service", |status| words(status) == "loaded active running success").await;
    stop(&*manager, "a.service").await;
}

pub async fn unit_that_is_never_ready_times_out(world: &dyn World) {
    let manager = world.manager().await;
    let mute = "[Service]\nType=notify\nExecStart=/bin/sleep 1000\nTimeoutStartSec=1\n";
    write(&*manager, &[file("a.service", mute)]).await;
    assert_eq!(run(&*manager, "a.service", Verb::Start).await, JobResult::Other("failed".to_owned()));
    assert_eq!(state(&*manager, "a.service").await, "loaded failed failed timeout");
}

pub async fn start_limit_is_a_failure_with_its_own_result(world: &dyn World) {
    let manager = world.manager().await;
    let other = "[Unit]\nAfter=a.service\n[Service]\nExecStart=/bin/sleep 1000\n";
    let once = "[Service]\nType=oneshot\nExecStart=/bin/true\n";
    // Another unit names it, so that it stays in memory, where systemd counts its starts.
    write(&*manager, &[file("a.service", once), file("other.service", other)]).await;
    start(&*manager, "other.service").await;
    for _ in 0..5 {
        start(&*manager, "a.service").await;
    }
    assert_eq!(run(&*manager, "a.service", Verb::Start).await, JobResult::Other("failed".to_owned()));
    assert_eq!(state(&*manager, "a.service").await, "loaded failed failed start-limit-hit");
    // Removed and written anew, it starts from nothing.
    remove(&*manager, "a.service").await.expect("failed is at rest");
    write(&*manager, &[file("a.service", once)]).await;
    start(&*manager, "a.service").await;
}

pub async fn instance_may_come_from_a_template_file(world: &dyn World) {
    let manager = world.manager().await;
    write(&*manager, &[file("t@.service", "[Service]\nExecStart=/bin/sleep 100%i\n")]).await;
    start(&*manager, "t@7.service").await;
    assert_eq!(world.command_line(&unit_name("t@7.service")).await.as_deref(), Some("/bin/sleep 1007"));
    // It is not ours, though: no file of that name was written.
    assert_eq!(state(&*manager, "t@7.service").await, "nothing");
    stop(&*manager, "t@7.service").await;
}

pub async fn systemd_that_executes_itself_anew_is_found_again(world: &dyn World) {
    let manager = world.manager().await;
    let mut events = manager.events().expect("first taker");
    let endless = "[Service]\nType=oneshot\nExecStart=/bin/sleep 1000\n";
    write(&*manager, &[file("a.service", &sleeper(1000)), file("endless.service", endless)]).await;
    start(&*manager, "a.service").await;
    let endless = unit_name("endless.service");
    let reexec = async {
        until(&mut events, "endless.service", |status| status.active == "activating").await;
        world.reexec().await;
    };
    let (outcome, ()) =
        within("the end of the connection", async { tokio::join!(manager.run(&endless, Verb::Start), reexec) }).await;
    assert!(matches!(outcome, Err(ManagerError::Disconnected { .. })), "{outcome:?}");
    until_event(&mut events, &ManagerEvent::Disconnected).await;
    until_event(&mut events, &ManagerEvent::Connected).await;
    assert_eq!(state(&*manager, "a.service").await, "loaded active running success", "nothing happened to it");
    assert!(state(&*manager, "endless.service").await.starts_with("loaded activating start"), "nor to the job");
    assert_eq!(manager.look().await.expect("look").files.len(), 2);
    world.kill_main(&unit_name("a.service")).await;
    until(&mut events, "a.service", |status| words(status) == "loaded failed failed signal").await;
    stop(&*manager, "endless.service").await;
}

/// The guard: a unit of fleet's own takes those down that are bound to it, is told of like any other, and is in no look.
pub async fn fleets_own_unit_is_told_and_not_shown(world: &dyn World) {
    let guard = "fleet-guard.service";
    let manager = world.manager().await;
    let mut events = manager.events().expect("for the first time");
    within("provide", manager.provide(&unit_name(guard), &sleeper(1000))).await.expect("provided");
    start(&*manager, guard).await;
    let run = within("which run", manager.invocation(&unit_name(guard))).await.expect("it runs");
    let bound = format!("[Unit]\nBindsTo={guard}\nAfter={guard}\n{}", sleeper(1000));
    write(&*manager, &[file("a.service", &bound)]).await;
    start(&*manager, "a.service").await;
    let look = manager.look().await.expect("look");
    assert_eq!(look.files.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["a.service"]);
    assert_eq!(look.units.iter().map(|status| status.name.as_str()).collect::<Vec<_>>(), ["a.service"]);
    // The next fleetd finds it as it is, and the same text once more is no change.
    let before = world.reload_stamp().await;
    let next = world.manager().await;
    assert_eq!(next.look().await.expect("look").files.len(), 1);
    within("provide", next.provide(&unit_name(guard), &sleeper(1000))).await.expect("provided");
    assert_eq!(next.status(&unit_name(guard)).map(|status| status.active).as_deref(), Some("active"));
    assert_eq!(world.reload_stamp().await, before, "no reload");
    let as_the_next_sees_it = within("which run", next.invocation(&unit_name(guard))).await.expect("it runs");
    assert_eq!(as_the_next_sees_it, run);
    world.kill_main(&unit_name(guard)).await;
    // In either order: what is told together has none.
    let mut ends = BTreeSet::from([(guard, "failed"), ("a.service", "inactive")]);
    let both = async {
        while !ends.is_empty() {
            if let ManagerEvent::Changed(status) = events.recv().await.expect("events go on") {
                ends.retain(|end| *end != (status.name.as_str(), status.active.as_str()));
            }
        }
    };
    within("both ends are told", both).await;
    // It may have become inactive a moment before the end of the job that systemd itself had queued for it.
    stop(&*manager, "a.service").await;
    remove(&*manager, "a.service").await.expect("at rest");
    start(&*manager, guard).await;
    let next_run = within("which run", manager.invocation(&unit_name(guard))).await.expect("it runs again");
    assert!(!run.is_empty() && !next_run.is_empty(), "both have one");
    assert_ne!(next_run, run);
    stop(&*manager, guard).await;
    remove(&*manager, guard).await.expect("at rest");
    assert_eq!(manager.status(&unit_name(guard)), None);
}
