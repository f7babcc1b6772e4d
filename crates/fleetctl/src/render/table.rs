//! Tables in the layout of the original, which scripts parse.
//!
//! Cells are padded with tabs to the next multiple of 8 columns; the last cell of a row is not padded. So between two cells there
//! is at least one tab. Source: Go's `text/tabwriter` with tab width 8 and padding 1, as the original used it.

use std::collections::BTreeMap;

use fleet_api::v2;

use crate::error::CommandError;
use crate::wait::{self, SHORT_ID_LEN};

/// Width of a tab stop in columns.
const TAB_WIDTH: usize = 8;

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
}

/// The columns that were asked for, checked.
pub struct Chosen<Row: 'static>(Vec<(&'static str, Cell<Row>)>);

impl<Row> Columns<Row> {
    /// Reads `--fields`: names in lower case, separated by commas, in the wanted order, also repeated.
    ///
    /// # Errors
    /// [`CommandError::NoFields`] for an empty text, [`CommandError::BadField`] for a name that is no column.
    pub fn choose(&self, fields: Option<&str>) -> Result<Chosen<Row>, CommandError> {
        let fields = fields.unwrap_or(self.default);
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

    /// The table, one text a line.
    pub fn render(&self, rows: &[Row], full: bool, no_legend: bool) -> Vec<String> {
        let header = (!no_legend).then(|| self.0.iter().map(|(name, _)| name.to_uppercase()).collect());
        let cells = rows.iter().map(|row| self.0.iter().map(|(_, cell)| cell(row, full)).collect());
        layout(&header.into_iter().chain(cells).collect::<Vec<Vec<String>>>())
    }
}

/// Lays cells out in columns.
fn layout(rows: &[Vec<String>]) -> Vec<String> {
    let width = |cell: &String| cell.chars().count();
    let n_columns = rows.first().map_or(0, Vec::len);
    // One column of padding at least, then up to the next tab stop.
    let stops: Vec<usize> = (0..n_columns)
        .map(|column| (rows.iter().map(|row| width(&row[column])).max().unwrap_or(0) + 1).next_multiple_of(TAB_WIDTH))
        .collect();
    let line = |row: &Vec<String>| {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            line.push_str(cell);
            if column + 1 < n_columns {
                let n_tabs = (stops[column] - width(cell)).div_ceil(TAB_WIDTH);
                line.extend(std::iter::repeat_n('\t', n_tabs));
            }
        }
        line
    };
    rows.iter().map(line).collect()
}

/// A row of `list-units`: one unit on one machine.
pub struct UnitRow {
    name: String,
    machine: v2::Placement,
    state: v2::UnitState,
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
        lost.or_else(|| machine.state.clone()).map(|state| UnitRow { name, machine, state })
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
        ],
        default: "unit,machine,active,sub",
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
                Some((n, n_fitting)) => format!("{n} of {n_fitting}"),
                None => unit.current_state.as_str().to_owned(),
            }),
            ("target", target_cell),
            ("tmachine", target_cell),
            ("desc", |unit, _| or_dash(unit.description.as_deref().unwrap_or_default())),
            ("global", |unit, _| unit.global.to_string()),
        ],
        default: "unit,hash,dstate,state,target",
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
        ],
        default: "machine,ip,metadata,state",
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
