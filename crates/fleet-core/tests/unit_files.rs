//! Unit file text: tables 1 and 2 of the reference on the original (`P1`.. parsing, `S1`.. canonical form and hash).
//!
//! In the tables `⏎` is a newline, `␍` a carriage return, `⇥` a tab, and `{2037×x}` is 2037 times `x`. Each row holds what
//! the original does; where we differ, the row says what we do and why.

use fleet_core::unit::{UNIT_FILE_LEN_MAX, UnitFile, UnitFileError, UnitHash, UnitOption};

enum Outcome {
    /// `section/name=value` of each option, in order.
    Options(&'static [&'static str]),
    /// A part of the message.
    Error(&'static str),
}
use Outcome::{Error, Options};

enum Ours {
    Same,
    Differs { gives: Outcome, why: &'static str },
}
use Ours::{Differs, Same};

const SYSTEMD_COMMENT: &str =
    "systemd does not continue comments, so the original dropped a line that systemd would obey";
const ROUND_TRIP: &str = "written out and read back, the next line would have become part of the value";

const PARSING: &[(&str, &str, Outcome, Ours)] = &[
    ("P1", "", Options(&[]), Same),
    ("P2", "⏎⏎⏎", Options(&[]), Same),
    ("P3", "Echo", Options(&[]), Same),
    ("P4", "Global=true⏎", Options(&[]), Same),
    ("P5", "[Service]⏎ExecStart=/bin/sleep 100⏎", Options(&["Service/ExecStart=/bin/sleep 100"]), Same),
    ("P6", "[Service]⏎ExecStart=/bin/sleep 100", Options(&["Service/ExecStart=/bin/sleep 100"]), Same),
    ("P7", "[Service]␍⏎ExecStart=/bin/sleep 100␍⏎", Options(&["Service/ExecStart=/bin/sleep 100"]), Same),
    ("P8", "[Unit]⏎Description   =    Foo bar   ⏎", Options(&["Unit/Description=Foo bar"]), Same),
    ("P9", "  [Unit]⏎⇥ Description=Foo⏎", Options(&["Unit/Description=Foo"]), Same),
    ("P10", "This=Ignored⏎[Unit]⏎A=b⏎", Options(&["Unit/A=b"]), Same),
    (
        "P11",
        "This=[Unit]⏎A=b⏎",
        Options(&["Unit/A=b"]),
        Differs { gives: Options(&[]), why: "a section starts on a line of its own, as in systemd" },
    ),
    ("P12", "Th#is=[Unit]⏎[Service]⏎A=b⏎", Options(&["Service/A=b"]), Same),
    ("P13", "[Unit⏎A=b⏎", Error("unable to find end of section"), Same),
    (
        "P14",
        "[Un⏎it]⏎A=b⏎",
        Options(&["Un⏎it/A=b"]),
        Differs { gives: Error("unable to find end of section"), why: "systemd refuses a section name over two lines" },
    ),
    ("P15", "[Unit] foo⏎A=b⏎", Error("found garbage after section name"), Same),
    ("P16", "[Unit] # c⏎A=b⏎", Error("found garbage after section name"), Same),
    ("P17", "[Unit]   ⇥⏎A=b⏎", Options(&["Unit/A=b"]), Same),
    ("P18", "[Unit]A=b⏎C=d⏎", Error("found garbage after section name"), Same),
    ("P19", "[ Unit ]⏎A=b⏎", Options(&[" Unit /A=b"]), Same),
    ("P20", "[]⏎A=b⏎", Options(&["/A=b"]), Same),
    ("P21", "[Unit[x]⏎A=b⏎", Options(&["Unit[x/A=b"]), Same),
    ("P22", "[Unit]⏎[Service]⏎A=b⏎", Options(&["Service/A=b"]), Same),
    (
        "P23",
        "[Unit]⏎A=1⏎[Service]⏎B=2⏎[Unit]⏎C=3⏎A=4⏎",
        Options(&["Unit/A=1", "Service/B=2", "Unit/C=3", "Unit/A=4"]),
        Same,
    ),
    (
        "P24",
        "[Service]⏎ExecStart=⏎ExecStart=/bin/true⏎",
        Options(&["Service/ExecStart=", "Service/ExecStart=/bin/true"]),
        Same,
    ),
    (
        "P25",
        "[Service]⏎ExecStart=   ⇥ ⏎ExecStart=/bin/true⏎",
        Options(&["Service/ExecStart=", "Service/ExecStart=/bin/true"]),
        Same,
    ),
    ("P26", "[Service]⏎=foo⏎", Options(&["Service/=foo"]), Same),
    ("P27", "[Service]⏎Foo Bar = baz⏎", Options(&["Service/Foo Bar=baz"]), Same),
    ("P28", "[Service]⏎foo⏎", Error("unexpected newline encountered while parsing option name"), Same),
    (
        "P29",
        "[Service]⏎foo",
        Error("EOF"),
        Differs { gives: Error("`foo` has no `=`"), why: "the same fault as P28 gets the same message" },
    ),
    ("P30", "[Service]⏎Environment=A=b C=d=e⏎", Options(&["Service/Environment=A=b C=d=e"]), Same),
    (
        "P31",
        "[Service]⏎ExecStart=/bin/a # not a comment ; nor this⏎",
        Options(&["Service/ExecStart=/bin/a # not a comment ; nor this"]),
        Same,
    ),
    ("P32", "[Unit]⏎;c=1⏎  # d=2⏎A=b⏎", Options(&["Unit/A=b"]), Same),
    (
        "P33",
        r"[Service]⏎# a comment \⏎ExecStart=/bin/swallowed⏎ExecStart=/bin/kept⏎",
        Options(&["Service/ExecStart=/bin/kept"]),
        Differs {
            gives: Options(&["Service/ExecStart=/bin/swallowed", "Service/ExecStart=/bin/kept"]),
            why: SYSTEMD_COMMENT,
        },
    ),
    (
        "P34",
        r"[Service]⏎# a comment \ ⏎ExecStart=/bin/swallowed⏎ExecStart=/bin/kept⏎",
        Options(&["Service/ExecStart=/bin/kept"]),
        Differs {
            gives: Options(&["Service/ExecStart=/bin/swallowed", "Service/ExecStart=/bin/kept"]),
            why: SYSTEMD_COMMENT,
        },
    ),
    (
        "P35",
        r"[Service]⏎# a comment \  ⏎ExecStart=/bin/swallowed⏎ExecStart=/bin/kept⏎",
        Options(&["Service/ExecStart=/bin/swallowed", "Service/ExecStart=/bin/kept"]),
        Same,
    ),
    ("P36", r"[Service]⏎A=b⏎# end\", Options(&["Service/A=b"]), Same),
    (
        "P37",
        r"[Service]⏎ExecStart=/bin/a \⏎   b \⏎⇥c⏎X=y⏎",
        Options(&[r"Service/ExecStart=/bin/a \⏎   b \⏎⇥c", "Service/X=y"]),
        Same,
    ),
    (
        "P38",
        r"[Service]⏎ExecStart=/bin/a \ ⏎X=y⏎",
        Options(&[r"Service/ExecStart=/bin/a \", "Service/X=y"]),
        Differs {
            gives: Error("line 2: the value of `ExecStart` ends in a backslash followed by blanks"),
            why: ROUND_TRIP,
        },
    ),
    ("P39", r"[Service]⏎ExecStart=/bin/a \⏎⏎X=y⏎", Options(&[r"Service/ExecStart=/bin/a \⏎", "Service/X=y"]), Same),
    ("P40", r"[Service]⏎ExecStart=/bin/a \⏎   ⏎X=y⏎", Options(&[r"Service/ExecStart=/bin/a \⏎", "Service/X=y"]), Same),
    (
        "P41",
        r"[Service]⏎ExecStart=/bin/a \",
        Options(&[r"Service/ExecStart=/bin/a \"]),
        Differs {
            gives: Error("line 2: the value of `ExecStart` ends in a backslash at the end of the file"),
            why: "the written file has another hash than the one that was written",
        },
    ),
    ("P42", r"[Service]⏎ExecStart=/bin/a \⏎", Options(&[r"Service/ExecStart=/bin/a \⏎"]), Same),
    (
        "P43",
        r"[Service]⏎ExecStart=/bin/a \⏎[Unit]⏎A=b⏎",
        Options(&[r"Service/ExecStart=/bin/a \⏎[Unit]", "Service/A=b"]),
        Same,
    ),
    (
        "P44",
        r"[Service]⏎ExecStart=/bin/a \⏎# c \⏎b⏎X=y⏎",
        Options(&[r"Service/ExecStart=/bin/a \⏎# c \⏎b", "Service/X=y"]),
        Same,
    ),
    ("P45", r"[Service]⏎ExecStart=\⏎/bin/a⏎", Options(&[r"Service/ExecStart=\⏎/bin/a"]), Same),
    (
        "P46",
        r"[Service]⏎ExecStart=/bin/a \\⏎X=y⏎",
        Options(&[r"Service/ExecStart=/bin/a \\⏎X=y"]),
        Differs {
            gives: Options(&[r"Service/ExecStart=/bin/a \\", "Service/X=y"]),
            why: "to systemd the second backslash is escaped by the first, so the line does not continue",
        },
    ),
    ("P47", "[Service]⏎ExecStart=[Unit]⏎", Options(&["Service/ExecStart=[Unit]"]), Same),
    ("P48", "[Service]⏎A=b⏎[foo=bar]⏎C=d⏎", Options(&["Service/A=b", "foo=bar/C=d"]), Same),
    (
        "P49",
        r"[Service]␍⏎ExecStart=/bin/sleep \␍⏎100␍⏎",
        Error("unexpected newline encountered while parsing option name"),
        Differs {
            gives: Options(&[r"Service/ExecStart=/bin/sleep \⏎100"]),
            why: "carriage return and newline end a line wherever they stand",
        },
    ),
    ("P50", "[Service]⏎ExecStart=a␍ExecStop=b⏎", Options(&["Service/ExecStart=a␍ExecStop=b"]), Same),
    ("P51", "[Service]␍ExecStart=a⏎", Error("found garbage after section name"), Same),
    ("P52", "[Unit]⏎Description=Grüße ☃\u{a0}⏎", Options(&["Unit/Description=Grüße ☃"]), Same),
    ("P53", "[Service]⏎ExecStart={2037×x}⏎", Options(&["Service/ExecStart={2037×x}"]), Same),
    (
        "P54",
        "[Service]⏎ExecStart={2038×x}⏎",
        Error("line too long (max 2048 bytes)"),
        Differs { gives: Options(&["Service/ExecStart={2038×x}"]), why: "systemd takes lines of up to a megabyte" },
    ),
    // The rows below are not in the reference; they pin what follows from its rules or from systemd's.
    (
        "P55",
        r"[Service]⏎ExecStart=/bin/a \⏎# c⏎b⏎X=y⏎",
        Error("unexpected newline encountered while parsing option name"),
        Differs {
            gives: Options(&[r"Service/ExecStart=/bin/a \⏎# c⏎b", "Service/X=y"]),
            why: "systemd skips a comment inside a continuation, which goes on after it",
        },
    ),
    (
        "P56",
        r"[Service]⏎ExecStart=/bin/a \⏎# c⏎⏎X=y⏎",
        Options(&[r"Service/ExecStart=/bin/a \⏎# c", "Service/X=y"]),
        Differs {
            gives: Options(&[r"Service/ExecStart=/bin/a \⏎# c⏎", "Service/X=y"]),
            why: "without the blank line after the comment X would be read as part of the value",
        },
    ),
    ("P57", r"[Service]⏎ExecStart=/bin/a \\\⏎X=y⏎", Options(&[r"Service/ExecStart=/bin/a \\\⏎X=y"]), Same),
    ("P58", "\u{feff}[Service]⏎A=b⏎", Options(&["Service/A=b"]), Same),
];

const HASHES: &[(&str, &[&str], &str, &str)] = &[
    ("S1", &["P1", "P2", "P3", "P4", "[Unit]⏎"], "", "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
    ("S2", &["P5", "P6", "P7"], "[Service]⏎ExecStart=/bin/sleep 100⏎", "1c6fb6f3684bafb0c173d8b8b957ceff031180c1"),
    ("S3", &["P8"], "[Unit]⏎Description=Foo bar⏎", "3a4e1805105313fc3f4788062237c4dc951b2c8e"),
    ("S4", &["P9"], "[Unit]⏎Description=Foo⏎", "92aaa50d0e11ec80fa1166bda92cbd79ea90af1f"),
    ("S5", &["P10", "P11", "P17", "P32"], "[Unit]⏎A=b⏎", "9936816f25a659b2b12b116e85777205069365a9"),
    ("S6", &["P12", "P22", "P36"], "[Service]⏎A=b⏎", "09bc49de4b62ab233087161d26cc9162bbb5fd36"),
    ("S7", &["P19"], "[ Unit ]⏎A=b⏎", "e606cf11fcdeac971e3d91082489811fd3084285"),
    ("S8", &["P20"], "[]⏎A=b⏎", "60395f5c248f563a8933c2a23a6700554e8136d0"),
    ("S9", &["P23"], "[Unit]⏎A=1⏎C=3⏎A=4⏎⏎[Service]⏎B=2⏎", "329db6cd9615f3b0c5c3828cd3447db69a0e6557"),
    ("S10", &["P24", "P25"], "[Service]⏎ExecStart=⏎ExecStart=/bin/true⏎", "873f58abc4adb5abd36ca2d94676242eca22f9a2"),
    ("S11", &["P26"], "[Service]⏎=foo⏎", "4bee32a749a3455d6e93352f472384767a870d4f"),
    ("S12", &["P30"], "[Service]⏎Environment=A=b C=d=e⏎", "46574fb7ac67a95b4a198c2eb518f207d9dac9b3"),
    ("S13", &["P33", "P34"], "[Service]⏎ExecStart=/bin/kept⏎", "ece79fb5281ad10b40e2cbc721d23b77c1436ca2"),
    ("S14", &["P37"], r"[Service]⏎ExecStart=/bin/a \⏎   b \⏎⇥c⏎X=y⏎", "870aaf8e6595c7398c3c7d075a045a972f066eaf"),
    ("S15", &["P38"], r"[Service]⏎ExecStart=/bin/a \⏎X=y⏎", "4e52ac94c8c739b88ad239508ee23dbfde99adce"),
    ("S16", &["P39", "P40"], r"[Service]⏎ExecStart=/bin/a \⏎⏎X=y⏎", "85807870015229698d99fa20ea7b05e3ba56fc85"),
    ("S17", &["P41"], r"[Service]⏎ExecStart=/bin/a \⏎", "51974a6a253cf035df29efeb06c6216f68a287f2"),
    ("S18", &["P42"], r"[Service]⏎ExecStart=/bin/a \⏎⏎", "a0bec5d1db4082333ece1729042210c481b0fe89"),
    ("S19", &["P43"], r"[Service]⏎ExecStart=/bin/a \⏎[Unit]⏎A=b⏎", "ac6089f9c09f1bfaa22c3d15bef73ac5d528733c"),
    ("S20", &["P44"], r"[Service]⏎ExecStart=/bin/a \⏎# c \⏎b⏎X=y⏎", "655522fc1b5f738ae13c39e1bb686931fcb7cdb0"),
    ("S21", &["P45"], r"[Service]⏎ExecStart=\⏎/bin/a⏎", "52b57792d7dfd5d24818349c282f17b7efdce272"),
    ("S22", &["P46"], r"[Service]⏎ExecStart=/bin/a \\⏎X=y⏎", "665db6e99491dea95cba47db4290c2d2e5233ce4"),
    ("S23", &["P48"], "[Service]⏎A=b⏎⏎[foo=bar]⏎C=d⏎", "bfb4af6d0b79e4ca85738aa4abc4cd6a4311414b"),
    ("S24", &["P52"], "[Unit]⏎Description=Grüße ☃⏎", "fc19aca0bb37ccacd74de4349b2f1c9d2d148572"),
    ("S25", &["P53"], "[Service]⏎ExecStart={2037×x}⏎", "01cf20b20d6c03f6b355deecedb0acaa8082c6df"),
    ("S26", &[WEB], WEB, "727cc3d6c04ec3ae5ab715aca4aed2e4884e7b78"),
    // From the reference on the API, A7.5.
    (
        "A7.5",
        &["[Service]⏎ExecStart=/bin/sleep 1000⏎"],
        "[Service]⏎ExecStart=/bin/sleep 1000⏎",
        "2d432f4a06608c1a8b2848b66c836793a1d48ce6",
    ),
];

const WEB: &str = r#"[Unit]⏎Description=Web %i⏎After=docker.service⏎⏎[Service]⏎ExecStartPre=-/usr/bin/docker kill web-%i⏎ExecStart=/usr/bin/docker run \⏎  --name web-%i \⏎  nginx⏎ExecStop=/usr/bin/docker stop web-%i⏎⏎[X-Fleet]⏎Conflicts=web@*.service⏎MachineMetadata="role=web" "disk=ssd"⏎"#;

/// Rows of table 1 whose file we read so differently that its hash is another one, or refuse (see there for why).
const OTHER_HASH: &[&str] = &["P11", "P33", "P34", "P38", "P41"];

fn text(row: &str) -> String {
    let mut text = row.replace('⏎', "\n").replace('␍', "\r").replace('⇥', "\t");
    for n in [2037, 2038] {
        text = text.replace(&format!("{{{n}×x}}"), &"x".repeat(n));
    }
    text
}

fn parse(row: &str) -> Result<UnitFile, UnitFileError> {
    UnitFile::parse(&text(row))
}

#[track_caller]
fn assert_outcome(id: &str, parsed: &Result<UnitFile, UnitFileError>, want: &Outcome) {
    match (parsed, want) {
        (Ok(file), Options(want)) => {
            let have: Vec<_> = file.options().iter().map(|o| format!("{}/{}={}", o.section, o.name, o.value)).collect();
            let want: Vec<_> = want.iter().map(|row| text(row)).collect();
            assert_eq!(have, want, "{id}");
        }
        (Err(error), Error(want)) => assert!(error.to_string().contains(want), "{id}: {error}"),
        (Ok(file), Error(want)) => panic!("{id}: no error {want:?} but {:?}", file.options()),
        (Err(error), Options(_)) => panic!("{id}: {error}"),
    }
}

fn same_outcome(parsed: &Result<UnitFile, UnitFileError>, want: &Outcome) -> bool {
    match (parsed, want) {
        (Ok(file), Options(want)) => file
            .options()
            .iter()
            .map(|o| format!("{}/{}={}", o.section, o.name, o.value))
            .eq(want.iter().map(|row| text(row))),
        (Err(error), Error(want)) => error.to_string().contains(want),
        _ => false,
    }
}

#[test]
fn parsing() {
    for (id, input, original, ours) in PARSING {
        let parsed = parse(input);
        match ours {
            Same => assert_outcome(id, &parsed, original),
            Differs { gives, why } => {
                assert_outcome(id, &parsed, gives);
                assert!(!same_outcome(&parsed, original), "{id} is listed as a deviation ({why}) but is none");
            }
        }
    }
}

#[test]
fn hashes() {
    for (id, sources, canonical, hash) in HASHES {
        let canonical = text(canonical);
        assert_eq!(UnitHash::of_canonical(&canonical).to_string(), *hash, "{id}: the table itself");
        assert_eq!(UnitHash::of_canonical(&canonical).short(), hash[..7], "{id}");
        for source in *sources {
            let input = PARSING.iter().find(|(row, ..)| row == source).map_or(*source, |(_, input, ..)| input);
            let have = parse(input).map(|file| (file.canonical(), file.hash().to_string()));
            if OTHER_HASH.contains(source) {
                assert_ne!(have, Ok((canonical.clone(), (*hash).to_owned())), "{id} of {source} is no deviation");
            } else {
                assert_eq!(have, Ok((canonical.clone(), (*hash).to_owned())), "{id} of {source}");
            }
        }
    }
}

#[test]
fn written_and_read_back_is_the_same() {
    for (id, input, ..) in PARSING {
        let Ok(file) = parse(input) else { continue };
        let again = UnitFile::parse(&file.canonical()).unwrap_or_else(|error| panic!("{id}: {error}"));
        assert_eq!(again.canonical(), file.canonical(), "{id}");
    }
}

#[test]
fn hash_texts() {
    let hash: UnitHash = "727CC3D6C04EC3AE5AB715ACA4AED2E4884E7B78".parse().expect("upper case is accepted");
    assert_eq!(hash.to_string(), "727cc3d6c04ec3ae5ab715aca4aed2e4884e7b78");
    for bad in ["", "727cc3d", "727cc3d6c04ec3ae5ab715aca4aed2e4884e7b7g", "727cc3d6c04ec3ae5ab715aca4aed2e4884e7b780"]
    {
        assert!(bad.parse::<UnitHash>().is_err(), "{bad}");
    }
}

#[test]
fn options_of_a_file() {
    let file = parse(WEB).expect("a good file");
    assert_eq!(file.description(), "Web %i");
    assert_eq!(file.values("X-Fleet", "Conflicts").collect::<Vec<_>>(), ["web@*.service"]);
    assert_eq!(file.values("x-fleet", "Conflicts").count(), 0);
    let lines: Vec<u32> = file.options_with_lines().map(|(line, _)| line).collect();
    assert_eq!(lines, [2, 3, 6, 7, 10, 13, 14]);
    let two = parse("[Service]⏎Description=no⏎[Unit]⏎Description=first⏎Description=second⏎").expect("a good file");
    assert_eq!(two.description(), "first");
}

/// What is odd in a text that can be read: line and words.
#[test]
fn lints() {
    for (input, want) in [
        ("[Service]⏎A=b⏎", &[][..]),
        ("\u{feff}[Service]⏎A=b⏎", &["line 1: byte order mark"]),
        ("Echo⏎⏎A=b⏎[Unit]⏎A=b⏎", &["line 1: text before the first section is ignored: `Echo`", "line 3: text before"]),
        ("This=[Unit]⏎A=b⏎", &["line 1: text before", "line 2: text before"]),
        (r"[Service]⏎# a \⏎A=b⏎", &["line 2: a comment does not continue"]),
        (r"[Service]⏎# a \⏎# b \⏎⏎A=b⏎# c \", &[]),
        ("[Service]⏎=foo⏎", &["line 2: option without a name"]),
        (r"[Service]⏎A=b \⏎[Unit]⏎C=d⏎", &["line 3: `[Unit]` continues the value of `A`"]),
        (r"[Service]⏎A=b \\⏎C=d⏎", &["line 2: two backslashes do not continue"]),
        (r"[Service]⏎A=b␍C=d⏎", &["line 2: systemd ends the line at the carriage return"]),
    ] {
        let lints = parse(input).unwrap_or_else(|error| panic!("{input}: {error}")).lints().to_vec();
        assert_eq!(lints.len(), want.len(), "{input}: {lints:?}");
        for (lint, want) in lints.iter().zip(want) {
            assert!(lint.to_string().starts_with(want), "{input}: {lint}");
        }
    }
}

#[test]
fn errors_name_the_line() {
    for (input, want) in [
        ("⏎[Unit⏎", "line 2: unable to find end of section: `[Unit` has no `]`"),
        ("[Unit]⏎⏎[X] y⏎", "line 3: found garbage after section name `[X]`: `y`"),
        (r"[Unit]⏎A=b \⏎c⏎d⏎", "line 4: unexpected newline encountered while parsing option name: `d` has no `=`"),
        (
            "[Unit]⏎A␍B=c⏎",
            r"line 2: unexpected newline encountered while parsing option name: carriage return in `A\rB`",
        ),
        ("[Unit]⏎A=b\0⏎", "line 2: NUL byte: this is no text"),
        (r"[Unit]⏎A=b \⏎c \ ⏎D=e⏎", r"line 3: the value of `A` ends in a backslash followed by blanks: `c \`"),
    ] {
        let error = parse(input).expect_err(input);
        assert_eq!(error.to_string(), want);
        assert_eq!(
            error.line().map(|line| format!("line {line}")),
            want.split_once(':').map(|(line, _)| line.to_owned())
        );
    }
}

#[test]
fn length_is_limited() {
    let file_of = |len: usize| {
        let head = "[Service]\nExecStart=";
        format!("{head}{}\n", "x".repeat(len - head.len() - 1))
    };
    assert!(UnitFile::parse(&file_of(UNIT_FILE_LEN_MAX)).is_ok());
    let len = UNIT_FILE_LEN_MAX + 1;
    assert_eq!(UnitFile::parse(&file_of(len)).expect_err("one byte too many"), UnitFileError::TooLong { len });
}

#[test]
fn from_options() {
    let option = |(section, name, value): (&str, &str, &str)| UnitOption::new(text(section), text(name), text(value));
    // Given options, and the canonical form or a part of the error.
    type Given = &'static [(&'static str, &'static str, &'static str)];
    let cases: &[(Given, Result<&str, &str>)] = &[
        (&[], Ok("")),
        (&[("Service", "ExecStart", "/bin/sleep 100")], Ok("[Service]⏎ExecStart=/bin/sleep 100⏎")),
        (&[("A", "x", "1"), ("B", "y", "2"), ("A", "z", "3")], Ok("[A]⏎x=1⏎z=3⏎⏎[B]⏎y=2⏎")),
        (&[("A", " x ", "  1 ⏎")], Ok("[A]⏎x=1⏎")),
        (&[("A", "x", r"1 \⏎  2"), ("A", "y", "3")], Ok(r"[A]⏎x=1 \⏎  2⏎y=3⏎")),
        (&[("A", "x", r"1 \␍⏎  2")], Ok(r"[A]⏎x=1 \⏎  2⏎")),
        (&[("", "x", "1")], Ok("[]⏎x=1⏎")),
        (&[("A", "x", "1⏎y=2")], Err("option `x` with value `1\\ny=2` of section `A` would be read back")),
        (&[("A", "x", "1⏎y")], Err("line 3: unexpected newline encountered while parsing option name: `y`")),
        (&[("A", "x", "1⏎[X-Fleet]⏎Global=true")], Err("would be read back as something else")),
        (&[("A", "x", "1⏎# comment")], Err("would be read back as something else")),
        (&[("A", "x", "1\\"), ("A", "y", "2")], Err("option `x`")),
        (&[("A", "x=y", "1")], Err("option `x=y`")),
        (&[("A", "#x", "1")], Err("option `#x`")),
        (&[("A", "[x]", "1")], Err("found garbage")),
        (&[("A]", "x", "1")], Err("line 1: found garbage after section name")),
        (&[("A]⏎[B", "x", "1")], Err("would be read back as something else")),
        (&[("A⏎B", "x", "1")], Err("unable to find end of section")),
    ];
    for (options, want) in cases {
        let made = UnitFile::from_options(options.iter().map(|&given| option(given)).collect());
        match (made, want) {
            (Ok(file), Ok(canonical)) => assert_eq!(file.canonical(), text(canonical), "{options:?}"),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{options:?}: {error}"),
            (made, want) => panic!("{options:?}: {:?}, not {want:?}", made.map(|file| file.canonical())),
        }
    }
}
