//! Errors as people read them: what failed, why, what to do.

use std::error::Error;

use anstyle::{AnsiColor, Style};
use fleet_api::ClientError;

use crate::error::CommandError;

/// How many findings of one error are printed; the rest is counted.
pub const DETAILS_MAX: usize = 50;

/// The whole text of an error, styled; the console takes the style away where it is of no use.
pub fn render(err: &CommandError) -> String {
    let bold = |color: AnsiColor| color.on_default().bold();
    let mut lines = vec![labelled(bold(AnsiColor::Red), "error", &err.to_string())];
    lines.extend(causes(err).iter().map(|cause| format!("  cause: {cause}")));
    let details = err.details();
    lines.extend(details.iter().take(DETAILS_MAX).map(|detail| format!("  {detail}")));
    if DETAILS_MAX < details.len() {
        lines.push(format!("  and {} more", details.len() - DETAILS_MAX));
    }
    if let Some(id) = err.request() {
        lines.push(format!("  request in fleetd's log: {id}"));
    }
    if let Some(hint) = err.hint() {
        lines.push(labelled(bold(AnsiColor::Cyan), "hint", &hint));
    }
    lines.join("\n")
}

/// An error with its causes, for a line of talk.
pub fn in_one_line(err: &CommandError) -> String {
    std::iter::once(err.to_string()).chain(causes(err)).collect::<Vec<String>>().join(": ")
}

/// What is under `err`, outermost first.
fn causes(err: &CommandError) -> Vec<String> {
    let mut chain = Vec::new();
    let mut next = err.source();
    while let Some(cause) = next {
        chain.push(cause.to_string());
        next = cause.source();
    }
    match (err, chain.as_slice()) {
        // Between our own words and the system's there are only the HTTP library's layers.
        (
            CommandError::Api { err: ClientError::Unreachable { .. }, .. } | CommandError::WatchLost { .. },
            [ours, .., root],
        ) => {
            vec![ours.clone(), root.clone()]
        }
        _ => chain,
    }
}

fn labelled(style: Style, label: &str, text: &str) -> String {
    format!("{style}{label}:{style:#} {text}")
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use fleet_api::v2;

    use super::*;
    use crate::fixture;
    use crate::wait::{Failure, Goal};

    #[track_caller]
    fn check(err: &CommandError, expected: Expect) {
        let plain = anstream::adapter::strip_str(&render(err)).to_string();
        expected.assert_eq(&format!("exit {}\n{plain}\n", err.exit().code()));
    }

    fn failed(result: &str, error: &str) -> CommandError {
        let state = v2::UnitState { error: error.to_owned(), ..fixture::state("failed", "failed", result) };
        let (machine, ip) = ("4f1c2a7d00".to_owned(), Some("10.0.0.1".to_owned()));
        let failure = Failure::State { machine, ip, state: Box::new(state) };
        let journal = vec!["journal:".to_owned(), "  Nov 22 13:03:12 m1 sh[5]: oh no".to_owned()];
        CommandError::UnitFailed { name: "a.service".to_owned(), failure, journal }
    }

    #[test]
    fn a_start_that_failed() {
        check(
            &failed("exit-code", "the start job ended with `failed`"),
            expect![[r#"
                exit 1
                error: Unit a.service failed on 4f1c2a7d.../10.0.0.1: failed (failed), Result: exit-code, the start job ended with `failed`
                  journal:
                    Nov 22 13:03:12 m1 sh[5]: oh no
                hint: more is shown by `fleetctl status a.service` and `fleetctl journal a.service`
            "#]],
        );
        let hint = failed("start-limit-hit", "").hint().expect("a hint");
        assert!(hint.contains("StartLimitBurst="), "{hint}");
        let refused = failed("", "systemd refused to start it: Unit etcd.service not found.");
        let hint = refused.hint().expect("a hint");
        assert!(hint.starts_with("the unit asks for etcd.service ("), "{hint}");
        let other = failed("", "systemd refused to start it: Unit a.service is masked.").hint().expect("a hint");
        assert!(other.starts_with("more is shown by"), "{other}");
        let mut bad = refused;
        if let CommandError::UnitFailed { failure: Failure::State { state, .. }, .. } = &mut bad {
            (state.load, state.error) = ("bad-setting".to_owned(), String::new());
        }
        let hint = bad.hint().expect("a hint");
        assert!(hint.contains("`fleetctl cat --canonical a.service`, and one more"), "{hint}");
    }

    #[test]
    fn waits_that_ended() {
        let (name, goal) = ("a.service".to_owned(), Goal::Launched);
        let why = "a.service: no machine can take it: there is no machine".to_owned();
        check(
            &CommandError::TimedOut { name, goal, why },
            expect![[r#"
                exit 1
                error: timed out waiting for unit a.service to report state launched
                  a.service: no machine can take it: there is no machine
                hint: it stays wanted, and is started as soon as that is possible; `fleetctl unload a.service` takes it back
            "#]],
        );
        let how = crate::error::Interruption::Interrupt;
        let (units, only) = ("a.service".to_owned(), Some("a.service".to_owned()));
        check(
            &CommandError::Interrupted { units, only, how, goal: Goal::Launched },
            expect![[r#"
                exit 130
                error: interrupted while waiting for a.service
                hint: the desired state stays `launched`; `fleetctl unload a.service` takes it back
            "#]],
        );
        check(
            &CommandError::Interrupted { units: "a.service".to_owned(), only: None, how, goal: Goal::Destroyed },
            expect![[r#"
                exit 130
                error: interrupted while waiting for a.service
                hint: they are going on to be stopped and removed
            "#]],
        );
    }

    #[test]
    fn names_that_begin_in_the_same_way() {
        let similar = |n: usize| (1..=n).map(|n| format!("a@{n}.service")).collect();
        let unknown = |n| CommandError::UnknownUnit { name: "a.service".to_owned(), similar: similar(n) };
        check(
            &unknown(0),
            expect![[r#"
                exit 4
                error: Unit a.service does not exist
                hint: `fleetctl list-unit-files` shows the units that exist
            "#]],
        );
        check(
            &unknown(1),
            expect![[r#"
                exit 4
                error: Unit a.service does not exist
                hint: there is a@1.service
            "#]],
        );
        let path = "a.service".into();
        check(
            &CommandError::FoundNowhere { name: "a.service".to_owned(), path, beside: None, similar: similar(7) },
            expect![[r#"
                exit 4
                error: unable to find Unit(a.service) in Registry or on filesystem
                hint: there is no file `a.service`; in the cluster there are a@1.service, a@2.service, a@3.service, a@4.service, a@5.service and 2 more
            "#]],
        );
    }

    #[test]
    fn what_the_daemon_refuses() {
        let problem = |kind: &str, details: &[&str], hint: Option<&str>| v2::Problem {
            kind: kind.to_owned(),
            hint: hint.map(str::to_owned),
            findings: details.iter().map(|line| (*line).to_owned().into()).collect(),
            ..v2::Problem::new(v2::ProblemKind::BadUnitFile, "unit file of a.service cannot be used")
        };
        let refused = |problem| CommandError::Refused { name: "a.service".to_owned(), problem: Box::new(problem) };
        check(
            &refused(problem("bad-unit-file", &["line 4: no such option"], Some("did you mean `Global`?"))),
            expect![[r#"
                exit 1
                error: Unit a.service: unit file of a.service cannot be used
                  line 4: no such option
                hint: did you mean `Global`?
            "#]],
        );
        check(
            &refused(problem("unknown-unit", &[], None)),
            expect![[r#"
                exit 4
                error: Unit a.service: unit file of a.service cannot be used
                hint: `fleetctl list-unit-files` shows the units that exist
            "#]],
        );
        let lines: Vec<String> = (0..DETAILS_MAX + 2).map(|n| format!("line {n}")).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let text = render(&refused(problem("bad-unit-file", &lines, None)));
        assert!(text.ends_with("line 49\n  and 2 more"), "{text}");
    }

    #[test]
    fn a_reader_that_went_away_is_success() {
        let err = CommandError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert_eq!((err.exit().code(), err.is_silent()), (0, true));
        let err = CommandError::from(std::io::Error::from(std::io::ErrorKind::StorageFull));
        assert_eq!((err.exit().code(), err.is_silent()), (1, false));
    }
}
