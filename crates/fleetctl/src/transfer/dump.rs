//! A dump: what `list-unit-files` of the original prints, and behind it what `cat` prints of each unit, in the same order.
//!
//! `cat` does not say whose file it prints. The table does: each file is known by its hash, which stands in the table, so whatever
//! a script printed between two files does no harm.

use std::collections::BTreeSet;

use fleet_api::v2;
use fleet_core::unit::{UNIT_FILE_LEN_MAX, UnitFile};

use super::offer::Offer;

/// Types of units that the original knew and systemd does not know any more.
pub const GONE_TYPES: [&str; 2] = ["busname", "snapshot"];

/// Reads a dump.
///
/// # Errors
/// Why the text is none, in words. A unit whose file is not found is no error but an offer without a text.
pub fn read(text: &str) -> Result<Vec<Offer>, String> {
    let (rows, texts) = table(text)?;
    let mut texts = Texts { text: texts, at: 0 };
    let mut before: Option<&str> = None;
    let mut offers = Vec::new();
    for Row { name, hash, state } in &rows {
        let found = texts.take(hash).ok_or_else(|| match before {
            None => format!("the dump begins with no file of the hash {hash}"),
            Some(before) => format!("behind the file of {before} the dump has no file of the hash {hash}"),
        });
        before = if found.is_ok() { Some(name) } else { before };
        let mut offer = Offer::file(name, found);
        offer.state = self::state(state);
        if offer.state.is_none() {
            offer.notes.push(format!("its desired state `{state}` is none; taken as inactive"));
        }
        offers.push(offer);
    }
    Ok(offers)
}

/// The state that a word of the original means.
pub fn state(word: &str) -> Option<v2::State> {
    [v2::State::Inactive, v2::State::Loaded, v2::State::Launched].into_iter().find(|state| state.as_str() == word)
}

struct Row {
    name: String,
    hash: String,
    state: String,
}

/// The rows of the table that a dump begins with, and what is behind them.
fn table(text: &str) -> Result<(Vec<Row>, &str), String> {
    let how = "a dump begins with what `fleetctl list-unit-files` prints, with its header";
    let (header, mut rest) = first_line(text.trim_start_matches(['\n', '\r', ' ']));
    if header.is_empty() {
        return Err(format!("it is empty: {how}"));
    }
    // Descriptions have blanks in them, so tabs are what separates cells, unless somebody's editor took them away.
    let tabs = header.contains('\t');
    let cells = |line: &str| -> Vec<String> {
        let cells: Vec<&str> = if tabs { line.split('\t').collect() } else { line.split_whitespace().collect() };
        cells.into_iter().map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
    };
    let columns = cells(header);
    let column = |name: &str| {
        let missing = || format!("its first line `{}` has no column {name}: {how}", header.trim());
        columns.iter().position(|column| column == name).ok_or_else(missing)
    };
    let (name, hash, state) = (column("UNIT")?, column("HASH")?, column("DSTATE")?);
    if !tabs && columns.iter().any(|column| column == "DESC") {
        return Err(
            "its table has descriptions and no tabs between its columns, so they cannot be told apart".to_owned()
        );
    }
    let mut rows = Vec::new();
    loop {
        let (line, behind) = first_line(rest);
        let cells = cells(line);
        if cells.len() != columns.len() || line.starts_with(['[', '#', ';']) {
            return Ok((rows, rest));
        }
        rows.push(Row { name: cells[name].clone(), hash: cells[hash].to_lowercase(), state: cells[state].clone() });
        rest = behind;
    }
}

fn first_line(text: &str) -> (&str, &str) {
    text.split_once('\n').unwrap_or((text, ""))
}

/// The files behind the table.
struct Texts<'t> {
    text: &'t str,
    /// What of it was taken already.
    at: usize,
}

impl Texts<'_> {
    /// The next file, if it has this hash: its canonical form.
    fn take(&mut self, hash: &str) -> Option<String> {
        let rest = &self.text[self.at..];
        let begin = if rest.starts_with('[') { 0 } else { rest.find("\n[")? + 1 };
        let rest = &rest[begin..];
        // It may end with any line; from one line to the next its hash is another one, but for blank lines and comments.
        // Each section is there once, so where one comes again another file has begun.
        let mut sections = BTreeSet::new();
        let mut end = 0;
        for line in rest.split_inclusive('\n') {
            if line.starts_with('[') && !sections.insert(line.trim_end()) || UNIT_FILE_LEN_MAX < end + line.len() {
                break;
            }
            end += line.len();
            let Ok(file) = UnitFile::parse(&rest[..end]) else { continue };
            if !file.options().is_empty() && file.hash().to_string().starts_with(hash) {
                self.at += begin + end;
                return Some(file.canonical());
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "[Service]\nExecStart=/bin/a\n";
    /// Begins with all that is in `A`.
    const B: &str = "[Service]\nExecStart=/bin/a\n\n[X-Fleet]\nGlobal=true\n";

    fn hash(text: &str, len: usize) -> String {
        UnitFile::parse(text).expect("a file").hash().to_string()[..len].to_owned()
    }

    fn show(text: &str) -> String {
        let show = |offer: Offer| {
            let text = match offer.text {
                Ok(text) if text == A => "A".to_owned(),
                Ok(text) if text == B => "B".to_owned(),
                Ok(text) => text,
                Err(err) => format!("error: {err}"),
            };
            let state = offer.state.map_or("-", v2::State::as_str);
            format!("{} {state} {text}{}", offer.name, offer.notes.concat())
        };
        match read(text) {
            Ok(offers) => offers.into_iter().map(show).collect::<Vec<_>>().join("\n"),
            Err(err) => format!("refused: {err}"),
        }
    }

    #[test]
    fn as_the_original_prints_it() {
        let (a, b) = (hash(A, 7), hash(B, 7));
        let header = "UNIT\t\tHASH\tDSTATE\t\tSTATE\t\tTARGET\n";
        let rows = format!(
            "a.service\t{a}\tlaunched\tlaunched\t4f1c2a7d.../10.77.13.11\nb.service\t{b}\tlaunched\t-\t\tglobal\n\
             c@.service\t{a}\tinactive\tinactive\t-\n"
        );
        let expected = "a.service launched A\nb.service launched B\nc@.service inactive A";
        for files in [
            format!("{A}{B}{A}"),
            format!("\n{A}\n{B}\n{A}\n"),
            format!("# a.service\n{A}# b.service\n{B}# c@.service\n{A}"),
            format!("==> a.service <==\n{A}==> b.service <==\n{B}\n\n==> c@.service <==\n{A}"),
        ] {
            assert_eq!(show(&format!("{header}{rows}{files}")), expected, "{files}");
        }
        // Whole hashes, other columns, tabs that became blanks.
        let full = format!("DSTATE HASH UNIT\nloaded {} b.service\n\n{B}", hash(B, 40));
        assert_eq!(show(&full), "b.service loaded B");
        let described = format!("UNIT\tDESC\tHASH\tDSTATE\na.service\tA web server\t{a}\tloaded\n{A}");
        assert_eq!(show(&described), "a.service loaded A");
        assert_eq!(show("UNIT\tHASH\tDSTATE\n"), "");
    }

    #[test]
    fn what_is_missing() {
        let a = hash(A, 7);
        let rows = format!("UNIT\tHASH\tDSTATE\nx.service\t0000000\tlaunched\na.service\t{a}\todd\n");
        assert_eq!(
            show(&format!("{rows}\n{A}")),
            "x.service launched error: the dump begins with no file of the hash 0000000\n\
             a.service - Aits desired state `odd` is none; taken as inactive"
        );
        let rows = format!("UNIT\tHASH\tDSTATE\na.service\t{a}\tloaded\nb.service\t{}\tloaded\n", hash(B, 7));
        assert_eq!(
            show(&format!("{rows}\n{A}")),
            format!(
                "a.service loaded A\nb.service loaded error: behind the file of a.service the dump has no file of the hash {}",
                hash(B, 7)
            )
        );
    }

    #[test]
    fn what_is_no_dump() {
        let how = "a dump begins with what `fleetctl list-unit-files` prints, with its header";
        assert_eq!(show("\n\n"), format!("refused: it is empty: {how}"));
        assert_eq!(show(A), format!("refused: its first line `[Service]` has no column UNIT: {how}"));
        assert_eq!(
            show("UNIT\tSTATE\tHASH\n"),
            format!("refused: its first line `UNIT\tSTATE\tHASH` has no column DSTATE: {how}")
        );
        assert!(show("UNIT DESC HASH DSTATE\n").starts_with("refused: its table has descriptions"));
    }
}
