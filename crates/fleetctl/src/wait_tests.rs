use fleet_api::v2::{Placement, State, Unit, UnitState, Waiting};

use super::*;
use crate::fixture::{self, placed, state, unit};

fn show(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Reached => "reached".to_owned(),
        Verdict::Failed(failure) => format!("failed: {failure}"),
        Verdict::Waiting(why) => format!("waiting: {why}"),
    }
}

#[track_caller]
fn check(unit: Option<&Unit>, goal: Goal, expected: &str) {
    check_at(unit, &Expected { goal, generation: 1, restarts: 0 }, expected);
}

#[track_caller]
fn check_at(unit: Option<&Unit>, order: &Expected, expected: &str) {
    assert_eq!(show(&judge(unit, order)), expected, "{unit:#?}");
}

/// `load/active/sub/result` of one unit that was told to start, on one machine.
#[track_caller]
fn started(name: &str, said: &str, expected: &str) {
    let parts: Vec<&str> = said.split('/').collect();
    let [load, active, sub, result] = parts.as_slice() else { panic!("four parts: {said}") };
    let unit = placed(name, UnitState { load: (*load).to_owned(), ..state(active, sub, result) });
    check(Some(&unit), Goal::Launched, expected);
}

const ON: &str = "4f1c2a7d.../10.0.0.1";

#[test]
fn what_systemd_says_of_a_start() {
    started("a.service", "loaded/active/running/success", "reached");
    started("a.service", "loaded/active/exited/success", "reached");
    started("a.service", "loaded/reloading/reload/success", "reached");
    started("a.service", "loaded/inactive/dead/success", "reached");
    started("a.service", "loaded/inactive/dead/", "reached");
    started("a.service", "loaded/inactive/dead/exec-condition", "reached");
    started("a.service", "loaded/activating/start-pre/success", "waiting: activating (start-pre) on 4f1c2a7d...");
    started("a.service", "loaded/activating/auto-restart/success", "waiting: activating (auto-restart) on 4f1c2a7d...");
    started("a.service", "loaded/deactivating/stop-post/success", "waiting: deactivating (stop-post) on 4f1c2a7d...");
    let failed = |what: &str| format!("failed: failed on {ON}: {what}");
    started("a.service", "loaded/failed/failed/exit-code", &failed("failed (failed), Result: exit-code"));
    started(
        "a.service",
        "loaded/activating/auto-restart/exit-code",
        &failed("activating (auto-restart), Result: exit-code"),
    );
    started("a.service", "loaded/inactive/dead/timeout", &failed("inactive (dead), Result: timeout"));
    started("a.service", "bad-setting/inactive/dead/", &failed("inactive (dead), Load: bad-setting"));
    for (name, active, sub) in [
        ("a.socket", "active", "listening"),
        ("a.timer", "active", "waiting"),
        ("a.path", "active", "waiting"),
        ("a.mount", "active", "mounted"),
        ("a.target", "active", "active"),
    ] {
        started(name, &format!("loaded/{active}/{sub}/success"), "reached");
        started(name, "loaded/inactive/dead/success", &failed("inactive (dead), Result: success"));
    }
}

#[test]
fn what_is_said_of_an_older_order_is_not_of_ours() {
    let old_failure =
        placed("a.service", UnitState { error: "cannot write".to_owned(), ..state("failed", "failed", "exit-code") });
    let order = Expected { goal: Goal::Launched, generation: 2, restarts: 0 };
    let mut unit = Unit { generation: 2, ..old_failure };
    check_at(Some(&unit), &order, "waiting: failed (failed) on 4f1c2a7d...");
    unit.placements[0].state.as_mut().expect("a state").generation = 2;
    check_at(Some(&unit), &order, &format!("failed: failed on {ON}: failed (failed), Result: exit-code, cannot write"));
    // A newer order than ours that was carried out is as good.
    let newer = Unit {
        generation: 9,
        ..placed("a.service", UnitState { generation: 9, ..state("active", "running", "success") })
    };
    check_at(Some(&newer), &order, "reached");
}

#[test]
fn a_restart_is_done_when_its_counter_is_reached() {
    let order = Expected { goal: Goal::Launched, generation: 1, restarts: 3 };
    let mut unit = placed("a.service", UnitState { restarts: 2, ..state("active", "running", "success") });
    check_at(Some(&unit), &order, "waiting: active (running) on 4f1c2a7d..., the order is not done yet");
    unit.placements[0].state.as_mut().expect("a state").restarts = 3;
    check_at(Some(&unit), &order, "reached");
}

#[test]
fn places() {
    check(None, Goal::Launched, "failed: was destroyed meanwhile");
    let mut stuck = unit("a.service", State::Launched);
    check(Some(&stuck), Goal::Launched, "waiting: no word from the engine yet");
    let refusals = fixture::refusals(&[
        ("MachineMetadata=disk=ssd", "has no disk", &["4f1c2a7d00", "9a8b7c6d00"]),
        ("Conflicts=b.service", "", &["9a8b7c6d00", "c0ffee1100"]),
    ]);
    stuck.waiting = Some(Waiting { summary: "a.service waits".to_owned(), machines: 3, refusals });
    check(
        Some(&stuck),
        Goal::Launched,
        "waiting: no machine can take it: 2 machines: MachineMetadata=disk=ssd (has no disk); 2 machines: Conflicts=b.service",
    );
    // A fourth machine refuses nothing: it is only a matter of time.
    stuck.waiting.as_mut().expect("it waits").machines = 4;
    check(Some(&stuck), Goal::Launched, "waiting: no word from the engine yet");
    stuck.waiting = Some(Waiting { summary: "a.service waits".to_owned(), machines: 0, refusals: Vec::new() });
    check(Some(&stuck), Goal::Launched, "waiting: no machine can take it: there is no machine");
    let ghost = Unit { generation: 0, ..unit("a.service", State::Inactive) };
    check(Some(&ghost), Goal::Launched, "failed: was destroyed meanwhile");
    let mut silent = placed("a.service", state("active", "running", "success"));
    silent.placements[0].state = None;
    check(Some(&silent), Goal::Launched, "waiting: no word from 4f1c2a7d... yet");
    silent.placements[0].lost = Some(Lost { silent_ms: 125_000 });
    check(Some(&silent), Goal::Launched, "waiting: 4f1c2a7d... is lost, no news for 2min");
    // A machine that is to give it up says nothing about the place where it is to be.
    let mut moving = placed("a.service", state("active", "running", "success"));
    moving.placements[0].placed = false;
    check(Some(&moving), Goal::Launched, "waiting: active (running), leaving 4f1c2a7d...");
    let somebody_else = Unit { generation: 2, ..unit("a.service", State::Inactive) };
    check(Some(&somebody_else), Goal::Launched, "failed: was asked to be inactive meanwhile, by somebody else");
}

#[test]
fn global_units_are_there_when_all_machines_are() {
    let other = |state: Option<UnitState>| Placement {
        lost: None,
        machine: "9a8b7c6d00".to_owned(),
        ip: None,
        placed: true,
        done: true,
        state,
    };
    let mut unit = placed("g.service", state("active", "running", "success"));
    unit.global = true;
    unit.placements.push(other(None));
    check(Some(&unit), Goal::Launched, "waiting: no word from 9a8b7c6d... yet");
    unit.placements[1] = other(Some(state("active", "running", "success")));
    check(Some(&unit), Goal::Launched, "reached");
    unit.placements[1] = Placement { lost: Some(Lost { silent_ms: 1 }), ..other(None) };
    check(Some(&unit), Goal::Launched, "reached");
    unit.fitting = Some(1);
    assert_eq!(share(&unit), Some((1, 1)), "what is lost is not counted");
    unit.placements[1] = other(Some(state("failed", "failed", "signal")));
    check(Some(&unit), Goal::Launched, "failed: failed on 9a8b7c6d...: failed (failed), Result: signal");
}

#[test]
fn stopping_and_loading() {
    let mut unit =
        Unit { desired_state: State::Loaded, ..placed("a.service", state("deactivating", "stop", "success")) };
    fn at(unit: &mut Unit) -> &mut UnitState {
        unit.placements[0].state.as_mut().expect("a state")
    }
    check(Some(&unit), Goal::Loaded, "waiting: deactivating (stop) on 4f1c2a7d...");
    at(&mut unit).reached = State::Loaded;
    check(Some(&unit), Goal::Loaded, "waiting: deactivating (stop) on 4f1c2a7d...");
    *at(&mut unit) = UnitState { reached: State::Loaded, ..state("inactive", "dead", "success") };
    check(Some(&unit), Goal::Loaded, "reached");
    *at(&mut unit) = UnitState { reached: State::Loaded, ..state("failed", "failed", "signal") };
    check(Some(&unit), Goal::Loaded, "reached");
    *at(&mut unit) =
        UnitState { reached: State::Loaded, load: "bad-setting".to_owned(), ..state("inactive", "dead", "") };
    check(Some(&unit), Goal::Loaded, &format!("failed: failed on {ON}: inactive (dead), Load: bad-setting"));
    *at(&mut unit) =
        UnitState { reached: State::Loaded, error: "the disk is full".to_owned(), ..state("inactive", "dead", "") };
    check(Some(&unit), Goal::Loaded, &format!("failed: failed on {ON}: inactive (dead), the disk is full"));
}

#[test]
fn stopping_what_runs_nowhere() {
    let mut stuck = unit("a.service", State::Loaded);
    stuck.waiting = Some(Waiting { summary: "a.service waits".to_owned(), machines: 0, refusals: Vec::new() });
    check(Some(&stuck), Goal::Stopped, "reached");
    check(Some(&stuck), Goal::Loaded, "waiting: no machine can take it: there is no machine");
    let mut leaving = Unit { desired_state: State::Loaded, ..placed("a.service", state("deactivating", "stop", "")) };
    leaving.placements[0].placed = false;
    check(Some(&leaving), Goal::Stopped, "waiting: deactivating (stop), leaving 4f1c2a7d...");
    // A file that systemd cannot read any more does not keep the unit from being stopped.
    let loaded = UnitState { reached: State::Loaded, load: "not-found".to_owned(), ..state("inactive", "dead", "") };
    let stopped = Unit { desired_state: State::Loaded, ..placed("a.service", loaded) };
    check(Some(&stopped), Goal::Stopped, "reached");
    check(Some(&stopped), Goal::Loaded, &format!("failed: failed on {ON}: inactive (dead), Load: not-found"));
}

#[test]
fn unloading() {
    let mut leaving = Unit { desired_state: State::Inactive, ..placed("a.service", state("deactivating", "stop", "")) };
    check(Some(&leaving), Goal::Unloaded, "waiting: deactivating (stop), leaving 4f1c2a7d...");
    leaving.placements[0].placed = false;
    leaving.placements[0].state = None;
    check(Some(&leaving), Goal::Unloaded, "waiting: leaving 4f1c2a7d...");
    leaving.placements.clear();
    check(Some(&leaving), Goal::Unloaded, "reached");
    check(None, Goal::Unloaded, "failed: was destroyed meanwhile");
    let again = Unit { generation: 2, ..unit("a.service", State::Launched) };
    check(Some(&again), Goal::Unloaded, "failed: was asked to be launched meanwhile, by somebody else");
}

#[test]
fn destroying() {
    check(None, Goal::Destroyed, "reached");
    let ghost = |placed_still: bool| {
        let mut unit = placed("a.service", state("deactivating", "stop", ""));
        unit.generation = 0;
        unit.desired_state = State::Inactive;
        unit.placements[0].placed = placed_still;
        unit
    };
    check(Some(&ghost(true)), Goal::Destroyed, "waiting: deactivating (stop), leaving 4f1c2a7d...");
    check(Some(&ghost(false)), Goal::Destroyed, "waiting: deactivating (stop), leaving 4f1c2a7d...");
    // Made anew by somebody meanwhile: what was to be destroyed is gone when no machine is taking it away any more.
    let mut remade = Unit { generation: 7, ..ghost(false) };
    check(Some(&remade), Goal::Destroyed, "waiting: deactivating (stop), leaving 4f1c2a7d...");
    remade.placements[0].placed = true;
    check(Some(&remade), Goal::Destroyed, "reached");
}

#[test]
fn sentences() {
    let busy =
        Why::Doing { machine: "4f1c2a7d00".to_owned(), active: "activating".to_owned(), sub: "start-pre".to_owned() };
    assert_eq!(busy.sentence("web@1.service"), "waiting for web@1.service: activating (start-pre) on 4f1c2a7d...");
    assert_eq!(
        Why::NoMachine("3 machines: lack disk=ssd".to_owned()).sentence("web@1.service"),
        "web@1.service: no machine can take it: 3 machines: lack disk=ssd"
    );
    assert_eq!(legend("4f1c2a7d00", Some("10.0.0.1")), "4f1c2a7d.../10.0.0.1");
    assert_eq!(legend("4f1", None), "4f1...");
}

#[test]
fn ages_in_their_largest_unit() {
    let ages = [0, 999, 119_999, 120_000, 7_199_999, 7_200_000, 172_799_999, 172_800_000].map(age);
    assert_eq!(ages, ["0s", "0s", "119s", "2min", "119min", "2h", "47h", "2d"]);
}
