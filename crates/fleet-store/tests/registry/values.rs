//! The promise to the store: keys and values, byte by byte, and what is read that was written by others.

use std::collections::BTreeMap;
use std::fmt::{Debug, Write as _};

use expect_test::{Expect, expect};
use fleet_core::model::{Brake, Generation, Placement, Revision, TargetState, Timestamp, UnitState};
use fleet_core::unit::{UnitFile, UnitHash, WhenIsolated};
use fleet_store::registry::{
    CordonRecord, DrainRecord, FileRecord, GivenUpRecord, Key, LeaderRecord, MachineRecord, MetadataKey,
    MetadataRecord, OperatorsRecord, RequestRecord, TemplateRef, UnitRecord, Value,
};

const HASH: &str = "0123456789abcdef0123456789abcdef01234567";
const MACHINE: &str = "c31e44e1b1f04dd2a3d0c5b4c25e5d0a";

fn hash() -> UnitHash {
    HASH.parse().expect("a hash")
}

#[test]
fn keys() {
    let table = [
        ("units/hello.service", "Unit(hello.service)"),
        ("units/hello@.service", "Unit(hello@.service)"),
        ("units/a:b\\x20c@d@e.timer", "Unit(a:b\\x20c@d@e.timer)"),
        ("files/0123456789abcdef0123456789abcdef01234567", "File(0123456789abcdef0123456789abcdef01234567)"),
        ("files/0123456789ABCDEF0123456789abcdef01234567", "unknown"),
        ("files/0123", "unknown"),
        ("machines/m1", "Machine(m1)"),
        ("machines/m1/", "unknown"),
        ("machines/", "unknown"),
        ("machines/..", "unknown"),
        ("cordon/m1", "Cordon(m1)"),
        ("drain/m1", "Drain(m1)"),
        ("given-up/m1", "GivenUp(m1)"),
        ("metadata/m1/disk", "Metadata(m1, MetadataKey(\"disk\"))"),
        ("metadata/m1/a.b-c_D", "Metadata(m1, MetadataKey(\"a.b-c_D\"))"),
        ("metadata/m1/..", "unknown"),
        ("metadata/m1/a/b", "unknown"),
        ("metadata/m1/a b", "unknown"),
        ("metadata/m1/", "unknown"),
        ("metadata/m1", "unknown"),
        ("placements/m1/hello.service", "Placement(m1, hello.service)"),
        ("placements/m1/hello", "unknown"),
        ("placements/hello.service", "unknown"),
        ("states/m1/hello.service", "State(m1, hello.service)"),
        ("leader", "Leader"),
        ("leader/", "unknown"),
        ("leaders", "unknown"),
        ("operators/m1", "Operators(m1)"),
        ("operators/", "unknown"),
        (
            "requests/0123456789012345678901234567890123456789/0",
            "Request(RequestId(\"0123456789012345678901234567890123456789\"), 0)",
        ),
        ("requests/0123456789012345678901234567890123456789/00", "unknown"),
        ("requests/0123456789012345678901234567890123456789", "unknown"),
        ("requests/ABC/0", "unknown"),
        ("brake", "Brake"),
        ("brake/m1", "unknown"),
        ("units/nothing", "unknown"),
        ("events/1", "unknown"),
        ("", "unknown"),
        ("/", "unknown"),
        ("units", "unknown"),
    ];
    for (text, want) in table {
        let key = Key::parse(text);
        let got = key.as_ref().map_or("unknown".to_owned(), |key| format!("{key:?}"));
        assert_eq!(got, want, "{text}");
        if let Some(key) = key {
            assert_eq!(key.to_string(), text, "a key is written as it is read");
        }
    }
}

#[test]
fn metadata_keys() {
    for (given, fine) in [
        ("a", true),
        ("A.9_-", true),
        ("...", true),
        ("", false),
        (".", false),
        ("..", false),
        ("ä", false),
        ("a/b", false),
    ] {
        assert_eq!(given.parse::<MetadataKey>().is_ok(), fine, "{given}");
    }
    assert!("x".repeat(255).parse::<MetadataKey>().is_ok());
    assert!("x".repeat(256).parse::<MetadataKey>().is_err());
}

/// Writes, compares with the golden text, and reads back.
#[track_caller]
fn golden<V: Value + PartialEq + Debug>(value: &V, want: &Expect) {
    let bytes = value.encode();
    want.assert_eq(std::str::from_utf8(&bytes).expect("JSON is text"));
    assert_eq!(V::decode(&bytes).as_ref(), Ok(value), "what was written is read back");
}

#[test]
fn units() {
    let unit = UnitRecord {
        hash: hash(),
        target: TargetState::Launched,
        changes: 17,
        restarts: 2,
        changed: Timestamp(1_790_000_000_123),
        template: None,
        rest: fleet_store::registry::Rest::default(),
    };
    golden(
        &unit,
        &expect![[
            r#"{"v":1,"hash":"0123456789abcdef0123456789abcdef01234567","target":"launched","generation":17,"restarts":2,"changed_ms":1790000000123}"#
        ]],
    );
    let template = TemplateRef { name: "hello@.service".parse().expect("a name"), hash: hash() };
    golden(
        &UnitRecord { template: Some(template), ..unit },
        &expect![[
            r#"{"v":1,"hash":"0123456789abcdef0123456789abcdef01234567","target":"launched","generation":17,"restarts":2,"changed_ms":1790000000123,"template":{"name":"hello@.service","hash":"0123456789abcdef0123456789abcdef01234567"}}"#
        ]],
    );
}

#[test]
fn files() {
    let text = "[Service]\nExecStart=/bin/sleep \"1\"\n";
    let file = UnitFile::parse(text).expect("a unit file");
    golden(&FileRecord::of(text, &file), &expect![[r#"{"v":1,"original":"[Service]\nExecStart=/bin/sleep \"1\"\n"}"#]]);
    let commented = "# why\n[Service]\nExecStart = /bin/sleep \"1\"";
    let file = UnitFile::parse(commented).expect("a unit file");
    let record = FileRecord::of(commented, &file);
    assert_eq!(record.hash(), file.hash());
    golden(
        &record,
        &expect![[
            r##"{"v":1,"original":"# why\n[Service]\nExecStart = /bin/sleep \"1\"","canonical":"[Service]\nExecStart=/bin/sleep \"1\"\n"}"##
        ]],
    );
}

#[test]
fn machines() {
    let metadata =
        BTreeMap::from([("disk", "ssd"), ("zone", "")].map(|(key, value)| (key.to_owned(), value.to_owned())));
    let machine = MachineRecord {
        public_ip: "10.0.0.1".to_owned(),
        metadata,
        version: "0.1.0".to_owned(),
        name: Some("m1".to_owned()),
        boot_id: "b".to_owned(),
        api: "http://10.0.0.1:49153".to_owned(),
        leaving: true,
        capabilities: ["engine".to_owned()].into(),
    };
    golden(
        &machine,
        &expect![[
            r#"{"v":1,"public_ip":"10.0.0.1","metadata":{"disk":"ssd","zone":""},"version":"0.1.0","name":"m1","boot_id":"b","api":"http://10.0.0.1:49153","leaving":true,"capabilities":["engine"]}"#
        ]],
    );
    golden(&MachineRecord::default(), &expect![[r#"{"v":1,"public_ip":"","metadata":{},"version":""}"#]]);
    golden(&MetadataRecord::Set("ssd".to_owned()), &expect![[r#"{"v":1,"value":"ssd"}"#]]);
    golden(&MetadataRecord::Set(String::new()), &expect![[r#"{"v":1,"value":""}"#]]);
    golden(&MetadataRecord::Removed, &expect![[r#"{"v":1,"removed":true}"#]]);
}

#[test]
fn placements_states_and_the_leader() {
    let placement = Placement {
        hash: hash(),
        target: TargetState::Loaded,
        generation: Generation(u64::MAX),
        restarts: 0,
        when_isolated: WhenIsolated::Keep,
        leaving: None,
    };
    golden(
        &placement,
        &expect![[
            r#"{"v":1,"hash":"0123456789abcdef0123456789abcdef01234567","target":"loaded","generation":18446744073709551615,"restarts":0}"#
        ]],
    );
    let leaving = Placement { when_isolated: WhenIsolated::Stop, leaving: Some(Revision(41)), ..placement };
    golden(
        &leaving,
        &expect![[
            r#"{"v":1,"hash":"0123456789abcdef0123456789abcdef01234567","target":"loaded","generation":18446744073709551615,"restarts":0,"leaving":41,"stop_when_isolated":true}"#
        ]],
    );
    golden(&CordonRecord { since: Timestamp(7) }, &expect![[r#"{"v":1,"since_ms":7}"#]]);
    golden(&OperatorsRecord { changed: Timestamp(7) }, &expect![[r#"{"v":1,"since_ms":7}"#]]);
    let kept = RequestRecord { asked: "0f".to_owned(), answer: "[]".to_owned() };
    golden(&kept, &expect![[r#"{"v":1,"asked":"0f","answer":"[]"}"#]]);
    golden(&GivenUpRecord { since: Timestamp(7) }, &expect![[r#"{"v":1,"since_ms":7}"#]]);
    golden(&DrainRecord { since: Timestamp(7), max_at_once: 4 }, &expect![[r#"{"v":1,"since_ms":7,"max_at_once":4}"#]]);
    let err = DrainRecord::decode(br#"{"v":1,"since_ms":7,"max_at_once":0}"#).expect_err("nothing would ever move");
    expect!["the value's field `max_at_once`: it is 0, and then nothing would ever move"].assert_eq(&err.to_string());
    let lost = ["m2", "m1"].map(|id| id.parse().expect("a machine ID")).into();
    golden(&Brake { since: Timestamp(7), lost }, &expect![[r#"{"v":1,"since_ms":7,"lost":["m1","m2"]}"#]]);
    let state = UnitState {
        load: "loaded".to_owned(),
        active: "failed".to_owned(),
        sub: "failed".to_owned(),
        result: "exit-code".to_owned(),
        hash: hash(),
        done: Generation(17),
        restarts: 2,
        reached: TargetState::Loaded,
        error: "no such file".to_owned(),
        since: Timestamp(1_790_000_000_123),
        left: Some(Revision(41)),
    };
    golden(
        &state,
        &expect![[
            r#"{"v":1,"load":"loaded","active":"failed","sub":"failed","result":"exit-code","hash":"0123456789abcdef0123456789abcdef01234567","done":17,"restarts":2,"reached":"loaded","error":"no such file","since_ms":1790000000123,"left":41}"#
        ]],
    );
    golden(
        &UnitState { error: String::new(), left: None, ..state },
        &expect![[
            r#"{"v":1,"load":"loaded","active":"failed","sub":"failed","result":"exit-code","hash":"0123456789abcdef0123456789abcdef01234567","done":17,"restarts":2,"reached":"loaded","since_ms":1790000000123}"#
        ]],
    );
    let leader = LeaderRecord { id: MACHINE.to_owned(), version: "0.1.0".to_owned(), since: Timestamp(5) };
    golden(&leader, &expect![[r#"{"v":1,"id":"c31e44e1b1f04dd2a3d0c5b4c25e5d0a","version":"0.1.0","since_ms":5}"#]]);
}

/// A newer fleet adds a field: older ones skip it, and where they write the value back they keep it.
#[test]
fn fields_of_the_future() {
    let unit = format!(
        r#"{{"v":1,"hash":"{HASH}","target":"loaded","generation":1,"restarts":0,"changed_ms":0,"pause":{{"until":5}}}}"#
    );
    let mut record = UnitRecord::decode(unit.as_bytes()).expect("a unit");
    record.changes = 2;
    let written = String::from_utf8(record.encode()).expect("JSON is text");
    assert_eq!(written, unit.replace("\"generation\":1", "\"generation\":2"));
    let machine = r#"{"v":1,"public_ip":"","metadata":{},"version":"9","cpus":64}"#;
    assert_eq!(MachineRecord::decode(machine.as_bytes()).map(|machine| machine.version), Ok("9".to_owned()));
}

/// What cannot be read, and what is said about it.
#[test]
fn refused_values() {
    fn line<V: Value + Debug>(out: &mut String, bytes: &str) {
        let err = V::decode(bytes.as_bytes()).expect_err(bytes);
        writeln!(out, "{bytes}\n    {err}").expect("writing to a text");
    }
    let out = &mut String::new();
    line::<UnitRecord>(out, "");
    line::<UnitRecord>(out, "hello");
    line::<UnitRecord>(out, "{}");
    line::<UnitRecord>(out, r#"{"v":2,"wholly":"other"}"#);
    line::<UnitRecord>(out, r#"{"v":1,"hash":"12","target":"loaded","generation":1,"restarts":0,"changed_ms":0}"#);
    line::<UnitRecord>(out, r#"{"v":1,"hash":12,"target":"loaded","generation":1,"restarts":0,"changed_ms":0}"#);
    let with_target =
        |target: &str| format!(r#"{{"v":1,"hash":"{HASH}","target":"{target}","generation":1,"restarts":0}}"#);
    line::<Placement>(out, &with_target("inactive"));
    line::<Placement>(out, &with_target("sleeping"));
    line::<MetadataRecord>(out, r#"{"v":1}"#);
    line::<MetadataRecord>(out, r#"{"v":1,"value":"x","removed":true}"#);
    expect![[r#"

            the value is not of the expected form: EOF while parsing a value at line 1 column 0
        hello
            the value is not of the expected form: expected value at line 1 column 1
        {}
            the value is not of the expected form: missing field `v` at line 1 column 2
        {"v":2,"wholly":"other"}
            the value has version 2, and this fleet reads up to 1: upgrade fleet here
        {"v":1,"hash":"12","target":"loaded","generation":1,"restarts":0,"changed_ms":0}
            the value's field `hash`: `12` is no unit file hash: it has 40 hex digits
        {"v":1,"hash":12,"target":"loaded","generation":1,"restarts":0,"changed_ms":0}
            the value is not of the expected form: invalid type: integer `12`, expected a string at line 1 column 16
        {"v":1,"hash":"0123456789abcdef0123456789abcdef01234567","target":"inactive","generation":1,"restarts":0}
            the value's field `target`: a placement cannot be `inactive`: then there is none
        {"v":1,"hash":"0123456789abcdef0123456789abcdef01234567","target":"sleeping","generation":1,"restarts":0}
            the value's field `target`: `sleeping` is no target state: use `inactive`, `loaded` or `launched`
        {"v":1}
            the value's field `value`: either a value or `"removed": true` is needed, not both
        {"v":1,"value":"x","removed":true}
            the value's field `value`: either a value or `"removed": true` is needed, not both
    "#]]
    .assert_eq(out);
}
