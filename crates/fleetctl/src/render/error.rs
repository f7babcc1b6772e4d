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
    if let Some(hint) = err.hint() {
        lines.push(labelled(bold(AnsiColor::Cyan), "hint", &hint));
    }
    lines.join("\n")
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
