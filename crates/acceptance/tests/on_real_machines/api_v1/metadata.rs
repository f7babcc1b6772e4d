//! The rows of metadata.

use super::rows::MACHINE;
use super::{Row, ask, error, json};

/// A9: metadata that come and go.
pub fn rows() -> Vec<Row> {
    let patch = |body: &str| format!("PATCH ~/machines\n\n{body}");
    let op = |op: &str, path: &str, value: &str| patch(&format!(r#"[{{"op":"{op}","path":"{path}"{value}}}]"#));
    let nested = r#","value":{"value":"x"}"#;
    let done = "204 content-type: application/json";
    let has = |metadata: &str| {
        let machine = MACHINE.replace(r#""empty":"","region":"us-west""#, metadata);
        ask("GET ~/machines", json(&format!(r#"{{"machines":[{machine}]}}"#)))
    };
    let (bad_op, bad_path, no_value) = (
        error(400, "invalid op: expect add, remove, or replace"),
        error(400, "machine metadata path invalid"),
        error(400, "invalid value: add and replace require a value"),
    );
    let mut rows = vec![
        ask("PATCH ~/machines", error(400, "EOF")),
        ask(patch("["), error(400, "unexpected EOF")),
        ask(patch("[]"), done),
        ask(patch("null"), done),
        ask(patch("[null]"), bad_op.clone()),
        ask(op("test", "/x", ""), bad_op.clone()),
        ask(op("ADD", "/<m1>/metadata/k", nested), bad_op),
        ask(op("add", "/<m1>/metadata/k", ""), no_value.clone()),
        ask(op("replace", "/<m1>/metadata/k", r#","value":{"value":""}"#), no_value.clone()),
        ask(op("add", "/<m1>/metadata/k", r#","value":"""#), no_value),
    ];
    for path in [
        "",
        "/",
        "/<m1>",
        "/<m1>/metadata",
        "/<m1>/metadata/",
        "/<m1>/metadata/a/b",
        "/<m1>/metadata/a~1b",
        "/<m1>/metadata/a b",
        "<m1>/metadata/k",
        "//metadata/k",
        "/../metadata/k",
        "/./metadata/k",
        "/<m1>/metadata/..",
    ] {
        rows.push(ask(op("add", path, nested), bad_path.clone()));
    }
    rows.extend([
        // One that is wrong is the end of all.
        ask(
            patch(r#"[{"op":"add","path":"/<m1>/metadata/k","value":{"value":"x"}},{"op":"remove","path":"/k"}]"#),
            bad_path,
        ),
        has(r#""empty":"","region":"us-west""#),
        // Both forms of a value: the nested one, and the documented one.
        ask(op("add", "/<m1>/metadata/k", nested), done),
        has(r#""empty":"","k":"x","region":"us-west""#),
        ask(op("replace", "/<m1>/metadata/k", r#","value":"y""#), done),
        has(r#""empty":"","k":"y","region":"us-west""#),
        // In order; the last one counts.
        ask(
            patch(
                r#"[{"op":"add","path":"/<m1>/metadata/k","value":"1"},{"op":"remove","path":"/<m1>/metadata/k"},{"op":"add","path":"/<m1>/metadata/j","value":"2"}]"#,
            ),
            done,
        ),
        has(r#""empty":"","j":"2","region":"us-west""#),
        ask(op("remove", "/<m1>/metadata/j", nested), done),
        ask(op("remove", "/<m1>/metadata/never", ""), done),
        // A removed key hides what the machine says itself.
        ask(op("remove", "/<m1>/metadata/region", ""), done),
        has(r#""empty":"""#),
        ask(op("add", "/<m1>/metadata/region", r#","value":"us-west""#), done),
        has(r#""empty":"","region":"us-west""#),
        // The machine need not be there.
        ask(op("add", "/0123456789/metadata/k", nested), done),
        has(r#""empty":"","region":"us-west""#),
        ask(op("remove", "/0123456789/metadata/k", nested), done),
    ]);
    rows
}
