//! What systemd gets to see of a unit.

use sha1::{Digest as _, Sha1};

use super::{Requirements, UnitFile, UnitHash, UnitName, UnitType, WhenIsolated, systemd};

/// The unit that runs exactly as long as the machine has its lease. Units with `WhenIsolated=stop` are bound to it.
pub const GUARD_UNIT: &str = "fleet-guard.service";

/// How long a unit with `WhenIsolated=stop` may take from the end of the guard until systemd kills it.
///
/// Seconds. The default of the engine's stop allowance (30 s) without a margin of 5 s for systemd to notice and to act.
pub const STOP_WITHIN_S: u64 = 25;

/// The text that is written for systemd: the canonical form under a comment that says who wrote it.
///
/// If `slice` is given, it becomes the unit's slice, provided the unit has processes and does not choose a slice
/// itself. A unit with `WhenIsolated=stop` is bound to [`GUARD_UNIT`], and a service of that kind is killed after
/// [`STOP_WITHIN_S`] at the latest: each command of its `ExecStop` and the signal after them get an equal part of that.
/// The added lines are not part of the unit: its hash is that of the canonical form alone.
pub fn on_disk(name: &UnitName, canonical: &str, slice: Option<&str>) -> String {
    let hash = UnitHash::of_canonical(canonical);
    let mut text = format!("# fleet wrote this for {name}, hash {hash}; changes here are lost.\n{canonical}");
    // What cannot be read gets nothing: systemd shall see it as it is, and say what is wrong with it.
    let Ok(file) = UnitFile::parse(canonical) else { return text };
    // A section may be opened twice. The blank line ends a value that the file left open with a backslash.
    let mut add = |section: &str, lines: &str| text.push_str(&format!("\n[{section}]\n{lines}\n"));
    if let (Some(slice), Some(section)) = (slice, section_with_slice(name.unit_type()))
        && file.values(section, "Slice").next().is_none()
    {
        add(section, &format!("Slice={slice}"));
    }
    if Requirements::of(name, &file).when_isolated == WhenIsolated::Stop {
        add("Unit", &format!("BindsTo={GUARD_UNIT}\nAfter={GUARD_UNIT}"));
        if name.unit_type() == UnitType::Service {
            let n_commands = file.values("Service", "ExecStop").filter(|command| !command.is_empty()).count() as u64;
            let limit_s = (STOP_WITHIN_S / (n_commands + 1)).max(1);
            let own = file.values("Service", "TimeoutStopSec").chain(file.values("Service", "TimeoutSec"));
            // `TimeoutSec` sets both limits, and of several lines the last counts. So all of them have to be short enough.
            let mut own = own.map(seconds).peekable();
            if own.peek().is_none() || own.any(|own_s| own_s.is_none_or(|own_s| limit_s < own_s)) {
                add("Service", &format!("TimeoutStopSec={limit_s}"));
            }
        }
    }
    text
}

/// A time of whole seconds; `None` for anything else (other units of time, `infinity`) and for 0, which is no limit.
fn seconds(value: &str) -> Option<u64> {
    let digits = value.strip_suffix("sec").or(value.strip_suffix('s')).unwrap_or(value).trim();
    digits.parse().ok().filter(|seconds| 0 < *seconds)
}

/// The slice, `fleet-00.slice` and up, that spreads units evenly over `n_slices` of them, always the same for a name.
///
/// systemd's cost of starting a unit grows with the number of its siblings in a slice, so thousands of units in one are
/// slow. `None` if there are no slices to spread over or the unit has no processes.
pub fn slice_for(name: &UnitName, n_slices: u32) -> Option<String> {
    section_with_slice(name.unit_type())?;
    // SHA-1 because it is here already and, unlike the standard library's hashers, the same in every version.
    let digest = Sha1::digest(name.as_str().as_bytes());
    let [b0, b1, b2, b3, ..] = digest[..] else { unreachable!("a SHA-1 has 20 bytes") };
    let idx = u32::from_be_bytes([b0, b1, b2, b3]).checked_rem(n_slices)?;
    Some(format!("fleet-{idx:02}.slice"))
}

/// Where `Slice=` stands for units of this type; `None` for those without processes of their own.
fn section_with_slice(ty: UnitType) -> Option<&'static str> {
    match ty {
        UnitType::Mount | UnitType::Scope | UnitType::Service | UnitType::Socket | UnitType::Swap => {
            Some(systemd::own_section(ty))
        }
        UnitType::Automount
        | UnitType::Device
        | UnitType::Path
        | UnitType::Slice
        | UnitType::Target
        | UnitType::Timer => None,
    }
}
