//! `journal -f` goes where its units go, and notices a network that says nothing.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fleet_api::v2;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::followed::{Followed, lines_of, write_ticks};
use crate::judge::runs_on;
use crate::world::{WAIT_LIMIT, World, program};

/// Short, because a test waits for its end.
const AGENT_TTL: Duration = Duration::from_secs(5);

/// What is said later than this about a silent connection is late, also on a busy box.
const NOTICED: Duration = Duration::from_secs(v2::SILENCE_LIMIT_S + 5);

/// The machine's number in the cluster.
#[track_caller]
fn machine_of(world: &World, unit: &str) -> usize {
    let names = runs_on(world, unit);
    let [name] = &names[..] else { panic!("{unit} is not on one machine: {names:?}") };
    world.machines().iter().position(|machine| machine.spec().name == *name).expect("it is ours")
}

/// A machine as `fleetctl` shows it.
fn shown(world: &World, idx: usize) -> String {
    let spec = world.machines()[idx].spec();
    format!("{}.../{}", &spec.id[..8], spec.address)
}

#[test]
fn a_unit_that_moves_is_followed_from_its_first_line_there() {
    let world = World::on_etcd(3);
    let desk = world.desk();
    write_ticks(&desk);
    desk.ok("fleetctl start tick@1 tick@2 tick@3");
    let mut followed = Followed::new(&world.endpoint(), "tick@*");
    followed.more_of(&["tick@1.service", "tick@2.service", "tick@3.service"], 1);

    // Away and back: what it said there in former times is not said again.
    let unit = "tick@2.service";
    let home = machine_of(&world, unit);
    let (mut from, mut n_moves) = (home, 0);
    while n_moves < 2 || from != home {
        let address = world.machines()[from].spec().address;
        desk.ok(&format!("fleetctl machine drain {address}"));
        let to = machine_of(&world, unit);
        let moves =
            format!("{unit} moved from {} to {}: its journal goes on there", shown(&world, from), shown(&world, to));
        // What else was there moves, too.
        while followed.said.recv_timeout(WAIT_LIMIT).expect("a word in time") != moves {}
        // For longer than the place that it has left is still read.
        followed.more_of(&[unit], 40);
        desk.ok(&format!("fleetctl machine uncordon {address}"));
        (from, n_moves) = (to, n_moves + 1);
        assert!(n_moves < 20, "it never comes back");
    }
    // Each place to its last word.
    followed.until_begun_and_ended(unit, (n_moves, n_moves));
    followed.is_whole();

    // One that matches and was not there at first, and that goes again.
    let new = "tick@new.service";
    desk.ok("fleetctl start tick@new");
    followed.says(&format!("{new} is on {}: its journal begins", shown(&world, machine_of(&world, new))));
    followed.more_of(&[new], 5);
    desk.ok("fleetctl destroy tick@new");
    followed.says(&format!("{new} does not exist any more: its journal goes on when it is placed"));
    followed.until_begun_and_ended(new, (1, 1));
    followed.is_whole();
    desk.ok("fleetctl destroy 'tick@*'");
}

#[test]
fn a_unit_that_is_nowhere_is_followed_when_it_comes() {
    let world = World::on_etcd(2);
    let desk = world.desk();
    write_ticks(&desk);
    desk.ok("fleetctl submit tick@1");
    let mut followed = Followed::new(&world.endpoint(), "tick@1");
    followed.says("tick@1.service is on no machine, as was asked for: its journal begins when it is placed");
    desk.ok("fleetctl start tick@1");
    followed.says(&format!(
        "tick@1.service is on {}: its journal begins",
        shown(&world, machine_of(&world, "tick@1.service"))
    ));
    followed.more_of(&["tick@1.service"], 10);
    followed.until_begun_and_ended("tick@1.service", (1, 0));
    followed.is_whole();
    desk.ok("fleetctl destroy tick@1");
}

#[test]
fn a_lost_machine_and_one_that_joins() {
    let mut world = World::on_etcd(3);
    world.configure(&format!("agent_ttl = {}s", AGENT_TTL.as_secs()));
    let desk = world.desk();
    write_ticks(&desk);
    desk.ok("fleetctl start tick@1 tick@2 tick@3");
    let units = ["tick@1.service", "tick@2.service", "tick@3.service"];
    let lost = units.into_iter().find(|unit| runs_on(&world, unit) == ["m3"]).expect("one of three");
    let mut followed = Followed::new(&world.endpoint(), "tick@1 tick@2 tick@3");
    followed.more_of(&units, 1);

    world.cluster().fleetds_mut()[2].kill().expect("killed");
    followed.says(&format!("lost the journal of {}: ", shown(&world, 2)));
    let moved = followed.says(&format!("{lost} moved from {} to ", shown(&world, 2)));
    followed.more_of(&[lost], 10);
    followed.is_whole();
    // It still runs there, too, and nobody can hear it.
    let there = runs_on(&world, lost).into_iter().find(|machine| machine != "m3").expect("it moved");
    assert_eq!(followed.on(lost, &there)[0], 1, "{moved}");

    // A global unit that comes to a machine that joins.
    let text = format!(
        "[Service]\nExecStart=/bin/bash {} %n\n\n[X-Fleet]\nGlobal=true\n",
        desk.path().join("ticks").display()
    );
    desk.write("everywhere.service", &text);
    desk.ok("fleetctl start everywhere");
    let mut global = Followed::new(&world.endpoint(), "everywhere");
    global.more_of(&["everywhere.service"], 4);
    world.cluster().fleetds_mut()[2].start().expect("it starts");
    global.says(&format!("everywhere.service is on {}, too: its journal there is followed as well", shown(&world, 2)));
    global.until_begun_and_ended("everywhere.service", (1, 0));
    global.is_whole();
    assert_eq!(global.on("everywhere.service", "m3")[0], 1);
    desk.ok("fleetctl destroy everywhere 'tick@*'");
}

/// Nobody ends the connections of a process that stands still, as with a network that drops everything.
#[test]
fn a_connection_that_falls_silent_is_noticed() {
    let mut world = World::on_etcd(2);
    let desk = world.desk();
    write_ticks(&desk);
    desk.ok("fleetctl start tick@1 tick@2");
    let units = ["tick@1.service", "tick@2.service"];
    let mut followed = Followed::new(&world.endpoint(), "tick@1 tick@2");
    let endpoint = world.endpoint();
    let type_at_desk = |line: &str| {
        let mut typed = Command::new(program("fleetctl"));
        typed.args(line.split(' ')).env("FLEETCTL_ENDPOINT", &endpoint).current_dir(desk.path());
        let mut typed = typed.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("fleetctl starts");
        let said = lines_of(typed.stderr.take().expect("a pipe"), |line| Some(line.to_owned()));
        (typed, said)
    };
    let (mut watch, watch_said) = type_at_desk("list-units --watch");
    // It starts when there is a file.
    let may_start = desk.path().join("may-start");
    let waits = format!("/bin/sh -c 'until test -e {}; do sleep 0.1; done'", may_start.display());
    desk.write("slow.service", &format!("[Service]\nExecStartPre={waits}\nExecStart=/bin/sleep infinity\n"));
    let (mut start, start_said) = type_at_desk("start slow");
    assert!(start_said.recv_timeout(WAIT_LIMIT).expect("a word in time").contains("waiting for slow.service"));
    followed.more_of(&units, 1);
    // Heartbeats alone keep it up: nothing is said of it meanwhile.
    desk.ok("fleetctl stop tick@1");
    let begun = Instant::now();
    while begun.elapsed() < NOTICED {
        followed.more_of(&["tick@2.service"], 1);
    }
    assert!(followed.said.try_recv().is_err() && watch_said.try_recv().is_err(), "nothing was lost");
    desk.ok("fleetctl start tick@1");
    followed.more_of(&units, 1);

    let second = shown(&world, 1);
    let mut stand_still = |idx: usize, followed: &mut Followed| {
        let pid = world.cluster().fleetds()[idx].pid().expect("it runs");
        let pid = Pid::from_raw(pid.cast_signed());
        kill(pid, Signal::SIGSTOP).expect("it is ours");
        let begun = Instant::now();
        let said = followed.said.recv_timeout(WAIT_LIMIT);
        let took = begun.elapsed();
        kill(pid, Signal::SIGCONT).expect("it is ours");
        let said = said.expect("a word in time");
        assert!(said.starts_with("lost the journal of ") && took < NOTICED, "{said} after {took:?}");
        said
    };
    // Between two fleetd.
    assert!(stand_still(1, &mut followed).contains(&second));
    while !followed.said.recv_timeout(WAIT_LIMIT).expect("a word in time").ends_with("goes on") {}
    followed.more_of(&units, 10);
    followed.is_whole();
    // Between fleetctl and fleetd.
    assert!(stand_still(0, &mut followed).contains("nothing came for 15 s"));
    followed.more_of(&units, 10);
    followed.is_whole();
    assert_eq!(watch_said.recv_timeout(WAIT_LIMIT).expect("a word in time"), "lost fleetd; trying to reach it again");
    assert!(watch_said.try_recv().is_err(), "once");
    std::fs::write(may_start, "").expect("our folder");
    assert!(start.wait().expect("it ends").success());
    let start_said: Vec<String> = start_said.iter().collect();
    let lost = "lost fleetd; trying to reach it again, the units are not touched by that";
    assert_eq!(start_said.iter().filter(|said| *said == lost).count(), 1, "{start_said:?}");
    watch.kill().expect("it runs");
    watch.wait().expect("it ends");
    desk.ok("fleetctl destroy slow 'tick@*'");
}
