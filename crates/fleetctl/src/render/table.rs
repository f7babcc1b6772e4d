//! What the tables of units, unit files and machines show; `layout` puts it into columns.

use std::collections::BTreeMap;

use fleet_api::v2;

use crate::error::CommandError;
use crate::render::layout::Table;
use crate::wait::{self, SHORT_ID_LEN};

/// How many hex digits of a hash people see.
pub const SHORT_HASH_LEN: usize = 7;

/// What a cell of a column shows.
pub type Cell<Row> = fn(&Row, full: bool) -> String;

/// One kind of table: its columns by name.
pub struct Columns<Row: 'static> {
    /// Name and content of each column.
    pub all: &'static [(&'static str, Cell<Row>)],
    /// The columns that are shown if none is asked for.
    pub default: &'static str,
    /// Those that are shown with `-o wide`.
    pub wide: &'static str,
}

/// The columns that were asked for, checked.
pub struct Chosen<Row: 'static>(Vec<(&'static str, Cell<Row>)>);

impl<Row> Columns<Row> {
    /// Reads `--fields`: names in lower case, separated by commas, in the wanted order, also repeated. Without it all columns that
    /// are worth it, if `wide`, or the usual ones.
    ///
    /// # Errors
    /// [`CommandError::NoFields`] for an empty text, [`CommandError::BadField`] for a name that is no column.
    pub fn choose(&self, fields: Option<&str>, wide: bool) -> Result<Chosen<Row>, CommandError> {
        let fields = fields.unwrap_or(if wide { self.wide } else { self.default });
        let valid = || self.all.iter().map(|(name, _)| *name).collect::<Vec<&str>>().join(", ");
        if fields.is_empty() {
            return Err(CommandError::NoFields { valid: valid() });
        }
        let find = |given: &str| {
            let column = self.all.iter().find(|(name, _)| *name == given).copied();
            column.ok_or_else(|| CommandError::BadField { given: given.to_owned(), valid: valid() })
        };
        Ok(Chosen(fields.split(',').map(find).collect::<Result<_, _>>()?))
    }
}

impl<Row> Chosen<Row> {
    /// Whether a column is among them.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(column, _)| *column == name)
    }

    /// The table.
    pub fn table(&self, rows: &[Row], full: bool) -> Table {
        let columns = self.0.iter().map(|(name, _)| *name).collect();
        let rows = rows.iter().map(|row| self.0.iter().map(|(_, cell)| cell(row, full)).collect()).collect();
        Table { columns, rows }
    }
}

/// A row of `list-units`: one unit on one machine.
pub struct UnitRow {
    /// The unit.
    pub name: String,
    /// The machine.
    pub machine: v2::Placement,
    /// How it is there.
    pub state: v2::UnitState,
    /// What its file says that it is.
    pub description: String,
}

/// The rows of `list-units`: by name, then machine; without what no machine has spoken of. What a lost machine has is lost,
/// whatever it said last.
pub fn unit_rows(units: &[v2::Unit]) -> Vec<UnitRow> {
    let row = |unit: &v2::Unit, machine: &v2::Placement| {
        let lost = machine.lost.map(|lost| v2::UnitState {
            load: String::new(),
            active: "lost".to_owned(),
            sub: format!("no news for {}", wait::age(lost.silent_ms)),
            result: String::new(),
            hash: unit.hash.clone(),
            generation: 0,
            restarts: 0,
            reached: v2::State::Inactive,
            error: String::new(),
            since_ms: 0,
        });
        let (name, machine) = (unit.name.clone(), machine.clone());
        let description = unit.description.clone().unwrap_or_default();
        lost.or_else(|| machine.state.clone()).map(|state| UnitRow { name, machine, state, description })
    };
    units.iter().flat_map(|unit| unit.placements.iter().filter_map(move |machine| row(unit, machine))).collect()
}

/// `list-units`.
pub fn units() -> Columns<UnitRow> {
    Columns {
        all: &[
            ("unit", |row, _| row.name.clone()),
            ("machine", |row, full| machine_cell(&row.machine, full)),
            ("active", |row, _| or_dash(&row.state.active)),
            ("sub", |row, _| or_dash(&row.state.sub)),
            ("load", |row, _| or_dash(&row.state.load)),
            ("hash", |row, full| hash_cell(&row.state.hash, full)),
            ("result", |row, _| or_dash(&row.state.result)),
            ("desc", |row, _| or_dash(&row.description)),
        ],
        default: "unit,machine,active,sub",
        wide: "unit,machine,load,active,sub,result,hash,desc",
    }
}

/// `list-unit-files`.
pub fn unit_files() -> Columns<v2::Unit> {
    Columns {
        all: &[
            ("unit", |unit, _| unit.name.clone()),
            ("hash", |unit, full| hash_cell(&unit.hash, full)),
            ("dstate", |unit, _| unit.desired_state.as_str().to_owned()),
            ("state", |unit, _| match wait::share(unit) {
                Some(_) if unit.desired_state == v2::State::Inactive => "-".to_owned(),
                Some((n, n_fitting)) => format!("{n}/{n_fitting}"),
                None => unit.current_state.as_str().to_owned(),
            }),
            ("target", target_cell),
            ("tmachine", target_cell),
            ("desc", |unit, _| or_dash(unit.description.as_deref().unwrap_or_default())),
            ("global", |unit, _| unit.global.to_string()),
        ],
        default: "unit,hash,dstate,state,target",
        wide: "unit,hash,dstate,state,target,global,desc",
    }
}

/// `list-machines`.
pub fn machines() -> Columns<v2::Machine> {
    Columns {
        all: &[
            ("machine", |machine, full| if full { machine.id.clone() } else { wait::short_id(&machine.id) }),
            ("ip", |machine, _| or_dash(machine.ip.as_deref().unwrap_or_default())),
            ("metadata", |machine, _| or_dash(&metadata(&machine.metadata))),
            ("state", |machine, _| machine_state(machine)),
            ("units", |machine, _| machine.units.to_string()),
            ("version", |machine, _| or_dash(&machine.version)),
        ],
        default: "machine,ip,metadata,state",
        wide: "machine,ip,metadata,state,units,version",
    }
}

/// Whether the machine is there, and whether it takes units: `present`, `lost, no news for 35s, cordoned`.
pub fn machine_state(machine: &v2::Machine) -> String {
    let there = match machine.lost {
        _ if machine.given_up => "given up".to_owned(),
        Some(lost) => format!("lost, no news for {}", wait::age(lost.silent_ms)),
        None if machine.present => "present".to_owned(),
        None => "absent".to_owned(),
    };
    let takes = match (machine.draining, machine.cordoned) {
        (Some(_), _) => ", draining",
        (None, true) => ", cordoned",
        (None, false) => "",
    };
    there + takes
}

/// `k=v` pairs by key, separated by commas.
pub fn metadata(metadata: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = metadata.iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(",")
}

fn target_cell(unit: &v2::Unit, full: bool) -> String {
    let placed = unit.placements.iter().find(|placement| placement.placed);
    match placed {
        _ if unit.global => "global".to_owned(),
        Some(placement) => machine_cell(placement, full),
        None => "-".to_owned(),
    }
}

fn machine_cell(placement: &v2::Placement, full: bool) -> String {
    match (full, &placement.ip) {
        (false, ip) => wait::legend(&placement.machine, ip.as_deref()),
        (true, Some(ip)) => format!("{}/{ip}", placement.machine),
        (true, None) => placement.machine.clone(),
    }
}

fn hash_cell(hash: &str, full: bool) -> String {
    if full { or_dash(hash) } else { or_dash(&hash.chars().take(SHORT_HASH_LEN).collect::<String>()) }
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

/// The first characters of a machine ID without dots: what can be typed again.
pub fn typed_id(machine: &str) -> String {
    machine.chars().take(SHORT_ID_LEN).collect()
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
