//! The scripts of the suite, and who runs them.
//!
//! Most of it is scripts: what is asked on the left, what must be answered on the right of `=>`. Revisions are written
//! relative to that of the empty store (`+1` is the first write), because a shared etcd does not begin at one.
//!
//! | line | meaning |
//! | --- | --- |
//! | `txn ?absent(k) ?mod(k,+1) ?create(k,+1) k=v k=v@LEASE -k` | a transaction: guards, puts, deletes |
//! | `read k`, `read p*` | a key or a prefix: `k=v(created,modified,LEASE)` |
//! | `watch NAME p* from +1`, `next NAME` | a watch, and its next batch |
//! | `grant LEASE SECONDS`, `alive LEASE`, `revoke LEASE` | leases |
//! | `pass SECONDS` | lets time pass |

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use super::{NEXT_WAIT_MAX, Subject, text};
use crate::{
    Batch, Change, Guard, Keys, LeaseId, Revision, Snapshot, Store, StoreError, Txn, TxnOutcome, Watch, Write,
};

/// Runs a script on an empty store and compares the answers.
///
/// # Panics
/// If an answer differs, with the whole script as it went.
pub async fn check(subject: &dyn Subject, script: &str) {
    let mut run =
        Run { subject, store: subject.store().await, base: 0, leases: BTreeMap::new(), watches: BTreeMap::new() };
    run.base = run.store.read(&Keys::Prefix(String::new())).await.expect("a read").revision.0;
    let (mut went, mut wanted) = (String::new(), String::new());
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (command, want) = line.split_once("=>").expect("every line has an answer");
        let (command, want) = (command.trim(), want.trim());
        let got = run.step(command).await;
        writeln!(went, "{command:<40} => {got}").expect("writing to a text");
        writeln!(wanted, "{command:<40} => {want}").expect("writing to a text");
    }
    assert!(went == wanted, "the store answered\n{went}\ninstead of\n{wanted}");
}

struct Run<'s> {
    subject: &'s dyn Subject,
    store: Arc<dyn Store>,
    base: u64,
    leases: BTreeMap<String, LeaseId>,
    watches: BTreeMap<String, Box<dyn Watch>>,
}

impl Run<'_> {
    async fn step(&mut self, command: &str) -> String {
        let words: Vec<&str> = command.split_whitespace().collect();
        match words[..] {
            ["txn", ref parts @ ..] => {
                let txn = self.txn(parts);
                match self.store.commit(&txn).await {
                    Ok(TxnOutcome::Committed(at)) => format!("committed {}", self.show(at)),
                    Ok(TxnOutcome::Conflict(at)) => format!("conflict {}", self.show(at)),
                    Err(err) => show_error(&err),
                }
            }
            ["read", keys] => match self.store.read(&self::keys(keys)).await {
                Ok(snapshot) => self.show_snapshot(&snapshot),
                Err(err) => show_error(&err),
            },
            ["watch", name, keys, "from", from] => {
                let from = self.revision(from);
                match self.store.watch(&self::keys(keys), from).await {
                    Ok(watch) => {
                        self.watches.insert(name.to_owned(), watch);
                        "ok".to_owned()
                    }
                    Err(err) => show_error(&err),
                }
            }
            ["next", name] => {
                let watch = self.watches.get_mut(name).expect("a watch of that name");
                match tokio::time::timeout(NEXT_WAIT_MAX, watch.next()).await {
                    Ok(Ok(batch)) => self.show_batch(&batch),
                    Ok(Err(err)) => show_error(&err),
                    Err(_) => "nothing".to_owned(),
                }
            }
            ["grant", name, seconds] => match self.store.grant(seconds_of(seconds)).await {
                Ok(lease) => {
                    self.leases.insert(name.to_owned(), lease);
                    "ok".to_owned()
                }
                Err(err) => show_error(&err),
            },
            ["alive", name] => show_done(self.store.keep_alive(self.leases[name]).await),
            ["revoke", name] => show_done(self.store.revoke(self.leases[name]).await),
            ["pass", seconds] => {
                self.subject.pass(seconds_of(seconds)).await;
                "ok".to_owned()
            }
            _ => panic!("unknown line in a script: {command}"),
        }
    }

    fn txn(&self, parts: &[&str]) -> Txn {
        let mut txn = Txn::default();
        for part in parts {
            if let Some(guard) = part.strip_prefix('?') {
                let (kind, rest) = guard.split_once('(').expect("a guard has (");
                let rest = rest.strip_suffix(')').expect("a guard has )");
                let pair = rest.split_once(',').map(|(key, at)| (key.to_owned(), self.revision(at)));
                txn.guards.push(match (kind, pair) {
                    ("absent", None) => Guard::Absent(rest.to_owned()),
                    ("mod", Some((key, at))) => Guard::ModRevision(key, at),
                    ("create", Some((key, at))) => Guard::CreateRevision(key, at),
                    _ => panic!("unknown guard {part}"),
                });
            } else if let Some(key) = part.strip_prefix('-') {
                txn.writes.push(Write::Delete { key: key.to_owned() });
            } else {
                let (key, value) = part.split_once('=').expect("a put has =");
                let (value, lease) = match value.split_once('@') {
                    Some((value, name)) => (value, Some(self.leases[name])),
                    None => (value, None),
                };
                let (key, value) = (key.to_owned(), value.as_bytes().to_vec());
                txn.writes.push(Write::Put { key, value, lease });
            }
        }
        txn
    }

    fn revision(&self, text: &str) -> Revision {
        let relative: u64 = text.trim_start_matches('+').parse().expect("a revision");
        Revision(self.base + relative)
    }

    fn show(&self, revision: Revision) -> String {
        format!("{:+}", i128::from(revision.0) - i128::from(self.base))
    }

    fn show_snapshot(&self, snapshot: &Snapshot) -> String {
        let mut out = format!("{}:", self.show(snapshot.revision));
        for kv in &snapshot.kvs {
            let (created, modified) = (self.show(kv.create_revision), self.show(kv.mod_revision));
            let name = |lease| self.leases.iter().find(|(_, id)| **id == lease);
            let lease = kv
                .lease
                .map_or(String::new(), |lease| format!(",{}", name(lease).map_or("?", |(name, _)| name.as_str())));
            write!(out, " {}={}({created},{modified}{lease})", kv.key, text(kv)).expect("writing to a text");
        }
        out
    }

    fn show_batch(&self, batch: &Batch) -> String {
        let mut out = self.show(batch.revision);
        for change in &batch.changes {
            match change {
                Change::Put(kv) if kv.mod_revision == batch.revision => {
                    write!(out, " {}={}", kv.key, text(kv)).expect("writing to a text");
                }
                Change::Delete { key, revision } if *revision == batch.revision => {
                    write!(out, " -{key}").expect("writing to a text");
                }
                Change::Put(_) | Change::Delete { .. } => out.push_str(" of another revision"),
            }
        }
        out
    }
}

fn seconds_of(text: &str) -> Duration {
    Duration::from_secs(text.parse().expect("whole seconds"))
}

fn keys(text: &str) -> Keys {
    match text.strip_suffix('*') {
        Some(prefix) => Keys::Prefix(prefix.to_owned()),
        None => Keys::One(text.to_owned()),
    }
}

fn show_done(result: Result<(), StoreError>) -> String {
    result.map_or_else(|err| show_error(&err), |()| "ok".to_owned())
}

fn show_error(err: &StoreError) -> String {
    match err {
        StoreError::NoLease(_) => "no lease".to_owned(),
        StoreError::Compacted(_) => "compacted".to_owned(),
        StoreError::DuplicateKey { key } => format!("duplicate key {key}"),
        StoreError::EmptyKey => "empty key".to_owned(),
        StoreError::Unavailable(_) => "unavailable".to_owned(),
        other => other.to_string(),
    }
}
