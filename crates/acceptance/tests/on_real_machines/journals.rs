//! `journal`: of several units on several machines, also while machines come and go.

use std::time::Duration;

use crate::desk::Desk;
use crate::followed::{Followed, write_ticks};
use crate::judge::runs_on;
use crate::world::{WAIT_LIMIT, World};

/// How soon most lines must be on the screen. What a test's box does beside it makes single ones later.
const PROMPT: Duration = Duration::from_millis(200);

/// Five units on three machines.
const UNITS: [&str; 5] = ["tick@1.service", "tick@2.service", "tick@3.service", "tick@4.service", "tick@5.service"];

fn start(desk: &Desk) {
    write_ticks(desk);
    desk.ok("fleetctl start tick@1 tick@2 tick@3 tick@4 tick@5");
}

#[test]
fn lines_come_at_once_and_in_order_and_a_machine_that_is_cut_off_does_not_stop_the_others() {
    let mut world = World::on_etcd(3);
    let desk = world.desk();
    start(&desk);
    let (third, others): (Vec<&str>, Vec<&str>) = UNITS.into_iter().partition(|unit| runs_on(&world, unit) == ["m3"]);
    assert!(!third.is_empty() && !others.is_empty(), "five units on three machines");
    let endpoint = world.endpoint();
    let mut followed = Followed::new(&endpoint, "tick@*");
    followed.more_of(&UNITS, 1);

    let lines = followed.more_of(&UNITS, 20);
    let mut took: Vec<Duration> = lines.iter().map(|line| line.took).collect();
    took.sort();
    let (usual, longest) = (took[took.len() / 2], took[took.len() - 1]);
    let n_late = lines.windows(2).filter(|pair| pair[1].at_s < pair[0].at_s).count();
    let seen = format!("{} lines: usual {usual:?}, longest {longest:?}, {n_late} out of order", lines.len());
    assert!(usual < PROMPT, "{seen}");
    assert!(20 * n_late <= lines.len(), "{seen}");

    world.cluster().fleetds_mut()[2].kill().expect("killed");
    followed.says("lost the journal of 2c829abe.../");
    followed.more_of(&others, 10);
    world.cluster().fleetds_mut()[2].start().expect("it starts");
    let last = |followed: &Followed, unit: &str| followed.on(unit, "m3").last().copied().expect("a line");
    let before: Vec<u64> = third.iter().map(|unit| last(&followed, unit)).collect();
    while followed.said.recv_timeout(WAIT_LIMIT).expect("a word in time").contains("lost the journal of 2c829abe.../") {
    }
    followed.more_of(&UNITS, 10);
    assert!(third.iter().zip(before).all(|(unit, before)| before + 10 <= last(&followed, unit)));
    followed.is_whole();

    // The one that is asked: all go on when it is back.
    world.cluster().fleetds_mut()[0].kill().expect("killed");
    followed.says("lost the journal of ");
    world.cluster().fleetds_mut()[0].start().expect("it starts");
    followed.more_of(&UNITS, 15);
    followed.is_whole();
    desk.ok("fleetctl destroy 'tick@*'");
}

#[test]
fn times_and_modes() {
    let world = World::new(2);
    let desk = world.desk();
    desk.write(
        "said@.service",
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/bash -c 'echo %i one; echo %i two; sleep 1'\n",
    );
    desk.ok("fleetctl start said@a said@b");
    // With a time all lines of it; with a number the last of them.
    let all = desk.ok("fleetctl journal --since=-1h -o cat said@a");
    assert!(all.contains("a one\na two\n"), "{all}");
    assert_eq!(
        desk.ok("fleetctl journal --since yesterday -n 1 -o cat said@a"),
        all.lines().last().expect("a line").to_owned() + "\n"
    );
    assert_eq!(desk.ok("fleetctl journal --until yesterday said@a said@b"), "");
    assert_eq!(desk.ok("fleetctl journal -n all -o cat said@a"), all);
    let both = desk.ok("fleetctl journal -S '1 hour ago' -U now -o cat said@a said@b");
    for line in ["a one", "a two", "b one", "b two"] {
        assert!(both.lines().any(|said| said == line), "{line}: {both}");
    }
    let refused = desk.fails(1, "fleetctl journal --since someday said@a");
    assert!(refused.stderr.contains("Failed to parse timestamp: someday"), "{refused}");
    desk.fails(2, "fleetctl journal --until now -f said@a");

    // What we print ourselves looks like what journalctl prints. (Its JSON has the fields in another order each time.)
    for mode in [
        "short",
        "short-precise",
        "short-full",
        "short-iso",
        "short-iso-precise",
        "short-unix",
        "short-monotonic",
        "cat",
    ] {
        let theirs = desk.ok(&format!("fleetctl journal -n 3 -o {mode} said@a"));
        let ours = desk.ok(&format!("fleetctl journal --since=-1h -n 3 -o {mode} said@a"));
        assert_eq!(ours, theirs, "{mode}");
    }
    desk.ok("fleetctl destroy 'said@*'");
}

/// A user's systemd that runs as root can start units as others; journalctl alone finds only the lines of its own user.
#[test]
fn of_a_unit_that_runs_as_another_user() {
    let world = World::new(1);
    let desk = world.desk();
    // It lives on, so that journald has the time to learn whose line this is.
    desk.write("other.service", "[Service]\nUser=nobody\nExecStart=/bin/sh -c 'echo I am $(id -un); sleep infinity'\n");
    desk.ok("fleetctl start other");
    let said = desk.ok("fleetctl journal -f -n 100 -o cat other | grep --max-count=1 'I am'");
    assert_eq!(said, "I am nobody\n");
    assert!(desk.ok("fleetctl journal -n 100 other").contains("Started"), "systemd's own lines are among them");
}
