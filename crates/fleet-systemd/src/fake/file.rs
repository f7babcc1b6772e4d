//! As much of a unit file as the model needs.

use std::collections::BTreeSet;

use fleet_core::unit::{Form, UnitName, UnitType};

/// How long a start or stop may take where the file does not say. Source: systemd-system.conf(5), `DefaultTimeoutStartSec=`.
const TIMEOUT_DEFAULT_MS: u64 = 90_000;

/// How long systemd waits before `Restart=`. Source: systemd.service(5), `RestartSec=`.
const RESTART_DEFAULT_MS: u64 = 100;

/// What a file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct UnitFile {
    pub(super) requires: BTreeSet<UnitName>,
    pub(super) binds_to: BTreeSet<UnitName>,
    pub(super) part_of: BTreeSet<UnitName>,
    pub(super) wants: BTreeSet<UnitName>,
    pub(super) after: BTreeSet<UnitName>,
    pub(super) job_timeout_ms: Option<u64>,
    /// `None` for all types but services: they are up as soon as they are started.
    pub(super) service: Option<Service>,
}

/// The `[Service]` part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) kind: Kind,
    pub(super) start: Vec<Command>,
    pub(super) stop: Vec<Command>,
    pub(super) remain_after_exit: bool,
    pub(super) start_timeout_ms: Option<u64>,
    pub(super) stop_timeout_ms: Option<u64>,
    pub(super) restart: Restart,
    pub(super) restart_ms: u64,
}

/// `Type=`, as far as it makes a difference here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `simple`, `exec`, `idle`, `forking`: up at once.
    Simple,
    /// Up, or done, when its commands have ended.
    Oneshot,
    /// `notify`, `dbus`: up when the program says so, which no program here does by itself (`Script::ready_ms`).
    Notify,
}

/// `Restart=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Restart {
    No,
    OnFailure,
    Always,
}

/// A command line and what the program does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) line: String,
    /// How long it runs; `None` is until it is stopped.
    pub(super) runs_ms: Option<u64>,
    pub(super) succeeds: bool,
}

impl Command {
    /// `sleep N`, `true` and `false` do what they do; every other program runs until it is stopped.
    pub(super) fn new(line: &str) -> Command {
        let (ignore_failure, line) = match line.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, line),
        };
        let mut words = line.split_whitespace();
        let program = words.next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
        let (runs_ms, succeeds) = match program {
            "sleep" => (words.next().and_then(time_ms), true),
            "true" => (Some(0), true),
            "false" => (Some(0), false),
            _ => (None, true),
        };
        Command { line: line.to_owned(), runs_ms, succeeds: succeeds || ignore_failure }
    }
}

/// Reads a unit file; the error is systemd's `bad-setting`.
pub(super) fn parse(name: &UnitName, text: &str) -> Result<UnitFile, String> {
    let mut file = UnitFile::default();
    let mut service = Service {
        kind: Kind::Simple,
        start: Vec::new(),
        stop: Vec::new(),
        remain_after_exit: false,
        start_timeout_ms: Some(TIMEOUT_DEFAULT_MS),
        stop_timeout_ms: Some(TIMEOUT_DEFAULT_MS),
        restart: Restart::No,
        restart_ms: RESTART_DEFAULT_MS,
    };
    let mut start_timeout_given = false;
    let mut section = "";
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', ';'])) {
        if let Some(header) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = header;
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            continue; // systemd warns and goes on.
        };
        let value = specifiers(name, value.trim());
        let names = || value.split_whitespace().filter_map(|name| name.parse().ok()).filter(is_modeled);
        match (section, key.trim()) {
            ("Unit", "Requires") => file.requires.extend(names()),
            ("Unit", "BindsTo") => file.binds_to.extend(names()),
            ("Unit", "PartOf") => file.part_of.extend(names()),
            ("Unit", "Wants") => file.wants.extend(names()),
            ("Unit", "After") => file.after.extend(names()),
            ("Unit", "JobTimeoutSec") => file.job_timeout_ms = time_ms(&value),
            ("Service", "Type") => {
                service.kind = match value.as_str() {
                    "oneshot" => Kind::Oneshot,
                    "notify" | "dbus" => Kind::Notify,
                    _ => Kind::Simple,
                }
            }
            ("Service", "ExecStart") if value.is_empty() => service.start.clear(),
            ("Service", "ExecStart") => service.start.push(Command::new(&value)),
            ("Service", "ExecStop") => service.stop.push(Command::new(&value)),
            ("Service", "RemainAfterExit") => {
                service.remain_after_exit = matches!(value.as_str(), "yes" | "true" | "on" | "1");
            }
            ("Service", "TimeoutStartSec") => {
                service.start_timeout_ms = time_ms(&value).filter(|&ms| ms != 0);
                start_timeout_given = true;
            }
            ("Service", "TimeoutStopSec") => service.stop_timeout_ms = time_ms(&value).filter(|&ms| ms != 0),
            ("Service", "Restart") => {
                service.restart = match value.as_str() {
                    "always" => Restart::Always,
                    "on-failure" | "on-abnormal" | "on-abort" => Restart::OnFailure,
                    _ => Restart::No,
                }
            }
            ("Service", "RestartSec") => service.restart_ms = time_ms(&value).unwrap_or(RESTART_DEFAULT_MS),
            _ => (),
        }
    }
    if name.unit_type() == UnitType::Service {
        let oneshot = service.kind == Kind::Oneshot;
        if oneshot && !start_timeout_given {
            service.start_timeout_ms = None;
        }
        if service.start.is_empty() && (!oneshot || service.stop.is_empty()) {
            return Err("Service has no ExecStart=, ExecStop=, or SuccessAction=. Refusing.".to_owned());
        }
        if service.start.len() > 1 && !oneshot {
            let why = "Service has more than one ExecStart= setting, which is only allowed for Type=oneshot services.";
            return Err(format!("{why} Refusing."));
        }
        file.service = Some(service);
    }
    Ok(file)
}

impl UnitFile {
    /// All units that it names.
    pub(super) fn names(&self) -> impl Iterator<Item = &UnitName> {
        [&self.requires, &self.binds_to, &self.part_of, &self.wants, &self.after].into_iter().flatten()
    }

    /// Those without which it cannot start.
    pub(super) fn needs(&self) -> impl Iterator<Item = &UnitName> {
        self.requires.iter().chain(&self.binds_to)
    }

    /// Whether it is to be stopped when `name` is.
    pub(super) fn stops_with(&self, name: &UnitName) -> bool {
        self.requires.contains(name) || self.binds_to.contains(name) || self.part_of.contains(name)
    }
}

/// Targets, slices and the like that a file names are the machine's own, there and up: the model has none of them.
fn is_modeled(name: &UnitName) -> bool {
    matches!(
        name.unit_type(),
        UnitType::Service | UnitType::Socket | UnitType::Timer | UnitType::Path | UnitType::Mount | UnitType::Automount
    )
}

fn specifiers(name: &UnitName, value: &str) -> String {
    let instance = match name.form() {
        Form::Instance(instance) => instance,
        Form::Plain | Form::Template => "",
    };
    let pairs = [("%n", name.as_str()), ("%N", name.stem()), ("%p", name.prefix()), ("%i", instance), ("%I", instance)];
    pairs.iter().fold(value.to_owned(), |value, (specifier, filled)| value.replace(specifier, filled))
}

/// A time span in milliseconds; `None` is for ever. A sum of units (`1min 30s`) is not modeled.
fn time_ms(span: &str) -> Option<u64> {
    let digits = span.find(|ch: char| !ch.is_ascii_digit()).unwrap_or(span.len());
    let number: u64 = span[..digits].parse().ok()?;
    let unit_ms = match span[digits..].trim() {
        "ms" => 1,
        "min" | "m" => 60_000,
        "h" => 3_600_000,
        _ => 1000,
    };
    Some(number.saturating_mul(unit_ms))
}
