//! What is asked of a machine's journal: the query of the API, checked, as arguments of journalctl.

use fleet_api::v2;

/// Lines of a journal when nothing is said.
const LINES: u32 = 10;

/// Longest time that is taken, in bytes. `2026-11-22 18:35:47.123456 Europe/Berlin` has 42.
const TIME_LEN_MAX: usize = 128;

/// Longest cursor that is taken, in bytes. journald's have about 150.
const CURSOR_LEN_MAX: usize = 512;

/// Longest name of a time zone that is taken, in bytes. The longest in the world has 30.
const ZONE_LEN_MAX: usize = 64;

/// Output modes of journalctl that make sense in a stream of text.
const OUTPUTS: [&str; 14] = [
    "short",
    "short-full",
    "short-iso",
    "short-iso-precise",
    "short-precise",
    "short-monotonic",
    "short-unix",
    "verbose",
    "json",
    "json-pretty",
    "json-sse",
    "json-seq",
    "cat",
    "with-unit",
];

/// What to read of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalRequest {
    /// How many of the last lines; all of them without it.
    pub lines: Option<u32>,
    /// Go on as new lines come.
    pub follow: bool,
    /// journalctl's output mode.
    pub output: String,
    /// Only the unit's present run.
    pub this_run: bool,
    /// Only lines behind the one with this cursor.
    pub after: Option<String>,
    /// Only lines of this time or later, in systemd's words.
    pub since: Option<String>,
    /// Only lines of this time or earlier.
    pub until: Option<String>,
    /// Only lines since the unit was placed on the machine.
    pub since_placed: bool,
    /// Empty lines where nothing else comes.
    pub heartbeat: bool,
    /// The time zone of times that are read and printed, as the tz database names it.
    pub zone: Option<String>,
}

impl JournalRequest {
    /// Checks a query.
    ///
    /// # Errors
    /// What is wrong with it, in words for whoever asked.
    pub fn read(query: &v2::JournalQuery) -> Result<JournalRequest, String> {
        let output = query.output.clone().unwrap_or_else(|| "short".to_owned());
        if !OUTPUTS.contains(&output.as_str()) {
            return Err(format!("`{output}` is no output mode: {} are known", OUTPUTS.join(", ")));
        }
        if let Some(lines) = query.lines.filter(|lines| v2::JOURNAL_LINES_MAX < *lines) {
            return Err(format!("{lines} lines are over the limit of {}", v2::JOURNAL_LINES_MAX));
        }
        let is_time = |text: &str| !text.is_empty() && text.len() <= TIME_LEN_MAX && !text.contains(char::is_control);
        for (name, given) in [("since", &query.since), ("until", &query.until)] {
            if let Some(given) = given.as_deref().filter(|given| !is_time(given)) {
                return Err(format!("`{name}` is no time of at most {TIME_LEN_MAX} bytes: `{given}`"));
            }
        }
        let is_cursor = |text: &str| {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"=;-_".contains(&byte);
            !text.is_empty() && text.len() <= CURSOR_LEN_MAX && text.bytes().all(is_plain)
        };
        if let Some(given) = query.after.as_deref().filter(|given| !is_cursor(given)) {
            return Err(format!("`after` is no cursor of a journal: `{given}`"));
        }
        // libc would read any file that a path names.
        let is_zone = |text: &str| {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/_+-".contains(&byte);
            text.starts_with(|first: char| first.is_ascii_alphabetic())
                && text.len() <= ZONE_LEN_MAX
                && text.bytes().all(is_plain)
        };
        if let Some(given) = query.zone.as_deref().filter(|given| !is_zone(given)) {
            return Err(format!("`zone` is no name of a time zone: `{given}`"));
        }
        if query.since_placed && query.since.is_some() {
            return Err("`since` and `since_placed` are two begins: give one of them".to_owned());
        }
        let bounded = query.since_placed || query.since.is_some() || query.until.is_some() || query.after.is_some();
        Ok(JournalRequest {
            lines: query.lines.or((!bounded).then_some(LINES)),
            follow: query.follow,
            output,
            this_run: query.this_run,
            after: query.after.clone(),
            since: query.since.clone(),
            until: query.until.clone(),
            since_placed: query.since_placed,
            heartbeat: query.follow && query.heartbeat,
            zone: query.zone.clone(),
        })
    }

    /// Arguments of journalctl, all but the unit and when that was placed.
    pub fn arguments(&self) -> Vec<String> {
        let lines = self.lines.map_or_else(|| "all".to_owned(), |lines| lines.to_string());
        let mut arguments = vec![
            "--no-pager".to_owned(),
            "--quiet".to_owned(),
            format!("--output={}", self.output),
            format!("--lines={lines}"),
        ];
        if self.follow {
            arguments.push("--follow".to_owned());
        }
        if let Some(after) = &self.after {
            arguments.push(format!("--after-cursor={after}"));
        }
        arguments.extend(self.times());
        arguments
    }

    /// Those of them that journalctl may not understand.
    pub fn times(&self) -> Vec<String> {
        let since = self.since.iter().map(|time| format!("--since={time}"));
        since.chain(self.until.iter().map(|time| format!("--until={time}"))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query() -> v2::JournalQuery {
        v2::JournalQuery::default()
    }

    #[track_caller]
    fn check(query: &v2::JournalQuery, expected: &str) {
        let read = JournalRequest::read(query);
        assert_eq!(read.map_or_else(|err| err, |request| request.arguments().join(" ")), expected);
    }

    #[test]
    fn queries() {
        let text = |text: &str| Some(text.to_owned());
        check(&query(), "--no-pager --quiet --output=short --lines=10");
        check(
            &v2::JournalQuery { lines: Some(3), follow: true, output: text("json"), ..query() },
            "--no-pager --quiet --output=json --lines=3 --follow",
        );
        let times = v2::JournalQuery { since: text("-1h 30min"), until: text("now"), ..query() };
        check(&times, "--no-pager --quiet --output=short --lines=all --since=-1h 30min --until=now");
        check(
            &v2::JournalQuery { after: text("s=0f;i=1;b=a-b;x=9"), ..query() },
            "--no-pager --quiet --output=short --lines=all --after-cursor=s=0f;i=1;b=a-b;x=9",
        );
        check(&v2::JournalQuery { since_placed: true, ..query() }, "--no-pager --quiet --output=short --lines=all");
        check(
            &v2::JournalQuery { since_placed: true, since: text("-1h"), ..query() },
            "`since` and `since_placed` are two begins: give one of them",
        );
        check(&v2::JournalQuery { lines: Some(100_001), ..query() }, "100001 lines are over the limit of 100000");
        check(&v2::JournalQuery { since: text(""), ..query() }, "`since` is no time of at most 128 bytes: ``");
        check(&v2::JournalQuery { until: text("a\nb"), ..query() }, "`until` is no time of at most 128 bytes: `a\nb`");
        check(&v2::JournalQuery { after: text("x y"), ..query() }, "`after` is no cursor of a journal: `x y`");
        for zone in ["", "/etc/passwd", ":/etc/passwd", "../x", "a.b"] {
            let expected = format!("`zone` is no name of a time zone: `{zone}`");
            check(&v2::JournalQuery { zone: text(zone), ..query() }, &expected);
        }
        let zone = JournalRequest::read(&v2::JournalQuery { zone: text("America/Port-au-Prince"), ..query() });
        assert_eq!(zone.expect("a zone").zone, text("America/Port-au-Prince"));
        let mode = JournalRequest::read(&v2::JournalQuery { output: text("export"), ..query() }).expect_err("a mode");
        assert!(mode.starts_with("`export` is no output mode: short, "), "{mode}");
    }
}
