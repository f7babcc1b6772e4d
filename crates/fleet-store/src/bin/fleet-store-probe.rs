//! Puts a durable store under load: to see what a disk can do, and to be killed in the middle of it.
//!
//! `fleet-store-probe measure FILE` prints how fast the disk under FILE (a new one) takes durable writes.
//! `fleet-store-probe write FILE WRITERS` writes until it is killed, and prints a line for each write that the store has
//! acknowledged: `lease N` first, then `ack WRITER N REVISION`. The kill test reads these lines, and looks into the file
//! afterwards.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for the command line")]

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fleet_store::embedded::Embedded;
use fleet_store::{Guard, Keys, LeaseId, Store, StoreError, TXN_OPS_MAX, Txn, TxnOutcome, Write};

/// How many of its last writes each writer leaves in the store.
const KEPT: u64 = 20;

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args[..] {
        ["measure", path] => measure(Path::new(path)).await,
        ["write", path, n_writers] => match n_writers.parse() {
            Ok(n_writers) => write(Path::new(path), n_writers).await,
            Err(_) => return usage(),
        },
        _ => return usage(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("error: {err}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: fleet-store-probe measure FILE\n       fleet-store-probe write FILE WRITERS");
    ExitCode::from(2)
}

/// Writes with several writers at once until somebody kills the process.
async fn write(path: &Path, n_writers: u64) -> Result<(), StoreError> {
    let store = Arc::new(Embedded::open(path).await?);
    let lease = lease(&store).await?;
    println!("lease {}", lease.0);
    let writers: Vec<_> = (0..n_writers).map(|writer| tokio::spawn(write_one(Arc::clone(&store), writer))).collect();
    for writer in writers {
        writer.await.expect("a writer does not panic")?;
    }
    Ok(())
}

/// The lease that an earlier run has left in the store, or a new one, with two keys on it.
async fn lease(store: &Embedded) -> Result<LeaseId, StoreError> {
    let present = store.read(&Keys::One("presence/a".to_owned())).await?;
    if let Some(lease) = present.kvs.first().and_then(|kv| kv.lease) {
        return Ok(lease);
    }
    let lease = store.grant(Duration::from_secs(3600)).await?;
    let put = |key: &str| Write::Put { key: key.to_owned(), value: b"here".to_vec(), lease: Some(lease) };
    let writes = vec![put("presence/a"), put("presence/b")];
    store.commit(&Txn { guards: Vec::new(), writes }).await?;
    Ok(lease)
}

/// One writer: each transaction moves its counter by one, writes a pair of keys and deletes the oldest pair.
async fn write_one(store: Arc<Embedded>, writer: u64) -> Result<(), StoreError> {
    let counter = format!("count/{writer}");
    let found = store.read(&Keys::One(counter.clone())).await?.kvs.pop();
    let number = |value: &[u8]| String::from_utf8_lossy(value).parse::<u64>().expect("counters are numbers");
    let mut n = found.as_ref().map_or(0, |kv| number(&kv.value));
    let mut guard = match found {
        Some(kv) => Guard::ModRevision(counter.clone(), kv.mod_revision),
        None => Guard::Absent(counter.clone()),
    };
    loop {
        n += 1;
        let put = |key: String| Write::Put { key, value: n.to_string().into_bytes(), lease: None };
        let mut writes = vec![put(counter.clone())];
        writes.extend(["a", "b"].map(|half| put(format!("{half}/{writer}/{n}"))));
        if let Some(old) = n.checked_sub(KEPT) {
            writes.extend(["a", "b"].map(|half| Write::Delete { key: format!("{half}/{writer}/{old}") }));
        }
        match store.commit(&Txn { guards: vec![guard], writes }).await? {
            TxnOutcome::Committed(revision) => {
                println!("ack {writer} {n} {}", revision.0);
                guard = Guard::ModRevision(counter.clone(), revision);
            }
            TxnOutcome::Conflict(revision) => panic!("nobody else writes {counter}, yet it moved at {revision:?}"),
        }
    }
}

/// Prints how fast durable writes of 256 bytes are.
async fn measure(path: &Path) -> Result<(), StoreError> {
    const VALUE: [u8; 256] = [b'x'; 256];
    let store = Arc::new(Embedded::open(path).await?);
    for (n_writers, n_puts, n_txns) in [(1, 1, 2000), (16, 1, 20_000), (128, 1, 40_000), (1, 100, 500), (16, 100, 1000)]
    {
        let start = Instant::now();
        let work = |writer: usize| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for n in 0..n_txns / n_writers {
                    let key = |idx: usize| format!("k/{writer}/{}", (n * n_puts + idx) % 1000);
                    let put = |idx| Write::Put { key: key(idx), value: VALUE.to_vec(), lease: None };
                    let writes = (0..n_puts.min(TXN_OPS_MAX)).map(put).collect();
                    store.commit(&Txn { guards: Vec::new(), writes }).await?;
                }
                Ok::<(), StoreError>(())
            })
        };
        let writers: Vec<_> = (0..n_writers).map(work).collect();
        for writer in writers {
            writer.await.expect("a writer does not panic")?;
        }
        let seconds = start.elapsed().as_secs_f64();
        let done = (n_txns / n_writers * n_writers) as f64;
        let (txns, puts) = (done / seconds, done * n_puts as f64 / seconds);
        println!("{n_writers:>4} writers, {n_puts:>3} puts each: {txns:>8.0} transactions/s, {puts:>8.0} puts/s");
    }
    store.close().await;
    let start = Instant::now();
    let store = Embedded::open(path).await?;
    let n_keys = store.read(&Keys::Prefix(String::new())).await?.kvs.len();
    println!("opening with {n_keys} keys: {:.0} ms", start.elapsed().as_secs_f64() * 1000.0);
    Ok(())
}
