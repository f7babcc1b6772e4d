//! The least that starting units on one systemd costs: what benchmarks compare us with.
//!
//! The files are written, one call for each unit goes out without waiting, the ends of the jobs are counted. Nothing else: no
//! runtime, no D-Bus library, no state. Not for use in the product: it trusts its peer, and its socket's end is an error.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufReader, Read, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// How one run went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FloorRun {
    /// From before the first file was written to the end of the last job.
    pub elapsed: Duration,
    /// The units whose jobs did not end as `done`, with their results.
    pub not_done: Vec<(String, String)>,
}

/// Longest message taken, in bytes. systemd's signals about units are below 10,000.
const MESSAGE_LEN_MAX: usize = 16 * 1024 * 1024;

/// Writes these unit files (name, text) into `unit_directory` and starts all of them over the manager's private `socket`. Blocks.
///
/// # Errors
/// A file that cannot be written; a socket that cannot be reached or ends; a call that systemd refuses.
pub fn bench_floor(socket: &Path, unit_directory: &Path, files: &[(String, String)]) -> io::Result<FloorRun> {
    let begin = Instant::now();
    fs::create_dir_all(unit_directory)?;
    for (name, text) in files {
        let temporary = unit_directory.join(format!(".floor-{}", std::process::id()));
        fs::write(&temporary, text)?;
        fs::rename(&temporary, unit_directory.join(name))?;
    }
    let names = files.iter().map(|(name, _)| name.clone()).collect();
    let not_done = call_all(socket, "StartUnit", names)?;
    Ok(FloorRun { elapsed: begin.elapsed(), not_done })
}

/// Stops all of these units and removes their files, as it is after a run. Blocks.
///
/// # Errors
/// As for [`bench_floor`].
pub fn bench_floor_stop(socket: &Path, unit_directory: &Path, names: &[String]) -> io::Result<FloorRun> {
    let begin = Instant::now();
    let not_done = call_all(socket, "StopUnit", names.to_vec())?;
    for name in names {
        fs::remove_file(unit_directory.join(name))?;
    }
    Ok(FloorRun { elapsed: begin.elapsed(), not_done })
}

fn call_all(socket: &Path, method: &str, names: Vec<String>) -> io::Result<Vec<(String, String)>> {
    let stream = UnixStream::connect(socket)?;
    let mut read = BufReader::with_capacity(256 * 1024, stream.try_clone()?);
    (&stream).write_all(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
    // systemd leaves a call lie that arrives together with the handshake, until something else arrives.
    skip_handshake(&mut read)?;
    let calls: Vec<u8> = (1..).zip(&names).flat_map(|(serial, name)| call(method, name, serial)).collect();
    thread::scope(|scope| {
        // Apart, so that neither side waits for the other with a full socket.
        let sending = scope.spawn(|| (&stream).write_all(&calls));
        let not_done = await_ends(&mut read, names)?;
        sending.join().map_err(|_| io::Error::other("the sender panicked"))??;
        Ok(not_done)
    })
}

fn await_ends(read: &mut impl Read, names: Vec<String>) -> io::Result<Vec<(String, String)>> {
    let mut waiting: BTreeSet<String> = names.into_iter().collect();
    let mut not_done = Vec::new();
    while !waiting.is_empty() {
        let message = Incoming::read(read)?;
        if message.kind == ERROR {
            return Err(io::Error::other(format!("systemd refused: {}", message.text(0)?)));
        }
        if message.kind == SIGNAL && message.member == "JobRemoved" {
            // Number, job's path, unit, result; strings begin at multiples of 4.
            let unit_at = message.after_text(4)?;
            let result_at = message.after_text(unit_at)?;
            let (unit, result) = (message.text(unit_at)?, message.text(result_at)?);
            if waiting.remove(&unit) && result != "done" {
                not_done.push((unit, result));
            }
        }
    }
    Ok(not_done)
}

/// The answers to our authentication are two lines.
fn skip_handshake(read: &mut impl Read) -> io::Result<()> {
    let mut n_lines = 0;
    let mut byte = [0];
    while n_lines < 2 {
        read.read_exact(&mut byte)?;
        if byte == *b"\n" {
            n_lines += 1;
        }
    }
    Ok(())
}

/// Message types. Source: D-Bus specification, "Message Format".
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;

struct Incoming {
    kind: u8,
    member: String,
    body: Vec<u8>,
}

impl Incoming {
    fn read(read: &mut impl Read) -> io::Result<Incoming> {
        let mut preamble = [0; 16];
        read.read_exact(&mut preamble)?;
        let (body_len, fields_len) = (number(&preamble, 4)?, number(&preamble, 12)?);
        if MESSAGE_LEN_MAX < body_len.max(fields_len) {
            return Err(broken());
        }
        let mut fields = vec![0; fields_len.next_multiple_of(8)];
        read.read_exact(&mut fields)?;
        let mut body = vec![0; body_len];
        read.read_exact(&mut body)?;
        Ok(Incoming { kind: preamble[1], member: member(&fields[..fields_len])?, body })
    }

    fn text(&self, at: usize) -> io::Result<String> {
        text(&self.body, at)
    }

    fn after_text(&self, at: usize) -> io::Result<usize> {
        Ok((at + 4 + number(&self.body, at)? + 1).next_multiple_of(4))
    }
}

/// The member field, code 3, of a header; empty if there is none.
fn member(fields: &[u8]) -> io::Result<String> {
    let mut at = 0;
    while at + 4 <= fields.len() {
        let (code, ty) = (fields[at], fields[at + 2]);
        at += 4;
        match ty {
            b'g' => at += usize::from(*fields.get(at).ok_or_else(broken)?) + 2,
            b'u' => at += 4,
            _ if code == 3 => return text(fields, at),
            _ => at += number(fields, at)? + 5,
        }
        at = at.next_multiple_of(8);
    }
    Ok(String::new())
}

fn number(bytes: &[u8], at: usize) -> io::Result<usize> {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()).ok_or_else(broken)?;
    usize::try_from(u32::from_le_bytes(*word)).map_err(|_| broken())
}

fn text(bytes: &[u8], at: usize) -> io::Result<String> {
    let text = bytes.get(at + 4..at + 4 + number(bytes, at)?).ok_or_else(broken)?;
    Ok(String::from_utf8_lossy(text).into_owned())
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not a message as systemd sends it")
}

/// A call of the manager with a unit's name and the mode `replace`.
fn call(method: &str, name: &str, serial: u32) -> Vec<u8> {
    let mut body = Vec::new();
    push_text(&mut body, name);
    push_text(&mut body, "replace");
    let mut fields = Vec::new();
    for (code, ty, value) in [
        (1, b'o', "/org/freedesktop/systemd1"),
        (2, b's', "org.freedesktop.systemd1.Manager"),
        (3, b's', method),
        (6, b's', "org.freedesktop.systemd1"),
    ] {
        fields.resize(fields.len().next_multiple_of(8), 0);
        fields.extend([code, 1, ty, 0]);
        push_text(&mut fields, value);
    }
    fields.resize(fields.len().next_multiple_of(8), 0);
    fields.extend(b"\x08\x01g\0\x02ss\0");
    let mut message = vec![b'l', 1, 0, 1];
    message.extend(len(&body).to_le_bytes());
    message.extend(serial.to_le_bytes());
    message.extend(len(&fields).to_le_bytes());
    message.extend(fields);
    message.resize(message.len().next_multiple_of(8), 0);
    message.extend(body);
    message
}

fn push_text(out: &mut Vec<u8>, text: &str) {
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend(len(text.as_bytes()).to_le_bytes());
    out.extend(text.as_bytes());
    out.push(0);
}

fn len(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("names and methods are short")
}
