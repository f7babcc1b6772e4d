use expect_test::{Expect, expect};
use fleet_api::v2::{Draining, Lost, Machine, Placement, State, Unit, UnitState};

use super::*;
use crate::fixture;

/// The table with arrows for tabs, as the reference of the original shows it.
fn arrows(lines: &[String]) -> String {
    lines.iter().map(|line| line.replace('\t', "→") + "\n").collect()
}

fn global() -> Unit {
    let mut unit = fixture::placed("glob.service", state());
    (unit.global, unit.fitting) = (true, Some(3));
    unit.placements[0] = place("4f1c2a7d0000000000000000000000aa", Some("10.77.13.11"));
    unit.placements.push(place("9a8b7c6d0000000000000000000000bb", Some("10.77.13.12")));
    unit
}

fn hello() -> Unit {
    let mut unit = fixture::placed("hello.service", state());
    unit.hash = "8a62c40000000000000000000000000000000000".to_owned();
    unit.current_state = State::Launched;
    unit.description = Some("Says hello".to_owned());
    unit.placements[0] = place("4f1c2a7d0000000000000000000000aa", Some("10.77.13.11"));
    unit
}

fn state() -> UnitState {
    fixture::state("active", "running", "success")
}

fn place(machine: &str, ip: Option<&str>) -> Placement {
    Placement {
        machine: machine.to_owned(),
        ip: ip.map(str::to_owned),
        placed: true,
        done: true,
        state: Some(state()),
        lost: None,
    }
}

#[track_caller]
fn check<Row>(columns: &Columns<Row>, rows: &[Row], fields: Option<&str>, full: bool, expected: Expect) {
    let chosen = columns.choose(fields, false).expect("columns");
    expected.assert_eq(&arrows(&chosen.table(rows, full).lines(true, None)));
}

// The three samples of the reference, to the byte.
#[test]
fn samples_of_the_original() {
    check(
        &unit_files(),
        &[global(), hello()],
        None,
        false,
        expect![[r#"
            UNIT→→HASH→DSTATE→→STATE→→TARGET
            glob.service→03ec2aa→launched→2/3→→global
            hello.service→8a62c40→launched→launched→4f1c2a7d.../10.77.13.11
        "#]],
    );
    check(
        &units(),
        &unit_rows(&[global(), hello()]),
        None,
        false,
        expect![[r#"
        UNIT→→MACHINE→→→ACTIVE→SUB
        glob.service→4f1c2a7d.../10.77.13.11→active→running
        glob.service→9a8b7c6d.../10.77.13.12→active→running
        hello.service→4f1c2a7d.../10.77.13.11→active→running
    "#]],
    );
    let machine = |id: &str, ip: &str, metadata: &[(&str, &str)]| Machine {
        id: id.to_owned(),
        ip: Some(ip.to_owned()),
        metadata: metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        ..fixture::machine(id)
    };
    let list = [
        machine("4f1c2a7d00", "10.77.13.11", &[("role", "web"), ("az", "us-west-1b"), ("disk", "ssd")]),
        machine("c0ffee1100", "10.77.13.13", &[]),
        Machine { cordoned: true, units: 7, ..fixture::machine("cccc") },
        Machine {
            draining: Some(Draining { since_ms: 0, max_at_once: 1 }),
            cordoned: true,
            ..fixture::machine("dddd")
        },
        Machine { present: false, lost: Some(Lost { silent_ms: 35_000 }), cordoned: true, ..fixture::machine("eeee") },
        Machine { present: false, given_up: true, ..fixture::machine("ffff") },
        Machine { present: false, cordoned: true, ..fixture::machine("gggg") },
    ];
    check(
        &machines(),
        &list,
        None,
        false,
        expect![[r#"
            MACHINE→→IP→→METADATA→→→STATE
            4f1c2a7d...→10.77.13.11→az=us-west-1b,disk=ssd,role=web→present
            c0ffee11...→10.77.13.13→-→→→→present
            cccc...→→-→→-→→→→present, cordoned
            dddd...→→-→→-→→→→present, draining
            eeee...→→-→→-→→→→lost, no news for 35s, cordoned
            ffff...→→-→→-→→→→given up
            gggg...→→-→→-→→→→absent, cordoned
        "#]],
    );
    check(
        &machines(),
        &[],
        None,
        false,
        expect![[r#"
            MACHINE→IP→METADATA→STATE
        "#]],
    );
}

#[test]
fn columns_and_full() {
    check(
        &units(),
        &unit_rows(&[hello()]),
        Some("hash,unit,load,hash"),
        false,
        expect![[r#"
        HASH→UNIT→→LOAD→HASH
        03ec2aa→hello.service→loaded→03ec2aa
    "#]],
    );
    check(
        &units(),
        &unit_rows(&[hello()]),
        Some("machine,hash"),
        true,
        expect![[r#"
        MACHINE→→→→→→HASH
        4f1c2a7d0000000000000000000000aa/10.77.13.11→03ec2aa0000000000000000000000000000000ff
    "#]],
    );
    let mut nowhere = fixture::unit("n.service", State::Launched);
    nowhere.hash = String::new();
    check(
        &unit_files(),
        &[nowhere, global()],
        Some("unit,desc,global,target,tmachine,hash"),
        false,
        expect![[r#"
        UNIT→→DESC→GLOBAL→TARGET→TMACHINE→HASH
        n.service→-→false→-→-→→-
        glob.service→-→true→global→global→→03ec2aa
    "#]],
    );
    let mut leaving = hello();
    leaving.placements[0].placed = false;
    leaving.placements[0].ip = None;
    check(
        &unit_files(),
        &[leaving.clone()],
        Some("unit,target"),
        false,
        expect![[r#"
        UNIT→→TARGET
        hello.service→-
    "#]],
    );
    check(
        &units(),
        &unit_rows(&[leaving]),
        Some("unit,machine"),
        false,
        expect![[r#"
        UNIT→→MACHINE
        hello.service→4f1c2a7d...
    "#]],
    );
}

#[test]
fn no_legend_narrows_the_columns() {
    let machine = fixture::machine("abc");
    let chosen = machines().choose(Some("ip,machine"), true).expect("columns");
    assert_eq!(arrows(&chosen.table(&[machine], false).lines(false, None)), "-→abc...\n");
    assert_eq!(arrows(&chosen.table(&[], false).lines(false, None)), "");
}

#[test]
fn what_a_lost_machine_has_is_lost() {
    let mut unit = hello();
    // Whatever it said last.
    unit.placements[0].lost = Some(Lost { silent_ms: 400_000 });
    let mut silent = unit.clone();
    silent.placements[0].state = None;
    check(
        &units(),
        &unit_rows(&[unit, silent]),
        Some("unit,active,sub,load"),
        false,
        expect![[r#"
        UNIT→→ACTIVE→SUB→→→LOAD
        hello.service→lost→no news for 6min→-
        hello.service→lost→no news for 6min→-
    "#]],
    );
}

#[test]
fn what_no_machine_has_spoken_of_is_no_row() {
    let mut unit = hello();
    unit.placements[0].state = None;
    assert_eq!(unit_rows(&[unit]).len(), 0);
}

#[test]
fn wrong_columns() {
    let said = |fields: &str| units().choose(Some(fields), false).err().expect("an error").to_string();
    assert_eq!(said(""), "Must define output format");
    assert_eq!(said("unit,nope"), "Invalid key in output format: \"nope\"");
    assert_eq!(said("UNIT"), "Invalid key in output format: \"UNIT\"");
    assert_eq!(said("unit,"), "Invalid key in output format: \"\"");
}
