//! What one machine is to be: its name, id, address and metadata, checked before anything is started.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use crate::DevError;

/// Longest machine name in characters.
///
/// A choice of ours, below the kernel's 64 for host names: the name is also in the path of the machine's socket.
pub const MACHINE_NAME_LEN_MAX: usize = 32;

/// What one machine is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineSpec {
    /// Host name, and name of the machine's folder: `m1`. Up to [`MACHINE_NAME_LEN_MAX`] characters of a-z, 0-9 and
    /// single dashes inside.
    pub name: String,
    /// The machine id: 32 hexadecimal digits in lower case, as in machine-id(5).
    pub id: String,
    /// The address at which its services listen, also in `COREOS_PUBLIC_IPV4`: a loopback address of this box, or on a
    /// lab's own network one of that.
    pub address: Ipv4Addr,
    /// Static metadata (key, value) with which fleet may choose the machine.
    pub metadata: BTreeMap<String, String>,
}

impl MachineSpec {
    /// Machine `mN` with the address `127.77.0.(10+N)`, an id that is always the same for that number, and no metadata.
    #[must_use]
    pub fn numbered(n: u8) -> MachineSpec {
        // Equal ids from run to run let a kept folder find its machines again. People see the first eight digits
        // only, so neighbors must differ in them: the mixing function of SplitMix64 (Steele, Lea, Flood 2014).
        let mix = |seed: u64| {
            let x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            x ^ (x >> 31)
        };
        let n64 = u64::from(n);
        let address = Ipv4Addr::from_bits(Ipv4Addr::new(127, 77, 0, 10).to_bits() + u32::from(n));
        MachineSpec {
            name: format!("m{n}"),
            id: format!("{:016x}{:016x}", mix(2 * n64 + 1), mix(2 * n64 + 2)),
            address,
            metadata: BTreeMap::new(),
        }
    }

    /// Checks every field by itself.
    ///
    /// # Errors
    /// [`DevError::BadName`], [`DevError::BadId`], [`DevError::BadAddress`].
    pub fn check(&self) -> Result<(), DevError> {
        self.check_identity()?;
        if !self.address.is_loopback() {
            return Err(DevError::BadAddress { name: self.name.clone(), address: self.address });
        }
        Ok(())
    }

    /// Checks name and id.
    pub(crate) fn check_identity(&self) -> Result<(), DevError> {
        let name_char = |ch: char| ch.is_ascii_lowercase() || ch.is_ascii_digit();
        // No dash at an end and none after another, or the slice's name would be none for systemd.
        let name_ok = self.name.len() <= MACHINE_NAME_LEN_MAX
            && self.name.split('-').all(|part| !part.is_empty() && part.chars().all(name_char));
        if !name_ok {
            return Err(DevError::BadName { name: self.name.clone() });
        }
        let id_char = |ch: char| ch.is_ascii_digit() || ('a'..='f').contains(&ch);
        if self.id.len() != 32 || !self.id.chars().all(id_char) {
            return Err(DevError::BadId { name: self.name.clone(), id: self.id.clone() });
        }
        Ok(())
    }
}

/// Checks each of `specs`, and that no name, id or address is there twice.
pub(crate) fn check_all(specs: &[MachineSpec]) -> Result<(), DevError> {
    let (mut names, mut ids, mut addresses) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for spec in specs {
        spec.check()?;
        if !names.insert(&spec.name) {
            return Err(DevError::Twice { what: "name", value: spec.name.clone() });
        }
        if !ids.insert(&spec.id) {
            return Err(DevError::Twice { what: "machine id", value: spec.id.clone() });
        }
        if !addresses.insert(spec.address) {
            return Err(DevError::Twice { what: "address", value: spec.address.to_string() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(change: impl FnOnce(&mut MachineSpec), expected: &str) {
        let mut spec = MachineSpec::numbered(1);
        change(&mut spec);
        let said = match spec.check() {
            Ok(()) => "fine".to_owned(),
            Err(err) => err.to_string(),
        };
        assert!(said.contains(expected), "expected `{expected}` in `{said}`");
    }

    #[test]
    fn fields() {
        check(|_| (), "fine");
        check(|spec| spec.name = "a-1-b".to_owned(), "fine");
        check(|spec| spec.name = "x".repeat(32), "fine");
        check(|spec| spec.name = "x".repeat(33), "machine name `xxxxx");
        for bad in ["", "-a", "a-", "a--b", "a.b", "A", "a/b", "ä", "a b"] {
            check(|spec| spec.name = bad.to_owned(), &format!("machine name `{bad}` is not usable"));
        }
        for bad in ["", "0123", "0123456789ABCDEF0123456789abcdef", "0123456789abcdef0123456789abcdefa"] {
            check(|spec| spec.id = bad.to_owned(), &format!("machine id `{bad}` of machine `m1`"));
        }
        check(|spec| spec.address = Ipv4Addr::new(10, 0, 0, 1), "address `10.0.0.1` of machine `m1`");
    }

    #[test]
    fn numbered_machines_differ() {
        let specs: Vec<MachineSpec> = (0..=255).map(MachineSpec::numbered).collect();
        check_all(&specs).expect("256 numbered machines have different names, ids and addresses");
        let short_ids: BTreeSet<&str> = specs.iter().map(|spec| &spec.id[..8]).collect();
        assert_eq!(short_ids.len(), specs.len(), "the digits that people see differ, too");
        assert_eq!(specs[3].address, Ipv4Addr::new(127, 77, 0, 13));
        assert_eq!(specs[255].address, Ipv4Addr::new(127, 77, 1, 9));
    }

    #[test]
    fn twins_are_refused() {
        let twins = |change: fn(&mut MachineSpec)| {
            let mut specs = [MachineSpec::numbered(1), MachineSpec::numbered(2)];
            change(&mut specs[1]);
            check_all(&specs).expect_err("two machines share something").to_string()
        };
        assert_eq!(
            twins(|spec| spec.name = "m1".to_owned()),
            "two machines have the same name `m1`: give each its own"
        );
        assert!(twins(|spec| spec.id = MachineSpec::numbered(1).id).contains("same machine id"));
        assert!(twins(|spec| spec.address = MachineSpec::numbered(1).address).contains("same address `127.77.0.11`"));
    }
}
