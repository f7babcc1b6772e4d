use std::os::unix::fs::symlink;

use super::*;
use crate::fixture;

/// A folder with the layout of the tutorial: `templates/`, `instances/` with links into it, and `static/`.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    for name in ["templates", "instances", "static", "empty", "instances/sub.service"] {
        fs::create_dir_all(path(name)).expect("a folder");
    }
    for name in
        ["templates/web@.service", "static/db.service", "static/db.socket", "static/README", "static/.hid.service"]
    {
        fs::write(path(name), "[Service]\nExecStart=/bin/true\n").expect("a file");
    }
    for name in ["web@1.service", "web@2.service"] {
        symlink("../templates/web@.service", path("instances").join(name)).expect("a link");
    }
    folder
}

/// `given` are arguments with `%` for the folder; `expected` has one word for each unit: its name, `@PATH` where the file would be,
/// `?` if it was not named explicitly; patterns in braces; errors in brackets.
#[track_caller]
fn check(purpose: Purpose, given: &str, expected: &str) {
    let folder = folder();
    let root = folder.path().to_str().expect("UTF-8").to_owned();
    let given: Vec<String> = given.split_whitespace().map(|word| word.replace('%', &root)).collect();
    let (arguments, errors) = arguments(&given, purpose);
    let show = |argument: &Argument| match argument {
        Argument::Unit { name, path, explicit } => {
            let path = path.display().to_string().replace(&root, "%");
            let place = if path == name.as_str() { String::new() } else { format!("@{path}") };
            format!("{name}{place}{}", if *explicit { "" } else { "?" })
        }
        Argument::Pattern { globs, .. } => {
            format!("{{{}}}", globs.iter().map(Glob::as_str).collect::<Vec<&str>>().join(","))
        }
    };
    let mut words: Vec<String> = arguments.iter().map(show).collect();
    words.extend(errors.iter().map(|err| format!("[{}]", err.to_string().replace(&root, "%"))));
    assert_eq!(words.join(" "), expected);
}

#[test]
fn names_and_paths() {
    use Purpose::{Activate, Existing, Submit};
    for purpose in [Submit, Activate, Existing] {
        check(purpose, "foo", "foo.service");
        check(purpose, "foo.socket app@1 app@", "foo.socket app@1.service app@.service");
        check(purpose, "no/such/foo", "foo.service@no/such/foo.service");
        check(purpose, "/foo", "foo.service@/foo.service");
        check(purpose, "foo.conf", "foo.conf.service");
        check(purpose, "foo foo.service ./foo", "foo.service");
        check(purpose, "föö ok", "ok.service [`föö` names no unit]");
        // A bare word is a unit whatever directories there are.
        check(purpose, "static", "static.service");
    }
}

#[test]
fn directories_and_patterns_on_disk() {
    use Purpose::{Activate, Existing, Submit};
    let both = "web@1.service@%/instances/web@1.service? web@2.service@%/instances/web@2.service?";
    for purpose in [Submit, Activate, Existing] {
        check(purpose, "%/instances/", both);
        check(purpose, "%/instances", both);
        check(purpose, "%/instances/*", both);
        check(purpose, "%/instances/web@?", both);
        check(purpose, "%/instances/web@2*", "web@2.service@%/instances/web@2.service?");
        check(purpose, "%/static/", "db.service@%/static/db.service? db.socket@%/static/db.socket?");
        check(purpose, "%/instances/x*", "[nothing matches `%/instances/x*`]");
        check(purpose, "%/nowhere/*", "[nothing matches `%/nowhere/*`]");
        check(purpose, "%/*/web*", "[malformed pattern `%/*/web*`]");
        check(purpose, "%/static/db[", "[malformed pattern `db[`]");
    }
    check(Submit, "%/empty/", "[`%/empty/` holds no unit file]");
    check(Submit, "%/templates/", "web@.service@%/templates/web@.service?");
    check(Existing, "%/templates/", "web@.service@%/templates/web@.service?");
    check(Activate, "%/templates/", "[`%/templates/` holds no unit file that can be started]");
    // Named and found: it counts as named, and keeps its first place.
    check(Activate, "%/instances/ %/instances/web@2.service", &both.replace("web@2.service?", "web@2.service"));
}

#[test]
fn patterns_over_the_cluster() {
    check(Purpose::Existing, "web@*", "{web@*,web@*.service}");
    check(Purpose::Existing, "web@*.socket", "{web@*.socket}");
    // Nothing like it is in the directory where tests run.
    check(Purpose::Activate, "zz*", "{zz*,zz*.service}");
    check(Purpose::Submit, "zz*", "[nothing matches `zz*`]");
}

#[test]
fn what_is_looked_up() {
    let globs = |given: &[&str]| {
        let given: Vec<String> = given.iter().map(|one| (*one).to_owned()).collect();
        lookup_globs(&arguments(&given, Purpose::Existing).0)
    };
    assert_eq!(
        globs(&["a", "web@1", "web@2"]).expect("few"),
        ["a.service", "web@.service", "web@1.service", "web@2.service"]
    );
    assert_eq!(globs(&["a\\x2db"]).expect("few"), ["a\\\\x2db.service"]);
    let many: Vec<String> = (0..=LOOKUP_GLOBS_MAX).map(|n| format!("u{n}")).collect();
    assert_eq!(lookup_globs(&arguments(&many, Purpose::Existing).0), None);
}

#[track_caller]
fn select(given: &str, expected: &str) {
    let names = ["a.service", "b.socket", "web@.service", "web@1.service", "web@2.service"];
    let known: BTreeMap<String, v2::Unit> =
        names.iter().map(|name| ((*name).to_owned(), fixture::unit(name, v2::State::Loaded))).collect();
    let given: Vec<String> = given.split_whitespace().map(str::to_owned).collect();
    let (arguments, mut errors) = arguments(&given, Purpose::Existing);
    let (selected, more) = units_of(&arguments, &known);
    errors.extend(more);
    let mut words: Vec<String> =
        selected.iter().map(|one| format!("{}{}", one.unit.name, if one.explicit { "" } else { "?" })).collect();
    words.extend(errors.iter().map(|err| format!("[{err}]")));
    assert_eq!(words.join(" "), expected, "{given:?}");
}

#[test]
fn units_of_the_cluster() {
    select("web@2 a", "web@2.service a.service");
    select("some/where/a", "a.service");
    select("a nope b.socket", "a.service b.socket [Unit nope.service does not exist]");
    select("web@*", "web@.service? web@1.service? web@2.service?");
    select("web@2 web@?", "web@2.service web@1.service?");
    select("*", "a.service? b.socket? web@.service? web@1.service? web@2.service?");
    select("x*", "[nothing matches `x*`]");
}
