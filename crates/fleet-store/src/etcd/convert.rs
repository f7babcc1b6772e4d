//! Between the words of the store and those of etcd: keys under the prefix, guards, writes and changes. Pure.

use super::wire::{
    Compare, CompareResult, CompareTarget, DeleteRangeRequest, Event, EventType, KeyValue, PutRequest, RangeRequest,
    Request, RequestOp, Target, TxnRequest,
};
use crate::{Batch, Change, Guard, Keys, LeaseId, Revision, Txn, Write};

/// The keys of one fleet in etcd: everything that begins with a prefix.
#[derive(Clone, Debug)]
pub(super) struct Space {
    prefix: String,
}

/// A range of keys as etcd wants it: from the first key to before the second; an empty second means the first alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub key: Vec<u8>,
    pub end: Vec<u8>,
}

/// A watch told of a revision that should have been over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WentBack {
    pub seen: Revision,
    pub now: Revision,
}

impl Space {
    pub fn new(prefix: String) -> Space {
        Space { prefix }
    }

    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    fn key(&self, key: &str) -> Vec<u8> {
        [self.prefix.as_bytes(), key.as_bytes()].concat()
    }

    pub fn range(&self, keys: &Keys) -> Range {
        match keys {
            Keys::One(key) => Range { key: self.key(key), end: Vec::new() },
            Keys::Prefix(prefix) => {
                let key = self.key(prefix);
                match key.split_last() {
                    // The next text after all that begin with `key`. No byte of UTF-8 is 0xff, so this never overflows.
                    Some((last, head)) => Range { end: [head, &[last + 1]].concat(), key },
                    // All keys of etcd: it writes that with two zero bytes.
                    None => Range { key: vec![0], end: vec![0] },
                }
            }
        }
    }

    /// The store's key of one of etcd's; `None` if fleet cannot have written it.
    fn strip(&self, key: &[u8]) -> Option<String> {
        let own = key.strip_prefix(self.prefix.as_bytes()).and_then(|own| std::str::from_utf8(own).ok());
        match own {
            Some(own) if !own.is_empty() => Some(own.to_owned()),
            _ => {
                tracing::warn!(key = %key.escape_ascii(), "somebody else's key under fleet's prefix; it is left alone");
                None
            }
        }
    }

    /// `None` for a key that is not fleet's.
    pub fn kv(&self, kv: KeyValue) -> Option<crate::KeyValue> {
        Some(crate::KeyValue {
            key: self.strip(&kv.key)?,
            value: kv.value,
            create_revision: revision(kv.create_revision),
            mod_revision: revision(kv.mod_revision),
            lease: (kv.lease != 0).then_some(LeaseId(kv.lease)),
        })
    }

    pub fn txn(&self, txn: &Txn) -> TxnRequest {
        let compare = txn.guards.iter().map(|guard| self.compare(guard)).collect();
        let mut request = TxnRequest { compare, success: Vec::new(), failure: Vec::new() };
        if txn.writes.is_empty() {
            // A transaction that neither writes nor reads is answered by the asked member from what it happens to know, and
            // a member that lags behind would let an old guard hold. A read in each branch makes it ask the others first.
            let look = RangeRequest { key: self.key("\0"), count_only: true, ..RangeRequest::default() };
            let look = RequestOp { request: Some(Request::Range(look)) };
            request.success.push(look.clone());
            request.failure.push(look);
        }
        request.success.extend(txn.writes.iter().map(|write| RequestOp { request: Some(self.write(write)) }));
        request
    }

    fn compare(&self, guard: &Guard) -> Compare {
        // What is missing has revision 0 in etcd, but here a guard that names a revision holds for existing keys only:
        // revision 0 becomes a comparison that never holds.
        let result = |revision: Revision| match revision {
            Revision(0) => CompareResult::Less,
            Revision(_) => CompareResult::Equal,
        };
        let (result, target, with) = match *guard {
            Guard::Absent(_) => (CompareResult::Equal, CompareTarget::Version, Target::Version(0)),
            Guard::ModRevision(_, at) => (result(at), CompareTarget::Mod, Target::Mod(number(at))),
            Guard::CreateRevision(_, at) => (result(at), CompareTarget::Create, Target::Create(number(at))),
        };
        Compare { result: result.into(), target: target.into(), key: self.key(guard.key()), with: Some(with) }
    }

    fn write(&self, write: &Write) -> Request {
        match write {
            Write::Put { key, value, lease } => Request::Put(PutRequest {
                key: self.key(key),
                value: value.clone(),
                lease: lease.map_or(0, |LeaseId(id)| id),
            }),
            Write::Delete { key } => Request::DeleteRange(DeleteRangeRequest { key: self.key(key) }),
        }
    }

    /// The events of one message as batches, one a revision, none before `next`; and what is next after them.
    pub fn batches(&self, events: Vec<Event>, mut next: Revision) -> Result<(Vec<Batch>, Revision), WentBack> {
        let mut batches: Vec<Batch> = Vec::new();
        let mut current = None;
        for event in events {
            let kind = event.kind();
            let Some(kv) = event.kv else { continue };
            let at = revision(kv.mod_revision);
            if current != Some(at) {
                if at < next {
                    return Err(WentBack { seen: before(next), now: at });
                }
                (current, next) = (Some(at), after(at));
            }
            let change = match kind {
                EventType::Put => self.kv(kv).map(Change::Put),
                EventType::Delete => self.strip(&kv.key).map(|key| Change::Delete { key, revision: at }),
            };
            let Some(change) = change else { continue };
            match batches.last_mut() {
                Some(batch) if batch.revision == at => batch.changes.push(change),
                _ => batches.push(Batch { revision: at, changes: vec![change] }),
            }
        }
        Ok((batches, next))
    }
}

/// etcd's revisions are signed and never negative.
pub(super) fn revision(number: i64) -> Revision {
    Revision(u64::try_from(number).unwrap_or(0))
}

/// No store comes near the end of either: at a million writes a second that takes 290,000 years.
pub(super) fn number(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

pub(super) fn after(revision: Revision) -> Revision {
    Revision(revision.0.saturating_add(1))
}

pub(super) fn before(revision: Revision) -> Revision {
    Revision(revision.0.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space() -> Space {
        Space::new("/f/".to_owned())
    }

    #[test]
    fn ranges_of_keys() {
        let check = |prefix: &str, keys: Keys, key: &str, end: &str| {
            let range = Space::new(prefix.to_owned()).range(&keys);
            assert_eq!(
                (range.key.escape_ascii().to_string(), range.end.escape_ascii().to_string()),
                (key.to_owned(), end.to_owned())
            );
        };
        check("/f/", Keys::One("a".to_owned()), "/f/a", "");
        check("/f/", Keys::Prefix("a/".to_owned()), "/f/a/", "/f/a0");
        check("/f/", Keys::Prefix(String::new()), "/f/", "/f0");
        check("", Keys::Prefix(String::new()), "\\x00", "\\x00");
        // The last letter of UTF-8 ends in 0xbf.
        check("", Keys::Prefix("\u{10ffff}".to_owned()), "\\xf4\\x8f\\xbf\\xbf", "\\xf4\\x8f\\xbf\\xc0");
    }

    /// `put KEY REVISION` and `del KEY REVISION`, with commas between.
    fn events(text: &str) -> Vec<Event> {
        let event = |word: &str| {
            let words: Vec<&str> = word.split_whitespace().collect();
            let kind = if words[0] == "put" { EventType::Put } else { EventType::Delete };
            let mod_revision = words[2].parse().expect("a revision");
            let kv = KeyValue { key: words[1].into(), mod_revision, ..KeyValue::default() };
            Event { kind: kind.into(), kv: Some(kv) }
        };
        text.split(',').map(event).collect()
    }

    #[track_caller]
    fn check_batches(text: &str, next: u64, expected: &str) {
        let show = |batch: &Batch| {
            let keys: Vec<String> = batch
                .changes
                .iter()
                .map(|change| match change {
                    Change::Put(kv) => kv.key.clone(),
                    Change::Delete { key, .. } => format!("-{key}"),
                })
                .collect();
            format!("{}: {}", batch.revision.0, keys.join(" "))
        };
        let shown = match space().batches(events(text), Revision(next)) {
            Ok((batches, next)) => {
                format!("{}; next {}", batches.iter().map(show).collect::<Vec<_>>().join(", "), next.0)
            }
            Err(WentBack { seen, now }) => format!("back from {} to {}", seen.0, now.0),
        };
        assert_eq!(shown, expected, "{text}");
    }

    #[test]
    fn events_become_batches() {
        check_batches("put /f/b 5,del /f/a 5,put /f/b 7", 5, "5: b -a, 7: b; next 8");
        check_batches("put /f/b 5,put /f/a 6", 6, "back from 5 to 5");
        check_batches("put /f/b 7,put /f/a 6", 5, "back from 7 to 6");
        check_batches("put /f/b 7,put /f/b 6,put /f/b 7", 5, "back from 7 to 6");
        // Keys that are not fleet's are left out, but the revision is over.
        check_batches("put /g/b 5,put /f/ 6,put /f/c 7,del /f 8", 5, "7: c; next 9");
    }

    #[test]
    fn guards_alone_ask_the_majority() {
        let guards = vec![Guard::Absent("a".to_owned())];
        let alone = space().txn(&Txn { guards: guards.clone(), writes: Vec::new() });
        for branch in [&alone.success, &alone.failure] {
            assert!(matches!(branch[..], [RequestOp { request: Some(Request::Range(_)) }]), "{branch:?}");
        }
        let writes = vec![Write::Delete { key: "a".to_owned() }];
        let with_writes = space().txn(&Txn { guards, writes });
        assert_eq!((with_writes.success.len(), with_writes.failure.len()), (1, 0));
    }

    #[test]
    fn a_revision_of_zero_never_holds() {
        for guard in
            [Guard::ModRevision("a".to_owned(), Revision(0)), Guard::CreateRevision("a".to_owned(), Revision(0))]
        {
            assert_eq!(space().compare(&guard).result(), CompareResult::Less);
        }
        assert_eq!(space().compare(&Guard::ModRevision("a".to_owned(), Revision(3))).result(), CompareResult::Equal);
    }
}
