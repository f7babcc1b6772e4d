//! One entry of a journal.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

/// Where entries come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The unit; `None` where all are of one.
    pub unit: Option<String>,
    /// Which of the colours, in turn.
    pub color: usize,
}

/// How entries are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// As journalctl's `short`, with the unit behind the machine.
    Short,
    /// The message alone.
    Cat,
    /// journalctl's JSON as it came.
    Json,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When the machine's journald got it, by that machine's clock, in microseconds since the epoch.
    pub at_us: u64,
    host: String,
    process: String,
    message: String,
    json: String,
}

/// Colours of sources, in turn. Red is left out: it looks like an error.
const COLORS: [AnsiColor; 5] =
    [AnsiColor::Cyan, AnsiColor::Green, AnsiColor::Yellow, AnsiColor::Magenta, AnsiColor::Blue];

impl Look {
    /// The look for journalctl's output mode, if there is one for several sources.
    pub fn of_mode(mode: &str) -> Option<Look> {
        match mode {
            "short" => Some(Look::Short),
            "cat" => Some(Look::Cat),
            "json" => Some(Look::Json),
            _ => None,
        }
    }
}

impl Entry {
    /// Reads one line of `journalctl --output=json`; `None` for a line that is no entry.
    pub fn read(line: &str) -> Option<Entry> {
        let fields: Value = serde_json::from_str(line).ok()?;
        let text = |name: &str| fields.get(name).map(text_of).unwrap_or_default();
        let at_us = text("__REALTIME_TIMESTAMP").parse().ok()?;
        let mut process = text("SYSLOG_IDENTIFIER");
        if process.is_empty() {
            process = text("_COMM");
        }
        let pid = Some(text("_PID")).filter(|pid| !pid.is_empty()).or(Some(text("SYSLOG_PID")));
        if let Some(pid) = pid.filter(|pid| !pid.is_empty()) {
            process += &format!("[{pid}]");
        }
        Some(Entry { at_us, host: text("_HOSTNAME"), process, message: text("MESSAGE"), json: line.to_owned() })
    }

    /// The lines to print, without an end of line. Colour is for the caller to strip where there is no terminal.
    pub fn render(&self, look: Look, source: &Source, zone: &TimeZone) -> String {
        match look {
            Look::Json => self.json.clone(),
            Look::Cat => printable(&self.message),
            Look::Short => self.short(source, zone),
        }
    }

    fn short(&self, source: &Source, zone: &TimeZone) -> String {
        let at = i64::try_from(self.at_us).ok().and_then(|us| Timestamp::from_microsecond(us).ok());
        let time = at.map_or_else(String::new, |at| at.to_zoned(zone.clone()).strftime("%b %d %H:%M:%S").to_string());
        let unit = source.unit.as_ref().map(|unit| format!(" {unit}")).unwrap_or_default();
        let style = Style::new().fg_color(Some(COLORS[source.color % COLORS.len()].into()));
        let message = printable(&self.message);
        let mut lines = message.lines();
        let first = lines.next().unwrap_or_default();
        let mut out = format!("{time} {style}{}{unit}{style:#} {}: {first}", self.host, self.process);
        // As journalctl does it: what belongs to one entry is seen to.
        let indent = format!("{time} {}{unit} {}: ", self.host, self.process).chars().count();
        for line in lines {
            // A string takes all.
            let _ = write!(out, "\n{:indent$}{line}", "");
        }
        out
    }
}

/// A field: text, or the bytes of what is no text.
fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(bytes) => {
            let bytes = bytes.iter().filter_map(|byte| u8::try_from(byte.as_u64()?).ok());
            String::from_utf8_lossy(&bytes.collect::<Vec<u8>>()).into_owned()
        }
        _ => String::new(),
    }
}

/// Nothing in a message may steer the terminal. As in journalctl, which shows how much there was instead.
fn printable(message: &str) -> String {
    let steers = |c: char| c.is_control() && c != '\t' && c != '\n';
    if message.contains(steers) { format!("[{}B blob data]", message.len()) } else { message.to_owned() }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn line(message: &str) -> String {
        format!(
            r#"{{"__REALTIME_TIMESTAMP":"1700000000123456","_HOSTNAME":"m1","SYSLOG_IDENTIFIER":"web","_PID":"42","MESSAGE":{message}}}"#
        )
    }

    #[test]
    fn an_entry_is_shown_with_where_it_comes_from() {
        let source = Source { unit: Some("web@1.service".to_owned()), color: 0 };
        let mut out = String::new();
        for message in [r#""hello""#, r#""two\nlines""#, r#""a [31mred alarm""#, "[72,105,255]", "null"] {
            let entry = Entry::read(&line(message)).expect("an entry");
            for look in [Look::Short, Look::Cat] {
                out += &format!("{}\n", entry.render(look, &source, &TimeZone::UTC));
            }
        }
        let plain = anstream::adapter::strip_str(&out).to_string();
        expect![[r#"
            Nov 14 22:13:20 m1 web@1.service web[42]: hello
            hello
            Nov 14 22:13:20 m1 web@1.service web[42]: two
                                                      lines
            two
            lines
            Nov 14 22:13:20 m1 web@1.service web[42]: a [31mred alarm
            a [31mred alarm
            Nov 14 22:13:20 m1 web@1.service web[42]: Hi�
            Hi�
            Nov 14 22:13:20 m1 web@1.service web[42]: 

        "#]]
        .assert_eq(&plain);
        assert!(out.contains("\u{1b}[36mm1 web@1.service\u{1b}[0m"), "{out:?}");
        let json = line(r#""hello""#);
        assert_eq!(Entry::read(&json).expect("an entry").render(Look::Json, &source, &TimeZone::UTC), json);
    }

    #[test]
    fn what_is_no_entry_is_none() {
        for text in ["", "-- No entries --", "{}", r#"{"__REALTIME_TIMESTAMP":"soon"}"#] {
            assert_eq!(Entry::read(text), None, "{text}");
        }
    }
}
