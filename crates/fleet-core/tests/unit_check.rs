//! What a user reads when a unit file is refused or taken with warnings, and what systemd gets to see of it.
//!
//! What systemd says of each file in `what_systemd_refuses` was seen with `systemd-analyze verify` of systemd 252.

use expect_test::{Expect, expect};
use fleet_core::unit::{
    FLEET_VALUES_MAX, PROBLEMS_MAX, Problem, Strictness, UnitFile, UnitHash, UnitName, check, on_disk, slice_for,
};

fn name_of(name: &str) -> UnitName {
    name.parse().unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn show(problems: &[Problem]) -> String {
    let mut text = String::new();
    for problem in problems {
        text.push_str(&format!("  {problem}\n"));
        if let Some(hint) = &problem.hint {
            text.push_str(&format!("    hint: {hint}\n"));
        }
    }
    text
}

#[track_caller]
fn assert_says(name: &str, text: &str, strictness: Strictness, want: &Expect) {
    want.assert_eq(&match check(&name_of(name), text, strictness) {
        Ok(unit) => format!("accepted\n{}", show(&unit.warnings)),
        Err(problems) => format!("refused\n{}", show(&problems)),
    });
}

const MANY_MISTAKES: &str = r#"
Type=simple
[Servce]
ExecStart=/bin/sleep 100
[Unit]
MachineMetadata=disk=ssd
[Service]
# ExecStart=/bin/old \
ExecStart=/bin/true
[X-Fleet]
MachineMetaData=disk=ssd
MachineMetadata=disk=ssd region=eu
MachineMetadata=disk = ssd
MachineOf=db
MachineOf=web.service
MachineOf="db.service"  "cache.service"
Conflicts=web@[0-9.service
Conflicts=cache
Conflicts=web@[!0-9].service {a,b}.service a\x2db.service
Conflicts=
Global=enabled
"#;

#[test]
fn many_mistakes_strictly() {
    assert_says(
        "web.service",
        MANY_MISTAKES,
        Strictness::Strict,
        &expect![[r#"
            refused
              line 11: unrecognized requirement in [X-Fleet] section: "MachineMetaData"
                hint: did you mean `MachineMetadata`?
              line 12: `MachineMetadata=disk=ssd region=eu`: this is not one condition `key=value`, so it would be no condition at all
                hint: write `MachineMetadata="disk=ssd" "region=eu"`, or one line for each
              line 13: `MachineMetadata=disk = ssd`: no machine has the key `disk `, with a blank at its end
                hint: write `MachineMetadata=disk=ssd`
              line 14: `MachineOf=db`: unit name must contain ".": `db` has no type
                hint: write `MachineOf=db.service`
              line 15: `MachineOf=web.service`: a unit is always on its own machine
                hint: remove the line, or name the unit that this one shall follow
              line 16: `MachineOf="db.service"  "cache.service"`: ``: unit name cannot be empty
                hint: write exactly one blank between two quoted values
              line 17: `Conflicts=web@[0-9.service`: malformed pattern `web@[0-9.service`: `[` has no `]`, so it would match nothing
              line 21: `Global=enabled`: neither true nor false, so it would be false
                hint: write `Global=true`
        "#]],
    );
}

#[test]
fn many_mistakes_leniently() {
    assert_says(
        "web.service",
        MANY_MISTAKES,
        Strictness::Lenient,
        &expect![[r#"
            accepted
              line 2: text before the first section is ignored: `Type=simple`
                hint: a section starts with a line such as `[Service]`
              line 4: systemd ignores section `Servce` in a service
                hint: did you mean `[Service]`?
              line 6: `MachineMetadata` in section `Unit` has no effect
                hint: move it to `[X-Fleet]`
              line 8: a comment does not continue over a backslash: the next line counts
                hint: the original fleet would have dropped it; put `#` before it if it is a comment
              line 11: unrecognized requirement in [X-Fleet] section: "MachineMetaData"
                hint: did you mean `MachineMetadata`?
              line 12: `MachineMetadata=disk=ssd region=eu`: this is not one condition `key=value`, so it would be no condition at all
                hint: write `MachineMetadata="disk=ssd" "region=eu"`, or one line for each
              line 13: `MachineMetadata=disk = ssd`: no machine has the key `disk `, with a blank at its end
                hint: write `MachineMetadata=disk=ssd`
              line 14: `MachineOf=db`: unit name must contain ".": `db` has no type
                hint: write `MachineOf=db.service`
              line 15: `MachineOf=web.service`: a unit is always on its own machine
                hint: remove the line, or name the unit that this one shall follow
              line 16: `MachineOf="db.service"  "cache.service"`: ``: unit name cannot be empty
                hint: write exactly one blank between two quoted values
              line 17: `Conflicts=web@[0-9.service`: malformed pattern `web@[0-9.service`: `[` has no `]`, so it would match nothing
              line 18: `Conflicts=cache`: this pattern matches no unit name
                hint: it has to cover the type as well: `cache.service` or `cache*`
              line 19: `Conflicts=web@[!0-9].service {a,b}.service a\x2db.service`: `web@[!0-9].service`: `[!` does not negate
                hint: write `[^` for any character but these
              line 19: `Conflicts=web@[!0-9].service {a,b}.service a\x2db.service`: `{a,b}.service`: this pattern matches no unit name
                hint: braces are not expanded: write one pattern for each
              line 19: `Conflicts=web@[!0-9].service {a,b}.service a\x2db.service`: `a\x2db.service`: this pattern matches no unit name
                hint: a backslash in a name is written as two: `\\x2d`
              line 20: `Conflicts=` has no effect: an empty line does not take back the lines before it
                hint: remove it, and the lines that shall not count
              line 21: `Global=enabled`: neither true nor false, so it would be false
                hint: write `Global=true`
        "#]],
    );
}

#[test]
fn a_combination_stands_first() {
    let text = "[Service]\nExecStart=/bin/true\n[X-Fleet]\nMachineID=ab cd\nMachineOf=db.service\nConflicts=d*\n";
    assert_says(
        "web.service",
        text,
        Strictness::Strict,
        &expect![[r#"
        refused
          unresolvable requirements: peer "db.service" matches conflict "d*"
          MachineID cannot be used with Peers
            hint: Peers are the units that MachineOf names
          MachineID cannot be used with Conflicts
          line 4: `MachineID=ab cd`: no machine can have this ID
            hint: write the ID that `fleetctl list-machines --full` shows, on one line without quotes
    "#]],
    );
}

#[test]
fn a_part_of_a_machine_id() {
    let text = "[Service]\nExecStart=/bin/true\n[X-Fleet]\nMachineID=0123456789\nMachineID=fedcba98\n";
    assert_says(
        "web.service",
        text,
        Strictness::Strict,
        &expect![[r#"
        accepted
          line 4: `MachineID=0123456789`: this is a part of a machine ID, which matches no machine
            hint: write the whole ID, or exactly its first 8 characters
          line 5: `MachineID=fedcba98`: has no effect: only the first machine ID counts, `0123456789`
    "#]],
    );
}

#[test]
fn nothing_in_it() {
    for text in ["", "ExecStart=/bin/true\n", "[Service]\n# nothing\n"] {
        let problems = check(&name_of("web.service"), text, Strictness::Lenient).expect_err(text);
        assert_eq!(problems.len(), 1, "{text}: {problems:?}");
        assert_eq!(problems[0].to_string(), "the file of unit `web.service` has no option in any section");
    }
}

#[test]
fn unreadable() {
    assert_says(
        "web.service",
        "[Service]\nExecStart\n",
        Strictness::Lenient,
        &expect![[r#"
        refused
          line 2: unexpected newline encountered while parsing option name: `ExecStart` has no `=`
            hint: write `NAME=VALUE`, or end the line before it in a backslash if it belongs to that
    "#]],
    );
}

/// Unit name, text and how the first line about it starts; empty: systemd has nothing against it.
#[test]
fn what_systemd_refuses() {
    for (name, text, want) in [
        ("a.service", "[Service]\nExecStart=/bin/true", "accepted"),
        ("a.service", "[Unit]\nSuccessAction=exit", "accepted"),
        ("a.service", "[Service]\nExecStop=/bin/true\nRemainAfterExit=yes", "accepted"),
        ("a.service", "[Service]\nExecStart=/bin/false\nExecStart=\nExecStart=/bin/true", "accepted"),
        ("a.service", "[Service]\nType=oneshot\nExecStart=/bin/true\nExecStart=/bin/true", "accepted"),
        ("a.service", "[Service]\nRestart=no", "warning: systemd refuses a service without `ExecStart=`, `ExecStop="),
        (
            "a.service",
            "[Service]\nExecStart=/a\nExecStart=",
            "warning: systemd refuses a service without `ExecStart=`, `ExecStop=",
        ),
        (
            "a.service",
            "[Unit]\nSuccessAction=none",
            "warning: systemd refuses a service without `ExecStart=`, `ExecStop=",
        ),
        (
            "a.service",
            "[Service]\nExecStop=/bin/true",
            "warning: systemd refuses a service without `ExecStart=` unless it has `RemainAfterExit=yes`",
        ),
        (
            "a.service",
            "[Service]\nType=simple\nRemainAfterExit=yes\nExecStop=/bin/true",
            "warning: systemd refuses a service without `ExecStart=` unless it has `Type=oneshot`",
        ),
        (
            "a.service",
            "[Unit]\nSuccessAction=exit\n[Service]\nType=simple",
            "warning: systemd refuses a service without `ExecStart=` unless it has `Type=oneshot`",
        ),
        (
            "a.service",
            "[Service]\nExecStart=/bin/true\nExecStart=/bin/true",
            "warning: systemd refuses more than one `ExecStart=`",
        ),
        (
            "a.service",
            "[Service]\nType=oneshot\nRestart=always\nExecStart=/bin/true",
            "warning: systemd refuses `Restart=always`",
        ),
        ("a.service", "[Service]\nType=dbus\nExecStart=/bin/true", "warning: systemd refuses `Type=dbus`"),
        ("a.service", "[Un\"it]\nA=b", "error: systemd refuses the section name `Un\"it`"),
        ("a.service", "[Service]\nExecStart=/bin/true\n[Socket]\nA=b", "warning: systemd ignores section `Socket`"),
        ("a.service", "[Service]\nExecStart=/bin/true\n[X-Mine]\nA=b", "accepted"),
        ("a.socket", "[Socket]\nListenStream=1", "accepted"),
        ("a.socket", "[Socket]\nAccept=no", "warning: systemd refuses a socket without"),
        ("a.timer", "[Timer]\nOnCalendar=daily", "accepted"),
        ("a.timer", "[Timer]\nPersistent=no", "warning: systemd refuses a timer without"),
        ("a.path", "[Path]\nPathExists=/a", "accepted"),
        ("a.path", "[Path]\nMakeDirectory=no", "warning: systemd refuses a path without"),
        ("foo.mount", "[Mount]\nWhat=/dev/x", "accepted"),
        ("foo.mount", "[Mount]\nWhere=/foo", "warning: systemd refuses a mount without"),
        ("bar.mount", "[Mount]\nWhat=/dev/x\nWhere=/foo", "warning: systemd refuses `Where=/foo`"),
        (r"foo\x2db-.c\x20d.mount", "[Mount]\nWhat=/dev/x\nWhere=/foo-b/.c d", "accepted"),
        (r"\x2ea-b.mount", "[Mount]\nWhat=/dev/x\nWhere=/.a//b/", "accepted"),
        ("-.mount", "[Mount]\nWhat=/dev/x\nWhere=/", "accepted"),
        ("foo.automount", "[Automount]\nWhere=/x", "warning: systemd refuses `Where=/x`"),
        ("dev-x.swap", "[Swap]\nWhat=/dev/x", "accepted"),
        ("dev-x.swap", "[Swap]\nWhat=/dev/y", "warning: systemd refuses `What=/dev/y`"),
        ("a.target", "[Unit]\nDescription=d", "accepted"),
        ("a-b.slice", "[Slice]\nCPUWeight=1", "accepted"),
        ("a-.slice", "[Slice]\nCPUWeight=1", "error: cannot load `a-.slice`: systemd refuses the name"),
        ("a.scope", "[Scope]\nSlice=a.slice", "error: cannot load `a.scope`: systemd has scopes only for running"),
        (
            "fleet-guard.service",
            "[Service]\nExecStart=/bin/x",
            "error: `fleet-guard.service` is the name of fleet's own",
        ),
        ("dev-x.device", "[Unit]\nDescription=d", "warning: systemd makes `dev-x.device` when the device appears"),
    ] {
        let have = match check(&name_of(name), text, Strictness::Strict) {
            Err(problems) => format!("error: {}", problems[0].message),
            Ok(unit) => {
                unit.warnings.first().map_or("accepted".to_owned(), |lint| format!("warning: {}", lint.message))
            }
        };
        assert!(have.starts_with(want), "{name}: {text}\n{have}");
        assert_eq!(have == "accepted", want == "accepted", "{name}: {text}\n{have}");
    }
}

#[test]
fn nonsense_without_end_is_cut() {
    let text = format!("[X-Fleet]\n{}", "Nonsense=1\n".repeat(PROBLEMS_MAX + 7));
    let problems = check(&name_of("a.target"), &text, Strictness::Strict).expect_err("nonsense");
    assert_eq!(problems.len(), PROBLEMS_MAX + 1);
    assert_eq!(problems.last().map(Problem::to_string).as_deref(), Some("and 7 more"));
}

#[test]
fn values_are_limited() {
    let text = |n: usize| format!("[X-Fleet]\nMachineMetadata=a=b\n{}", "Conflicts=a.service b.service\n".repeat(n));
    let most = (FLEET_VALUES_MAX - 1) / 2;
    assert!(check(&name_of("a.target"), &text(most), Strictness::Strict).is_ok());
    let problems = check(&name_of("a.target"), &text(most + 1), Strictness::Lenient).expect_err("too many");
    assert_eq!(problems[0].message, "[X-Fleet] has 1001 values, at most 1000");
}

#[test]
fn text_for_systemd() {
    for (name, text, slice, want) in [
        ("a.service", "[Service]\nExecStart=/bin/true\n", None, "[Service]\nExecStart=/bin/true\n"),
        (
            "a.service",
            "[Service]\nExecStart=/bin/true\n",
            Some("fleet-01.slice"),
            "[Service]\nExecStart=/bin/true\n\n[Service]\nSlice=fleet-01.slice\n",
        ),
        // The open continuation at the end must not swallow the added section.
        (
            "a.socket",
            "[Socket]\nListenStream=1 \\\n",
            Some("fleet-01.slice"),
            "[Socket]\nListenStream=1 \\\n\n\n[Socket]\nSlice=fleet-01.slice\n",
        ),
        ("a.service", "[Service]\nSlice=my.slice\n", Some("fleet-01.slice"), "[Service]\nSlice=my.slice\n"),
        // Not the section of the type, so it does not count.
        ("a.service", "[Unit]\nSlice=x\n", Some("s.slice"), "[Unit]\nSlice=x\n\n[Service]\nSlice=s.slice\n"),
        ("a.timer", "[Timer]\nOnBootSec=1\n", Some("fleet-01.slice"), "[Timer]\nOnBootSec=1\n"),
        ("a.slice", "[Slice]\nCPUWeight=1\n", Some("fleet-01.slice"), "[Slice]\nCPUWeight=1\n"),
        // What must not run twice: bound to the guard, and killed in time.
        (
            "a.timer",
            "[X-Fleet]\nWhenIsolated=stop\n",
            None,
            "[X-Fleet]\nWhenIsolated=stop\n\n[Unit]\nBindsTo=fleet-guard.service\nAfter=fleet-guard.service\n",
        ),
    ] {
        let file = UnitFile::parse(text).expect(text);
        let (canonical, hash) = (file.canonical(), file.hash());
        let written = on_disk(&name_of(name), &canonical, slice);
        let header = format!("# fleet wrote this for {name}, hash {hash}; changes here are lost.\n");
        assert_eq!(written, format!("{header}{want}"));
        // All that was there is still read, in the same order.
        let read = UnitFile::parse(&written).expect(&written);
        assert_eq!(read.options()[..file.options().len()], *file.options(), "{written}");
        assert_eq!(UnitHash::of_canonical(&canonical), hash);
    }
}

/// A service that must not run twice is killed in time, whatever its file says.
#[test]
fn stop_in_time() {
    for (lines, want) in [
        ("", Some(25)),
        ("TimeoutStopSec=10", None),
        ("TimeoutStopSec=25s", None),
        ("TimeoutSec=20sec", None),
        ("TimeoutStopSec=26", Some(25)),
        ("TimeoutStopSec=1min", Some(25)),
        ("TimeoutStopSec=infinity", Some(25)),
        ("TimeoutStopSec=0", Some(25)),
        ("TimeoutStopSec=", Some(25)),
        ("TimeoutStopSec=5\nTimeoutSec=90", Some(25)),
        // Each command has the time for itself, and the signal after them.
        ("ExecStop=/bin/a", Some(12)),
        ("ExecStop=/bin/a\nExecStop=/bin/b\nTimeoutStopSec=8", None),
        ("ExecStop=/bin/a\nExecStop=/bin/b\nTimeoutStopSec=9", Some(8)),
    ] {
        let canonical = format!("[Service]\nExecStart=/bin/true\n{lines}\n[X-Fleet]\nWhenIsolated=stop\n");
        let written = on_disk(&name_of("a.service"), &canonical, None);
        let guarded = "\n[Unit]\nBindsTo=fleet-guard.service\nAfter=fleet-guard.service\n";
        let limited = want.map(|seconds| format!("\n[Service]\nTimeoutStopSec={seconds}\n")).unwrap_or_default();
        let (_, added) = written.split_once(&canonical).expect("the file itself");
        assert_eq!(added, format!("{guarded}{limited}"), "{lines}");
    }
}

#[test]
fn slices() {
    assert_eq!(slice_for(&name_of("web@1.service"), 0), None);
    assert_eq!(slice_for(&name_of("web.timer"), 32), None);
    // Fixed for ever: another slice after an update of fleet would mean a changed file for a running unit.
    for (name, slice) in
        [("web@1.service", "fleet-19.slice"), ("web@2.service", "fleet-28.slice"), ("db.socket", "fleet-22.slice")]
    {
        assert_eq!(slice_for(&name_of(name), 32).as_deref(), Some(slice), "{name}");
    }
    let mut n_units = [0; 32];
    for idx in 0..3200 {
        let slice = slice_for(&name_of(&format!("web@{idx}.service")), 32).expect("services have slices");
        let idx: usize = slice["fleet-".len()..slice.len() - ".slice".len()].parse().expect("a number");
        n_units[idx] += 1;
    }
    assert!(n_units.iter().all(|n| (50..200).contains(n)), "uneven: {n_units:?}");
}
