//! The command line as people see it: help, and what is said when there is no cluster. The real program is run.

mod completion;
mod help;
mod man;
mod original;
mod without_cluster;

use std::path::Path;
use std::process::Command;

use expect_test::Expect;

/// Runs `fleetctl ARGS` in `folder` and shows exit code, stdout and stderr.
pub fn run(folder: &Path, args: &str, env: &[(&str, &str)]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fleetctl"));
    // Nothing of the tester's own surroundings may be seen: neither settings nor clusters that run, nor the terminal's width.
    command.env_clear().env("XDG_RUNTIME_DIR", folder).current_dir(folder).args(args.split_whitespace());
    command.envs(env.iter().copied());
    let output = command.output().expect("fleetctl runs");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let code = output.status.code().expect("it was not killed");
    format!("exit {code}\n--- stdout\n{}--- stderr\n{}", text(&output.stdout), text(&output.stderr))
}

/// Compares what `fleetctl ARGS` says with a golden text.
#[track_caller]
pub fn check(args: &str, expected: Expect) {
    check_env(args, &[], expected);
}

/// The same with variables in the environment.
#[track_caller]
pub fn check_env(args: &str, env: &[(&str, &str)], expected: Expect) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("good.service"), "[Service]\nExecStart=/bin/true\n").expect("a file");
    expected.assert_eq(&run(folder.path(), args, env));
}
