//! The units that users of a simulated cluster have: a few families, each for one thing that can go differently.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use fleet_core::unit::{UnitFile, UnitHash, UnitName};

/// The metadata that units ask for, and the value that they want.
pub(crate) const DISK: &str = "disk";
pub(crate) const FAST: &str = "ssd";
/// What other machines have.
pub(crate) const SLOW: &str = "hdd";

/// What kind of unit it is. The name begins with the family's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// Runs until it is stopped, anywhere.
    Plain,
    /// The same, and keeps off its like.
    Web,
    /// Goes where the web unit of its number is.
    Side,
    /// Runs on every machine.
    Everywhere,
    /// Runs where the metadata say so.
    Picky,
    /// Ends well by itself.
    Once,
    /// Fails by itself, again and again.
    Bad,
    /// Takes its time to stop.
    Slow,
    /// Runs at most once, whatever happens.
    Guarded,
    /// Does not stop by itself: systemd loses its patience.
    Stuck,
    /// Runs anywhere, and moves away when the heir of its number comes.
    Elder,
    /// Runs anywhere, and from its second version on replaces the elder of its number.
    Heir,
}

/// Heirs before this version replace nobody.
const REPLACES_SINCE: u64 = 2;

/// The highest number of a unit in its family.
const NUMBER_MAX: u64 = 3;

/// How many units of each family users may think of; fewer more often, which is quicker.
pub(crate) const NUMBERS: [u64; 5] = [1, 1, 2, 2, NUMBER_MAX];

/// The newest version of a unit.
pub(crate) const VERSION_MAX: u64 = 3;

/// Whether there may never be two of it (`WhenIsolated=stop`): what is guarded by its family, and of some others each second.
pub(crate) fn runs_once(unit: &UnitName) -> bool {
    match Family::of(unit) {
        Family::Guarded => true,
        Family::Elder | Family::Picky => number(unit).is_multiple_of(2),
        Family::Plain | Family::Web | Family::Side | Family::Everywhere | Family::Once => false,
        Family::Bad | Family::Slow | Family::Stuck | Family::Heir => false,
    }
}

/// The unit that an heir of this file replaces; none for any other unit.
pub(crate) fn replaced_by(unit: &UnitName, hash: UnitHash) -> Option<UnitName> {
    (Family::of(unit) == Family::Heir).then(|| REPLACED.get(&hash).cloned()).flatten()
}

/// What the heirs' files replace, by their hashes: they are asked for all the time.
static REPLACED: LazyLock<BTreeMap<UnitHash, UnitName>> = LazyLock::new(|| {
    let versions = |number: u64| (REPLACES_SINCE..=VERSION_MAX).map(move |version| (number, version));
    let file = |(number, version): (u64, u64)| {
        let text = Family::Heir.text(&Family::Heir.name(number), version);
        let file = UnitFile::parse(&text).unwrap_or_else(|err| panic!("{text:?} is a unit file: {err}"));
        (file.hash(), Family::Elder.name(number))
    };
    (1..=NUMBER_MAX).flat_map(versions).map(file).collect()
});

/// The heir of an elder; none of any other unit.
pub(crate) fn heir_of(unit: &UnitName) -> Option<UnitName> {
    (Family::of(unit) == Family::Elder).then(|| Family::Heir.name(number(unit)))
}

/// The number in a name made by [`Family::name`].
fn number(unit: &UnitName) -> u64 {
    let number = unit.stem().rsplit('-').next().unwrap_or_default();
    number.parse().unwrap_or_else(|err| panic!("{unit} has no number: {err}"))
}

impl Family {
    pub(crate) const ALL: [Family; 12] = [
        Family::Plain,
        Family::Web,
        Family::Side,
        Family::Everywhere,
        Family::Picky,
        Family::Once,
        Family::Bad,
        Family::Slow,
        Family::Guarded,
        Family::Stuck,
        Family::Elder,
        Family::Heir,
    ];

    /// The family of a name made by [`Family::name`].
    ///
    /// # Panics
    /// For any other name: nobody else makes units here.
    pub(crate) fn of(name: &UnitName) -> Family {
        let word = name.as_str().split('-').next().unwrap_or_default();
        let found = Family::ALL.into_iter().find(|family| family.word() == word);
        found.unwrap_or_else(|| panic!("{name} is not a unit of the simulation"))
    }

    pub(crate) fn name(self, number: u64) -> UnitName {
        let name = format!("{}-{number}.service", self.word());
        name.parse().unwrap_or_else(|err| panic!("{name} is a unit name: {err}"))
    }

    fn word(self) -> &'static str {
        match self {
            Family::Plain => "plain",
            Family::Web => "web",
            Family::Side => "side",
            Family::Everywhere => "everywhere",
            Family::Picky => "picky",
            Family::Once => "once",
            Family::Bad => "bad",
            Family::Slow => "slow",
            Family::Guarded => "guarded",
            Family::Stuck => "stuck",
            Family::Elder => "elder",
            Family::Heir => "heir",
        }
    }

    /// Whether it runs until somebody stops it.
    pub(crate) fn runs_on(self) -> bool {
        match self {
            Family::Once | Family::Bad => false,
            Family::Plain | Family::Web | Family::Side | Family::Everywhere => true,
            Family::Picky | Family::Slow | Family::Guarded | Family::Stuck | Family::Elder | Family::Heir => true,
        }
    }

    /// Whether any machine can take it whatever else is there, and only one has it.
    pub(crate) fn fits_everywhere(self) -> bool {
        match self {
            Family::Plain | Family::Once | Family::Bad | Family::Slow | Family::Guarded | Family::Stuck => true,
            Family::Web | Family::Side | Family::Everywhere | Family::Picky | Family::Elder | Family::Heir => false,
        }
    }

    /// Whether nothing moves it but the loss of its machine, operators, and its heir.
    pub(crate) fn stays_put(self) -> bool {
        self.fits_everywhere() || matches!(self, Family::Elder | Family::Heir)
    }

    /// The unit file of one of its units in one of its versions.
    pub(crate) fn text(self, name: &UnitName, version: u64) -> String {
        let run = format!("ExecStart=/opt/run v{version}");
        let number = number(name);
        let service = match self {
            Family::Elder | Family::Picky if runs_once(name) => format!("{run}\nExecStop=/bin/sleep 2"),
            Family::Plain | Family::Web | Family::Side | Family::Everywhere | Family::Picky => run,
            Family::Elder | Family::Heir => run,
            Family::Once => format!("Environment=VERSION={version}\nExecStart=/bin/sleep 7"),
            Family::Bad => {
                format!("Environment=VERSION={version}\nRestart=on-failure\nRestartSec=3\nExecStart=/bin/false")
            }
            Family::Guarded => format!("{run}\nExecStop=/bin/sleep 2"),
            Family::Slow => format!("{run}\nExecStop=/bin/sleep 4"),
            Family::Stuck => format!("{run}\nExecStop=/bin/sleep 600\nTimeoutStopSec=20"),
        };
        let fleet = match self {
            Family::Web => "[X-Fleet]\nConflicts=web-*.service\n".to_owned(),
            Family::Side => format!("[X-Fleet]\nMachineOf=web-{number}.service\n"),
            Family::Everywhere => "[X-Fleet]\nGlobal=true\n".to_owned(),
            Family::Guarded => "[X-Fleet]\nWhenIsolated=stop\n".to_owned(),
            Family::Picky if runs_once(name) => {
                format!("[X-Fleet]\nMachineMetadata={DISK}={FAST}\nWhenIsolated=stop\n")
            }
            Family::Picky => format!("[X-Fleet]\nMachineMetadata={DISK}={FAST}\n"),
            Family::Elder if runs_once(name) => "[X-Fleet]\nWhenIsolated=stop\n".to_owned(),
            Family::Heir if REPLACES_SINCE <= version => format!("[X-Fleet]\nReplaces=elder-{number}.service\n"),
            Family::Plain | Family::Once | Family::Bad | Family::Slow | Family::Stuck => String::new(),
            Family::Elder | Family::Heir => String::new(),
        };
        format!("[Service]\n{service}\n{fleet}")
    }
}
