//! Several `fleetd`, one on each machine, and one etcd: what `fleetctl dev --store etcd` brings up.

use std::fs;
use std::time::{Duration, Instant};

use crate::desk::Desk;
use crate::judge::{is_alive, main_pid, runs_on};
use crate::world::{World, eventually};

/// Short, because a test waits for its end.
const AGENT_TTL: Duration = Duration::from_secs(5);

/// The engine's default: how long a lost machine may come back before its units are placed elsewhere.
const GRACE: Duration = Duration::from_secs(10);

/// For the engine to notice and to start, and for a busy box.
const ELSEWHERE: Duration = Duration::from_secs(5);

/// A person at each machine's own `fleetd`.
fn desks(world: &mut World) -> Vec<Desk> {
    let specs: Vec<_> = world.machines().iter().map(|machine| machine.spec().clone()).collect();
    world.cluster().fleetds().iter().map(|fleetd| Desk::new(&fleetd.endpoint(), specs.clone())).collect()
}

/// Starts three units of a template; the machines are equal, so each gets one.
#[track_caller]
fn start_three(desk: &Desk, template: &str, when_isolated: &str) -> [String; 3] {
    let text = format!("[Service]\nExecStart=/bin/sleep infinity\n\n[X-Fleet]\nWhenIsolated={when_isolated}\n");
    desk.write(&format!("{template}@.service"), &text);
    desk.ok(&format!("fleetctl start {template}@1 {template}@2 {template}@3"));
    [1, 2, 3].map(|number| format!("{template}@{number}.service"))
}

#[test]
fn each_machine_has_a_fleetd_and_they_share_an_etcd() {
    let mut world = World::on_etcd(3);
    let desks = desks(&mut world);
    for desk in &desks {
        let listed = desk.ok("fleetctl list-machines --no-legend --fields=ip");
        assert_eq!(listed.lines().count(), 3, "{listed}");
    }
    let units = start_three(&desks[0], "a", "keep");
    let main_pids = |world: &World| units.each_ref().map(|unit| main_pid(world, unit));
    let before = main_pids(&world);
    for desk in &desks {
        let listed = desk.ok("fleetctl list-units --no-legend --fields=unit,active");
        assert_eq!(listed, "a@1.service\tactive\na@2.service\tactive\na@3.service\tactive\n");
    }
    world.cluster().kill_fleetd().expect("killed");
    world.cluster().start_fleetd().expect("they start");
    assert_eq!(main_pids(&world), before);
    desks[2].ok("fleetctl stop a@1");
    assert_eq!(runs_on(&world, "a@1.service"), [""; 0]);
    assert!(desks[1].ok("fleetctl list-units --no-legend --fields=unit,active").contains("a@1.service\tinactive"));
}

/// Each is asked for units on all machines: what is not on its own it has the others say.
#[test]
fn any_fleetd_tells_status_and_journal_of_every_machine() {
    let mut world = World::on_etcd(3);
    let desks = desks(&mut world);
    // It lives on for a moment, so that journald has the time to learn whose line this is.
    let says = "ExecStart=/bin/sh -c 'echo I am %i; sleep 1'";
    desks[0].write("talk@.service", &format!("[Service]\nType=oneshot\nRemainAfterExit=yes\n{says}\n"));
    desks[0].ok("fleetctl start talk@1 talk@2 talk@3");
    for desk in &desks {
        for number in [1, 2, 3] {
            let status = desk.ok(&format!("fleetctl status talk@{number}"));
            assert!(status.contains("Active: active (exited)"), "{status}");
            let journal = desk.ok(&format!("fleetctl journal -n 20 talk@{number}"));
            assert!(journal.contains(&format!("I am {number}\n")), "{journal}");
        }
    }
}

#[test]
fn the_journals_of_several_machines_are_one() {
    let mut world = World::on_etcd(3);
    let desks = desks(&mut world);
    // It lives on, so that journald has the time to learn whose lines these are.
    let says = "for n in 1 2 3; do echo %i says $n; sleep 0.2; done; sleep infinity";
    desks[0].write("say@.service", &format!("[Service]\nExecStart=/bin/sh -c \"{says}\"\n"));
    desks[0].ok("fleetctl start say@a say@b say@c");
    // It ends with the ninth line, which it reaches only if all three are followed.
    let followed = desks[1].ok("fleetctl journal -f -n 100 'say@*' | grep --line-buffered --max-count=9 says");
    for unit in ["a", "b", "c"] {
        for number in [1, 2, 3] {
            let line = format!("say@{unit}.service sh[");
            let said = followed.lines().find(|text| text.ends_with(&format!("{unit} says {number}")));
            assert!(said.is_some_and(|text| text.contains(&line)), "{unit} {number}: {followed}");
        }
    }
    let sorted = "grep -o '\"__REALTIME_TIMESTAMP\":\"[0-9]*' | sort --check";
    desks[2].ok(&format!("set -o pipefail; fleetctl journal -n 100 -o json 'say@*' | {sorted}"));
    assert_eq!(desks[2].ok("fleetctl journal -n 4 -o cat 'say@*'").lines().count(), 4);
    desks[2].fails(2, "fleetctl journal -o export 'say@*'");
    // What cannot be read does not keep the others from being read.
    let partly = desks[2].fails(4, "fleetctl journal -n 100 -o cat say@a say@b nothing");
    assert!(partly.stdout.contains("a says 3") && partly.stdout.contains("b says 3"), "{partly}");
}

/// One of them is gone for good: its machine is lost, and its units do what their files say.
#[test]
fn a_machine_whose_fleetd_is_gone_is_lost() {
    let mut world = World::on_etcd(3);
    world.configure(&format!("agent_ttl = {}s", AGENT_TTL.as_secs()));
    let desks = desks(&mut world);
    let (keep, stop) = (start_three(&desks[0], "keep", "keep"), start_three(&desks[0], "stop", "stop"));
    let on_third = |units: [String; 3]| units.into_iter().find(|unit| runs_on(&world, unit) == ["m3"]);
    let (keep, stop) = (on_third(keep).expect("one of three"), on_third(stop).expect("one of three"));
    let (keep_pid, stop_pid) = (main_pid(&world, &keep), main_pid(&world, &stop));

    let begun = Instant::now();
    world.cluster().fleetds_mut()[2].kill().expect("killed");
    eventually("what may not run twice ends", || (!is_alive(stop_pid)).then_some(()));
    assert!(begun.elapsed() < AGENT_TTL + ELSEWHERE, "after {:?}", begun.elapsed());
    eventually("what must run runs elsewhere, too", || (runs_on(&world, &keep).len() == 2).then_some(()));
    assert!(begun.elapsed() < AGENT_TTL + GRACE + ELSEWHERE, "after {:?}", begun.elapsed());
    assert!(is_alive(keep_pid));
    assert_eq!(runs_on(&world, &stop), [""; 0], "its time is not up");

    world.cluster().fleetds_mut()[2].start().expect("it starts");
    eventually("the first copy is stopped", || (!is_alive(keep_pid)).then_some(()));
    assert_eq!(runs_on(&world, &keep).len(), 1);
    eventually("what was stopped runs again", || (runs_on(&world, &stop) == ["m3"]).then_some(()));
}

/// Somebody has broken values in the store, or a newer fleet has written them: what runs goes on, the rest of the cluster is
/// served, and what can be known is written anew.
#[test]
fn a_value_that_cannot_be_read_hurts_nothing_else() {
    let mut world = World::on_etcd(2);
    let desks = desks(&mut world);
    desks[0].write("a@.service", "[Service]\nExecStart=/bin/sleep infinity\n");
    desks[0].write("mate.service", "[Service]\nExecStart=/bin/sleep infinity\n\n[X-Fleet]\nMachineOf=a@1.service\n");
    desks[0].ok("fleetctl start a@1 a@2 mate");
    let pids = |world: &World| ["a@1.service", "a@2.service", "mate.service"].map(|unit| main_pid(world, unit));
    let before = pids(&world);

    // The unit cannot be read: nobody knows what is wanted of it, so it and what goes with it stay as they are.
    let etcd = world.cluster().etcd().expect("the cluster is on etcd").endpoint().to_owned();
    let key = |part: &str| {
        let keys = desks[0].ok(&format!("etcdctl --endpoints={etcd} get --prefix / --keys-only"));
        let found = keys.lines().find(|key| key.contains(part)).map(str::to_owned);
        found.unwrap_or_else(|| panic!("no {part} among {keys}"))
    };
    let broken = |key: &str| desks[0].ok(&format!("etcdctl --endpoints={etcd} put {key} '{{\"v\":9}}'"));
    broken(&key("/units/a@1.service"));
    desks[0].ok("fleetctl start a@3");
    assert_eq!(pids(&world), before);
    let refused = desks[1].fails(1, "fleetctl stop a@1");
    assert!(refused.stderr.contains("cannot be read"), "{refused}");

    // An order is one of its unit, which is known: the leader writes it anew. A fleetd that starts meanwhile leaves it alone.
    let order = key("a@2.service").replace("/units/", "/placements/");
    assert!(order.contains("/placements/"), "{order}");
    broken(&order);
    eventually("the order is written anew", || {
        let value = desks[0].ok(&format!("etcdctl --endpoints={etcd} get {order} --print-value-only"));
        value.contains("generation").then_some(())
    });
    world.cluster().restart_fleetd().expect("it starts again");
    desks[0].ok("fleetctl start a@4");
    assert_eq!(pids(&world), before);

    // What cannot be read can be destroyed.
    desks[0].ok("fleetctl destroy a@1 mate");
    eventually("it is gone", || runs_on(&world, "a@1.service").is_empty().then_some(()));
    assert_eq!(main_pid(&world, "a@2.service"), before[1]);
}

/// Somebody has emptied etcd, or started it on another folder: an empty cluster orders nothing, and that is no reason to stop what
/// runs. Who restarts `fleetd` says that the store is right as it is.
#[test]
fn a_store_that_has_lost_everything_stops_nothing() {
    let mut world = World::on_etcd(2);
    let desks = desks(&mut world);
    desks[0].write("a@.service", "[Service]\nExecStart=/bin/sleep infinity\n");
    desks[0].ok("fleetctl start a@1 a@2");
    let pids = ["a@1.service", "a@2.service"].map(|unit| main_pid(&world, unit));
    world.cluster().etcd_mut().expect("the cluster is on etcd").lose_everything().expect("it starts again");
    for number in [0, 1] {
        let log = world.cluster().fleetds()[number].log();
        eventually("it is said", || {
            let text = fs::read_to_string(&log).expect("a log");
            text.contains("fleetd changes nothing any more").then_some(())
        });
        // What is shown is the last that was certain.
        let refused = desks[number].fails(1, "fleetctl stop a@1");
        assert!(refused.stderr.contains("the store went back from revision"), "{refused}");
        let listed = desks[number].ok("fleetctl list-units --no-legend --fields=unit,active");
        assert_eq!(listed, "a@1.service\tactive\na@2.service\tactive\n");
    }
    assert!(pids.into_iter().all(is_alive));
    world.cluster().restart_fleetd().expect("they start again");
    eventually("what nobody wants any more is stopped", || (!pids.into_iter().any(is_alive)).then_some(()));
    desks[0].ok("fleetctl start a@3");
}
