use std::fs;

use super::*;
use crate::fixture;

const OLD: &str = "[Service]\nExecStart=/bin/old\n";
const NEW: &str = "[Service]\nExecStart=/bin/new\n";
const GLOBAL: &str = "[Service]\nExecStart=/bin/new\n[X-Fleet]\nGlobal=true\n";
const BROKEN: &str = "[Service]\nExecStart=/bin/new\n[X-Fleet]\nMachineMetaData=disk=ssd\n";

/// One case: what is on disk and in the cluster, `NAME=old|new|global|broken` each, with `:STATE` for units in the cluster.
struct Case {
    disk: &'static str,
    cluster: &'static str,
}

fn text(word: &str) -> &'static str {
    match word {
        "old" => OLD,
        "new" => NEW,
        "global" => GLOBAL,
        "broken" => BROKEN,
        other => panic!("no file {other}"),
    }
}

fn state(word: &str) -> v2::State {
    match word {
        "inactive" => v2::State::Inactive,
        "loaded" => v2::State::Loaded,
        "launched" => v2::State::Launched,
        other => panic!("no state {other}"),
    }
}

impl Case {
    /// `command` is `submit|load|start[+replace][+lenient] NAME`.
    #[track_caller]
    fn check(&self, command: &str, expected: &str) {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, word) in self.disk.split_whitespace().filter_map(|one| one.split_once('=')) {
            fs::write(folder.path().join(name), text(word)).expect("a file");
        }
        let mut known = Known::default();
        for (name, rest) in self.cluster.split_whitespace().filter_map(|one| one.split_once('=')) {
            let (word, desired) = rest.split_once(':').unwrap_or((rest, "inactive"));
            let parsed: UnitName = name.parse().expect("a unit name");
            let local =
                checked(&parsed, Path::new("-"), text(word).to_owned(), Strictness::Lenient).expect("a good file");
            let unit =
                v2::Unit { hash: local.hash.clone(), global: local.global, ..fixture::unit(name, state(desired)) };
            let file = v2::UnitFile {
                name: name.to_owned(),
                hash: local.hash,
                text: local.text.clone(),
                canonical: local.text,
            };
            known.units.insert(name.to_owned(), unit);
            known.template_files.insert(name.to_owned(), file);
        }
        let (verb, name) = command.split_once(' ').expect("a verb and a name");
        let target = match verb.split('+').next() {
            Some("submit") => v2::State::Inactive,
            Some("load") => v2::State::Loaded,
            _ => v2::State::Launched,
        };
        let strictness = if verb.contains("+lenient") { Strictness::Lenient } else { Strictness::Strict };
        let wish = Wish { target, replace: verb.contains("+replace"), strictness };
        let name: UnitName = name.parse().expect("a unit name");
        let got = match plan(&name, &folder.path().join(name.as_str()), &wish, &known) {
            Ok(planned) => show(&planned),
            Err(err) => {
                let details: Vec<String> = err.details().iter().map(|line| format!(" | {line}")).collect();
                format!("error: {err}{}", details.concat())
            }
        };
        assert_eq!(got.replace(folder.path().to_str().expect("UTF-8"), "%"), expected, "{command}");
    }
}

fn show(planned: &Planned) -> String {
    let mut parts = Vec::new();
    match &planned.change {
        None => parts.push("nothing".to_owned()),
        Some(change) => {
            let file = match change.text.as_deref() {
                None => None,
                Some(OLD) => Some("old"),
                Some(NEW) => Some("new"),
                Some(GLOBAL) => Some("global"),
                Some(_) => Some("broken"),
            };
            parts.extend(file.map(|file| format!("text={file}")));
            parts.extend(change.from_template.then(|| "from_template".to_owned()));
            parts.extend(change.replace.then(|| "replace".to_owned()));
            parts.extend(change.lenient.then(|| "lenient".to_owned()));
            parts.extend(change.desired_state.map(|state| format!("to={}", state.as_str())));
        }
    }
    parts.extend(planned.global.then(|| "(global)".to_owned()));
    parts.extend(planned.lines.iter().chain(&planned.warnings).map(|line| format!("| {line}")));
    parts.join(" ")
}

#[test]
fn new_units() {
    let case = Case { disk: "a.service=new", cluster: "" };
    case.check("submit a.service", "text=new");
    case.check("load a.service", "text=new to=loaded");
    case.check("start a.service", "text=new to=launched");
    case.check("start+replace a.service", "text=new to=launched");
    case.check("start b.service", "error: unable to find Unit(b.service) in Registry or on filesystem");
    Case { disk: "a.service=global", cluster: "" }.check("start a.service", "text=global to=launched (global)");
}

#[test]
fn instances_the_order_of_places() {
    let template = "w@1.service";
    let start = "start w@1.service";
    Case { disk: "", cluster: "" }.check(
        start,
        "error: unable to find Unit(w@1.service), nor its template Unit(w@.service), in Registry or on filesystem",
    );
    Case { disk: "w@.service=new", cluster: "" }.check(start, "text=new to=launched");
    Case { disk: "", cluster: "w@.service=old" }.check(start, "from_template to=launched");
    Case { disk: "w@.service=old", cluster: "w@.service=old" }.check(start, "from_template to=launched");
    Case { disk: "w@.service=new", cluster: "w@.service=old" }.check(
        start,
        "from_template to=launched | WARNING: Unit w@.service in registry differs from local template unit file \
         %/w@.service. Add --replace to override.",
    );
    Case { disk: "w@1.service=new w@.service=old", cluster: "w@.service=old" }.check(start, "text=new to=launched");
    Case { disk: "w@1.service=new", cluster: "w@1.service=old:launched" }.check(
        start,
        "to=launched | WARNING: Unit w@1.service in registry differs from local unit file %/w@1.service. Add --replace \
         to override.",
    );
    assert_eq!(template.parse::<UnitName>().expect("a name").template().expect("a template").as_str(), "w@.service");
}

#[test]
fn existing_units() {
    let same = Case { disk: "a.service=old", cluster: "a.service=old:launched" };
    same.check("submit a.service", "nothing");
    same.check("load a.service", "nothing | Unit a.service is launched already; `fleetctl stop a.service` stops it");
    same.check("start a.service", "to=launched");
    same.check("start+replace a.service", "to=launched | Found same Unit(a.service) in Registry, nothing to do");
    same.check("submit+replace a.service", "nothing | Found same Unit(a.service) in Registry, nothing to do");
    let bare = Case { disk: "", cluster: "a.service=old:loaded" };
    bare.check("submit a.service", "nothing");
    bare.check("start a.service", "to=launched");
    bare.check("start+replace a.service", "error: Unit a.service has no local file that could replace it");
}

#[test]
fn replacing() {
    let refused =
        |state: &str| format!("error: can not replace Unit(a.service) in state '{state}', use the appropriate command");
    for (desired, command, allowed) in [
        ("inactive", "submit", true),
        ("loaded", "submit", false),
        ("launched", "submit", false),
        ("inactive", "load", true),
        ("loaded", "load", true),
        ("launched", "load", false),
        ("inactive", "start", true),
        ("loaded", "start", true),
        ("launched", "start", true),
    ] {
        let cluster: &'static str = match desired {
            "inactive" => "a.service=old:inactive",
            "loaded" => "a.service=old:loaded",
            _ => "a.service=old:launched",
        };
        let to = match command {
            "submit" => "",
            "load" => " to=loaded",
            _ => " to=launched",
        };
        let expected = if allowed { format!("text=new replace{to}") } else { refused(desired) };
        Case { disk: "a.service=new", cluster }.check(&format!("{command}+replace a.service"), &expected);
    }
}

#[test]
fn replacing_instances() {
    let start = "start+replace w@1.service";
    // The template beside the argument, then the one in the cluster.
    Case { disk: "w@.service=new", cluster: "w@1.service=old:launched w@.service=old" }
        .check(start, "text=new replace to=launched");
    Case { disk: "", cluster: "w@1.service=old:launched w@.service=new" }.check(start, "text=new replace to=launched");
    Case { disk: "", cluster: "w@1.service=old:launched w@.service=old" }
        .check(start, "to=launched | Found same Unit(w@1.service) in Registry, nothing to do");
    Case { disk: "", cluster: "w@1.service=old:launched" }
        .check(start, "error: Unit w@1.service has no local file that could replace it");
}

#[test]
fn nothing_is_sent_of_what_is_broken() {
    let case = Case { disk: "a.service=broken", cluster: "" };
    let said = "error: unit file `%/a.service` cannot be used for a.service | %/a.service:4: ";
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.service");
    fs::write(&path, BROKEN).expect("a file");
    let wish = Wish { target: v2::State::Launched, replace: false, strictness: Strictness::Strict };
    let err = plan(&"a.service".parse().expect("a name"), &path, &wish, &Known::default()).expect_err("it is broken");
    let details = err.details().join("\n").replace(folder.path().to_str().expect("UTF-8"), "%");
    assert!(details.starts_with(said.rsplit_once("| ").expect("a separator").1), "{details}");
    assert!(err.hint().is_some_and(|hint| hint.contains("MachineMetadata")), "{:?}", err.hint());
    case.check("start+lenient a.service", "text=broken lenient to=launched");
}

#[test]
fn templates_cannot_be_started() {
    let case = Case { disk: "w@.service=new", cluster: "" };
    case.check("submit w@.service", "text=new");
    case.check("load w@.service", "error: cannot activate template \"w@.service\"");
    case.check("start w@.service", "error: cannot activate template \"w@.service\"");
}

#[test]
fn links_give_the_name_and_their_target_the_content() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("w@.service"), NEW).expect("a file");
    let link = folder.path().join("w@8.service");
    std::os::unix::fs::symlink("w@.service", &link).expect("a link");
    let wish = Wish { target: v2::State::Launched, replace: false, strictness: Strictness::Strict };
    let name: UnitName = "w@8.service".parse().expect("a name");
    let planned = plan(&name, &link, &wish, &Known::default()).expect("a plan");
    assert_eq!(show(&planned), "text=new to=launched");
    assert_eq!(planned.change.expect("a change").name, "w@8.service");
    fs::remove_file(folder.path().join("w@.service")).expect("removed");
    let err = plan(&name, &link, &wish, &Known::default()).expect_err("the link leads nowhere");
    assert!(matches!(err, CommandError::Read { .. }), "{err}");
}

#[test]
fn what_was_meant_by_a_name_without_its_suffix() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("ticks.timer"), "[Timer]\n").expect("a file");
    std::fs::create_dir(folder.path().join("many")).expect("a folder");
    let meant = |name: &str| what_was_meant(&folder.path().join(name));
    assert_eq!(meant("ticks.service"), Some(folder.path().join("ticks.timer")));
    assert_eq!(meant("many.service"), Some(folder.path().join("many")));
    assert_eq!(meant("nothing.service"), None);
}
