//! The rows, in the order of the reference's chapters. Each part begins and ends with an empty cluster.

use super::{Row, ask, error, json, metadata, put};

const GET_ONLY: &str = "only GET supported against this resource";
const UNIT_ONLY: &str = "only GET, PUT and DELETE supported against this resource";
const MACHINES_ONLY: &str = "only GET and PATCH supported against this resource";
const DISCOVERY_ONLY: &str = "only HTTP GET supported against this resource";

/// A service that runs until it is stopped; its hash is [`HASH`].
const SLEEP: &str = r#"{"section":"Service","name":"ExecStart","value":"/bin/sleep 1000"}"#;
const HASH: &str = "2d432f4a06608c1a8b2848b66c836793a1d48ce6";

/// The same as it is shown.
const SLEEP_SHOWN: &str = r#"{"name":"ExecStart","section":"Service","value":"/bin/sleep 1000"}"#;

/// Another one.
const SLEEP_MORE_SHOWN: &str = r#"{"name":"ExecStart","section":"Service","value":"/bin/sleep 2000"}"#;
const SLEEP_MORE: &str = r#"{"section":"Service","name":"ExecStart","value":"/bin/sleep 2000"}"#;

pub const MACHINE: &str = r#"{"id":"<m1>","metadata":{"empty":"","region":"us-west"},"primaryIP":"<m1-ip>"}"#;

pub fn all() -> Vec<Vec<Row>> {
    vec![
        paths(),
        methods(),
        tokens(),
        put_checks(),
        names(),
        options(),
        requirements(),
        life(),
        global(),
        metadata::rows(),
    ]
}

fn not_found() -> String {
    error(404, "")
}

fn not_allowed(allow: &str, message: &str) -> String {
    error(405, message).replacen('\n', &format!(" allow: {allow}\n"), 1)
}

fn with(desired: &str, option: &str) -> String {
    format!(r#"{{"desiredState":"{desired}","options":[{option}]}}"#)
}

fn state(desired: &str) -> String {
    format!(r#"{{"desiredState":"{desired}"}}"#)
}

/// A2, A3: what there is and what there is not.
fn paths() -> Vec<Row> {
    let mut rows = vec![
        ask("GET ~/units", json("{}")),
        ask("GET ~/state", json("{}")),
        ask("GET ~/machines", json(&format!(r#"{{"machines":[{MACHINE}]}}"#))),
        ask("GET ~/units?alt=json&unknown=%zz", json("{}")),
        ask("GET ~/discovery", json(include_str!("../../../../fleetd/src/api/v1/discovery.json"))),
        // Bodies of GET are ignored.
        ask("GET ~/units\nContent-Type: text/plain\n\nnonsense", json("{}")),
        ask("GET ~/units/no.service", error(404, "unit does not exist")),
        ask("GET ~/units/never%20a%20name", error(404, "unit does not exist")),
        ask("GET ~/state/no.service", error(404, "unit state does not exist")),
        ask("GET //fleet//v1/./units?x=1", moved("/fleet/v1/units?x=1")),
        ask("PUT /a/../x", "301 location: /x"),
    ];
    for path in [
        "~/units/",
        "~/state/",
        "~/machines/",
        "~/machines/abc",
        "~/discovery/",
        "~/",
        "~/UNITS",
        "~/units/a/b",
        "~/units/a%2Fb.service",
        "/fleet/v1-alpha/units",
        "/fleet",
        "/nowhere",
        "/debug/pprof",
        "/health",
        "/version",
    ] {
        rows.push(ask(format!("GET {path}"), not_found()));
        rows.push(ask(format!("PUT {path}"), not_found()));
    }
    rows
}

fn moved(to: &str) -> String {
    format!("301 content-type: text/html; charset=utf-8 location: {to}\n<a href=\"{to}\">Moved Permanently</a>.\n\n")
}

/// A2, A11: each method on each resource.
fn methods() -> Vec<Row> {
    let mut rows = Vec::new();
    let resources = [
        ("~", "", ""),
        ("/", "", ""),
        ("~/units", "GET", GET_ONLY),
        ("~/state", "GET", GET_ONLY),
        ("~/state/a.service", "GET", GET_ONLY),
        ("~/machines", "GET, PATCH", MACHINES_ONLY),
        ("~/units/a.service", "GET, PUT, DELETE", UNIT_ONLY),
    ];
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"] {
        for (path, allow, message) in resources {
            if allow.split(", ").any(|allowed| allowed == method) {
                continue;
            }
            let expected = if allow.is_empty() { error(405, message) } else { not_allowed(allow, message) };
            rows.push(ask(format!("{method} {path}"), without_body(method, &expected)));
        }
        if method != "GET" {
            let expected = error(400, DISCOVERY_ONLY);
            rows.push(ask(format!("{method} ~/discovery"), without_body(method, &expected)));
        }
    }
    rows
}

fn without_body(method: &str, answer: &str) -> String {
    match method {
        "HEAD" => answer.split('\n').next().unwrap_or_default().to_owned(),
        _ => answer.to_owned(),
    }
}

/// A6: what a token may be, and where it is looked at.
fn tokens() -> Vec<Row> {
    let mut rows = Vec::new();
    for (query, expected) in [
        ("nextPageToken=ZAABAA==", json("{}")),
        ("nextPageToken=ZAACAA==", json("{}")),
        ("nextPageToken=ZAACAAAA", json("{}")),
        ("nextpagetoken=x", json("{}")),
        ("nextPageToken=%zz", json("{}")),
        ("nextPageToken=x;y", json("{}")),
        ("nextPageToken=a&nextPageToken=b", error(400, "too many values for page token")),
        ("nextPageToken=", error(400, "EOF")),
        ("nextPageToken=ZAACAA", error(400, "illegal base64 data at input byte 4")),
        ("nextPageToken=ZAAC", error(400, "unexpected EOF")),
        ("nextPageToken=ZQACAA==", error(400, "token limit must be 100")),
        ("nextPageToken=ZAAAAA==", error(400, "token page must be greater than zero")),
    ] {
        for list in ["units", "state"] {
            rows.push(ask(format!("GET ~/{list}?{query}"), expected.clone()));
        }
        if expected.starts_with("400") {
            rows.push(ask(format!("GET ~/machines?{query}"), expected));
        }
    }
    rows.push(ask("GET ~/machines?nextPageToken=ZAACAA==", json("{}")));
    rows.push(ask("GET ~/units/no.service?nextPageToken=", error(404, "unit does not exist")));
    rows
}

/// A7.2: the checks of a `PUT` in their order. Each row is wrong in all that comes after it, too.
fn put_checks() -> Vec<Row> {
    let typed = |headers: &str, body: &str| format!("PUT ~/units/+\n{headers}\n\n{body}");
    let only = "only acceptable Content-Type is application/json";
    vec![
        ask("PUT ~/units/+\n\nx", error(415, "expected 1 Content-Type, got 0")),
        ask(
            typed("Content-Type: application/json\nContent-Type: application/json", "x"),
            error(415, "expected 1 Content-Type, got 2"),
        ),
        ask(typed("Content-Type: text/plain", "x"), error(415, only)),
        ask(typed("Content-Type: Application/JSON", "x"), error(415, only)),
        ask(typed("Content-Type: application/json2", "x"), error(415, only)),
        ask("PUT ~/units/+\nContent-Type: application/json", error(400, "unable to decode body: EOF")),
        ask(
            typed("Content-Type:  application/json ; charset=x", "{"),
            error(400, "unable to decode body: unexpected EOF"),
        ),
        ask(
            put("+", r#"{"name":"y.service"}"#),
            error(400, r#"name in URL "+" differs from unit name in request body "y.service""#),
        ),
        ask(put("+", r#"{"name":"+"}"#), error(400, r#"unit name must contain ".""#)),
        ask(put("a.service", "{}"), error(409, "unit does not exist and options field empty")),
        ask(put("a.service", "null trailing"), error(409, "unit does not exist and options field empty")),
        ask(
            put("a.service", r#"{"name":"","options":[],"desiredState":"nonsense"}"#),
            error(409, "unit does not exist and options field empty"),
        ),
        ask(put("a@1.service", &state("launched")), error(409, "unit does not exist and options field empty")),
        // Repaired: the original answered 500, stored it, or ended the connection.
        ask(
            put("a.service", &with("nonsense", SLEEP)),
            error(400, "invalid desiredState: `nonsense` is no target state: use `inactive`, `loaded` or `launched`"),
        ),
        ask(
            put("a.service", r#"{"options":[null]}"#),
            error(400, "unable to decode body: invalid type: null, expected an option: an object at line 1 column 16"),
        ),
        ask(put("a@.service", &with("launched", SLEEP)), error(400, r#"cannot activate template "a@.service""#)),
        ask("GET ~/units", json("{}")),
        // Names of fields in any letter case; what is not the client's to say is ignored.
        ask(
            put(
                "a.service",
                &format!(r#"{{"NAME":"a.service","Options":[{SLEEP}],"currentState":"launched","machineID":"x"}}"#),
            ),
            "201",
        ),
        ask(put("a.service", "{}"), error(409, "must provide DesiredState to update existing unit")),
        ask(
            put("a.service", &format!(r#"{{"options":[{SLEEP}]}}"#)),
            error(409, "must provide DesiredState to update existing unit"),
        ),
        ask(
            put("a.service", &state("nonsense")),
            error(400, "invalid desiredState: `nonsense` is no target state: use `inactive`, `loaded` or `launched`"),
        ),
        ask(
            "GET ~/units/a.service",
            json(&format!(
                r#"{{"currentState":"inactive","desiredState":"inactive","name":"a.service","options":[{SLEEP_SHOWN}]}}"#
            )),
        ),
        ask("DELETE ~/units/a.service", "204"),
        ask(put("a@.service", &with("", SLEEP)), "201"),
        ask(put("a@.service", &state("loaded")), error(400, r#"cannot activate template "a@.service""#)),
        ask(put("a@.service", &state("nonsense")), error(400, r#"cannot activate template "a@.service""#)),
        ask(put("a@.service", &state("inactive")), "204"),
        ask("DELETE ~/units/a@.service", "204"),
        ask("DELETE ~/units/a@.service", error(404, "unit does not exist")),
        ask("DELETE ~/units/+", error(404, "unit does not exist")),
    ]
}

/// A7.3: the rules of names in their order.
fn names() -> Vec<Row> {
    let long = format!("{}.service", "a".repeat(248));
    let mut rows: Vec<Row> = [
        (long.as_str(), "unit name exceeds maximum length (255)"),
        ("nodot", r#"unit name must contain ".""#),
        ("dot.", r#"unit name cannot end in ".""#),
        ("a.xyz", r#"invalid unit type: "xyz""#),
        ("a.Service", r#"invalid unit type: "Service""#),
        // systemd knows these two no more, and cannot load the third from a file.
        ("a.busname", r#"invalid unit type: "busname""#),
        ("a.snapshot", r#"invalid unit type: "snapshot""#),
        ("a@1.mount", r#"invalid unit type for template: "mount""#),
        ("a+b.service", "invalid character '+' in unit name"),
        ("%C3%A9.service", "invalid character 'é' in unit name"),
        ("@1.service", r#"unit name cannot start in "@""#),
        (".service", "unit name `.service` has nothing before its type"),
    ]
    .map(|(name, message)| ask(put(name, &with("inactive", SLEEP)), error(400, message)))
    .into();
    for name in ["a.b:c-d_e.service", "a@b@c.service", "a%40b.timer", "..service"] {
        rows.push(ask(put(name, &with("inactive", SLEEP)), "201"));
        rows.push(ask(format!("DELETE ~/units/{name}"), "204"));
    }
    rows
}

/// A7.4, A7.5: what becomes of options.
fn options() -> Vec<Row> {
    let put_options =
        |options: &str| put("o.service", &format!(r#"{{"desiredState":"inactive","options":[{options}]}}"#));
    let shows = |options: &str| {
        let unit = r#"{"currentState":"inactive","desiredState":"inactive","name":"o.service","options":["#;
        ask("GET ~/units/o.service", json(&format!("{unit}{options}]}}")))
    };
    vec![
        // Sections that are interleaved come back together; blanks at the end go; what is empty is left out.
        ask(
            put_options(
                r#"{"section":"Unit","name":"Description","value":"a <b> & c  "},{"section":"Service","name":"ExecStart","value":"/bin/true"},{"section":"Unit","name":"After"}"#,
            ),
            "201",
        ),
        shows(
            r#"{"name":"Description","section":"Unit","value":"a \u003cb\u003e \u0026 c"},{"name":"After","section":"Unit"},{"name":"ExecStart","section":"Service","value":"/bin/true"}"#,
        ),
        // A continued value stays as it is.
        ask(put_options(r#"{"section":"Service","name":"ExecStart","value":"/bin/echo a \\\n b"}"#), "201"),
        shows(r#"{"name":"ExecStart","section":"Service","value":"/bin/echo a \\\n b"}"#),
        // What would be read back as something else is refused; the original stored that.
        refused_option(put_options(r#"{"section":"Service","name":"ExecStart","value":"a\nb=c"}"#)),
        refused_option(put_options(r#"{"section":"Service","name":"A=B","value":"c"}"#)),
        refused_option(put_options(r##"{"section":"Service","name":"#A","value":"c"}"##)),
        ask(
            put_options(r#"{"section":"Service","name":"ExecStart","value":"a\nb"}"#),
            error(400, "unexpected newline encountered while parsing option name: `b` has no `=`"),
        ),
        ask(
            put_options(r#"{"section":"Serv]ice","name":"ExecStart","value":"a"}"#),
            error(400, "found garbage after section name `[Serv]`: `ice]`"),
        ),
        // Lines of more than 2,047 bytes are no problem any more.
        ask(
            put_options(&format!(
                r#"{{"section":"Service","name":"ExecStart","value":"/bin/echo {}"}}"#,
                "x".repeat(3_000)
            )),
            "201",
        ),
        // Typing errors in [X-Fleet] are no errors here, as they were none.
        ask(put_options(&format!(r#"{SLEEP},{{"section":"X-Fleet","name":"MachineMetaData","value":"a=b"}}"#)), "201"),
        ask("DELETE ~/units/o.service", "204"),
    ]
}

fn refused_option(request: String) -> Row {
    let (_, value) = request.split_once("\"options\":").expect("it has options");
    let option: Vec<&str> = value.split('"').collect();
    let (section, name, value) = (option[3], option[7], option[11]);
    ask(
        &request,
        error(
            400,
            &format!(
                "option `{name}` with value `{value}` of section `{section}` would be read back as something else"
            ),
        ),
    )
}

/// A7.4: combinations of requirements, for a new unit and, repaired, for one that exists.
fn requirements() -> Vec<Row> {
    let combinations: &[(&[(&str, &str)], &str)] = &[
        (
            &[("MachineOf", "p.service"), ("Conflicts", "x.service p.*")],
            r#"unresolvable requirements: peer "p.service" matches conflict "p.*""#,
        ),
        (
            &[("X-ConditionMachineOf", "p.service"), ("Replaces", "p.*")],
            r#"unresolvable requirements: peer "p.service" matches replace "p.*""#,
        ),
        (&[("MachineID", "abc"), ("MachineOf", "p.service")], "MachineID cannot be used with Peers"),
        (&[("MachineID", "abc"), ("X-Conflicts", "p.service")], "MachineID cannot be used with Conflicts"),
        (&[("X-ConditionMachineID", "abc"), ("Global", "YES")], "MachineID cannot be used with Global"),
        (&[("X-ConditionMachineBootID", "abc"), ("Replaces", "p.service")], "MachineID cannot be used with Replaces"),
        (&[("Global", "false"), ("Global", "on"), ("MachineOf", "p.service")], "Global cannot be used with Peers"),
        (&[("Global", "1"), ("Replaces", "p.service")], "Global cannot be used with Replaces"),
        (&[("Conflicts", "a.service"), ("Replaces", "p.service")], "Conflicts cannot be used with Replaces"),
    ];
    let with_requirements = |requirements: &[(&str, &str)]| {
        let options = requirements
            .iter()
            .map(|(name, value)| format!(r#",{{"section":"X-Fleet","name":"{name}","value":"{value}"}}"#));
        put("r.service", &with("inactive", &format!("{SLEEP}{}", options.collect::<String>())))
    };
    let mut rows = Vec::new();
    for is_new in [true, false] {
        if !is_new {
            rows.push(ask(put("r.service", &with("inactive", SLEEP)), "201"));
        }
        for (requirements, message) in combinations {
            rows.push(ask(with_requirements(requirements), error(400, message)));
        }
    }
    for allowed in [
        &[("Global", "true"), ("Conflicts", "a.service")][..],
        &[("MachineID", "abc"), ("MachineMetadata", "a=b")],
        // The last one counts.
        &[("Global", "true"), ("Global", "no"), ("MachineOf", "p.service")],
    ] {
        rows.push(ask(with_requirements(allowed), "201"));
    }
    rows.push(ask("DELETE ~/units/r.service", "204"));
    rows
}

/// A5, A7, A8: a unit from its beginning to its end.
fn life() -> Vec<Row> {
    let shows = |current: &str, desired: &str, on_machine: bool, option: &str| {
        let machine = if on_machine { r#""machineID":"<m1>","# } else { "" };
        let unit = format!(
            r#"{{"currentState":"{current}","desiredState":"{desired}",{machine}"name":"l.service","options":[{option}]}}"#
        );
        [ask("GET ~/units/l.service", json(&unit)), ask("GET ~/units", json(&format!(r#"{{"units":[{unit}]}}"#)))]
    };
    let state_is = |hash: &str, active: &str, sub: &str| {
        let state = format!(
            r#"{{"hash":"{hash}","machineID":"<m1>","name":"l.service","systemdActiveState":"{active}","systemdLoadState":"loaded","systemdSubState":"{sub}"}}"#
        );
        let list = json(&format!(r#"{{"states":[{state}]}}"#));
        let mut rows = vec![ask("GET ~/state/l.service", json(&state))];
        for query in [
            "",
            "?unitName=l.service",
            "?machineID=<m1>",
            "?unitName=l.service&machineID=<m1>",
            "?unitName=&machineID=",
        ] {
            rows.push(ask(format!("GET ~/state{query}"), list.clone()));
        }
        for query in [
            "?unitName=l",
            "?unitName=x.service&unitName=l.service",
            "?machineID=06c45d18",
            "?machineID=0",
            "?machineID=0&unitName=l.service",
        ] {
            rows.push(ask(format!("GET ~/state{query}"), json("{}")));
        }
        rows
    };
    let mut rows = vec![ask(put("l.service", &with("", SLEEP)), "201")];
    rows.extend(shows("inactive", "inactive", false, SLEEP_SHOWN));
    rows.push(ask(put("l.service", &state("loaded")), "204"));
    rows.push(Row::Active("l.service", "inactive"));
    rows.extend(shows("loaded", "loaded", true, SLEEP_SHOWN));
    rows.extend(state_is(HASH, "inactive", "dead"));
    rows.push(ask(put("l.service", &with("launched", SLEEP)), "204"));
    rows.push(Row::Active("l.service", "active"));
    rows.extend(shows("launched", "launched", true, SLEEP_SHOWN));
    rows.extend(state_is(HASH, "active", "running"));
    // Said again it is nothing, and content type and body of a DELETE do not matter.
    rows.push(ask(put("l.service", &state("launched")), "204"));
    // Another file without a state: the unit is inactive then. The rule is the original's.
    rows.push(ask(put("l.service", &format!(r#"{{"options":[{SLEEP_MORE}]}}"#)), "201"));
    rows.push(Row::Nowhere("l.service"));
    rows.extend(shows("inactive", "inactive", false, SLEEP_MORE_SHOWN));
    rows.push(ask(put("l.service", &with("launched", SLEEP)), "201"));
    rows.push(Row::Active("l.service", "active"));
    rows.extend(shows("launched", "launched", true, SLEEP_SHOWN));
    // One that systemd cannot start is as launched as any other: the state says how it is.
    let fails = r#"{"section":"Service","name":"ExecStart","value":"/bin/false"}"#;
    rows.push(ask(put("l.service", &with("launched", fails)), "201"));
    rows.push(Row::Active("l.service", "failed"));
    rows.extend(shows(
        "launched",
        "launched",
        true,
        r#"{"name":"ExecStart","section":"Service","value":"/bin/false"}"#,
    ));
    rows.push(ask("DELETE ~/units/l.service\nContent-Type: text/plain\n\nx", "204"));
    rows.push(ask("GET ~/units/l.service", error(404, "unit does not exist")));
    rows.push(ask("GET ~/units", json("{}")));
    rows.push(Row::Gone("l.service"));
    rows.push(ask("GET ~/state/l.service", error(404, "unit state does not exist")));
    rows.push(ask("GET ~/state", json("{}")));
    rows
}

/// A5: a global unit has no machine of its own.
fn global() -> Vec<Row> {
    let unit = format!(
        r#"{{"currentState":"inactive","desiredState":"launched","name":"g.service","options":[{SLEEP_SHOWN},{{"name":"Global","section":"X-Fleet","value":"true"}}]}}"#
    );
    let options = format!(r#"{SLEEP},{{"section":"X-Fleet","name":"Global","value":"true"}}"#);
    vec![
        ask(put("g.service", &with("launched", &options)), "201"),
        Row::Active("g.service", "active"),
        ask("GET ~/units/g.service", json(&unit)),
        ask("GET ~/units", json(&format!(r#"{{"units":[{unit}]}}"#))),
        ask("DELETE ~/units/g.service", "204"),
        Row::Gone("g.service"),
    ]
}

/// A6, with a page size of two: pages of units are cut out of the list as it is.
pub fn pages() -> Vec<Row> {
    let unit = |name: &str| {
        format!(r#"{{"currentState":"inactive","desiredState":"inactive","name":"{name}","options":[{SLEEP_SHOWN}]}}"#)
    };
    let page = |names: &[&str], token: &str| {
        let units: Vec<String> = names.iter().map(|name| unit(name)).collect();
        let units = format!(r#""units":[{}]"#, units.join(","));
        match token {
            "" => json(&format!("{{{units}}}")),
            token => json(&format!(r#"{{"nextPageToken":"{token}",{units}}}"#)),
        }
    };
    let mut rows = vec![ask("GET ~/units", json("{}"))];
    let create = |name| ask(put(name, &with("inactive", SLEEP)), "201");
    rows.extend([
        create("b.service"),
        ask("GET ~/units", page(&["b.service"], "")),
        create("a.service"),
        ask("GET ~/units", page(&["a.service", "b.service"], "AgACAA==")),
        ask("GET ~/units?nextPageToken=AgACAA==", json("{}")),
        create("B.service"),
        ask("GET ~/units?nextPageToken=AgABAA==", page(&["B.service", "a.service"], "AgACAA==")),
        ask("GET ~/units?nextPageToken=AgACAA==", page(&["b.service"], "")),
        ask("GET ~/units?nextPageToken=AgADAA==", json("{}")),
        ask("GET ~/units?nextPageToken=AgD__w==", json("{}")),
        ask("GET ~/units?nextPageToken=ZAACAA==", error(400, "token limit must be 2")),
    ]);
    rows
}
