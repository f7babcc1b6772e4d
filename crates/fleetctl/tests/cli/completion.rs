//! Completion in the real shells, on a terminal, with names from an API on a real socket.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};

use fleet_api::v2;

use crate::run;

/// A shell with fleetctl's script, in a folder of its own.
struct Shell {
    program: &'static str,
    args: &'static str,
    /// What makes the prompt known and loads the script.
    setup: &'static str,
}

/// How long one shell may run, in seconds; it takes a fraction of one.
const SHELL_MAX_S: &str = "60";

const PROMPT: &str = "your-turn> ";

const BASH: Shell = Shell {
    program: "bash",
    args: "--norc --noprofile -i",
    setup: "bind 'set enable-bracketed-paste off'; source <(fleetctl completion bash); PS1='your-''turn> '",
};
const ZSH: Shell = Shell {
    program: "zsh",
    args: "-f -i",
    setup: "autoload -U compinit; compinit -u -D; source <(fleetctl completion zsh); PROMPT='your-''turn> '",
};

impl Shell {
    /// The words that the shell hears when `typed`, with a tab at its end, is completed and sent off.
    fn words(&self, folder: &Path, typed: &str) -> String {
        let mut child = Command::new("timeout")
            .args([
                SHELL_MAX_S,
                "script",
                "--quiet",
                "--return",
                "--command",
                &format!("{} {}", self.program, self.args),
                "/dev/null",
            ])
            .env_clear()
            .envs(surroundings(folder))
            .env("TERM", "dumb")
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script runs");
        let mut keys = child.stdin.take().expect("stdin");
        let mut screen = Screen { stdout: child.stdout.take().expect("stdout"), seen: String::new() };
        // The command prints the words with which it was called, to a file, for a terminal wraps and redraws.
        let setup = format!("say() {{ printf '<%s>' \"$@\" >words; }}; {}\n", self.setup);
        keys.write_all(setup.as_bytes()).expect("the setup is typed");
        screen.wait_for(PROMPT);
        // Ctrl-A: to the begin of the line, as soon as it is completed.
        keys.write_all(format!("{typed}\t\x01say \n").as_bytes()).expect("the line is typed");
        screen.wait_for(PROMPT);
        keys.write_all(b"exit\n").expect("the end is typed");
        drop(keys);
        child.wait().expect("the shell ends");
        std::fs::read_to_string(folder.join("words"))
            .unwrap_or_else(|err| panic!("{err}; on the screen:\n{}", screen.seen))
    }
}

/// What a shell shows.
struct Screen {
    stdout: std::process::ChildStdout,
    seen: String,
}

impl Screen {
    /// Reads until `text` comes. `timeout` ends it otherwise, by the end of the shell.
    fn wait_for(&mut self, text: &str) {
        let begin = self.seen.len();
        let mut bytes = [0; 1024];
        while !self.seen[begin..].contains(text) {
            let len = self.stdout.read(&mut bytes).expect("the screen");
            assert!(0 < len, "the shell ended:\n{}", self.seen);
            self.seen.push_str(&String::from_utf8_lossy(&bytes[..len]));
        }
    }
}

fn surroundings(folder: &Path) -> Vec<(&'static str, String)> {
    let programs = Path::new(env!("CARGO_BIN_EXE_fleetctl")).parent().expect("a folder");
    let path = format!("{}:/usr/bin:/bin", programs.display());
    let home = folder.display().to_string();
    let endpoint = format!("unix://{home}/fleet.sock");
    vec![("PATH", path), ("HOME", home.clone()), ("FLEETCTL_ENDPOINT", endpoint), ("LANG", "C.UTF-8".to_owned())]
}

/// A cluster with a few units and machines. It answers until the test's process ends.
fn cluster(folder: &Path) {
    let listener = UnixListener::bind(folder.join("fleet.sock")).expect("a socket");
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            answer(connection.expect("a connection"));
        }
    });
}

fn answer(mut connection: UnixStream) {
    let mut lines = BufReader::new(connection.try_clone().expect("the connection")).lines();
    let request = lines.next().expect("a request").expect("a line");
    for line in lines {
        if line.expect("a header").is_empty() {
            break;
        }
    }
    let body = if request.contains("/machines") { machines() } else { units() };
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
    let text = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    // A client that is gone has what it wanted.
    let _ = connection.write_all(text.as_bytes());
}

fn units() -> String {
    let names = ["apache@5555.service", "apache@5556.service", "hello.service", r"mnt-a\x2db.mount", "web:1.service"];
    let units = names.into_iter().map(|name| v2::Unit {
        name: name.to_owned(),
        hash: "03ec2aa0000000000000000000000000000000ff".to_owned(),
        desired_state: v2::State::Launched,
        current_state: v2::State::Launched,
        generation: 1,
        restarts: 0,
        global: false,
        fitting: None,
        description: Some(format!("The unit {name}")),
        placements: Vec::new(),
        waiting: None,
    });
    serde_json::to_string(&v2::UnitList { revision: 1, units: units.collect(), next: None }).expect("JSON")
}

fn machines() -> String {
    let machine = |id: &str| v2::Machine {
        id: id.to_owned(),
        ip: Some("10.0.0.1".to_owned()),
        metadata: BTreeMap::from([("disk".to_owned(), "ssd".to_owned())]),
        version: "1".to_owned(),
        capabilities: Vec::new(),
        leads: false,
        units: 0,
        present: true,
        lost: None,
        cordoned: false,
        draining: None,
        given_up: false,
        revision: 0,
    };
    let machines = ["4f1c2a7d00000000000000000000000a", "abcd2a7d00000000000000000000000b"].map(machine);
    serde_json::to_string(&v2::MachineList { revision: 1, machines: machines.to_vec(), brake: None, next: None })
        .expect("JSON")
}

#[track_caller]
fn check(shell: &Shell, cases: &[(&str, &str)]) {
    let folder = tempfile::tempdir().expect("a folder");
    cluster(folder.path());
    std::fs::create_dir(folder.path().join("my units")).expect("a folder");
    for (typed, words) in cases {
        assert_eq!(shell.words(folder.path(), typed), *words, "{}: {typed}", shell.program);
    }
}

/// What is typed before the tab, and the words that the command gets.
const CASES: [(&str, &str); 9] = [
    ("fleetctl sto", "<fleetctl><stop>"),
    ("fleetctl stop he", "<fleetctl><stop><hello.service>"),
    // Behind a character at which bash splits words.
    ("fleetctl stop apache@5555", "<fleetctl><stop><apache@5555.service>"),
    ("fleetctl stop ap", "<fleetctl><stop><apache@555>"),
    ("fleetctl stop --no-block hello web:", "<fleetctl><stop><--no-block><hello><web:1.service>"),
    // A backslash is part of the name, and must be quoted.
    ("fleetctl cat mnt", r"<fleetctl><cat><mnt-a\x2db.mount>"),
    ("fleetctl cat 'mnt-a", r"<fleetctl><cat><mnt-a\x2db.mount>"),
    ("fleetctl machine drain 4f", "<fleetctl><machine><drain><4f1c2a7d00000000000000000000000a>"),
    ("fleetctl start my", "<fleetctl><start><my units/>"),
];

#[test]
fn in_bash() {
    check(&BASH, &CASES);
}

#[test]
fn in_zsh() {
    check(&ZSH, &CASES);
}

/// fish says by itself what it would offer.
#[test]
fn in_fish() {
    let folder = tempfile::tempdir().expect("a folder");
    cluster(folder.path());
    let check = |typed: &str, offered: &str| {
        let line = format!("fleetctl completion fish | source; complete --do-complete {typed:?}");
        let mut fish = Command::new("fish");
        fish.args(["--no-config", "--command", &line]).env_clear().envs(surroundings(folder.path()));
        let output = fish.current_dir(folder.path()).output().expect("fish runs");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{typed}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), offered, "{typed}");
    };
    check("fleetctl sto", "stop\tStop units; they stay on their machines\n");
    check("fleetctl stop he", "hello.service\tlaunched, The unit hello.service\n");
    check(
        "fleetctl stop apache@55",
        "apache@5555.service\tlaunched, The unit apache@5555.service\napache@5556.service\tlaunched, The unit apache@5556.service\n",
    );
    check("fleetctl status --machine abc", "abcd2a7d00000000000000000000000b\t10.0.0.1 disk=ssd\n");
}

/// Each shell reads its script, and there is one for each.
#[test]
fn scripts_are_read() {
    let folder = tempfile::tempdir().expect("a folder");
    for shell in ["bash", "zsh", "fish"] {
        let said = run(folder.path(), &format!("completion {shell}"), &[]);
        let script = said.strip_prefix("exit 0\n--- stdout\n").and_then(|said| said.strip_suffix("--- stderr\n"));
        let file = folder.path().join(shell);
        std::fs::write(&file, script.expect("a script")).expect("a file");
        let read = Command::new(shell).arg("-n").arg(&file).output().expect("the shell runs");
        assert!(read.status.success() && read.stderr.is_empty(), "{shell}: {}", String::from_utf8_lossy(&read.stderr));
    }
}

/// Whoever presses a key gets no error messages, whatever is wrong.
#[test]
fn nothing_is_said_where_nothing_is_known() {
    let folder = tempfile::tempdir().expect("a folder");
    for asked in
        ["bash -- x fleetctl", "bash -- only-one", "zsh", "zsh -- fleetctl stop a", "fish -- fleetctl nonsense a"]
    {
        let said = run(folder.path(), &format!("__complete {asked}"), &[("FLEETCTL_ENDPOINT", "nonsense")]);
        assert_eq!(said, "exit 0\n--- stdout\n--- stderr\n", "{asked}");
    }
}

/// A fleetd that takes the question and never answers does not hold the terminal up.
#[test]
fn a_silent_cluster_is_not_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let silent = UnixListener::bind(folder.path().join("fleet.sock")).expect("a socket");
    let endpoint = format!("unix://{}/fleet.sock", folder.path().display());
    let begun = std::time::Instant::now();
    let said = run(folder.path(), "__complete zsh -- fleetctl stop a", &[("FLEETCTL_ENDPOINT", &endpoint)]);
    assert_eq!(said, "exit 0\n--- stdout\n--- stderr\n");
    // fleetctl's limit is 1 s, a request's own 10 s.
    assert!(begun.elapsed() < std::time::Duration::from_secs(8), "it took {:?}", begun.elapsed());
    drop(silent);
}
