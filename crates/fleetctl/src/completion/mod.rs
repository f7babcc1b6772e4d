//! Completion of command lines: `completion SHELL` prints a script, and the script asks `__complete` for each word.
//!
//! Which words can come next is told by the declaration of the command line (`cli`), through the engine of clap_complete. Names of
//! units and machines are asked of the cluster. Whoever presses a key wants no errors: what cannot be told is left out.

mod candidates;
mod line;

use clap::{Args, ValueEnum};

use crate::console::Console;
use crate::error::CommandError;
use crate::exit::Exit;

/// A shell with a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    // Plain, as for `Format`: each would be printed on a line of its own.
    Bash,
    Zsh,
    Fish,
}

/// `completion`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct ScriptArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

const HELP: &str = "\
For the shell that runs:
  bash  source <(fleetctl completion bash)
  zsh   source <(fleetctl completion zsh)
  fish  fleetctl completion fish | source

For every shell to come, put that line into ~/.bashrc, ~/.zshrc (behind compinit) or ~/.config/fish/config.fish. Names of units and machines \
are asked of the cluster that the line being typed or the environment names, for at most a second.";

/// `__complete`, which only the scripts call.
#[derive(Debug, Args)]
pub struct AskArgs {
    /// The shell that asks
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
    /// bash: the piece that it replaces, and the line up to the cursor; others: the words up to the cursor, without quotes
    #[arg(last = true, value_name = "WORD")]
    pub words: Vec<String>,
}

impl Shell {
    fn script(self) -> &'static str {
        match self {
            Shell::Bash => include_str!("fleetctl.bash"),
            Shell::Zsh => include_str!("fleetctl.zsh"),
            Shell::Fish => include_str!("fleetctl.fish"),
        }
    }
}

/// Prints the script.
///
/// # Errors
/// What stdout said.
pub fn script(args: &ScriptArgs, console: &Console) -> Result<Exit, CommandError> {
    console.bytes(args.shell.script().as_bytes())?;
    Ok(Exit::Ok)
}

/// Prints what can stand where the cursor is, one on each line; nothing, if that cannot be told.
///
/// # Errors
/// What stdout said.
pub fn answer(args: &AskArgs, console: &Console) -> Result<Exit, CommandError> {
    let asked = match (args.shell, args.words.as_slice()) {
        (Shell::Bash, [fragment, text]) => line::Line::of_bash(text, fragment),
        (Shell::Bash, _) => None,
        (Shell::Zsh | Shell::Fish, words) => line::Line::of_words(words),
    };
    let Some(line) = asked else { return Ok(Exit::Ok) };
    let lines: String = candidates::of(&line.words).iter().filter_map(|one| line.show(one)).collect();
    console.bytes(lines.as_bytes())?;
    Ok(Exit::Ok)
}
