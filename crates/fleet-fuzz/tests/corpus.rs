//! The kept corpus, through every target: what was found once stays repaired, and the targets keep up with the code.

use std::fs;
use std::path::{Path, PathBuf};

use fleet_fuzz::TARGETS;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

#[expect(clippy::print_stdout, reason = "the harness shows it if the test fails: it names the input")]
#[test]
fn corpus() {
    for target in TARGETS {
        let folder = fuzz().join("corpus").join(target.name);
        let entries = fs::read_dir(&folder).unwrap_or_else(|err| panic!("{}: {err}", folder.display()));
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a folder of ours").path()).collect();
        paths.sort();
        assert!(20 < paths.len(), "{} has only {} inputs", folder.display(), paths.len());
        for path in paths {
            let input = fs::read(&path).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
            println!("{}", path.display());
            (target.run)(&input);
        }
    }
}

/// Each program in `fuzz/` runs the target of its name, and each target has one.
#[test]
fn programs() {
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).expect("fuzz/ has a manifest");
    let mut programs: Vec<&str> = manifest
        .lines()
        .filter_map(|line| line.strip_prefix("path = \"fuzz_targets/")?.strip_suffix(".rs\""))
        .collect();
    programs.sort_unstable();
    let mut names = TARGETS.map(|target| target.name);
    names.sort_unstable();
    assert_eq!(programs, names);
    for name in names {
        let path = fuzz().join("fuzz_targets").join(format!("{name}.rs"));
        let text = fs::read_to_string(&path).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
        assert!(text.contains(&format!("run(\"{name}\", input)")), "{} runs another target", path.display());
    }
}
