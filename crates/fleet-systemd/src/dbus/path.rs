//! The object paths under which systemd shows units.

use fleet_core::unit::UnitType;

/// Where the units hang.
const UNITS: &str = "/org/freedesktop/systemd1/unit/";

/// The object path of a unit.
///
/// Source: `bus_label_escape` of systemd: letters and digits stay (a digit not in front), every other byte becomes `_` and
/// two lower-case hexadecimal digits.
pub(super) fn unit_path(name: &str) -> String {
    let mut path = String::with_capacity(UNITS.len() + name.len() * 2);
    path.push_str(UNITS);
    for (at, byte) in name.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (at > 0 && byte.is_ascii_digit()) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("_{byte:02x}"));
        }
    }
    path
}

/// The D-Bus interface that has the `Result` property of a unit of this type; `None` where there is none.
pub(super) fn result_interface(ty: UnitType) -> Option<&'static str> {
    match ty {
        UnitType::Automount => Some("org.freedesktop.systemd1.Automount"),
        UnitType::Mount => Some("org.freedesktop.systemd1.Mount"),
        UnitType::Path => Some("org.freedesktop.systemd1.Path"),
        UnitType::Scope => Some("org.freedesktop.systemd1.Scope"),
        UnitType::Service => Some("org.freedesktop.systemd1.Service"),
        UnitType::Socket => Some("org.freedesktop.systemd1.Socket"),
        UnitType::Swap => Some("org.freedesktop.systemd1.Swap"),
        UnitType::Timer => Some("org.freedesktop.systemd1.Timer"),
        UnitType::Device | UnitType::Slice | UnitType::Target => None,
    }
}

#[cfg(test)]
mod tests {
    use super::unit_path;

    /// The right-hand sides are what `busctl --user tree org.freedesktop.systemd1` (252) shows for such units.
    #[test]
    fn escapes_as_systemd_does() {
        for (name, label) in [
            ("a.service", "a_2eservice"),
            ("hello@1.service", "hello_401_2eservice"),
            ("-.slice", "_2d_2eslice"),
            ("9p.mount", "_39p_2emount"),
            ("a_b.service", "a_5fb_2eservice"),
            (r"dev-a\x2db.device", "dev_2da_5cx2db_2edevice"),
        ] {
            assert_eq!(unit_path(name), format!("/org/freedesktop/systemd1/unit/{label}"), "{name}");
        }
    }
}
