//! Unit names and globs: section 3 of the reference on the original.
//!
//! Each row holds what the original does; where we differ, the row says what we do and why.

use fleet_core::unit::{Form, GLOB_LEN_MAX, Glob, UNIT_NAME_LEN_MAX, UnitName, UnitType, activation_problem, mangle};

/// Name, prefix, template and instance; empty where there is none.
type Parts = (&'static str, &'static str, &'static str, &'static str);

struct Row {
    input: &'static str,
    /// What the original's check says, or `ok`.
    check: &'static str,
    /// What the original's command line makes of it.
    mangled: &'static str,
    /// `None` where it is not a name, which for us has no parts then.
    parts: Option<Parts>,
    ours: Ours,
}

enum Ours {
    Same,
    Check { says: &'static str, why: &'static str },
    Mangled { gives: &'static str, why: &'static str },
}
use Ours::{Check, Mangled, Same};

const ONE_LIST: &str = "one list of types for all parts: what can be named can be handled";
const NO_PREFIX: &str = "systemd refuses it: nothing stands before the type";

const fn row(input: &'static str, check: &'static str, mangled: &'static str, parts: Option<Parts>, ours: Ours) -> Row {
    Row { input, check, mangled, parts, ours }
}

const NAMES: &[Row] = &[
    row("foo.service", "ok", "foo.service", Some(("foo", "foo", "", "")), Same),
    row("foo", "must contain \".\"", "foo.service", None, Same),
    row(".service", "ok", ".service", None, Check { says: "has nothing before its type", why: NO_PREFIX }),
    row("foo.", "cannot end in \".\"", "foo..service", None, Same),
    row("foo@.service", "ok", "foo@.service", Some(("foo@", "foo", "foo@.service", "")), Same),
    row("foo@bar.service", "ok", "foo@bar.service", Some(("foo@bar", "foo", "foo@.service", "bar")), Same),
    row("@foo.service", "cannot start in \"@\"", "@foo.service", None, Same),
    row("foo@@.service", "ok", "foo@@.service", Some(("foo@@", "foo", "foo@.service", "@")), Same),
    row("foo@b@c.service", "ok", "foo@b@c.service", Some(("foo@b@c", "foo", "foo@.service", "b@c")), Same),
    row("a@b.c.service", "ok", "a@b.c.service", Some(("a@b.c", "a", "a@.service", "b.c")), Same),
    row(
        "foo.target",
        "ok",
        "foo.target.service",
        Some(("foo", "foo", "", "")),
        Mangled { gives: "foo.target", why: ONE_LIST },
    ),
    row(
        "foo@1.target",
        "ok",
        "foo@1.target.service",
        Some(("foo@1", "foo", "foo@.target", "1")),
        Mangled { gives: "foo@1.target", why: ONE_LIST },
    ),
    row("foo@1.mount", "invalid unit type for template: \"mount\"", "foo@1.mount", None, Same),
    row("foo.Service", "invalid unit type: \"Service\"", "foo.Service.service", None, Same),
    row("foo bar.service", "invalid character ' ' in unit name", "foo bar.service", None, Same),
    row("foo%i.service", "invalid character '%' in unit name", "foo%i.service", None, Same),
    row("föö.service", "invalid character 'ö' in unit name", "föö.service", None, Same),
    row("foo/bar.service", "invalid character '/' in unit name", "bar.service", None, Same),
    row(r"foo\x2d.service", "ok", r"foo\x2d.service", Some((r"foo\x2d", r"foo\x2d", "", "")), Same),
    row("a:b-c_d.e.service", "ok", "a:b-c_d.e.service", Some(("a:b-c_d.e", "a:b-c_d.e", "", "")), Same),
    row("-.mount", "ok", "-.mount", Some(("-", "-", "", "")), Same),
    row("foo.1", "invalid unit type: \"1\"", "foo.1.service", None, Same),
    row("foo.network", "invalid unit type: \"network\"", "foo.network.service", None, Same),
    // 3.1: the remaining checks.
    row(
        "",
        "unit name cannot be empty",
        "..service",
        None,
        Mangled { gives: ".service", why: "there is no last path element" },
    ),
    row("foo.service.service", "ok", "foo.service.service", Some(("foo.service", "foo.service", "", "")), Same),
    row(
        "foo.busname",
        "ok",
        "foo.busname.service",
        None,
        Check { says: "invalid unit type: \"busname\"", why: "systemd no longer has the type" },
    ),
    row(
        "foo.snapshot",
        "ok",
        "foo.snapshot.service",
        None,
        Check { says: "invalid unit type: \"snapshot\"", why: "systemd no longer has the type" },
    ),
];

#[test]
fn names() {
    for Row { input, check, mangled, parts, ours } in NAMES {
        let parsed = input.parse::<UnitName>();
        let says = match ours {
            Check { says, why } => {
                assert_ne!(says, check, "{input} is no deviation ({why})");
                says
            }
            Same | Mangled { .. } => check,
        };
        match &parsed {
            Ok(_) => assert_eq!(*says, "ok", "{input}"),
            Err(error) => assert!(error.to_string().contains(says) && *says != "ok", "{input}: {error}"),
        }
        let gives = match ours {
            Mangled { gives, why } => {
                assert_ne!(gives, mangled, "{input} is no deviation ({why})");
                gives
            }
            Same | Check { .. } => mangled,
        };
        assert_eq!(mangle(input), *gives, "{input}");
        assert_eq!(parsed.is_ok(), parts.is_some(), "{input}");
        if let (Ok(name), Some((stem, prefix, template, instance))) = (parsed, parts) {
            assert_eq!((name.stem(), name.prefix()), (*stem, *prefix), "{input}");
            // The original calls `foo@.service` the template of itself; here only instances have one.
            let form = match (*template, *instance) {
                ("", _) => Form::Plain,
                (_, "") => Form::Template,
                (_, instance) => Form::Instance(instance),
            };
            assert_eq!(name.form(), form, "{input}");
            let has_template = matches!(form, Form::Instance(_)).then_some(*template);
            assert_eq!(name.template().as_ref().map(UnitName::as_str), has_template, "{input}");
        }
    }
}

#[test]
fn length_is_systemds() {
    let name = |n: usize| format!("{}.service", "a".repeat(n - ".service".len()));
    assert!(name(UNIT_NAME_LEN_MAX).parse::<UnitName>().is_ok());
    // The original took 256 bytes, which systemd refuses.
    let error = name(UNIT_NAME_LEN_MAX + 1).parse::<UnitName>().expect_err("one byte too many");
    assert_eq!(error.to_string(), "unit name exceeds maximum length (255): it has 256 bytes");
}

#[test]
fn every_type_is_recognised() {
    for (ty, suffix) in UnitType::ALL {
        let text = format!("foo.{suffix}");
        assert_eq!(mangle(&text), text);
        assert_eq!(text.parse::<UnitName>().map(|name| name.unit_type()), Ok(ty));
        assert_eq!(ty.suffix(), suffix);
        let templated = ["path", "service", "socket", "target", "timer"].contains(&suffix);
        assert_eq!(format!("foo@.{suffix}").parse::<UnitName>().is_ok(), templated, "{suffix}");
    }
}

#[test]
fn arguments() {
    for (argument, name) in [
        ("instances/web@1", "web@1.service"),
        ("./web.socket", "web.socket"),
        ("/a/b/web", "web.service"),
        ("a/web.service/", "web.service"),
        ("web@*", "web@*.service"),
    ] {
        assert_eq!(mangle(argument), name, "{argument}");
    }
}

#[test]
fn templates_cannot_be_activated() {
    let problem =
        |name: &str| activation_problem(&name.parse().expect("a good name")).map(|problem| problem.to_string());
    assert_eq!(problem("x@.service").as_deref(), Some("cannot activate template \"x@.service\""));
    assert_eq!(problem("x@1.service"), None);
    assert_eq!(problem("x.service"), None);
}

/// 3.5: pattern, name, whether it matches; `None`: the pattern is malformed, which we refuse where the original let it
/// match nothing.
const GLOBS: &[(&str, &str, Option<bool>)] = &[
    ("*", "foo.service", Some(true)),
    ("foo*", "foo@1.service", Some(true)),
    ("foo", "foo.service", Some(false)),
    ("FOO*", "foo.service", Some(false)),
    ("foo@[0-9].service", "foo@5.service", Some(true)),
    ("foo@[^0-9].service", "foo@5.service", Some(false)),
    ("foo@[!0-9].service", "foo@5.service", Some(true)),
    ("foo@[!0-9].service", "foo@a.service", Some(false)),
    ("foo@?.service", "foo@é.service", Some(true)),
    ("foo@?.service", "foo@12.service", Some(false)),
    ("foo@{a,b}.service", "foo@a.service", Some(false)),
    (r"foo\x2dbar.service", r"foo\x2dbar.service", Some(false)),
    (r"foo\\x2dbar.service", r"foo\x2dbar.service", Some(true)),
    ("foo@[0-9", "foo@5.service", None),
    ("[a-", "a", None),
    ("*[", "foo.service", None),
    ("foo@[]a].service", "foo@a.service", None),
    ("", "", Some(true)),
    ("", "foo.service", Some(false)),
    // From the documentation of Go's path.Match.
    ("*", "a/b", Some(false)),
    ("a?b", "a/b", Some(false)),
    ("a*/b", "a/c/b", Some(false)),
    ("ab[c]", "abc", Some(true)),
    ("ab[b-d]", "abc", Some(true)),
    ("ab[e-g]", "abc", Some(false)),
    ("ab[^c]", "abc", Some(false)),
    ("a???b", "aüüüb", Some(true)),
    ("[a-ζ]*", "α", Some(true)),
    ("*[a-ζ]", "A", Some(false)),
    (r"[\]a]", "]", Some(true)),
    (r"[\-]", "-", Some(true)),
    (r"[x\-]", "-", Some(true)),
    (r"[\-x]", "z", Some(false)),
    ("[[*]", "*", Some(true)),
    ("a]", "a]", Some(true)),
    ("[]a]", "]", None),
    ("[-]", "-", None),
    ("[x-]", "x", None),
    ("[-x]", "x", None),
    ("[a-b-c]", "a", None),
    ("[^]", "a", None),
    ("[^bc", "a", None),
    (r"a\", "a", None),
    (r"[\", "a", None),
    ("a[", "a", None),
    // Stars that have to give back what they took.
    ("*a*b", "xaxbxab", Some(true)),
    ("a*b*c", "abbc", Some(true)),
    ("*.service", "a.service.service", Some(true)),
    ("**a**", "bab", Some(true)),
    ("*a*b", "ba", Some(false)),
];

#[test]
fn globs() {
    for (pattern, name, want) in GLOBS {
        let have = Glob::new(pattern).map(|glob| glob.matches(name));
        assert_eq!(have.as_ref().ok(), want.as_ref(), "{pattern} on {name}: {have:?}");
        if let Err(error) = have {
            assert!(error.to_string().starts_with(&format!("malformed pattern `{pattern}`: ")), "{error}");
        }
    }
}

#[test]
fn literal_parts_of_globs() {
    for (pattern, prefix, literal) in [
        ("web@*.service", "web@", None),
        ("web.service", "web.service", Some("web.service")),
        (r"we\b\*x?", "web*x", None),
        (r"a\\x2db", r"a\x2db", Some(r"a\x2db")),
        ("[a]b", "", None),
        ("a[b]", "a", None),
        ("", "", Some("")),
    ] {
        let glob = Glob::new(pattern).expect("a good pattern");
        assert_eq!(glob.literal_prefix(), prefix, "{pattern}");
        assert_eq!(glob.literal().as_deref(), literal, "{pattern}");
    }
}

#[test]
fn glob_length_is_limited() {
    assert!(Glob::new(&"a".repeat(GLOB_LEN_MAX)).is_ok());
    let error = Glob::new(&format!("a{}", "é".repeat(GLOB_LEN_MAX))).expect_err("twice as many bytes");
    assert!(error.pattern.len() <= GLOB_LEN_MAX, "{}", error.pattern.len());
}
