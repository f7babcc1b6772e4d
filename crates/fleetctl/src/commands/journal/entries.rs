//! The entries of one journal, as they come.

use fleet_api::TextStream;
use futures_util::StreamExt as _;

use super::doing;
use crate::commands::session::Session;
use crate::error::CommandError;
use crate::journal::{Entry, Place};

/// Longest line of a journal that is read, in bytes: journald itself cuts fields at 64 MiB, and nobody reads such a line.
const LINE_MAX: usize = 4 << 20;

/// Cuts a journal into entries.
pub struct Entries<'a, 'b> {
    session: &'a Session<'b>,
    place: Place,
    pieces: TextStream,
    buffer: Vec<u8>,
    /// What of `buffer` has no end of line in it.
    n_searched: usize,
    /// Whether the line that is being read is too long, so that the rest of it is passed over.
    is_too_long: bool,
}

impl<'a, 'b> Entries<'a, 'b> {
    pub fn new(session: &'a Session<'b>, place: Place, pieces: TextStream) -> Entries<'a, 'b> {
        Entries { session, place, pieces, buffer: Vec::new(), n_searched: 0, is_too_long: false }
    }

    /// The next entry; `None` at the end. After an error there is nothing more.
    pub async fn next(&mut self) -> Option<Result<Entry, CommandError>> {
        loop {
            while let Some(line) = self.line() {
                if let Some(entry) = Entry::read(&line) {
                    return Some(Ok(entry));
                }
            }
            match self.pieces.next().await? {
                Ok(piece) => self.buffer.extend(piece),
                Err(err) => return Some(Err(self.session.api_error(&doing(&self.place), err))),
            }
        }
    }

    /// A whole line that has come.
    fn line(&mut self) -> Option<String> {
        loop {
            let Some(end) = self.buffer[self.n_searched..].iter().position(|&byte| byte == b'\n') else {
                self.n_searched = self.buffer.len();
                if LINE_MAX < self.buffer.len() {
                    (self.n_searched, self.is_too_long) = (0, true);
                    self.buffer.clear();
                }
                return None;
            };
            let line: Vec<u8> = self.buffer.drain(..=self.n_searched + end).collect();
            self.n_searched = 0;
            if !std::mem::take(&mut self.is_too_long) {
                return Some(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
        }
    }
}
