//! What people read when a unit waits.

#[expect(dead_code, reason = "shared with tests of plans, which are not needed here")]
mod notation;

use expect_test::{Expect, expect};
use fleet_core::schedule::explain;
use notation::{cluster, unit_name};

#[track_caller]
fn check(unit: &str, text: &str, expected: Expect) {
    expected.assert_eq(&(explain(&cluster(text), &unit_name(unit)).to_string() + "\n"));
}

/// What the machines say one by one.
#[track_caller]
fn check_machines(unit: &str, text: &str, expected: Expect) {
    let explanation = explain(&cluster(text), &unit_name(unit));
    let lines = explanation
        .machines
        .iter()
        .flat_map(|answer| answer.refusals.iter().map(|refusal| format!("{} {refusal}\n", answer.machine)));
    expected.assert_eq(&lines.collect::<String>());
}

#[test]
fn where_a_unit_stands() {
    check(
        "a",
        "A:",
        expect![[r#"
        there is no unit a.service
    "#]],
    );
    check(
        "a@",
        "A:; a@",
        expect![[r#"
        a@.service is a template: its instances are placed, it never is
    "#]],
    );
    check(
        "a",
        "A:; a inactive",
        expect![[r#"
        a.service is inactive: nobody wants it on a machine
    "#]],
    );
    check(
        "a",
        "A:; a on A",
        expect![[r#"
        a.service is placed on A
    "#]],
    );
    check(
        "a",
        "a",
        expect![[r#"
        a.service waits: there is no machine
    "#]],
    );
    check(
        "a",
        "A:; B:; a",
        expect![[r#"
        a.service waits: 2 of 2 machines can take it, and one is about to
    "#]],
    );
}

#[test]
fn one_machine_with_several_reasons() {
    check(
        "web@3",
        "A: disk=hdd; web@1 on A; web@3 Conflicts=web@*.service disk=ssd,nvme zone=b MachineID=0123abcd",
        expect![[r#"
            web@3.service waits: the only machine cannot take it
              1 machine: Conflicts=web@*.service (web@1.service)
              1 machine: MachineID=0123abcd
              1 machine: MachineMetadata=disk=nvme or disk=ssd (has disk=hdd)
              1 machine: MachineMetadata=zone=b (has no zone)
        "#]],
    );
}

#[test]
fn many_machines_by_constraint() {
    check(
        "web@9",
        "A: disk=ssd; B: disk=ssd; C: disk=hdd; D:; E: disk=ssd; F: disk=ssd;
         web@1 on A; web@2 on B; web@3 on C; web@4 on E; db Conflicts=web@9.service on F;
         web@9 Conflicts=web@*.service disk=ssd",
        expect![[r#"
            web@9.service waits: none of 6 machines can take it
              4 machines: Conflicts=web@*.service (web@1.service, web@2.service, web@3.service and 1 more)
              2 machines: MachineMetadata=disk=ssd (has disk=hdd, has no disk)
              1 machine: Conflicts=web@9.service (of db.service)
        "#]],
    );
}

#[test]
fn peers() {
    check(
        "b",
        "A:; B:; a on B; c on A; b MachineOf=a,c",
        expect![[r#"
        b.service waits: none of 2 machines can take it
          1 machine: MachineOf=a.service (it is on B)
          1 machine: MachineOf=c.service (it is on A)
    "#]],
    );
    check(
        "b",
        "A:; a inactive; t@; g global zone=z; b MachineOf=a,gone,t@,g",
        expect![[r#"
        b.service waits: the only machine cannot take it
          1 machine: MachineOf=a.service (it is inactive)
          1 machine: MachineOf=g.service (no machine fits it)
          1 machine: MachineOf=gone.service (there is no such unit)
          1 machine: MachineOf=t@.service (it is a template)
    "#]],
    );
    check(
        "b",
        "A: zone=z; B:; g global zone=z on A; x on A; b MachineOf=g Conflicts=x",
        expect![[r#"
        b.service waits: none of 2 machines can take it
          1 machine: Conflicts=x.service (x.service)
          1 machine: MachineOf=g.service (it is on other machines)
    "#]],
    );
}

#[test]
fn groups() {
    check(
        "a",
        "A:; B:; a; b MachineOf=a disk=ssd",
        expect![[r#"
        a.service waits, together with b.service: none of 2 machines can take it
          2 machines: MachineMetadata=disk=ssd of b.service (has no disk)
    "#]],
    );
    check(
        "b",
        "A:; a; b MachineOf=a; c MachineOf=a Conflicts=b",
        expect![[r#"
            b.service waits, together with a.service, c.service: the only machine cannot take it
              1 machine: Conflicts=b.service (of c.service)
              1 machine: Conflicts=b.service of c.service (b.service)
        "#]],
    );
}

#[test]
fn replaces() {
    check(
        "kick",
        "A:; rep0 on A; kick Replaces=rep0",
        expect![[r#"
        kick.service waits: the only machine cannot take it
          1 machine: Replaces=rep0.service (rep0.service would have to go and fits nowhere else)
    "#]],
    );
    check(
        "rep0",
        "A:; kick Replaces=rep* on A; rep0",
        expect![[r#"
        rep0.service waits: the only machine cannot take it
          1 machine: Replaces=rep* (by kick.service)
    "#]],
    );
}

#[test]
fn global_units() {
    check(
        "g",
        "A: zone=z; B: zone=z; C:; g global zone=z Conflicts=x* on A; x1 on B",
        expect![[r#"
        g.service is global and placed on 1 of 3 machines
          1 machine: Conflicts=x* (x1.service)
          1 machine: MachineMetadata=zone=z (has no zone)
    "#]],
    );
    check(
        "g",
        "g global",
        expect![[r#"
        g.service is global, and there is no machine
    "#]],
    );
}

#[test]
fn never() {
    check(
        "a",
        "A:; a Never=MachineOf=_names_no_unit",
        expect![[r#"
        a.service waits: the only machine cannot take it
          1 machine: what can never be met (MachineOf= names no unit)
    "#]],
    );
}

#[test]
fn each_machine_in_a_sentence() {
    check_machines(
        "a",
        "A: disk=hdd; B:; C:; D:; peer on D; x on A; y Conflicts=a on A; old on A; kick Replaces=a on C; g global zone=z;
         a MachineOf=peer,gone,t@,off,g MachineID=B Conflicts=x Replaces=old disk=ssd,nvme Never=nonsense; t@;
         off inactive; b MachineOf=a zone=z",
        expect![[r#"
            A can never be what the file asks for: nonsense
            A is not B
            A lacks disk=nvme or disk=ssd (has disk=hdd)
            A conflicts with x.service
            A conflicts with y.service
            A does not have g.service: no machine fits it
            A does not have gone.service: there is no such unit
            A does not have off.service: it is inactive
            A does not have peer.service, which is on D
            A does not have t@.service: it is a template
            A cannot take b.service with it: lacks zone=z (has no zone)
            B can never be what the file asks for: nonsense
            B lacks disk=nvme or disk=ssd (has no disk)
            B does not have g.service: no machine fits it
            B does not have gone.service: there is no such unit
            B does not have off.service: it is inactive
            B does not have peer.service, which is on D
            B does not have t@.service: it is a template
            B cannot take b.service with it: lacks zone=z (has no zone)
            C can never be what the file asks for: nonsense
            C is not B
            C lacks disk=nvme or disk=ssd (has no disk)
            C does not have g.service: no machine fits it
            C does not have gone.service: there is no such unit
            C does not have off.service: it is inactive
            C does not have peer.service, which is on D
            C does not have t@.service: it is a template
            C has kick.service, which replaces it
            C cannot take b.service with it: lacks zone=z (has no zone)
            D can never be what the file asks for: nonsense
            D is not B
            D lacks disk=nvme or disk=ssd (has no disk)
            D does not have g.service: no machine fits it
            D does not have gone.service: there is no such unit
            D does not have off.service: it is inactive
            D does not have t@.service: it is a template
            D cannot take b.service with it: lacks zone=z (has no zone)
        "#]],
    );
}

#[test]
fn lost_machines() {
    let text = "A! held; B: d=hdd; C: d=ssd; x on A; y d=nvme on A; z MachineOf=x on A; s WhenIsolated=stop on A";
    check(
        "x",
        text,
        expect![[r#"
        x.service is placed on A, which is lost, together with z.service: 2 of 2 machines can take it, when its own has been lost for long enough
    "#]],
    );
    check(
        "y",
        text,
        expect![[r#"
        y.service is placed on A, which is lost: none of 2 machines can take it
          2 machines: MachineMetadata=d=nvme (has d=hdd, has d=ssd)
    "#]],
    );
    check(
        "z",
        &text.replace("held", "gone"),
        expect![[r#"
        z.service is placed on A, which is lost, together with x.service: 2 of 2 machines can take it, when its own has been lost for long enough
    "#]],
    );
    // After the grace: `x` may go elsewhere, `s` is held, and what follows it waits with it.
    check(
        "f",
        "A! stop-held; B:; s WhenIsolated=stop on A; f MachineOf=s on A",
        expect![[r#"
        f.service is placed on A, which is lost: the only machine cannot take it
          1 machine: MachineOf=s.service (it is on A)
    "#]],
    );
    check(
        "x",
        "A! held; x on A",
        expect![[r#"
        x.service is placed on A, which is lost: there is no other machine
    "#]],
    );
    check(
        "x",
        "A! given-up; B: d=hdd; x d=ssd on A",
        expect![[r#"
        x.service waits: the only machine cannot take it
          1 machine: MachineMetadata=d=ssd (has d=hdd)
    "#]],
    );
    check(
        "g",
        "A! held; B:; g global on A,B",
        expect![[r#"
        g.service is global and placed on 1 of 1 machine
    "#]],
    );
}

#[test]
fn cordons_and_leaving_orders() {
    check(
        "x",
        "A: cordoned; B: cordoned d=hdd; C: d=hdd; x d=ssd",
        expect![[r#"
        x.service waits: none of 3 machines can take it
          3 machines: MachineMetadata=d=ssd (has d=hdd, has no d)
          2 machines: cordoned
    "#]],
    );
    check(
        "g",
        "A: cordoned; B:; g global on B",
        expect![[r#"
        g.service is global and placed on 1 of 2 machines
          1 machine: cordoned
    "#]],
    );
    check_machines(
        "x",
        "A: cordoned; B:; y leaving B on A; x Conflicts=y",
        expect![[r#"
        A is cordoned
        A conflicts with y.service
        B conflicts with y.service
    "#]],
    );
    check(
        "f",
        "A:; B:; x leaving A on B; f MachineOf=x Conflicts=b; b on B",
        expect![[r#"
        f.service waits: none of 2 machines can take it
          1 machine: Conflicts=b.service (b.service)
          1 machine: MachineOf=x.service (it is on B)
    "#]],
    );
}
