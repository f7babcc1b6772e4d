//! The `[X-Fleet]` section: sections 4 to 7 of the reference on the original.
//!
//! Each row is read twice. Leniently it has to mean what it meant in the original. Strictly it has to be refused where the
//! original took in silence what cannot have been meant. `⏎` is a newline, `⇥` a tab; lines are separated by `␤`.

use fleet_core::unit::{
    CheckedUnit, Problem, Requirements, Strictness, UnitFile, UnitName, WhenIsolated, check, expand_specifiers,
    split_value,
};

fn unescaped(lines: &str) -> String {
    lines.replace('⏎', "\n").replace('⇥', "\t").replace('␤', "\n")
}

fn file_of(section: &str, lines: &str) -> String {
    format!("[Service]\nExecStart=/bin/true\n[{section}]\n{}\n", unescaped(lines))
}

fn name_of(name: &str) -> UnitName {
    name.parse().unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn checked(name: &str, text: &str, strictness: Strictness) -> Result<CheckedUnit, Vec<Problem>> {
    let checked = check(&name_of(name), text, strictness);
    if let Err(problems) = &checked {
        assert!(!problems.is_empty(), "{text}: refused without a reason");
    }
    checked
}

/// All requirements on one line; what is empty is left out.
fn show(requirements: &Requirements) -> String {
    let Requirements { machine_id, machine_of, metadata, conflicts, replaces, global, when_isolated, never } =
        requirements;
    let mut parts = Vec::new();
    parts.extend(machine_id.iter().map(|id| format!("id `{id}`")));
    parts.extend(machine_of.iter().map(|peer| format!("of {peer}")));
    for (key, values) in metadata {
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        parts.push(format!("`{key}` in `{}`", values.join("|")));
    }
    parts.extend(conflicts.iter().map(|glob| format!("conflicts {}", glob.as_str())));
    parts.extend(replaces.iter().map(|glob| format!("replaces {}", glob.as_str())));
    parts.extend(global.then(|| "global".to_owned()));
    parts.extend((*when_isolated == WhenIsolated::Stop).then(|| "stop when isolated".to_owned()));
    parts.extend((!never.is_empty()).then(|| "never".to_owned()));
    parts.join(", ")
}

/// Table 4: how a line is split.
#[test]
fn splitting() {
    for (line, want) in [
        (r#"MachineMetadata="a=1" "b=2""#, &["a=1", "b=2"][..]),
        (r#"MachineOf="a.service"  "b.service""#, &["a.service", "", "b.service"]),
        (r#"MachineOf="a.service""b.service""#, &["a.serviceb.service"]),
        (r#"MachineMetadata="a=1"⇥"b=2""#, &["a=1⇥b=2"]),
        (r#"MachineMetadata="a=x y" "b=2""#, &["a=x y", "b=2"]),
        (r#"MachineOf=""#, &[""]),
        (r#"MachineOf="a" b "c""#, &["a", "b", "c"]),
        (r#"MachineMetadata="a=1" b=2"#, &[r#""a=1" b=2"#]),
        (r#"MachineMetadata=a=1 "b=2""#, &[r#"a=1 "b=2""#]),
        (r#"MachineMetadata=a=1 b=2"#, &["a=1 b=2"]),
        (r#"MachineMetadata='a=1' 'b=2'"#, &["'a=1' 'b=2'"]),
        (r#"MachineMetadata="a=1" \⏎ "b=2""#, &["a=1", r"\⏎", "b=2"]),
        (r#"MachineOf=a.service b.service"#, &["a.service b.service"]),
        (r#"Replaces=a.service b.service"#, &["a.service b.service"]),
        (r#"Replaces="a.service" "b*.service""#, &["a.service", "b*.service"]),
        (r#"MachineID="a\"b""#, &[r"a\b"]),
    ] {
        let file = UnitFile::parse(&file_of("X-Fleet", line)).expect(line);
        let option = file.options().last().expect("the line under test");
        let want: Vec<String> = want.iter().map(|value| unescaped(value)).collect();
        assert_eq!(split_value(&option.value), want, "{line}");
    }
}

/// What the strict check says: nothing, or a part of its first problem.
enum Strict {
    Fine,
    Refused(&'static str),
}
use Strict::{Fine, Refused};

/// Unit name, lines, what the original makes of them, what the strict check says.
type Row = (&'static str, &'static str, &'static str, Strict);

const FOO: &str = "foo.service";

const REQUIREMENTS: &[Row] = &[
    // Table 4, where splitting shows in the meaning.
    (
        FOO,
        r#"MachineOf="a.service"  "b.service""#,
        "of a.service, of b.service, never",
        Refused("unit name cannot be empty"),
    ),
    (FOO, r#"MachineOf="a.service""b.service""#, "of a.serviceb.service", Fine),
    (FOO, r#"MachineMetadata="a=1"⇥"b=2""#, "", Refused("this is not one condition `key=value`")),
    (FOO, r#"MachineMetadata="a=x y" "b=2""#, "`a` in `x y`, `b` in `2`", Fine),
    (FOO, r#"MachineOf=""#, "never", Refused("unit name cannot be empty")),
    (FOO, r#"MachineMetadata="a=1" b=2"#, "", Refused("this is not one condition")),
    (FOO, r#"MachineMetadata=a=1 "b=2""#, "", Refused("this is not one condition")),
    (FOO, r#"MachineMetadata=a=1 b=2"#, "", Refused("this is not one condition")),
    (FOO, r#"MachineMetadata='a=1' 'b=2'"#, "", Refused("this is not one condition")),
    (FOO, r#"MachineMetadata="a=1" \⏎ "b=2""#, "`a` in `1`, `b` in `2`", Refused("this is not one condition")),
    (
        FOO,
        "Conflicts=a.service   b*.service⇥c?.service",
        "conflicts a.service, conflicts b*.service, conflicts c?.service",
        Fine,
    ),
    (
        FOO,
        r#"Conflicts="a.service b.service" "c.service""#,
        "conflicts a.service, conflicts b.service, conflicts c.service",
        Fine,
    ),
    (FOO, r"Conflicts=a.service \⏎ b.service", "conflicts a.service, conflicts b.service", Refused("cannot continue")),
    (FOO, "Conflicts=a.service␤Conflicts=␤Conflicts=b.service", "conflicts a.service, conflicts b.service", Fine),
    (FOO, "MachineOf=a.service b.service", "never", Refused("one unit name with blanks")),
    (FOO, "Replaces=a.service b.service", "replaces a.service b.service", Refused("one pattern with blanks")),
    (FOO, r#"Replaces="a.service" "b*.service""#, "replaces a.service, replaces b*.service", Fine),
    // Table 5.
    (
        FOO,
        r#"MachineMetadata="region=us-east-1" "diskType=SSD"␤MachineMetadata=region=us-west-1"#,
        "`diskType` in `SSD`, `region` in `us-east-1|us-west-1`",
        Fine,
    ),
    (FOO, "MachineMetadata=a=1␤MachineMetadata=a=1", "`a` in `1`", Fine),
    (FOO, "MachineMetadata= a=1 ", "`a` in `1`", Fine),
    (FOO, r#"MachineMetadata="a=1""#, "`a` in `1`", Fine),
    (FOO, "MachineMetadata=a = 1", "`a ` in ` 1`", Refused("no machine has the key `a `")),
    (FOO, "MachineMetadata=a", "", Refused("this is not one condition")),
    (FOO, "MachineMetadata=", "", Refused("this is not one condition")),
    (FOO, "MachineMetadata==1", "", Refused("the key is missing")),
    (FOO, "MachineMetadata=a=1,b=2", "", Refused("this is not one condition")),
    (FOO, "MachineMetadata=a=1␤X-ConditionMachineMetadata=a=2", "`a` in `1|2`", Fine),
    (
        FOO,
        "Conflicts=new1␤X-Conflicts=old1 old2␤Conflicts=new2",
        "conflicts old1, conflicts old2, conflicts new1, conflicts new2",
        Fine,
    ),
    (FOO, "MachineOf=new.service␤X-ConditionMachineOf=old.service", "of new.service, of old.service", Fine),
    (FOO, "MachineID=aaa␤MachineID=bbb", "id `aaa`", Fine),
    (FOO, "MachineID=␤X-ConditionMachineID=bbb", "id ``, never", Refused("`MachineID=`: no machine can have this ID")),
    (FOO, "X-ConditionMachineBootID=ccc␤X-ConditionMachineID=bbb", "id `bbb`", Fine),
    (FOO, "MachineBootID=bbb", "", Refused("unrecognized requirement in [X-Fleet] section: \"MachineBootID\"")),
    (FOO, "Global=TRUE", "global", Fine),
    (FOO, r#"Global="true""#, "global", Fine),
    (FOO, "Global=T", "global", Fine),
    (FOO, "Global=on", "global", Fine),
    (FOO, "Global=1", "global", Fine),
    (FOO, "Global=no", "", Fine),
    (FOO, "Global=true␤Global=", "", Fine),
    (FOO, "Global=y", "", Refused("`Global=y`: neither true nor false")),
    (FOO, "Global=12", "", Refused("neither true nor false")),
    (FOO, r#"Global="true" "false""#, "", Fine),
    (FOO, "Machine ID = x", "", Refused("unrecognized requirement in [X-Fleet] section: \"Machine ID\"")),
    // Section 6, where specifiers show in the meaning.
    ("web@blue.service", "MachineOf=db@%i.service", "of db@blue.service", Fine),
    ("web@blue.service", "Conflicts=%p@*.service", "conflicts web@*.service", Fine),
    ("web@blue.service", "MachineMetadata=color=%i", "`color` in `blue`", Fine),
    ("web.service", "MachineOf=%p.socket", "of web.socket", Fine),
    ("web.service", "MachineMetadata=inst=%i", "", Refused("the value is missing")),
    ("web@1.service", "MachineMetadata=a=%%i", "`a` in `%1`", Fine),
    ("web@1.service", "MachineOf=%I %H %m", "never", Refused("one unit name with blanks")),
    ("foo@yes.service", "Global=%i", "global", Fine),
    // A template is checked as its instances will be.
    (
        "web@.service",
        "MachineOf=db@%i.service␤MachineMetadata=color=%i␤Conflicts=%p@*.service",
        "conflicts web@*.service",
        Fine,
    ),
    ("web@.service", "Global=%i", "", Fine),
    (FOO, "WhenIsolated=stop", "stop when isolated", Fine),
    (FOO, "WhenIsolated=keep", "", Fine),
    (FOO, "WhenIsolated=stop␤WhenIsolated=keep", "", Fine),
    (FOO, "Global=true␤WhenIsolated=stop", "global, stop when isolated", Fine),
    (FOO, "WhenIsolated=Stop", "", Refused("`WhenIsolated=Stop`: neither keep nor stop")),
    (FOO, "WhenIsolated=", "", Refused("neither keep nor stop")),
    (FOO, "WhenIsolated=halt␤WhenIsolated=stop", "stop when isolated", Refused("`WhenIsolated=halt`")),
    ("web@stop.service", "WhenIsolated=%i", "stop when isolated", Fine),
    ("web@.service", "WhenIsolated=%i", "", Fine),
    ("web@.service", "MachineOf=%n", "", Refused("a unit is always on its own machine")),
    // Not in the reference: what can never be satisfied or never match.
    (FOO, "MachineOf=foo.service", "", Refused("a unit is always on its own machine")),
    (FOO, "MachineOf=db@.service", "never", Refused("a template is never placed")),
    (FOO, "MachineOf=db*.service", "never", Refused("invalid character '*'")),
    (FOO, "MachineOf=db", "never", Refused("`db` has no type")),
    (FOO, "Conflicts=a[", "", Refused("malformed pattern `a[`")),
    (FOO, "Replaces=[]a]", "", Refused("malformed pattern `[]a]`")),
    (FOO, "Replaces=", "replaces ", Fine),
];

#[test]
fn requirements() {
    for (name, lines, want, strict) in REQUIREMENTS {
        let text = file_of("X-Fleet", lines);
        let lenient = checked(name, &text, Strictness::Lenient);
        let lenient = lenient.unwrap_or_else(|problems| panic!("{lines}: {problems:?}"));
        assert_eq!(show(&lenient.requirements), *want, "{lines}");
        assert_eq!(lenient.requirements, Requirements::of(&name_of(name), &lenient.file), "{lines}");
        match (checked(name, &text, Strictness::Strict), strict) {
            (Ok(checked), Fine) => assert_eq!(checked.requirements, lenient.requirements, "{lines}"),
            (Err(problems), Refused(part)) => {
                let first = problems[0].to_string();
                assert!(first.contains(part), "{lines}: {first}");
                assert_eq!(problems[0].line, Some(4), "{lines}: {first}");
                // What is lenient says the same, as a warning.
                assert!(lenient.warnings.contains(&problems[0]), "{lines}: {:?}", lenient.warnings);
            }
            (Ok(_), Refused(part)) => panic!("{lines}: accepted, not refused with {part}"),
            (Err(problems), Fine) => panic!("{lines}: {problems:?}"),
        }
    }
}

/// Section 6: the text after expansion.
#[test]
fn specifiers() {
    for (name, text, want) in [
        ("web@blue.service", "db@%i.service", "db@blue.service"),
        ("web@blue.service", "%p@*.service", "web@*.service"),
        ("web.service", "%p.socket", "web.socket"),
        ("web.service", "inst=%i", "inst="),
        ("web@.service", "%N.x", "web@.x"),
        ("web@.service", "%n", "web@.service"),
        ("web@1.service", "a=%%i", "a=%1"),
        ("web@1.service", "%I %H %m", "%I %H %m"),
        ("a@b@c.service", "%p|%i|%N|%n", "a|b@c|a@b@c|a@b@c.service"),
        (r"a-b@c\x2dd.service", "%p|%i|%N", r"a-b|c\x2dd|a-b@c\x2dd"),
        ("a.b@c.d.service", "%p|%i|%N", "a.b|c.d|a.b@c.d"),
        // One after the other over the whole text, in the order %n %N %p %i: what %n leaves is read again by %i.
        ("i@x.service", "%%n", "x@x.service"),
    ] {
        assert_eq!(expand_specifiers(&name_of(name), text), want, "{name}: {text}");
    }
}

/// Our verdict where it is another one, and why.
type Deviation = Option<(&'static str, &'static str)>;

/// 7.1: unit name, lines, the original's verdict, the deviation.
const COMBINATIONS: &[(&str, &str, &str, Deviation)] = &[
    (FOO, "MachineID=a␤MachineMetadata=a=b", "ok", None),
    (FOO, "Global=true␤Conflicts=b␤MachineMetadata=a=b", "ok", None),
    (FOO, "Global=false␤MachineOf=b", "ok", None),
    (FOO, "X-ConditionMachineID=a␤X-Conflicts=b", "MachineID cannot be used with Conflicts", None),
    (FOO, "X-ConditionMachineBootID=a␤Conflicts=b", "MachineID cannot be used with Conflicts", None),
    (FOO, "MachineID=␤Conflicts=b", "MachineID cannot be used with Conflicts", None),
    (FOO, "MachineID=a␤MachineOf=b␤Conflicts=b", r#"unresolvable requirements: peer "b" matches conflict "b""#, None),
    (
        FOO,
        "MachineOf=bar.service␤Conflicts=b*e",
        r#"unresolvable requirements: peer "bar.service" matches conflict "b*e""#,
        None,
    ),
    (FOO, "MachineOf=bar.service␤Replaces=foo.service", "ok", None),
    (
        FOO,
        "MachineOf=%p.socket␤Conflicts=%p.socket",
        r#"unresolvable requirements: peer "%p.socket" matches conflict "%p.socket""#,
        Some((
            r#"unresolvable requirements: peer "foo.socket" matches conflict "foo.socket""#,
            "checked with the unit's name",
        )),
    ),
    (
        FOO,
        "MachineOf=foo.socket␤Conflicts=%p.socket",
        "ok",
        Some((
            r#"unresolvable requirements: peer "foo.socket" matches conflict "foo.socket""#,
            "checked with the unit's name; it could never be scheduled",
        )),
    ),
    (FOO, "MachineOf=foo.service", "ok", None),
    (FOO, "Conflicts=foo.service", "ok", None),
    (FOO, "MachineOf=b[a␤Conflicts=b[a", "ok", None),
    // Every rule of the list, in the spelling that is new.
    (
        FOO,
        "MachineOf=bar.service␤Replaces=b*",
        r#"unresolvable requirements: peer "bar.service" matches replace "b*""#,
        None,
    ),
    (FOO, "MachineID=a␤MachineOf=b.service", "MachineID cannot be used with Peers", None),
    (FOO, "MachineID=a␤Global=true", "MachineID cannot be used with Global", None),
    (FOO, "MachineID=a␤Replaces=b.service", "MachineID cannot be used with Replaces", None),
    (FOO, "Global=true␤MachineOf=b.service", "Global cannot be used with Peers", None),
    (FOO, "Global=true␤Replaces=b.service", "Global cannot be used with Replaces", None),
    (FOO, "Conflicts=a.service␤Replaces=b.service", "Conflicts cannot be used with Replaces", None),
    (FOO, "MachineOf=a.service␤Conflicts=b.service", "ok", None),
    (FOO, "MachineOf=a.service␤Replaces=b.service", "ok", None),
    (FOO, "Conflicts=␤Replaces=b.service", "ok", None),
    // What the original could not see without the name.
    (
        "foo@yes.service",
        "Global=%i␤MachineOf=b.service",
        "ok",
        Some(("Global cannot be used with Peers", "checked with the unit's name")),
    ),
    (
        "web@.service",
        "MachineOf=db@%i.service␤Conflicts=db@*.service",
        r#"unresolvable requirements: peer "db@%i.service" matches conflict "db@*.service""#,
        None,
    ),
    ("web@.service", "MachineOf=db@%i.service␤Conflicts=db@[0-9].service", "ok", None),
];

#[test]
fn combinations() {
    for (name, lines, original, deviation) in COMBINATIONS {
        let want = match deviation {
            Some((ours, why)) => {
                assert_ne!(ours, original, "{lines} is no deviation ({why})");
                ours
            }
            None => original,
        };
        let text = file_of("X-Fleet", lines);
        let lenient = checked(name, &text, Strictness::Lenient);
        let says = lenient.as_ref().err().map_or("ok", |problems| &problems[0].message);
        assert_eq!(says, *want, "{lines}");
        // The rules are the same in both modes and stand before all other problems.
        if let (Err(lenient), Err(strict)) = (&lenient, &checked(name, &text, Strictness::Strict)) {
            assert_eq!(lenient[0], strict[0], "{lines}");
        } else {
            assert_eq!(*want, "ok", "{lines}");
        }
    }
}

/// 7.2: the nearest right spelling of options and of the section.
#[test]
fn spelling() {
    for (option, near) in [
        ("MachineMetaData", "MachineMetadata"),
        ("MachineId", "MachineID"),
        ("Machineof", "MachineOf"),
        ("global", "Global"),
        ("MachineBootID", "MachineID"),
        ("X-MachineID", "MachineID"),
        ("X-ConditionConflicts", "Conflicts"),
        ("X-Global", "Global"),
        ("X-ConditionGlobal", "Global"),
        ("X-Replaces", "Replaces"),
        ("X-MachineMetadata", "MachineMetadata"),
        ("X-ConditionMetadata", "MachineMetadata"),
        ("Machine ID", "MachineID"),
        ("Conflict", "Conflicts"),
        ("Metadata", "MachineMetadata"),
        ("Replace", "Replaces"),
        ("Whenisolated", "WhenIsolated"),
    ] {
        let text = file_of("X-Fleet", &format!("{option}=x"));
        let problems = checked(FOO, &text, Strictness::Strict).expect_err(option);
        let unknown = format!("unrecognized requirement in [X-Fleet] section: \"{option}\"");
        assert_eq!(problems[0].message, unknown);
        assert_eq!(problems[0].hint, Some(format!("did you mean `{near}`?")), "{option}");
        let lenient = checked(FOO, &text, Strictness::Lenient).expect(option);
        assert_eq!(lenient.warnings, problems, "{option}");
    }
    let problems = checked(FOO, &file_of("X-Fleet", "ExecStart=x"), Strictness::Strict).expect_err("unknown");
    let all = "fleet knows MachineID, MachineOf, MachineMetadata, Conflicts, Replaces, Global, WhenIsolated";
    assert_eq!(problems[0].hint.as_deref(), Some(all));

    for section in ["x-fleet", "X-Fleet ", "X-FLEET", "Fleet", "X-Flet", "XFleet"] {
        let text = file_of(section, "Global=true␤Conflicts=a.service");
        let problems = checked(FOO, &text, Strictness::Strict).expect_err(section);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].line, Some(4));
        assert_eq!(problems[0].hint.as_deref(), Some("write `[X-Fleet]`"), "{section}");
        let lenient = checked(FOO, &text, Strictness::Lenient).expect(section);
        assert_eq!(lenient.requirements, Requirements::default(), "{section}");
    }
    // A section of somebody else's is none of our business.
    assert_eq!(checked(FOO, &file_of("X-Docker", "Global=true"), Strictness::Strict).expect("fine").warnings.len(), 1);
}
