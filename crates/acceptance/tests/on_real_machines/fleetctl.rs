//! Promises 29 and 33, and what people ask of the command line: several units, links, patterns, exit codes, pipes.

use std::sync::LazyLock;

use crate::judge::{main_pid, property, runs_on};
use crate::world::World;

static WORLD: LazyLock<World> = LazyLock::new(|| World::new(2));

const SLEEPS: &str = "[Service]\nExecStart=/bin/sleep infinity\n";

/// Promise 29: only the missing steps are done, and each of the three states can be reached from each other one.
#[test]
fn only_the_missing_steps_are_done() {
    let desk = WORLD.desk();
    desk.write("steps.service", SLEEPS);
    let states = || {
        let line = desk.ok("fleetctl list-unit-files --no-legend --fields=dstate,state steps.service");
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(desk.ok("fleetctl submit steps.service"), "Unit steps.service inactive\n");
    assert_eq!(desk.ok("fleetctl submit steps.service"), "", "a second time there is nothing to do");
    assert_eq!(states(), "inactive inactive");
    let loaded = desk.ok("fleetctl load steps");
    assert!(loaded.starts_with("Unit steps.service loaded on "), "{loaded}");
    assert_eq!(states(), "loaded loaded");
    assert_eq!(runs_on(&WORLD, "steps.service"), [""; 0]);
    let started = desk.ok("fleetctl start steps");
    assert!(started.starts_with("Unit steps.service launched on "), "{started}");
    assert_eq!(states(), "launched launched");
    let pid = main_pid(&WORLD, "steps.service");
    desk.ok("fleetctl start steps");
    assert_eq!(main_pid(&WORLD, "steps.service"), pid, "it is started already");

    desk.ok("fleetctl stop steps");
    assert_eq!((states().as_str(), runs_on(&WORLD, "steps.service").len()), ("loaded loaded", 0));
    desk.ok("fleetctl start steps");
    desk.ok("fleetctl unload steps");
    assert_eq!((states().as_str(), runs_on(&WORLD, "steps.service").len()), ("inactive inactive", 0));
    for machine in WORLD.machines() {
        assert_eq!(property(machine, "steps.service", "LoadState"), "not-found", "its file is gone");
    }
    desk.ok("fleetctl start steps");
    desk.ok("fleetctl destroy steps");
    desk.fails(4, "fleetctl status steps");
}

/// Promise 33: a unit that is not named is not changed, whatever dependencies say.
#[test]
fn units_that_are_not_named_are_not_changed() {
    let desk = WORLD.desk();
    desk.write("named.service", &format!("[Unit]\nWants=unnamed.service\nAfter=unnamed.service\n{SLEEPS}"));
    desk.write("unnamed.service", SLEEPS);
    desk.ok("fleetctl submit unnamed.service");
    let unnamed = || desk.ok("fleetctl list-unit-files -o json unnamed.service");
    let strip = |text: String| {
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        json["units"].clone()
    };
    let before = strip(unnamed());
    for line in [
        "load named.service",
        "start named",
        "restart named",
        "stop named",
        "unload named",
        "start named",
        "destroy named",
    ] {
        desk.ok(&format!("fleetctl {line}"));
        assert_eq!(strip(unnamed()), before, "after {line}");
    }
}

/// A restart restarts, also of a unit on several machines: the original's did nothing at all.
#[test]
fn restart_is_another_process() {
    let desk = WORLD.desk();
    desk.write("again.service", SLEEPS);
    desk.write("again-all.service", &format!("{SLEEPS}[X-Fleet]\nGlobal=true\n"));
    desk.ok("fleetctl start again.service again-all.service");
    let pids = || -> Vec<String> {
        WORLD.machines().iter().map(|machine| property(machine, "again-all.service", "MainPID")).collect()
    };
    let (before, all_before) = (main_pid(&WORLD, "again.service"), pids());
    desk.ok("fleetctl restart again again-all");
    assert_ne!(main_pid(&WORLD, "again.service"), before);
    for (now, before) in pids().iter().zip(&all_before) {
        assert!(now != before && now != "0" && before != "0", "{before} before, {now} after");
    }
}

/// Quoted globs and directories, which the original's help spoke of and which never worked.
#[test]
fn quoted_globs_and_directories_stand_for_units() {
    let desk = WORLD.desk();
    for name in ["glob-a.service", "glob-b.service", "glob@.service"] {
        desk.write(&format!("units/{name}"), SLEEPS);
    }
    desk.ok("ln -s glob@.service units/glob@1.service");
    desk.ok("fleetctl start units/");
    let active = || {
        let names = ["glob-a.service", "glob-b.service", "glob@1.service"];
        names.into_iter().filter(|name| !runs_on(&WORLD, name).is_empty()).collect::<Vec<_>>()
    };
    assert_eq!(active(), ["glob-a.service", "glob-b.service", "glob@1.service"]);
    desk.ok("fleetctl stop 'glob-*'");
    assert_eq!(active(), ["glob@1.service"]);
    desk.ok("fleetctl destroy 'units/*'");
    assert_eq!(active(), [""; 0]);
    desk.fails(4, "fleetctl stop 'glob*'");
}

/// Standing before or behind the command, long or short: the original's 1.0 had lost the short ones.
#[test]
fn flags_work_in_both_spellings_and_places() {
    let desk = WORLD.desk();
    let full = desk.ok("fleetctl list-machines --full");
    for line in ["list-machines -l", "list-machines --l", "list-m -l", "--debug list-machines -l"] {
        assert_eq!(desk.ok(&format!("fleetctl {line}")), full, "{line}");
    }
    for line in ["nonsense", "list-units --nonsense", "start --block-attempts=x a", "start", "list-units --fields=x"] {
        let ran = desk.fails(2, &format!("fleetctl {line}"));
        assert_eq!(ran.stdout, "", "{ran}");
        assert_ne!(ran.stderr, "", "{ran}");
    }
}

/// Who reads only the first line is no reason to fail.
#[test]
fn a_reader_that_goes_away_is_no_error() {
    let desk = WORLD.desk();
    desk.ok("for n in $(seq 200); do cp /dev/stdin pipe-$n.service <<< $'[Service]\\nExecStart=/bin/true'; done");
    desk.ok("fleetctl submit pipe-*.service");
    // More than a pipe holds, and nobody who reads it: the second command ends at once.
    let ran = desk.run("fleetctl list-unit-files -o json | true; echo ${PIPESTATUS[0]}");
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("0\n", ""));
    let ran = desk.run("fleetctl list-unit-files | head -n 1; echo ${PIPESTATUS[0]}");
    assert!(ran.stdout.starts_with("UNIT\t") && ran.stdout.ends_with("\n0\n"), "{ran}");
    assert_eq!(ran.stderr, "");
    desk.ok("fleetctl destroy 'pipe-*' > /dev/null");
}

/// Ctrl-C ends the waiting and not what was asked for.
#[test]
fn an_interrupted_start_goes_on() {
    let desk = WORLD.desk();
    desk.write("goes-on.service", "[Service]\nExecStartPre=/bin/sleep 2\nExecStart=/bin/sleep infinity\n");
    // Interrupted as soon as it has said what it waits for.
    let ran = desk.run(
        "exec 3< <(exec env --default-signal=INT fleetctl start goes-on.service 2>&1 >/dev/null); pid=$!; \
         IFS= read -r first <&3; kill -INT $pid; rest=$(cat <&3); wait $pid; code=$?; \
         echo \"$first\"; echo \"$rest\" >&2; exit $code",
    );
    assert_eq!(ran.code, 130, "{ran}");
    assert!(ran.stdout.starts_with("waiting for goes-on.service: activating (start-pre)"), "{ran}");
    WORLD.wait_active("goes-on.service", "active");
    assert_eq!(runs_on(&WORLD, "goes-on.service").len(), 1);
}

/// A finished oneshot is success, and so is a unit that another one starts.
#[test]
fn a_finished_oneshot_is_success() {
    let desk = WORLD.desk();
    desk.write("done.service", "[Service]\nType=oneshot\nExecStart=/bin/sleep 0.2\n");
    let ran = desk.run("fleetctl start done.service");
    assert_eq!(ran.code, 0, "{ran}");
    let again = desk.run("fleetctl start done.service");
    assert_eq!(again.code, 0, "{again}");
    let runs = |line: String| line.matches("Finished").count();
    assert_eq!(runs(desk.ok("fleetctl journal -n 100 done.service")), 2, "the second start was a second run");
}
