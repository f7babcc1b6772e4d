//! One entry of a journal.

use std::fmt::Write as _;

use anstyle::AnsiColor;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

/// Where entries come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The unit; `None` where all are of one.
    pub unit: Option<String>,
    /// Which of the colours, in turn; `None` where there is nothing to tell apart.
    pub color: Option<usize>,
}

/// How entries are printed: as journalctl's output mode of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// A line with time, machine, process and message, and the unit behind the machine where there are several.
    Line(Time),
    /// The same with the unit in place of the process.
    WithUnit,
    /// All fields.
    Verbose,
    /// The message alone.
    Cat,
    /// The JSON as it came.
    Json,
    /// The same over several lines.
    JsonPretty,
    /// The same as server-sent events.
    JsonSse,
    /// The same with the record separator of RFC 7464 in front.
    JsonSeq,
}

/// How the time of an entry is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// `Nov 14 22:13:20`
    Short,
    /// The same with microseconds.
    ShortPrecise,
    /// `Tue 2023-11-14 22:13:20 UTC`
    Full,
    /// `2023-11-14T22:13:20+0000`
    Iso,
    /// The same with microseconds.
    IsoPrecise,
    /// Seconds since the epoch, with microseconds.
    Unix,
    /// Seconds since the machine's boot, with microseconds.
    Monotonic,
}

/// journalctl's names of the output modes that we can print, too.
const MODES: [(&str, Look); 14] = [
    ("short", Look::Line(Time::Short)),
    ("short-precise", Look::Line(Time::ShortPrecise)),
    ("short-full", Look::Line(Time::Full)),
    ("short-iso", Look::Line(Time::Iso)),
    ("short-iso-precise", Look::Line(Time::IsoPrecise)),
    ("short-unix", Look::Line(Time::Unix)),
    ("short-monotonic", Look::Line(Time::Monotonic)),
    ("with-unit", Look::WithUnit),
    ("verbose", Look::Verbose),
    ("cat", Look::Cat),
    ("json", Look::Json),
    ("json-pretty", Look::JsonPretty),
    ("json-sse", Look::JsonSse),
    ("json-seq", Look::JsonSeq),
];

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When the machine's journald got it, by that machine's clock, in microseconds since the epoch.
    pub at_us: u64,
    /// Where it is in that machine's journal.
    pub cursor: String,
    fields: Map<String, Value>,
    json: String,
}

/// Colours of sources, in turn. Red is left out: it looks like an error.
const COLORS: [AnsiColor; 5] =
    [AnsiColor::Cyan, AnsiColor::Green, AnsiColor::Yellow, AnsiColor::Magenta, AnsiColor::Blue];

impl Look {
    /// The look for journalctl's output mode, if there is one.
    pub fn of_mode(mode: &str) -> Option<Look> {
        MODES.iter().find(|(name, _)| *name == mode).map(|(_, look)| *look)
    }

    /// The modes that have a look, for people.
    pub fn modes() -> String {
        MODES.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<String>>().join(", ")
    }
}

impl Entry {
    /// Reads one line of `journalctl --output=json`; `None` for a line that is no entry.
    pub fn read(line: &str) -> Option<Entry> {
        let Value::Object(fields) = serde_json::from_str(line).ok()? else { return None };
        let mut entry = Entry { at_us: 0, cursor: String::new(), fields, json: line.to_owned() };
        entry.at_us = entry.field("__REALTIME_TIMESTAMP").parse().ok()?;
        entry.cursor = entry.field("__CURSOR");
        Some(entry)
    }

    /// The lines to print, without an end of line. Colour is for the caller to strip where there is no terminal.
    pub fn render(&self, look: Look, source: &Source, zone: &TimeZone) -> String {
        match look {
            Look::Json => self.json.clone(),
            // What was read as JSON can be written as JSON.
            Look::JsonPretty => serde_json::to_string_pretty(&self.fields).unwrap_or_default(),
            Look::JsonSse => format!("data: {}\n", self.json),
            Look::JsonSeq => format!("\u{1e}{}", self.json),
            Look::Cat => printable(&self.field("MESSAGE")),
            Look::Verbose => self.verbose(source, zone),
            Look::Line(time) => self.line(time, source, zone),
            Look::WithUnit => self.with_unit(source, zone),
        }
    }

    /// A field as text; empty if there is none.
    fn field(&self, name: &str) -> String {
        self.fields.get(name).map(text_of).unwrap_or_default()
    }

    /// The first of these fields that says something.
    fn first(&self, names: &[&str]) -> String {
        names.iter().map(|name| self.field(name)).find(|text| !text.is_empty()).unwrap_or_default()
    }

    /// The time that people see: when it was said, as far as that is known, and not when journald got it. As journalctl has it.
    fn shown_us(&self) -> u64 {
        self.field("_SOURCE_REALTIME_TIMESTAMP").parse().unwrap_or(self.at_us)
    }

    fn time(&self, time: Time, zone: &TimeZone) -> String {
        let at_us = self.shown_us();
        let at = || i64::try_from(at_us).ok().and_then(|us| Timestamp::from_microsecond(us).ok());
        let format =
            |format: &str| at().map_or_else(String::new, |at| at.to_zoned(zone.clone()).strftime(format).to_string());
        let (seconds, micros) = (at_us / 1_000_000, at_us % 1_000_000);
        match time {
            Time::Short => format("%b %d %H:%M:%S"),
            Time::ShortPrecise => format!("{}.{micros:06}", format("%b %d %H:%M:%S")),
            Time::Full => format("%a %Y-%m-%d %H:%M:%S %Z"),
            Time::Iso => format("%Y-%m-%dT%H:%M:%S%z"),
            Time::IsoPrecise => format(&format!("%Y-%m-%dT%H:%M:%S.{micros:06}%z")),
            Time::Unix => format!("{seconds}.{micros:06}"),
            Time::Monotonic => {
                let since_boot: u64 = self.field("__MONOTONIC_TIMESTAMP").parse().unwrap_or(0);
                format!("[{:5}.{:06}]", since_boot / 1_000_000, since_boot % 1_000_000)
            }
        }
    }

    fn line(&self, time: Time, source: &Source, zone: &TimeZone) -> String {
        let unit = source.unit.as_ref().map(|unit| format!(" {unit}")).unwrap_or_default();
        self.with_head(time, &unit, &self.first(&["SYSLOG_IDENTIFIER", "_COMM"]), source, zone)
    }

    fn with_unit(&self, source: &Source, zone: &TimeZone) -> String {
        let unit = self.first(&["_SYSTEMD_USER_UNIT", "USER_UNIT", "_SYSTEMD_UNIT", "UNIT"]);
        self.with_head(Time::Full, "", &unit, source, zone)
    }

    fn with_head(&self, time: Time, unit: &str, name: &str, source: &Source, zone: &TimeZone) -> String {
        let (time, host) = (self.time(time, zone), self.field("_HOSTNAME"));
        let pid = self.first(&["_PID", "SYSLOG_PID"]);
        let process = if pid.is_empty() { name.to_owned() } else { format!("{name}[{pid}]") };
        let style = source.color.map(|color| COLORS[color % COLORS.len()].on_default()).unwrap_or_default();
        let message = printable(&self.field("MESSAGE"));
        let mut lines = message.lines();
        let first = lines.next().unwrap_or_default();
        let mut out = format!("{time} {style}{host}{unit}{style:#} {process}: {first}");
        // As journalctl does it: what belongs to one entry is seen to.
        let indent = format!("{time} {host}{unit} {process}: ").chars().count();
        for line in lines {
            // A string takes all.
            let _ = write!(out, "\n{:indent$}{line}", "");
        }
        out
    }

    fn verbose(&self, source: &Source, zone: &TimeZone) -> String {
        let at_us = self.shown_us();
        let at = i64::try_from(at_us).ok().and_then(|us| Timestamp::from_microsecond(us).ok());
        let format = format!("%a %Y-%m-%d %H:%M:%S.{:06} %Z", at_us % 1_000_000);
        let time = at.map_or_else(String::new, |at| at.to_zoned(zone.clone()).strftime(&format).to_string());
        let style = source.color.map(|color| COLORS[color % COLORS.len()].on_default()).unwrap_or_default();
        let mut out = format!("{style}{time}{style:#} [{}]", self.cursor);
        for (name, value) in self.fields.iter().filter(|(name, _)| !name.starts_with("__")) {
            let _ = write!(out, "\n    {name}={}", printable(&text_of(value)));
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
        let source = Source { unit: Some("web@1.service".to_owned()), color: Some(0) };
        let mut out = String::new();
        for message in [r#""hello""#, r#""two\nlines""#, r#""a [31mred alarm""#, "[72,105,255]", "null"] {
            let entry = Entry::read(&line(message)).expect("an entry");
            for look in [Look::Line(Time::Short), Look::Cat] {
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
    fn every_mode() {
        let json = r#"{"__REALTIME_TIMESTAMP":"1700000000123456","__MONOTONIC_TIMESTAMP":"7000001","__CURSOR":"s=1;i=2","_HOSTNAME":"m1","_COMM":"sh","_SYSTEMD_UNIT":"web.service","MESSAGE":"hello"}"#;
        let entry = Entry::read(json).expect("an entry");
        assert_eq!(entry.cursor, "s=1;i=2");
        let source = Source { unit: None, color: None };
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        let show = |(name, look): &(&str, Look)| {
            format!("{name}: {}\n", entry.render(*look, &source, &zone).replace('\u{1e}', "<RS>"))
        };
        expect![[r#"
            short: Nov 14 23:13:20 m1 sh: hello
            short-precise: Nov 14 23:13:20.123456 m1 sh: hello
            short-full: Tue 2023-11-14 23:13:20 +01 m1 sh: hello
            short-iso: 2023-11-14T23:13:20+0100 m1 sh: hello
            short-iso-precise: 2023-11-14T23:13:20.123456+0100 m1 sh: hello
            short-unix: 1700000000.123456 m1 sh: hello
            short-monotonic: [    7.000001] m1 sh: hello
            with-unit: Tue 2023-11-14 23:13:20 +01 m1 web.service: hello
            verbose: Tue 2023-11-14 23:13:20.123456 +01 [s=1;i=2]
                MESSAGE=hello
                _COMM=sh
                _HOSTNAME=m1
                _SYSTEMD_UNIT=web.service
            cat: hello
            json: {"__REALTIME_TIMESTAMP":"1700000000123456","__MONOTONIC_TIMESTAMP":"7000001","__CURSOR":"s=1;i=2","_HOSTNAME":"m1","_COMM":"sh","_SYSTEMD_UNIT":"web.service","MESSAGE":"hello"}
            json-pretty: {
              "MESSAGE": "hello",
              "_COMM": "sh",
              "_HOSTNAME": "m1",
              "_SYSTEMD_UNIT": "web.service",
              "__CURSOR": "s=1;i=2",
              "__MONOTONIC_TIMESTAMP": "7000001",
              "__REALTIME_TIMESTAMP": "1700000000123456"
            }
            json-sse: data: {"__REALTIME_TIMESTAMP":"1700000000123456","__MONOTONIC_TIMESTAMP":"7000001","__CURSOR":"s=1;i=2","_HOSTNAME":"m1","_COMM":"sh","_SYSTEMD_UNIT":"web.service","MESSAGE":"hello"}

            json-seq: <RS>{"__REALTIME_TIMESTAMP":"1700000000123456","__MONOTONIC_TIMESTAMP":"7000001","__CURSOR":"s=1;i=2","_HOSTNAME":"m1","_COMM":"sh","_SYSTEMD_UNIT":"web.service","MESSAGE":"hello"}
        "#]].assert_eq(&MODES.iter().map(show).collect::<String>());
        assert_eq!(Look::of_mode("export"), None);
    }

    #[test]
    fn what_is_no_entry_is_none() {
        for text in ["", "-- No entries --", "{}", r#"{"__REALTIME_TIMESTAMP":"soon"}"#] {
            assert_eq!(Entry::read(text), None, "{text}");
        }
    }
}
