//! The suite that every store has to pass, whatever it is made of.
//!
//! Most of it is scripts (`script`): what is asked on the left, what must be answered on the right of `=>`.

mod script;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use self::script::check;
use crate::{
    Batch, Change, Guard, KeyValue, Keys, Revision, Store, StoreError, TXN_BYTES_MAX, TXN_OPS_MAX, Txn, TxnOutcome,
    Watch, Write,
};

/// How long a watch may take to tell what has happened.
const NEXT_WAIT_MAX: Duration = Duration::from_secs(10);

/// What the suite is run on.
#[async_trait]
pub trait Subject: Send + Sync {
    /// An empty store (or an empty prefix of one).
    async fn store(&self) -> Arc<dyn Store>;

    /// Lets time pass for its leases: a driven clock is moved on, a real one waited for.
    async fn pass(&self, time: Duration);
}

/// Makes a test of each scenario, run on what `$subject` gives (an async expression).
#[macro_export]
macro_rules! conformance {
    ($subject:expr) => {
        $crate::conformance!($subject; transactions guards leases lease_expiry watches watch_order
            limits one_of_many_wins no_increment_is_lost watchers_see_whole_transactions);
    };
    ($subject:expr; $($scenario:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $scenario() {
                $crate::conformance::$scenario(&$subject.await).await;
            }
        )*
    };
}

/// What a transaction writes, and that one that changes nothing raises no revision.
pub async fn transactions(subject: &dyn Subject) {
    check(
        subject,
        "
        read *                       => +0:
        txn a=1 b=2                  => committed +1
        read *                       => +1: a=1(+1,+1) b=2(+1,+1)
        txn a=3                      => committed +2
        read a                       => +2: a=3(+1,+2)
        txn a=3                      => committed +3
        txn -c                       => committed +3
        txn                          => committed +3
        txn -a -c                    => committed +4
        read *                       => +4: b=2(+1,+1)
        txn a=4                      => committed +5
        read a                       => +5: a=4(+5,+5)
        txn p/1=x p/2=y p0=z q=w     => committed +6
        read p/*                     => +6: p/1=x(+6,+6) p/2=y(+6,+6)
        read p/                      => +6:
        read p*                      => +6: p/1=x(+6,+6) p/2=y(+6,+6) p0=z(+6,+6)
        ",
    )
    .await;
}

/// That a guard that does not hold stops everything.
pub async fn guards(subject: &dyn Subject) {
    check(
        subject,
        "
        txn ?absent(a) a=1                    => committed +1
        txn ?absent(a) a=2 b=2                => conflict +1
        read *                                => +1: a=1(+1,+1)
        txn ?mod(a,+0) a=2                    => conflict +1
        txn ?mod(a,+1) a=2                    => committed +2
        txn ?mod(a,+1) a=3                    => conflict +2
        txn ?create(a,+1) a=3                 => committed +3
        txn ?create(a,+3) a=4                 => conflict +3
        txn ?mod(b,+3) b=1                    => conflict +3
        txn ?create(b,+3) b=1                 => conflict +3
        txn ?absent(b) ?mod(a,+2) b=1         => conflict +3
        txn ?absent(b) ?mod(a,+3) b=1 -a      => committed +4
        txn ?mod(a,+3) c=1                    => conflict +4
        txn ?absent(a) a=5                    => committed +5
        txn ?create(a,+1) a=6                 => conflict +5
        txn ?create(a,+5)                     => committed +5
        txn ?absent(a)                        => conflict +5
        read *                                => +5: a=5(+5,+5) b=1(+4,+4)
        ",
    )
    .await;
}

/// Leases ended by hand, and which keys hang on them.
pub async fn leases(subject: &dyn Subject) {
    check(
        subject,
        "
        grant L 60                   => ok
        grant M 60                   => ok
        txn a=1@L b=2@L c=3          => committed +1
        read *                       => +1: a=1(+1,+1,L) b=2(+1,+1,L) c=3(+1,+1)
        txn b=4                      => committed +2
        read b                       => +2: b=4(+1,+2)
        txn c=5@M d=6@L              => committed +3
        txn d=7@M                    => committed +4
        alive L                      => ok
        revoke L                     => ok
        read *                       => +5: b=4(+1,+2) c=5(+1,+3,M) d=7(+3,+4,M)
        alive L                      => no lease
        revoke L                     => no lease
        txn e=1 a=1@L                => no lease
        txn ?absent(b) a=1@L         => conflict +5
        read a                       => +5:
        txn -c -d                    => committed +6
        revoke M                     => ok
        read *                       => +6: b=4(+1,+2)
        ",
    )
    .await;
}

/// Leases ended by time: all keys of one in one revision, and only if nobody kept it alive.
pub async fn lease_expiry(subject: &dyn Subject) {
    check(
        subject,
        "
        grant L 5                    => ok
        grant M 60                   => ok
        txn a=1@L b=2@L c=3@M d=4    => committed +1
        watch W * from +2            => ok
        pass 3                       => ok
        alive L                      => ok
        pass 3                       => ok
        read a                       => +1: a=1(+1,+1,L)
        pass 3                       => ok
        next W                       => +2 -a -b
        read *                       => +2: c=3(+1,+1,M) d=4(+1,+1)
        alive L                      => no lease
        txn a=1@L                    => no lease
        alive M                      => ok
        ",
    )
    .await;
}

/// From where a watch begins, and what it tells.
pub async fn watches(subject: &dyn Subject) {
    check(
        subject,
        "
        txn a=1 b=1 p/x=1            => committed +1
        watch PAST * from +1         => ok
        next PAST                    => +1 a=1 b=1 p/x=1
        watch NOW * from +2          => ok
        watch LATER * from +4        => ok
        watch ONE a from +2          => ok
        watch SUB p/* from +1        => ok
        next SUB                     => +1 p/x=1
        txn a=2 -b                   => committed +2
        txn p/y=2 p/x=3              => committed +3
        txn -a -p/x                  => committed +4
        next PAST                    => +2 a=2 -b
        next PAST                    => +3 p/y=2 p/x=3
        next PAST                    => +4 -a -p/x
        next NOW                     => +2 a=2 -b
        next LATER                   => +4 -a -p/x
        next ONE                     => +2 a=2
        next ONE                     => +4 -a
        next SUB                     => +3 p/y=2 p/x=3
        next SUB                     => +4 -p/x
        txn a=9                      => committed +5
        txn p/z=9                    => committed +6
        next ONE                     => +5 a=9
        next SUB                     => +6 p/z=9
        next LATER                   => +5 a=9
        next LATER                   => +6 p/z=9
        ",
    )
    .await;
}

/// That what changed nothing is not told, and that a batch keeps the order of its transaction.
pub async fn watch_order(subject: &dyn Subject) {
    check(
        subject,
        "
        grant L 60                   => ok
        watch W * from +1            => ok
        txn -nothing                 => committed +0
        txn ?mod(a,+7) a=1           => conflict +0
        txn z=1 a=1 m=1@L            => committed +1
        next W                       => +1 z=1 a=1 m=1
        txn a=2@L                    => committed +2
        next W                       => +2 a=2
        revoke L                     => ok
        next W                       => +3 -a -m
        txn -m -z a=3                => committed +4
        next W                       => +4 -z a=3
        ",
    )
    .await;
}

/// What is too much for one transaction, on both sides of each limit.
pub async fn limits(subject: &dyn Subject) {
    let store = subject.store().await;
    let puts =
        |n: usize| Txn { guards: Vec::new(), writes: (0..n).map(|idx| put(&format!("k{idx:04}"), "v")).collect() };
    assert!(matches!(store.commit(&puts(TXN_OPS_MAX)).await, Ok(TxnOutcome::Committed(_))));
    let over = store.commit(&puts(TXN_OPS_MAX + 1)).await;
    assert_eq!(over, Err(StoreError::TooManyOps { ops: TXN_OPS_MAX + 1 }));
    let guards = |n: usize| Txn {
        guards: (0..n).map(|idx| Guard::Absent(format!("g{idx:04}"))).collect(),
        writes: vec![put("guarded", "v")],
    };
    assert!(matches!(store.commit(&guards(TXN_OPS_MAX)).await, Ok(TxnOutcome::Committed(_))));
    let over = store.commit(&guards(TXN_OPS_MAX + 1)).await;
    assert_eq!(over, Err(StoreError::TooManyOps { ops: TXN_OPS_MAX + 1 }));
    let large =
        |bytes: usize| Txn { guards: Vec::new(), writes: vec![put("large", &"x".repeat(bytes - "large".len()))] };
    assert!(matches!(store.commit(&large(TXN_BYTES_MAX)).await, Ok(TxnOutcome::Committed(_))));
    let over = store.commit(&large(TXN_BYTES_MAX + 1)).await;
    assert_eq!(over, Err(StoreError::TooLarge { bytes: TXN_BYTES_MAX + 1 }));
    check(
        subject,
        "
        txn a=1 b=1 a=2              => duplicate key a
        txn a=1 -a                   => duplicate key a
        txn =1                       => empty key
        txn ?absent() a=1            => empty key
        read *                       => +0:
        ",
    )
    .await;
}

/// Many writers race for one key, again and again; each time exactly one gets it.
pub async fn one_of_many_wins(subject: &dyn Subject) {
    const WRITERS: usize = 32;
    const ROUNDS: usize = 10;
    let store = subject.store().await;
    let mut guard = Guard::Absent("prize".to_owned());
    for round in 0..ROUNDS {
        let race = |writer: usize| {
            let (store, guard) = (Arc::clone(&store), guard.clone());
            tokio::spawn(async move {
                let value = format!("{round}-{writer}");
                let txn = Txn { guards: vec![guard], writes: vec![put("prize", &value)] };
                (value, store.commit(&txn).await.expect("the store answers"))
            })
        };
        let racers: Vec<_> = (0..WRITERS).map(race).collect();
        let mut winners = Vec::new();
        for racer in racers {
            let (value, outcome) = racer.await.expect("no writer panics");
            if let TxnOutcome::Committed(revision) = outcome {
                winners.push((value, revision));
            }
        }
        assert_eq!(winners.len(), 1, "round {round}: {winners:?}");
        let (value, revision) = &winners[0];
        let kvs = store.read(&Keys::One("prize".to_owned())).await.expect("the store answers").kvs;
        assert_eq!(text(&kvs[0]), *value);
        assert_eq!(kvs[0].mod_revision, *revision);
        guard = Guard::ModRevision("prize".to_owned(), *revision);
    }
}

/// Writers who read, add one and write under a guard, until they succeed; the sum is right.
pub async fn no_increment_is_lost(subject: &dyn Subject) {
    const WRITERS: usize = 8;
    const INCREMENTS: usize = 10;
    let store = subject.store().await;
    let first = Txn { guards: Vec::new(), writes: vec![put("n", "0")] };
    store.commit(&first).await.expect("the store answers");
    let count = |store: Arc<dyn Store>| async move {
        let kvs = store.read(&Keys::One("n".to_owned())).await.expect("the store answers").kvs;
        (text(&kvs[0]).parse::<usize>().expect("a number"), kvs[0].mod_revision)
    };
    let add = |store: Arc<dyn Store>| async move {
        for _ in 0..INCREMENTS {
            loop {
                let (n, seen) = count(Arc::clone(&store)).await;
                let guards = vec![Guard::ModRevision("n".to_owned(), seen)];
                let txn = Txn { guards, writes: vec![put("n", &(n + 1).to_string())] };
                let outcome = store.commit(&txn).await.expect("the store answers");
                if let TxnOutcome::Committed(_) = outcome {
                    break;
                }
            }
        }
    };
    let writers: Vec<_> = (0..WRITERS).map(|_| tokio::spawn(add(Arc::clone(&store)))).collect();
    for writer in writers {
        writer.await.expect("no writer panics");
    }
    assert_eq!(count(store).await.0, WRITERS * INCREMENTS);
}

/// While many write, every watcher sees every revision once, in order, with all of its transaction.
pub async fn watchers_see_whole_transactions(subject: &dyn Subject) {
    const WRITERS: usize = 8;
    const WRITES: usize = 20;
    let store = subject.store().await;
    let base = store.read(&Keys::Prefix(String::new())).await.expect("the store answers").revision;
    let from = Revision(base.0 + 1);
    let all = Keys::Prefix(String::new());
    let mut early = store.watch(&all, from).await.expect("a watch");
    let write = |writer: usize| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for n in 0..WRITES {
                let value = format!("{writer}-{n}");
                let writes = vec![put(&format!("b/{writer}"), &value), put("a", &value)];
                let outcome = store.commit(&Txn { guards: Vec::new(), writes }).await;
                assert!(matches!(outcome, Ok(TxnOutcome::Committed(_))), "{outcome:?}");
            }
        })
    };
    let writers: Vec<_> = (0..WRITERS).map(write).collect();
    let live = collect(&mut *early, WRITERS * WRITES).await;
    for writer in writers {
        writer.await.expect("no writer panics");
    }
    let mut late = store.watch(&all, from).await.expect("a watch of the past");
    assert_eq!(collect(&mut *late, WRITERS * WRITES).await, live);
    for (idx, batch) in live.iter().enumerate() {
        let keys: Vec<&str> = batch.changes.iter().map(Change::key).collect();
        assert_eq!(batch.revision.0, from.0 + idx as u64);
        assert!(matches!(keys[..], [first, "a"] if first.starts_with("b/")), "{batch:?}");
    }
}

async fn collect(watch: &mut dyn Watch, n: usize) -> Vec<Batch> {
    let mut batches = Vec::new();
    while batches.len() < n {
        let next = tokio::time::timeout(NEXT_WAIT_MAX, watch.next()).await;
        batches.push(next.expect("a batch within the limit").expect("a batch"));
    }
    batches
}

fn put(key: &str, value: &str) -> Write {
    Write::Put { key: key.to_owned(), value: value.as_bytes().to_vec(), lease: None }
}

fn text(kv: &KeyValue) -> String {
    String::from_utf8_lossy(&kv.value).into_owned()
}
