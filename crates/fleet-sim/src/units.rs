//! The units that users of a simulated cluster have: a few families, each for one thing that can go differently.

use fleet_core::unit::UnitName;

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
}

impl Family {
    pub(crate) const ALL: [Family; 10] = [
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
        }
    }

    /// Whether it runs until somebody stops it.
    pub(crate) fn runs_on(self) -> bool {
        match self {
            Family::Once | Family::Bad => false,
            Family::Plain | Family::Web | Family::Side | Family::Everywhere => true,
            Family::Picky | Family::Slow | Family::Guarded | Family::Stuck => true,
        }
    }

    /// Whether any machine can take it whatever else is there, and only one has it: then nothing but the loss of its
    /// machine moves it.
    pub(crate) fn fits_everywhere(self) -> bool {
        match self {
            Family::Plain | Family::Once | Family::Bad | Family::Slow | Family::Guarded | Family::Stuck => true,
            Family::Web | Family::Side | Family::Everywhere | Family::Picky => false,
        }
    }

    /// The unit file of one of its units in one of its versions.
    pub(crate) fn text(self, name: &UnitName, version: u64) -> String {
        let run = format!("ExecStart=/opt/run v{version}");
        let number = name.stem().rsplit('-').next().unwrap_or_default();
        let service = match self {
            Family::Plain | Family::Web | Family::Side | Family::Everywhere | Family::Picky => run,
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
            Family::Picky => "[X-Fleet]\nMachineMetadata=disk=ssd\n".to_owned(),
            Family::Plain | Family::Once | Family::Bad | Family::Slow | Family::Stuck => String::new(),
        };
        format!("[Service]\n{service}\n{fleet}")
    }
}
