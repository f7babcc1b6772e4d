//! `is-active` and `is-failed`: questions for scripts, answered with an exit code and a word for each unit, as systemctl does.

use fleet_api::v2;

use crate::cli::Is;
use crate::commands::session::Session;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::names::{self, Purpose};

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Whether it runs.
    Active,
    /// Whether it has failed.
    Failed,
}

/// Carries it out. As with systemctl one unit that is so is enough.
pub async fn run(session: &Session<'_>, question: Question, args: &Is) -> Result<Exit, CommandError> {
    let (arguments, mut errors) = names::arguments(&args.units, Purpose::Existing);
    let known = session.lookup(&arguments).await?;
    let (selected, unknown) = names::units_of(&arguments, &known);
    errors.extend(session.with_similar(unknown).await);
    let words: Vec<String> = selected.iter().map(|one| word(question, one.unit)).collect();
    if !args.quiet {
        for word in &words {
            session.console.line(word)?;
        }
    }
    let said = session.report_all(&errors);
    let is_so = words.iter().any(|word| match question {
        Question::Active => matches!(word.as_str(), "active" | "reloading" | "refreshing"),
        Question::Failed => word == "failed",
    });
    Ok(match question {
        _ if is_so => Exit::Ok,
        _ if words.is_empty() => said,
        Question::Active => Exit::NotRunning,
        Question::Failed => Exit::Failed,
    })
}

/// systemd's active state; of a unit on several machines that of the first that is not as asked, or failed.
fn word(question: Question, unit: &v2::Unit) -> String {
    let state = |placement: &v2::Placement| match (&placement.state, placement.lost) {
        (_, Some(_)) => "lost".to_owned(),
        (Some(state), None) => state.active.clone(),
        (None, None) => "inactive".to_owned(),
    };
    let states: Vec<String> = unit.placements.iter().map(state).collect();
    let tells = |state: &&String| match question {
        Question::Active => state.as_str() != "active",
        Question::Failed => state.as_str() == "failed",
    };
    let told = states.iter().find(tells).or(states.first());
    told.cloned().unwrap_or_else(|| "inactive".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn one_word_for_a_unit() {
        let check = |states: &[&str], active: &str, failed: &str| {
            let mut unit = fixture::unit("a.service", v2::State::Launched);
            for state in states {
                let placed = fixture::placed("a.service", fixture::state(state, "", ""));
                unit.placements.extend(placed.placements);
            }
            let words = [Question::Active, Question::Failed].map(|question| word(question, &unit));
            assert_eq!(words, [active, failed], "{states:?}");
        };
        check(&[], "inactive", "inactive");
        check(&["active"], "active", "active");
        check(&["active", "failed", "inactive"], "failed", "failed");
        check(&["active", "activating", "failed"], "activating", "failed");
        check(&["inactive"], "inactive", "inactive");
    }
}
