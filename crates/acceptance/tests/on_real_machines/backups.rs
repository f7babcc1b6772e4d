//! `backup` and `restore`: consistent while others write, refused where it would destroy, and without touching what is the same.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::desk::Desk;
use crate::judge::{PRINTS, main_pid, printed, runs_on};
use crate::world::World;

const SLEEPS: &str = "[Service]\nExecStart=/bin/sleep infinity\n";

/// Another file than that of the others, so that its comment is its own: files are kept by their content.
const GONE: &str = "# With a comment.\n[Service]\nExecStart=/bin/sleep 100000\n";

/// A backup's lines as JSON.
fn lines(path: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(path).expect("it is there");
    text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

fn keys(path: &Path) -> BTreeSet<String> {
    lines(path).iter().filter_map(|line| Some(line["key"].as_str()?.to_owned())).collect()
}

/// Units come and go in pairs, each pair in one transaction; a backup has both or none of each.
fn consistent_while_others_write(world: &World) {
    let desk = world.desk();
    let busy = world.desk();
    for n in 0..10 {
        busy.write(&format!("pair{n}/left{n}.service"), SLEEPS);
        busy.write(&format!("pair{n}/right{n}.service"), SLEEPS);
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for n in 0..10 {
                    busy.ok(&format!("fleetctl submit pair{n}/"));
                }
                busy.ok("fleetctl destroy --no-block 'left*' 'right*'");
            }
        });
        let mut halves = Vec::new();
        let mut n_pairs = 0;
        for _ in 0..20 {
            desk.ok("fleetctl backup b");
            let keys = keys(&desk.path().join("b"));
            for n in 0..10 {
                let has = |side: &str| keys.contains(&format!("units/{side}{n}.service"));
                n_pairs += usize::from(has("left") && has("right"));
                halves.extend((has("left") != has("right")).then_some(n));
            }
        }
        done.store(true, Ordering::Relaxed);
        assert_eq!(halves, [0; 0], "a pair was torn apart");
        assert!(0 < n_pairs, "nothing changed while the backups were made");
    });
    desk.ok("fleetctl destroy 'left*' 'right*' || true");
}

/// Onto the cluster itself: what is the same runs on, the rest becomes what it was.
fn back_in_time(world: &World) {
    let desk = world.desk();
    desk.write("same.service", SLEEPS);
    desk.write("changed.service", SLEEPS);
    desk.write("gone.service", GONE);
    desk.write("waits@.service", SLEEPS);
    desk.ok("fleetctl start same.service changed.service gone.service && fleetctl submit waits@.service");
    let m1 = world.machines()[0].spec().id.clone();
    desk.ok(&format!("fleetctl machine set-metadata {m1} a=1 b=2 && fleetctl machine cordon {m1}"));
    desk.ok("fleetctl backup b1");
    let mode = fs::metadata(desk.path().join("b1")).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "unit files may hold secrets");
    for line in lines(&desk.path().join("b1")) {
        let key = line["key"].as_str().unwrap_or_default();
        assert!(!["machines/", "states/", "leader"].iter().any(|no| key.starts_with(no)), "{line}");
    }

    let pid = main_pid(world, "same.service");
    desk.write("changed.service", "[Service]\nExecStart=/bin/sleep 1000\n");
    desk.write("extra.service", SLEEPS);
    desk.ok(
        "fleetctl start --replace changed.service && fleetctl start extra.service && fleetctl destroy gone.service",
    );
    desk.ok(&format!("fleetctl machine uncordon {m1} && fleetctl machine set-metadata {m1} a=9 c=3"));
    let refused = desk.fails(1, "fleetctl restore b1");
    assert!(refused.stderr.contains("the cluster is not empty"), "{refused}");
    let plan = desk.run("fleetctl restore --replace --dry-run b1");
    let said: Vec<String> =
        plan.stdout.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let expected = [
        "changed.service change".to_owned(),
        "extra.service destroy".to_owned(),
        "gone.service create".to_owned(),
        format!("metadata/{m1}/a write"),
        format!("metadata/{m1}/c remove"),
        format!("cordon/{m1} write"),
    ];
    assert_eq!(said, expected, "{plan}");
    assert!(plan.stderr.contains("2 are the same, 3 other keys would be set"), "{plan}");
    assert!(desk.ok("fleetctl cat changed.service").contains("1000"), "a dry run changes nothing");

    desk.ok("fleetctl restore --replace b1");
    world.wait_active("changed.service", "active");
    world.wait_active("gone.service", "active");
    world.wait_gone("extra.service");
    assert_eq!(main_pid(world, "same.service"), pid, "what is the same was not touched");
    assert_eq!(desk.ok("fleetctl cat changed.service"), SLEEPS);
    assert_eq!(desk.ok("fleetctl cat gone.service"), GONE);
    let machines = desk.ok("fleetctl list-machines --full --no-legend --fields machine,metadata,state");
    let m1_line = machines.lines().find(|line| line.starts_with(&m1)).expect("m1 is listed");
    assert!(m1_line.contains("a=1,b=2") && m1_line.contains("cordoned"), "{machines}");
    // The engine leads again.
    desk.ok("fleetctl start --no-block waits@1.service && fleetctl destroy changed.service");
    world.wait_active("waits@1.service", "active");
    desk.ok(&format!("fleetctl destroy '*' && fleetctl machine uncordon {m1}"));
}

/// What is no backup, or not a whole one, is refused before anything is changed.
fn what_is_refused(desk: &Desk) {
    desk.write("a.service", SLEEPS);
    desk.ok("fleetctl submit a.service && fleetctl backup b && fleetctl destroy a.service");
    for (how, why) in [
        ("head --lines -1 b", "it is cut off"),
        ("sed s/inactive/launched/ b", "its checksum is wrong"),
        ("cat a.service", "it does not begin as a backup of fleet does"),
        ("sed '1s/:1/:7/' b", "it has format 7, and this fleet reads 1"),
        ("cat b b", "there is more behind its last line"),
    ] {
        let refused = desk.fails(1, &format!("{how} > broken; fleetctl restore broken"));
        assert!(refused.stderr.contains(why), "{how}: {refused}");
    }
    assert_eq!(desk.ok("fleetctl list-unit-files --no-legend"), "");
    desk.fails(1, "fleetctl backup nowhere/b");
    desk.fails(1, "fleetctl restore nowhere");
}

#[test]
fn in_the_embedded_store() {
    let world = World::new(2);
    consistent_while_others_write(&world);
    back_in_time(&world);
    what_is_refused(&world.desk());
}

#[test]
fn in_etcd() {
    let world = World::on_etcd(2);
    consistent_while_others_write(&world);
    back_in_time(&world);
}

/// The store is lost, the machines are not: after a restore all runs on where it ran, and nothing that had ended is done again.
#[test]
fn after_the_store_was_lost() {
    let mut world = World::new(2);
    let desk = world.desk();
    desk.write("a@.service", &format!("{SLEEPS}[X-Fleet]\nConflicts=a@*.service\n"));
    desk.write("b.service", &format!("{SLEEPS}[X-Fleet]\nMachineOf=a@2.service\n"));
    desk.write("all.service", &format!("{SLEEPS}[X-Fleet]\nGlobal=true\n"));

    desk.write("once.service", &format!("[Service]\nType=oneshot\nExecStart=/bin/echo ran\n{PRINTS}\n"));
    // Some revisions, as every store has them when it is lost.
    desk.ok("for n in 1 2 3 4 5; do fleetctl submit a@.service && fleetctl destroy a@.service; done");
    desk.ok("fleetctl submit a@.service");
    desk.ok("fleetctl start a@1.service a@2.service b.service all.service once.service");
    let ran = |world: &World| world.machines().iter().flat_map(|m| printed(m, "once.service")).count();
    assert_eq!(ran(&world), 1);
    let pids = |world: &World| ["a@1.service", "a@2.service", "b.service"].map(|unit| main_pid(world, unit));
    let before = pids(&world);
    desk.ok("fleetctl backup b");

    // A fleetd without machines, so that none sees an empty store.
    let config = world.fleetd_config();
    let text = fs::read_to_string(&config).expect("it is there");
    world.cluster().stop_fleetd().expect("it ends");
    fs::remove_file(world.dir().join("store.redb")).expect("the store is a file");
    let none = desk.write("no-machines.toml", "machine = []\n");
    fs::write(&config, format!("{text}machines_file = {}\n", none.display())).expect("our file");
    world.cluster().start_fleetd().expect("it starts without machines");
    let restored = desk.run("fleetctl restore b");
    assert_eq!(restored.code, 0, "{restored}");
    fs::write(&config, text).expect("our file");
    world.cluster().restart_fleetd().expect("it starts with machines");

    for unit in ["a@1.service", "a@2.service", "b.service", "all.service"] {
        world.wait_active(unit, "active");
    }
    assert_eq!(pids(&world), before, "all runs on");
    assert_eq!(runs_on(&world, "all.service").len(), 2);
    assert_eq!(ran(&world), 1, "what had ended is not done again");
    // Orders of users are obeyed, so no generation was lost.
    desk.ok("fleetctl start once.service");
    assert_eq!(ran(&world), 2);
    desk.ok("fleetctl stop b.service && fleetctl destroy '*'");
}
