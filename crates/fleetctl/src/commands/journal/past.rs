//! What the journals hold already, in the order of time.

use std::collections::VecDeque;

use super::entries::Entries;
use super::feed::is_final;
use super::{Places, Reader};
use crate::error::CommandError;
use crate::exit::Exit;
use crate::journal::{Entry, Place};

/// Where a journal was left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// Behind the entry with this cursor.
    Behind(String),
    /// It had no entry.
    Empty,
    /// It could not be read yet.
    Unread,
    /// Nowhere yet: it begins where the unit was placed there.
    Placed,
}

/// A journal and its next entry.
struct Head<'a, 'b> {
    source: usize,
    entries: Entries<'a, 'b>,
    next: Option<Entry>,
    left: Left,
}

impl<'a, 'b> Reader<'a, 'b> {
    /// Prints it, and tells where each journal was left. A journal that cannot be read is said and does not keep the others from
    /// being read; if it is followed, and trying again may help, that is left to whoever follows it.
    pub async fn past(&self, places: &Places) -> Result<(Vec<(usize, Left)>, Exit), CommandError> {
        let opened = places.list.iter().enumerate().map(|(source, place)| self.head(source, place));
        let (mut heads, mut unread, mut exit) = (Vec::new(), Vec::new(), Exit::Ok);
        for (source, opened) in futures_util::future::join_all(opened).await.into_iter().enumerate() {
            match opened {
                Ok(head) => heads.push(head),
                Err(err) if self.args.follow && !is_final(&err) => unread.push((source, Left::Unread)),
                Err(err) => exit = exit.and(self.session.report(&err)),
            }
        }
        let n_lines = self.n_lines.map(|n_lines| usize::try_from(n_lines).unwrap_or(usize::MAX));
        let mut last: VecDeque<(usize, Entry)> = VecDeque::new();
        // Each journal is in order by itself, so the oldest of the next ones is the next of all.
        while let Some(head) = heads
            .iter_mut()
            .filter(|head| head.next.is_some())
            .min_by_key(|head| head.next.as_ref().map(|entry| entry.at_us))
        {
            let Some(entry) = head.next.take() else { break };
            let source = head.source;
            if let Err(err) = head.advance().await {
                exit = exit.and(self.session.report(&err));
            }
            match n_lines {
                None => self.print(places, source, &entry)?,
                Some(n_lines) => {
                    last.push_back((source, entry));
                    last.drain(..last.len().saturating_sub(n_lines));
                }
            }
        }
        for (source, entry) in &last {
            self.print(places, *source, entry)?;
        }
        Ok((heads.into_iter().map(|head| (head.source, head.left)).chain(unread).collect(), exit))
    }

    async fn head(&self, source: usize, place: &Place) -> Result<Head<'a, 'b>, CommandError> {
        let mut query = self.query(place, "json");
        // One at least, for its cursor, when nothing is to be shown of what was before.
        query.lines = query.lines.map(|lines| lines.max(1));
        let pieces = self.open(place, &query).await?;
        let entries = Entries::new(self.session, place.clone(), pieces);
        let mut head = Head { source, entries, next: None, left: Left::Empty };
        head.advance().await?;
        Ok(head)
    }
}

impl Head<'_, '_> {
    async fn advance(&mut self) -> Result<(), CommandError> {
        self.next = self.entries.next().await.transpose()?;
        if let Some(entry) = &self.next {
            self.left = Left::Behind(entry.cursor.clone());
        }
        Ok(())
    }
}
