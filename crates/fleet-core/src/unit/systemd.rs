//! What systemd would refuse or ignore in a unit file, as far as its text shows it.
//!
//! What can never load is an error. What systemd refuses as the file stands but a drop-in could mend, and what it
//! ignores, are warnings. Each rule was seen with `systemd-analyze verify` of systemd 252.

use super::check::Findings;
use super::problem::{Problem, shown};
use super::spelling::nearest;
use super::{UnitFile, UnitName, UnitOption, UnitType};

/// The sections that systemd reads in a unit of any type.
const COMMON_SECTIONS: [&str; 2] = ["Unit", "Install"];

/// Types that need at least one of some options in their own section, and what systemd calls the lack of it.
const REQUIRED: [(UnitType, &[&str]); 4] = [
    (UnitType::Mount, &["What"]),
    (UnitType::Path, &["PathExists", "PathExistsGlob", "PathChanged", "PathModified", "DirectoryNotEmpty"]),
    (
        UnitType::Socket,
        &[
            "ListenStream",
            "ListenDatagram",
            "ListenSequentialPacket",
            "ListenFIFO",
            "ListenSpecial",
            "ListenNetlink",
            "ListenMessageQueue",
            "ListenUSBFunction",
        ],
    ),
    (
        UnitType::Timer,
        &[
            "OnCalendar",
            "OnActiveSec",
            "OnBootSec",
            "OnStartupSec",
            "OnUnitActiveSec",
            "OnUnitInactiveSec",
            "OnClockChange",
            "OnTimezoneChange",
        ],
    ),
];

/// The section in which a type has its own options.
pub(super) fn own_section(ty: UnitType) -> &'static str {
    match ty {
        UnitType::Automount => "Automount",
        UnitType::Device => "Device",
        UnitType::Mount => "Mount",
        UnitType::Path => "Path",
        UnitType::Scope => "Scope",
        UnitType::Service => "Service",
        UnitType::Slice => "Slice",
        UnitType::Socket => "Socket",
        UnitType::Swap => "Swap",
        UnitType::Target => "Target",
        UnitType::Timer => "Timer",
    }
}

/// Reports what systemd would say about the file under this name.
pub(super) fn check_file(name: &UnitName, file: &UnitFile, findings: &mut Findings) {
    check_type(name, findings);
    check_sections(name.unit_type(), file, findings);
    for (ty, options) in REQUIRED {
        if ty == name.unit_type() {
            let section = own_section(ty);
            if !options.iter().any(|option| file.values(section, option).any(|value| !value.is_empty())) {
                let message = format!("systemd refuses a {} without an option such as `{}=`", ty.suffix(), options[0]);
                findings.warn(Problem::new(None, message).hint(format!("set it in `[{section}]`, or in a drop-in")));
            }
        }
    }
    match name.unit_type() {
        UnitType::Service => check_service(file, findings),
        UnitType::Automount | UnitType::Mount => check_path(name, file, "Where", findings),
        UnitType::Swap => check_path(name, file, "What", findings),
        _ => (),
    }
}

fn check_type(name: &UnitName, findings: &mut Findings) {
    match name.unit_type() {
        UnitType::Scope => {
            let message =
                format!("cannot load `{name}`: systemd has scopes only for running processes, not from files");
            findings.error(Problem::new(None, message).hint("write a service"));
        }
        UnitType::Device => {
            let message =
                format!("systemd makes `{name}` when the device appears; a file adds settings but starts nothing");
            findings.warn(Problem::new(None, message));
        }
        UnitType::Slice if !is_slice_name(name.stem()) => {
            let message = format!("cannot load `{name}`: systemd refuses the name");
            findings.error(
                Problem::new(None, message).hint("a dash in a slice's name stands between two parts: `a-b.slice`"),
            );
        }
        _ => (),
    }
}

/// systemd's rule: a dash separates a slice from its parent, so none is first, last or beside another.
fn is_slice_name(stem: &str) -> bool {
    stem == "-" || stem.split('-').all(|part| !part.is_empty())
}

fn check_sections(ty: UnitType, file: &UnitFile, findings: &mut Findings) {
    let known: Vec<&str> = COMMON_SECTIONS.into_iter().chain([own_section(ty)]).collect();
    let mut last = None;
    for (line, UnitOption { section, .. }) in file.options_with_lines() {
        if last.replace(section) == Some(section) {
            continue;
        }
        if section.contains(|ch: char| ch.is_ascii_control() || "\"'\\".contains(ch)) {
            let message = format!("systemd refuses the section name {}", shown(section));
            findings
                .error(Problem::new(line, message).hint("it cannot hold quotes, backslashes or control characters"));
        } else if !section.starts_with("X-") && !known.contains(&section.as_str()) {
            let message = format!("systemd ignores section {} in a {}", shown(section), ty.suffix());
            let problem = Problem::new(line, message);
            findings.warn(match nearest(section, known.iter().copied()) {
                Some(near) => problem.hint(format!("did you mean `[{near}]`?")),
                None => problem.hint("a section of your own starts with `X-`"),
            });
        }
    }
}

fn check_service(file: &UnitFile, findings: &mut Findings) {
    let last = |section, option| file.values(section, option).last().unwrap_or("");
    // An empty assignment takes back the commands before it.
    let commands = |option| file.values("Service", option).fold(0, |n, value| if value.is_empty() { 0 } else { n + 1 });
    let (n_start, n_stop) = (commands("ExecStart"), commands("ExecStop"));
    let ends_itself = !matches!(last("Unit", "SuccessAction"), "" | "none");
    let remains = ["1", "yes", "y", "true", "t", "on"]
        .iter()
        .any(|word| last("Service", "RemainAfterExit").eq_ignore_ascii_case(word));
    let has_bus_name = !last("Service", "BusName").is_empty();
    let ty = match last("Service", "Type") {
        "" if has_bus_name => "dbus",
        "" if n_start == 0 => "oneshot",
        "" => "simple",
        given => given,
    };
    let oneshot = ty == "oneshot";
    for (refused, what) in [
        (
            n_start == 0 && n_stop == 0 && !ends_itself,
            "a service without `ExecStart=`, `ExecStop=` or `SuccessAction=`",
        ),
        (
            n_start == 0 && n_stop != 0 && oneshot && !ends_itself && !remains,
            "a service without `ExecStart=` unless it has `RemainAfterExit=yes`",
        ),
        (
            n_start == 0 && (n_stop != 0 || ends_itself) && !oneshot,
            "a service without `ExecStart=` unless it has `Type=oneshot`",
        ),
        (1 < n_start && !oneshot, "more than one `ExecStart=` unless the service has `Type=oneshot`"),
        (
            oneshot && matches!(last("Service", "Restart"), "always" | "on-success"),
            "`Restart=always` and `Restart=on-success` together with `Type=oneshot`",
        ),
        (ty == "dbus" && !has_bus_name, "`Type=dbus` without `BusName=`"),
    ] {
        if refused {
            let problem = Problem::new(None, format!("systemd refuses {what}"));
            findings.warn(problem.hint("mend it here, or the unit fails to load where no drop-in mends it"));
        }
    }
}

/// Checks that the path of a mount, automount or swap is the one that its name stands for.
fn check_path(name: &UnitName, file: &UnitFile, option: &str, findings: &mut Findings) {
    // Without a path systemd takes it from the name; specifiers and tags such as `UUID=` only systemd can resolve.
    let is_plain = |path: &&str| path.starts_with('/') && !path.contains('%');
    let ty = name.unit_type();
    let Some(path) = file.values(own_section(ty), option).last().filter(is_plain) else { return };
    let wanted = escape_path(path);
    if name.stem() != wanted {
        let message =
            format!("systemd refuses `{option}={path}` under the name `{name}`, which stands for another path");
        findings.warn(Problem::new(None, message).hint(format!("name the unit `{wanted}.{}`", ty.suffix())));
    }
}

/// The name that stands for a path: systemd-escape(1) with `--path`.
fn escape_path(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let joined = parts.join("/");
    if joined.is_empty() {
        return "-".to_owned();
    }
    let mut escaped = String::new();
    for (idx, byte) in joined.bytes().enumerate() {
        match byte {
            b'/' => escaped.push('-'),
            b'.' if idx == 0 => escaped.push_str("\\x2e"),
            _ if byte.is_ascii_alphanumeric() || b":_.".contains(&byte) => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("\\x{byte:02x}")),
        }
    }
    escaped
}
