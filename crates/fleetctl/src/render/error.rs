//! Errors as people read them: what failed, why, what to do.

use std::error::Error;

use anstyle::{AnsiColor, Style};

use crate::error::CommandError;

/// How many findings of one error are printed; the rest is counted.
pub const DETAILS_MAX: usize = 50;

/// The whole text of an error, styled; the console takes the style away where it is of no use.
pub fn render(err: &CommandError) -> String {
    let bold = |color: AnsiColor| color.on_default().bold();
    let mut lines = vec![labelled(bold(AnsiColor::Red), "error", &err.to_string())];
    let mut last = err.to_string();
    let mut source = err.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        // Wrappers that only repeat what they wrap are left out.
        if text != last {
            lines.push(format!("  cause: {text}"));
        }
        source = cause.source();
        last = text;
    }
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

fn labelled(style: Style, label: &str, text: &str) -> String {
    format!("{style}{label}:{style:#} {text}")
}
