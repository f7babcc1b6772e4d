//! Stands between the machines and etcd and passes answers on late.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use fleet_dev::{HUB_ADDRESS, Lab};

/// Most bytes that are passed on at once.
const CHUNK_LEN: usize = 64 << 10;

pub struct Proxy {
    shared: Arc<Shared>,
}

struct Shared {
    delay_ms: Mutex<Range<u64>>,
    random: Mutex<u64>,
}

impl Proxy {
    /// Listens at `port` of the hub for what goes to `to`. Its threads live as long as the test's process; their
    /// connections end with the lab.
    #[track_caller]
    pub fn start(lab: &Lab, port: u16, to: u16, seed: u64) -> Proxy {
        let shared = Arc::new(Shared { delay_ms: Mutex::new(0..1), random: Mutex::new(seed) });
        let proxy = Proxy { shared: Arc::clone(&shared) };
        lab.in_network(move || {
            let listener = TcpListener::bind((HUB_ADDRESS, port)).expect("the port is free in the lab's network");
            // A thread of this one, so in the same network.
            thread::spawn(move || {
                for caller in listener.incoming().map_while(Result::ok) {
                    // etcd may be gone for the moment: the caller sees its connection end, as without us.
                    if let Ok(etcd) = TcpStream::connect((HUB_ADDRESS, to)) {
                        connect(caller, etcd, &shared);
                    }
                }
            });
        })
        .unwrap_or_else(|err| panic!("{err}"));
        proxy
    }

    /// Passes each answer on later by a time out of this range; 0 to 1 ms at first.
    pub fn delay(&self, ms: Range<u64>) {
        *self.shared.delay_ms.lock().unwrap_or_else(PoisonError::into_inner) = ms;
    }
}

impl Shared {
    fn next_delay(&self) -> Duration {
        let range = self.delay_ms.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        // Xorshift (Marsaglia 2003): any spread will do.
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        Duration::from_millis(range.start + *random % (range.end - range.start))
    }
}

fn connect(caller: TcpStream, etcd: TcpStream, shared: &Arc<Shared>) {
    let (Ok(mut caller_in), Ok(mut etcd_out)) = (caller.try_clone(), etcd.try_clone()) else { return };
    thread::spawn(move || {
        let _ended = std::io::copy(&mut caller_in, &mut etcd_out);
        let _gone = etcd_out.shutdown(Shutdown::Both);
    });
    let (sender, receiver) = mpsc::channel::<(Instant, Vec<u8>)>();
    let mut etcd_in = etcd;
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        let mut chunk = vec![0; CHUNK_LEN];
        while let Ok(len @ 1..) = etcd_in.read(&mut chunk) {
            if sender.send((Instant::now() + shared.next_delay(), chunk[..len].to_vec())).is_err() {
                break;
            }
        }
    });
    let mut caller_out = caller;
    thread::spawn(move || {
        // In the order in which they came: none overtakes another.
        for (due, chunk) in receiver {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if caller_out.write_all(&chunk).is_err() {
                break;
            }
        }
        let _gone = caller_out.shutdown(Shutdown::Both);
    });
}
