//! A person's desk: a folder with unit files, a shell that knows `fleetctl`, and eyes that see exit code, stdout, stderr.

use std::fmt;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fleet_dev::MachineSpec;
use tempfile::TempDir;

use crate::world::program;

/// How long one typed line may take; coreutils' `timeout` ends it then, with exit code 124. Whole seconds.
const LINE_LIMIT: Duration = Duration::from_secs(60);

pub struct Desk {
    folder: TempDir,
    endpoint: String,
    specs: Vec<MachineSpec>,
}

/// What became of a typed line.
pub struct Ran {
    line: String,
    /// 128 + the signal's number if it was ended by one, as shells have it.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

impl Desk {
    pub fn new(endpoint: &str, specs: Vec<MachineSpec>) -> Desk {
        let folder = tempfile::Builder::new().prefix("desk-").tempdir().expect("a temporary folder");
        Desk { folder, endpoint: endpoint.to_owned(), specs }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file, and the folders to it.
    #[track_caller]
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().expect("it is in our folder")).expect("our folder");
        fs::write(&path, text).expect("our file");
        path
    }

    /// Copies the unit files of the workspace's `examples/`, links as links.
    pub fn take_examples(&self) {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
        let from = format!("{}/.", examples.display());
        let status = Command::new("cp").args(["--recursive", "--no-dereference", &from]).arg(self.path()).status();
        assert!(status.expect("cp is there").success(), "cannot copy {from}");
    }

    /// Types a line into a shell in the folder.
    pub fn run(&self, line: &str) -> Ran {
        let programs = program("fleetctl");
        let programs = programs.parent().expect("a program is in a folder").display();
        let path = std::env::var("PATH").unwrap_or_default();
        let begun = Instant::now();
        let mut command = Command::new("timeout");
        command.arg(LINE_LIMIT.as_secs().to_string()).args(["bash", "-c", line]).current_dir(self.path());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("FLEET")) {
            command.env_remove(name);
        }
        command.env("PATH", format!("{programs}:{path}")).env("FLEETCTL_ENDPOINT", &self.endpoint);
        let output = command.stdin(Stdio::null()).output().expect("coreutils are there");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ran {
            line: line.to_owned(),
            code: output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or_default()),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
            took: begun.elapsed(),
        }
    }

    /// Types a line that must succeed; gives what it printed.
    #[track_caller]
    pub fn ok(&self, line: &str) -> String {
        let ran = self.run(line);
        assert_eq!(ran.code, 0, "{ran}");
        ran.stdout
    }

    /// Types a line that must fail with that exit code; gives what it said.
    #[track_caller]
    pub fn fails(&self, code: i32, line: &str) -> Ran {
        let ran = self.run(line);
        assert_eq!(ran.code, code, "{ran}");
        ran
    }

    /// Types a line, and gives all of what became of it with times, machines, addresses and process numbers filtered out, and
    /// without the lines that say what is waited for.
    pub fn golden(&self, line: &str) -> String {
        let mut ran = self.run(line);
        ran.stderr =
            ran.stderr.lines().filter(|line| !line.starts_with("waiting for ")).flat_map(|line| [line, "\n"]).collect();
        self.filter(&ran.to_string())
    }

    /// Replaces what differs from run to run: machines by `<m1>` and `<m1-id>`, the folder by `<desk>`, times and numbers.
    pub fn filter(&self, text: &str) -> String {
        let mut text = text.replace(&self.path().display().to_string(), "<desk>");
        text = text.replace(self.endpoint.trim_start_matches("unix://").trim_end_matches("/fleet.sock"), "<cluster>");
        for spec in &self.specs {
            let address = spec.address.to_string();
            let (long, short) = (format!("<{}-id>", spec.name), format!("<{}>", spec.name));
            text = text.replace(&spec.id, &long).replace(&spec.id[..8], &short);
            text = text.replace(&address, &format!("<{}-ip>", spec.name));
        }
        // Cells are filled up with tabs to the width of what was replaced.
        while text.contains("\t\t") {
            text = text.replace("\t\t", "\t");
        }
        text.lines().map(|line| filter_words(line) + "\n").collect()
    }
}

/// `Nov 22 12:55:14 m1 sh[253]: x` becomes `<time> m1 sh[<pid>]: x`; also what systemctl says of times, processes, memory.
fn filter_words(line: &str) -> String {
    // Typed, not printed.
    if line.starts_with("$ ") {
        return line.to_owned();
    }
    // Journal lines that are shown with an error are set in.
    let inner = line.trim_start();
    let margin = &line[..line.len() - inner.len()];
    format!("{margin}{}", filter_printed(inner))
}

fn filter_printed(line: &str) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    if MONTHS.contains(&words[0].as_str()) && 3 <= words.len() {
        // A day of one digit has a blank before it.
        let n_words = if words[1].is_empty() { 4 } else { 3 };
        words.splice(0..n_words, ["<time>".to_owned()]);
    }
    for word in &mut words {
        if let Some((before, after)) = word.split_once('[')
            && let Some((pid, after)) = after.split_once(']')
            && !pid.is_empty()
            && pid.chars().all(|ch| ch.is_ascii_digit())
        {
            *word = format!("{before}[<pid>]{after}");
        }
    }
    let mut line = words.join(" ");
    for (before, end, name) in [
        (" since ", "", "<when>"),
        ("Main PID: ", " ", "<pid>"),
        ("Process: ", " ", "<pid>"),
        ("Duration: ", "", "<time>"),
        ("CPU: ", "", "<time>"),
        ("Memory: ", "", "<bytes>"),
        ("Tasks: ", "", "<count>"),
        ("PID=", " ", "<pid>"),
    ] {
        if let Some(at) = line.find(before).map(|at| at + before.len()) {
            let len = if end.is_empty() { line.len() - at } else { line[at..].find(end).unwrap_or(line.len() - at) };
            line.replace_range(at..at + len, name);
        }
    }
    line
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ran { line, code, stdout, stderr, .. } = self;
        write!(f, "$ {line}\nexit {code}\n")?;
        for (name, text) in [("stdout", stdout), ("stderr", stderr)] {
            if !text.is_empty() {
                let newline = if text.ends_with('\n') { "" } else { "\n" };
                write!(f, "--- {name}\n{text}{newline}")?;
            }
        }
        Ok(())
    }
}

#[test]
fn the_filter_hides_what_differs_and_nothing_else() {
    for (line, expected) in [
        ("Nov 22 12:55:14 m1 sh[25268]: I am 3 [7]", "<time> m1 sh[<pid>]: I am 3 [<pid>]"),
        ("    Nov  2 12:55:14 m1 sh[25268]: words", "    <time> m1 sh[<pid>]: words"),
        ("Unit a@[x].service launched", "Unit a@[x].service launched"),
        ("   Main PID: 25268 (code=exited, status=7)", "   Main PID: <pid> (code=exited, status=7)"),
        (
            "     Active: failed (Result: exit-code) since Sun 2026",
            "     Active: failed (Result: exit-code) since <when>",
        ),
    ] {
        assert_eq!(filter_words(line), expected);
    }
}
