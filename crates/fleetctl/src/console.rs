//! The one place that prints. Data goes to stdout, talk to stderr; colour only to a terminal.

use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;

use indicatif::{ProgressBar, ProgressDrawTarget};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use terminal_size::{Height, Width};
use tokio::sync::oneshot;

/// To the upper left corner; nothing in this line; nothing below (ECMA-48: CUP, EL, ED). A line is emptied before it is written,
/// for a tab leaves what it passes over.
const HOME: &str = "\u{1b}[H";
const CLEAR_LINE: &str = "\u{1b}[2K";
const CLEAR_BELOW: &str = "\u{1b}[J";

/// How large the terminal is that shows stdout, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    /// From left to right.
    pub width: usize,
    /// From top to bottom.
    pub height: usize,
}

/// What a terminal that does not say how large it is is taken for: large enough for everything.
const SCREEN_UNKNOWN: Screen = Screen { width: usize::MAX, height: usize::MAX };

/// Where the output of a command goes.
///
/// Lines are written whole, and a progress bar gives way while one is written.
pub struct Console {
    debug: bool,
    stderr_is_terminal: bool,
    bar: ProgressBar,
}

impl Console {
    /// The process' own stdout and stderr. `debug` lets [`Console::debug`] speak.
    pub fn new(debug: bool) -> Console {
        Console { debug, stderr_is_terminal: io::stderr().is_terminal(), bar: ProgressBar::hidden() }
    }

    /// Whether somebody watches stderr.
    pub fn is_watched(&self) -> bool {
        self.stderr_is_terminal
    }

    /// The terminal that shows stdout; `None` if it is no terminal.
    pub fn screen(&self) -> Option<Screen> {
        let stdout = io::stdout();
        stdout.is_terminal().then(|| match terminal_size::terminal_size_of(stdout) {
            Some((Width(width), Height(height))) => Screen { width: width.into(), height: height.into() },
            None => SCREEN_UNKNOWN,
        })
    }

    /// Shows these lines on the terminal in place of what it shows, without a flicker. Lines have no ends.
    ///
    /// # Errors
    /// As [`Console::line`].
    pub fn redraw(&self, lines: &[String]) -> io::Result<()> {
        let is_plain = anstream::AutoStream::choice(&io::stdout()) == anstream::ColorChoice::Never;
        let mut screen = String::from(HOME);
        for line in lines {
            screen += CLEAR_LINE;
            if is_plain {
                screen += &anstream::adapter::strip_str(line).to_string();
            } else {
                screen += line;
            }
            screen += "\r\n";
        }
        screen += CLEAR_BELOW;
        // Not through the stream that takes colours away: these codes are no colours.
        let mut stdout = io::stdout().lock();
        stdout.write_all(screen.as_bytes())?;
        stdout.flush()
    }

    /// The progress bar; invisible until [`Console::show_bar`].
    pub fn bar(&self) -> &ProgressBar {
        &self.bar
    }

    /// Lets the progress bar appear, if somebody watches.
    pub fn show_bar(&self) {
        if self.stderr_is_terminal {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }

    /// Takes the progress bar away.
    pub fn hide_bar(&self) {
        self.bar.finish_and_clear();
        self.bar.set_draw_target(ProgressDrawTarget::hidden());
    }

    /// A line of data.
    ///
    /// # Errors
    /// What stdout said; a broken pipe is for the caller to pass on, `main` takes it for success.
    pub fn line(&self, text: &str) -> io::Result<()> {
        self.bytes(format!("{text}\n").as_bytes())
    }

    /// Returns when nobody can read stdout any more; never where that cannot be told, as with a file.
    pub async fn reader_gone(&self) {
        let (gone, told) = oneshot::channel();
        // A thread, since poll(2) blocks; not one of the runtime's, which would be waited for at the end.
        std::thread::spawn(move || {
            // Without asked-for events poll reports only that the other end is gone.
            let stdout = io::stdout();
            if let Ok(1..) = poll(&mut [PollFd::new(stdout.as_fd(), PollFlags::empty())], PollTimeout::NONE) {
                // Nobody waits for it any more: no error.
                let _ = gone.send(());
            }
        });
        if told.await.is_err() {
            std::future::pending().await
        }
    }

    /// Data as it is.
    ///
    /// # Errors
    /// As [`Console::line`].
    pub fn bytes(&self, bytes: &[u8]) -> io::Result<()> {
        self.bar.suspend(|| {
            let mut stdout = anstream::stdout().lock();
            stdout.write_all(bytes)?;
            stdout.flush()
        })
    }

    /// What another program printed, byte for byte.
    ///
    /// # Errors
    /// As [`Console::line`].
    pub fn pass_on(&self, bytes: &[u8]) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        stdout.flush()
    }

    /// What another program printed on its stderr, byte for byte. Errors are dropped, as in [`Console::talk`].
    pub fn pass_on_to_stderr(&self, bytes: &[u8]) {
        let _ = io::stderr().lock().write_all(bytes);
    }

    /// A line of talk: progress, warnings, errors.
    ///
    /// A stderr that is gone is no reason to give up the work, so its errors are dropped.
    pub fn talk(&self, text: &str) {
        self.bar.suspend(|| {
            let _ = writeln!(anstream::stderr().lock(), "{text}");
        });
    }

    /// What prints lines for those who asked for `--debug`; `None` if nobody did. For places that the console does not reach.
    pub fn debugger(&self) -> Option<impl Fn(&str) + Send + Sync + 'static> {
        let bar = self.bar.clone();
        self.debug.then_some(move |text: &str| {
            bar.suspend(|| {
                // As in `talk`.
                let _ = writeln!(anstream::stderr().lock(), "debug: {text}");
            });
        })
    }

    /// A line for those who asked for `--debug`.
    pub fn debug(&self, text: &str) {
        if self.debug {
            self.talk(&format!("debug: {text}"));
        }
    }
}
