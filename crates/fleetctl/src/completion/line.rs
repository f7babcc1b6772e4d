//! From a line that is being typed to its words, and from a candidate to what the shell inserts.

use super::candidates::Candidate;

/// A command line up to the cursor.
#[derive(Debug)]
pub struct Line {
    /// The words without quotes, the program's name first; the last one is being typed and may be empty.
    pub words: Vec<String>,
    style: Style,
}

/// What the shell wants to have.
#[derive(Debug)]
enum Style {
    /// The value and what it is, with a tab between; the shell quotes by itself.
    Described,
    /// What takes the place of a piece of the word.
    Piece {
        /// The begin of the word, which stays.
        kept: String,
        /// Whether the cursor is inside quotes, so that nothing may be quoted once more.
        in_quotes: bool,
    },
}

/// Stands for the cursor while a line is split, so that a word without a single character is a word too. Any letter would do.
const CURSOR: char = 'x';

impl Line {
    /// From words; `None` if there is none.
    pub fn of_words(words: &[String]) -> Option<Line> {
        (!words.is_empty()).then(|| Line { words: words.to_vec(), style: Style::Described })
    }

    /// From the line up to the cursor, as bash has it, and the piece of its last word that bash replaces.
    pub fn of_bash(text: &str, fragment: &str) -> Option<Line> {
        // A quote may still be open.
        let split = |closing: &str| Some((shlex::split(&format!("{text}{CURSOR}{closing}"))?, !closing.is_empty()));
        let (mut words, in_quotes) = ["", "'", "\""].into_iter().find_map(split)?;
        words.last_mut()?.pop();
        let last = words.last()?;
        let kept = last.strip_suffix(fragment).unwrap_or_default().to_owned();
        Some(Line { words, style: Style::Piece { kept, in_quotes } })
    }

    /// What the shell gets for a candidate, with a newline; `None` if this shell cannot have it.
    pub fn show(&self, candidate: &Candidate) -> Option<String> {
        let Candidate { value, about } = candidate;
        if value.contains(char::is_control) {
            return None;
        }
        Some(match &self.style {
            Style::Described if about.is_empty() => format!("{value}\n"),
            Style::Described => format!("{value}\t{about}\n"),
            Style::Piece { kept, in_quotes } => {
                let piece = value.strip_prefix(kept.as_str())?;
                if *in_quotes { format!("{piece}\n") } else { format!("{}\n", with_backslashes(piece)) }
            }
        })
    }
}

/// Quotes for bash by backslashes, for these can stand in the middle of a word, and equal begins stay equal.
fn with_backslashes(text: &str) -> String {
    let is_plain = |ch: char| ch.is_alphanumeric() || "-_./@:,+=%".contains(ch);
    text.chars().flat_map(|ch| (!is_plain(ch)).then_some('\\').into_iter().chain([ch])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What bash gets for the line and its own piece of it, if the cluster has `value`.
    #[track_caller]
    fn check(text: &str, fragment: &str, value: &str, words: &[&str], inserted: Option<&str>) {
        let line = Line::of_bash(text, fragment).expect("a line");
        assert_eq!(line.words, words, "{text}");
        let candidate = Candidate { value: value.to_owned(), about: "ignored".to_owned() };
        assert_eq!(line.show(&candidate).as_deref(), inserted.map(|text| format!("{text}\n")).as_deref(), "{text}");
    }

    #[test]
    fn lines_of_bash() {
        check("fleetctl ", "", "stop", &["fleetctl", ""], Some("stop"));
        check("fleetctl st", "st", "stop", &["fleetctl", "st"], Some("stop"));
        check("fleetctl stop web@8", "@8", "web@80.service", &["fleetctl", "stop", "web@8"], Some("@80.service"));
        check("fleetctl stop web@8", "8", "web@80.service", &["fleetctl", "stop", "web@8"], Some("80.service"));
        check("f --output=js", "js", "--output=json", &["f", "--output=js"], Some("json"));
        check("f cat 'web@8", "web@8", "web@80.service", &["f", "cat", "web@8"], Some("web@80.service"));
        check("f cat \"a", "a", r"a\x2db.service", &["f", "cat", "a"], Some(r"a\x2db.service"));
        check("f cat a", "a", r"a\x2db.service", &["f", "cat", "a"], Some(r"a\\x2db.service"));
        check(r"f cat a\\x", r"a\x", r"a\x2db.service", &["f", "cat", r"a\x"], Some(r"a\\x2db.service"));
        check("f start my", "my", "my units/", &["f", "start", "my"], Some(r"my\ units/"));
        check("f start my", "my", "my\nunit", &["f", "start", "my"], None);
    }

    #[test]
    fn words_of_other_shells() {
        assert!(Line::of_words(&[]).is_none());
        let line = Line::of_words(&["fleetctl".to_owned(), String::new()]).expect("a line");
        let show = |about: &str| line.show(&Candidate { value: r"a\x2d".to_owned(), about: about.to_owned() });
        assert_eq!(show("a unit").as_deref(), Some("a\\x2d\ta unit\n"));
        assert_eq!(show("").as_deref(), Some("a\\x2d\n"));
    }
}
