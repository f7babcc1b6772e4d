//! Cells laid out as a table.
//!
//! In the layout of the original, which scripts parse: cells are padded with tabs to the next multiple of 8 columns, the last cell of
//! a row is not padded. So between two cells there is at least one tab. Source: Go's `text/tabwriter` with tab width 8 and padding
//! 1, as the original used it. On a terminal it is the same, in colour, and cells that make it too wide are cut.

use anstyle::{AnsiColor, Style};

/// Width of a tab stop in columns.
const TAB_WIDTH: usize = 8;

/// Columns whose cells may be cut, because what is left of them still says something. What can be typed again is not among them,
/// but for the names of units, which can be longer than any screen is wide.
const MAY_BE_CUT: [&str; 5] = ["unit", "desc", "metadata", "sub", "state"];

/// No cell is cut to less than this many characters, dots included.
const CUT_WIDTH_MIN: usize = 15;

/// What stands for what was cut off. The same dots as behind short machine IDs.
const DOTS: &str = "...";

/// A table that is not laid out yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// The names of the columns.
    pub columns: Vec<&'static str>,
    /// The cells, as many in each row as there are columns.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// The lines of the table. `screen` is the width of the terminal that shows it, in columns; `None` for a file or a pipe, where
    /// nothing is cut or coloured.
    pub fn lines(&self, with_header: bool, screen: Option<usize>) -> Vec<String> {
        let header: Option<Vec<String>> =
            with_header.then(|| self.columns.iter().map(|name| name.to_uppercase()).collect());
        let n_headers = usize::from(with_header);
        let mut rows: Vec<Vec<String>> = header.into_iter().chain(self.rows.iter().cloned()).collect();
        if let Some(screen) = screen {
            self.cut(&mut rows, screen);
        }
        let stops = stops(&rows, self.columns.len());
        let show = |(idx, row): (usize, &Vec<String>)| {
            let style = |column: usize| match screen {
                None => Style::new(),
                Some(_) if idx < n_headers => Style::new().bold(),
                Some(_) => style_of(self.columns[column], &row[column]),
            };
            line(row, &stops, style)
        };
        rows.iter().enumerate().map(show).collect()
    }

    /// Cuts cells until no line is wider than the screen, or nothing is left to cut.
    fn cut(&self, rows: &mut [Vec<String>], screen: usize) {
        let mut limits: Vec<usize> = (0..self.columns.len()).map(|column| widest(rows, column)).collect();
        while screen < total(&limits) {
            let cuttable =
                |column: &usize| MAY_BE_CUT.contains(&self.columns[*column]) && CUT_WIDTH_MIN < limits[*column];
            let Some(column) = (0..limits.len()).filter(cuttable).max_by_key(|column| limits[*column]) else { break };
            limits[column] -= 1;
        }
        for row in rows {
            for (cell, limit) in row.iter_mut().zip(&limits) {
                if *limit < width(cell) {
                    *cell = cell.chars().take(limit - DOTS.len()).chain(DOTS.chars()).collect();
                }
            }
        }
    }
}

fn width(cell: &str) -> usize {
    cell.chars().count()
}

fn widest(rows: &[Vec<String>], column: usize) -> usize {
    rows.iter().map(|row| width(&row[column])).max().unwrap_or(0)
}

/// One column of padding at least, then up to the next tab stop.
fn stop(widest: usize) -> usize {
    (widest + 1).next_multiple_of(TAB_WIDTH)
}

fn stops(rows: &[Vec<String>], n_columns: usize) -> Vec<usize> {
    (0..n_columns).map(|column| stop(widest(rows, column))).collect()
}

/// How wide lines with cells of these widths are.
fn total(widths: &[usize]) -> usize {
    match widths.split_last() {
        Some((last, others)) => others.iter().map(|width| stop(*width)).sum::<usize>() + last,
        None => 0,
    }
}

fn line(row: &[String], stops: &[usize], style: impl Fn(usize) -> Style) -> String {
    let mut line = String::new();
    for (column, cell) in row.iter().enumerate() {
        let style = style(column);
        line += &format!("{style}{cell}{style:#}");
        if column + 1 < row.len() {
            let n_tabs = (stops[column] - width(cell)).div_ceil(TAB_WIDTH);
            line.extend(std::iter::repeat_n('\t', n_tabs));
        }
    }
    line
}

/// What is wrong is red, what may be wrong or is under way is yellow.
fn style_of(column: &str, cell: &str) -> Style {
    let color = match (column, cell) {
        ("active" | "sub" | "result", "failed") | ("load", "not-found" | "error" | "bad-setting") => AnsiColor::Red,
        ("active", "lost" | "activating" | "deactivating" | "reloading" | "maintenance") => AnsiColor::Yellow,
        ("state", state) if state.starts_with("lost") || state.starts_with("given up") => AnsiColor::Red,
        ("state", state) if state.contains("cordoned") || state.contains("draining") || state.starts_with("absent") => {
            AnsiColor::Yellow
        }
        _ => return Style::new(),
    };
    color.on_default()
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn table() -> Table {
        let row = |cells: [&str; 4]| cells.map(str::to_owned).to_vec();
        Table {
            columns: vec!["unit", "machine", "active", "desc"],
            rows: vec![
                row(["a.service", "4f1c2a7d.../10.77.13.11", "active", "Something with a description that is long"]),
                row(["a-unit-with-a-long-name@1.service", "4f1c2a7d...", "failed", "-"]),
            ],
        }
    }

    /// With arrows for tabs, and `{31}` for colours.
    #[track_caller]
    fn check(screen: Option<usize>, expected: Expect) {
        let shown = table().lines(true, screen).join("\n").replace('\t', "→");
        expected.assert_eq(&(shown.replace("\u{1b}[0m", "{}").replace("\u{1b}[", "{") + "\n"));
    }

    #[test]
    fn screens() {
        check(
            None,
            expect![[r#"
            UNIT→→→→→MACHINE→→→ACTIVE→DESC
            a.service→→→→4f1c2a7d.../10.77.13.11→active→Something with a description that is long
            a-unit-with-a-long-name@1.service→4f1c2a7d...→→failed→-
        "#]],
        );
        check(
            Some(1_000),
            expect![[r#"
            {1mUNIT{}→→→→→{1mMACHINE{}→→→{1mACTIVE{}→{1mDESC{}
            a.service→→→→4f1c2a7d.../10.77.13.11→active→Something with a description that is long
            a-unit-with-a-long-name@1.service→4f1c2a7d...→→{31mfailed{}→-
        "#]],
        );
        check(
            Some(80),
            expect![[r#"
            {1mUNIT{}→→→{1mMACHINE{}→→→{1mACTIVE{}→{1mDESC{}
            a.service→→4f1c2a7d.../10.77.13.11→active→Something with a des...
            a-unit-with-a-long-n...→4f1c2a7d...→→{31mfailed{}→-
        "#]],
        );
        check(
            Some(20),
            expect![[r#"
            {1mUNIT{}→→{1mMACHINE{}→→→{1mACTIVE{}→{1mDESC{}
            a.service→4f1c2a7d.../10.77.13.11→active→Something wi...
            a-unit-with-...→4f1c2a7d...→→{31mfailed{}→-
        "#]],
        );
    }
}
