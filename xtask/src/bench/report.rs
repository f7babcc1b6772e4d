//! The figures, and how they are shown.

use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

use crate::run::{ChoreError, print};

/// How the result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For programs: one document with every single figure.
    Json,
}

/// Everything that was measured, and where.
#[derive(Serialize)]
pub struct Report {
    #[serde(rename = "box")]
    box_facts: BoxFacts,
    rows: Vec<Row>,
}

/// What the figures depend on.
#[derive(Serialize)]
struct BoxFacts {
    n_cpus: usize,
    kernel: String,
    /// Processes that wanted to run in the minute before the first measurement: above `n_cpus`, the figures are noisy.
    load_before: String,
}

/// One thing measured.
#[derive(Debug, Serialize)]
pub struct Row {
    /// What.
    pub what: String,
    /// Of all figures of this row: `ms`, `per second`, `wakeups`.
    pub unit: &'static str,
    /// Bare systemd, if there is such a thing for this row.
    pub floor: Option<Samples>,
    /// fleet.
    pub fleet: Samples,
    /// What is aimed at, in words; empty if nothing is.
    pub aim: &'static str,
}

/// The figures of one side, in the order in which they were taken.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Adds a time, in milliseconds.
    pub fn push_ms(&mut self, time: Duration) {
        self.push(time.as_secs_f64() * 1_000.0);
    }

    /// Adds a figure.
    pub fn push(&mut self, figure: f64) {
        self.0.push(figure);
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    fn min(&self) -> f64 {
        self.sorted().first().copied().unwrap_or_default()
    }

    fn median(&self) -> f64 {
        let sorted = self.sorted();
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => 0.0,
            n if n % 2 == 0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
            _ => sorted[middle],
        }
    }

    fn max(&self) -> f64 {
        self.sorted().last().copied().unwrap_or_default()
    }
}

const HEADINGS: [&str; 8] = ["WHAT", "UNIT", "N", "FLOOR", "FLEET", "RATIO", "MORE", "AIM"];

impl Report {
    /// Nothing measured yet.
    pub fn new() -> Result<Report, ChoreError> {
        let read = |path: &str| {
            let text = std::fs::read_to_string(path);
            text.map_err(|err| ChoreError::Other(format!("cannot read {path}: {err}")))
        };
        let load = read("/proc/loadavg")?;
        let box_facts = BoxFacts {
            n_cpus: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            load_before: load.split_whitespace().next().unwrap_or_default().to_owned(),
        };
        Ok(Report { box_facts, rows: Vec::new() })
    }

    /// Adds a row.
    pub fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Prints all of it on stdout.
    pub fn print(&self, format: Format) -> Result<(), ChoreError> {
        match format {
            Format::Table => print(&self.table()),
            Format::Json => {
                let text = serde_json::to_string_pretty(self).map_err(|err| ChoreError::Other(err.to_string()))?;
                print(&text);
            }
        }
        Ok(())
    }

    fn table(&self) -> String {
        let BoxFacts { n_cpus, kernel, load_before } = &self.box_facts;
        let mut lines = vec![format!(
            "{n_cpus} CPUs, Linux {kernel}, load before {load_before}; figures are minimum / median .. maximum"
        )];
        let mut cells = vec![HEADINGS.map(str::to_owned)];
        cells.extend(self.rows.iter().map(Row::cells));
        let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
        let widths: [usize; HEADINGS.len()] = std::array::from_fn(width);
        for row in &cells {
            let padded = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
            lines.push(padded.collect::<Vec<_>>().join("  ").trim_end().to_owned());
        }
        lines.join("\n")
    }
}

impl Row {
    fn cells(&self) -> [String; HEADINGS.len()] {
        let Row { what, unit, floor, fleet, aim } = self;
        let show = |samples: &Samples| {
            format!("{} / {} .. {}", figure(samples.min()), figure(samples.median()), figure(samples.max()))
        };
        let compare = |floor: &Samples| {
            let ratio =
                |floor: f64, fleet: f64| if 0.0 < floor { format!("{:.2}", fleet / floor) } else { "-".to_owned() };
            let ratios = format!("{} / {}", ratio(floor.min(), fleet.min()), ratio(floor.median(), fleet.median()));
            let more = format!("{} / {}", figure(fleet.min() - floor.min()), figure(fleet.median() - floor.median()));
            (ratios, more)
        };
        let none = || "-".to_owned();
        let (ratios, more) = floor.as_ref().map_or_else(|| (none(), none()), compare);
        let floor = floor.as_ref().map_or_else(none, show);
        [
            what.clone(),
            (*unit).to_owned(),
            fleet.0.len().to_string(),
            floor,
            show(fleet),
            ratios,
            more,
            (*aim).to_owned(),
        ]
    }
}

/// Three digits, or all that stand before the point.
fn figure(value: f64) -> String {
    match value.abs() {
        small if small < 10.0 => format!("{value:.2}"),
        middle if middle < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(figures: &[f64]) -> Samples {
        Samples(figures.to_vec())
    }

    #[test]
    fn minimum_median_maximum() {
        let check = |figures: &[f64], expected: (f64, f64, f64)| {
            let samples = samples(figures);
            assert_eq!((samples.min(), samples.median(), samples.max()), expected, "{figures:?}");
        };
        check(&[], (0.0, 0.0, 0.0));
        check(&[7.0], (7.0, 7.0, 7.0));
        check(&[9.0, 1.0, 4.0], (1.0, 4.0, 9.0));
        check(&[9.0, 1.0, 4.0, 5.0], (1.0, 4.5, 9.0));
    }

    #[test]
    fn cells_of_a_row() {
        let check = |floor: Option<&[f64]>, fleet: &[f64], expected: [&str; 4]| {
            let row =
                Row { what: "x".to_owned(), unit: "ms", floor: floor.map(samples), fleet: samples(fleet), aim: "" };
            let [_, _, n, floor, _, ratio, more, _] = row.cells();
            assert_eq!([n.as_str(), &floor, &ratio, &more], expected);
        };
        check(
            Some(&[10.0, 20.0, 200.0]),
            &[15.0, 22.0, 30.0],
            ["3", "10.0 / 20.0 .. 200", "1.50 / 1.10", "5.00 / 2.00"],
        );
        check(None, &[1.0], ["1", "-", "-", "-"]);
        check(Some(&[0.0]), &[0.0], ["1", "0.00 / 0.00 .. 0.00", "- / -", "0.00 / 0.00"]);
    }
}
