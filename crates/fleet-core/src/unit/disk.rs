//! What systemd gets to see of a unit.

use sha1::{Digest as _, Sha1};

use super::{UnitFile, UnitHash, UnitName, UnitType, systemd};

/// The text that is written for systemd: the canonical form under a comment that says who wrote it.
///
/// If `slice` is given, it becomes the unit's slice, provided the unit has processes and does not choose a slice
/// itself. The added lines are not part of the unit: its hash is that of the canonical form alone.
pub fn on_disk(name: &UnitName, canonical: &str, slice: Option<&str>) -> String {
    let hash = UnitHash::of_canonical(canonical);
    let mut text = format!("# fleet wrote this for {name}, hash {hash}; changes here are lost.\n{canonical}");
    if let (Some(slice), Some(section)) = (slice, section_with_slice(name.unit_type()))
        // What cannot be read gets no slice: systemd shall see it as it is, and say what is wrong with it.
        && UnitFile::parse(canonical).is_ok_and(|file| file.values(section, "Slice").next().is_none())
    {
        // A section may be opened twice. The blank line ends a value that the file left open with a backslash.
        text.push_str(&format!("\n[{section}]\nSlice={slice}\n"));
    }
    text
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
