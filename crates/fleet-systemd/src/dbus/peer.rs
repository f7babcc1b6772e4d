//! The private socket of a systemd manager: D-Bus from peer to peer, without a bus daemon.
//!
//! systemd writes `org.freedesktop.systemd1` into the sender field of what it sends here. zbus 6.2 takes only a unique name in
//! that field and ends the connection over it (z-galaxy/zbus#1497). [`PeerRead`] therefore stands between the socket and
//! zbus and writes a unique name of the same length over the sender, so that nothing else in the message moves. When zbus takes
//! the well-known name, this file can go.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use async_trait::async_trait;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use zbus::connection::Builder;
use zbus::connection::socket::{ReadHalf, Split, WriteHalf};

/// What systemd calls itself, and what we call it towards zbus: a unique name of the same 24 bytes.
const FROM: &[u8; 24] = b"org.freedesktop.systemd1";
const TO: &[u8; 24] = b":1.freedesktop-systemd-1";

/// Fixed part of a message in front of its header fields, in bytes. Source: D-Bus specification, "Message Format".
const PREAMBLE_LEN: usize = 16;

/// The header field code of the sender. Source: D-Bus specification, "Header Fields".
const FIELD_SENDER: u8 = 7;

/// Longest run of header fields taken, in bytes.
///
/// systemd's are below 300. The specification would allow 64 MiB, and all of it has to be in memory at once here.
const FIELDS_LEN_MAX: usize = 1024 * 1024;

/// Longest body taken, in bytes. Source: D-Bus specification, a message is at most 128 MiB.
const BODY_LEN_MAX: usize = 128 * 1024 * 1024;

/// Longest answer to our authentication, in bytes: `DATA`, `OK` and 32 hexadecimal digits are below 50.
const AUTH_LEN_MAX: usize = 512;

/// Connects to a manager's private socket and does the handshake.
pub(super) async fn builder(socket: &Path) -> io::Result<Builder<'static>> {
    let mut stream = UnixStream::connect(socket).await?;
    // No user ID is named: the manager then takes the one that the kernel reports, which is right in user namespaces too.
    stream.write_all(b"\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n").await?;
    let mut buf = Vec::with_capacity(8192);
    let mut guid = None;
    loop {
        while let Some(end) = buf.windows(2).position(|w| w == b"\r\n") {
            let line = String::from_utf8_lossy(&buf[..end]).into_owned();
            buf.drain(..end + 2);
            if line == "DATA" {
                continue;
            }
            let Some(guid) = guid.take() else {
                let Some(told) = line.strip_prefix("OK ") else {
                    return Err(io::Error::new(
                        io::ErrorKind::PermissionDenied,
                        format!("the manager does not let us in: it answered `{line}`"),
                    ));
                };
                guid = Some(told.to_owned());
                continue;
            };
            let passes_fds = line == "AGREE_UNIX_FD";
            let (read, write) = stream.into_split();
            let read = PeerRead { socket: read, buf, given: 0, ready: 0, body_left: 0, passes_fds };
            let split: Split<Box<dyn ReadHalf>, Box<dyn WriteHalf>> =
                Split::new(Box::new(read), Box::new(PeerWrite { socket: write }));
            return Ok(Builder::authenticated_socket(split, guid).p2p());
        }
        if AUTH_LEN_MAX < buf.len() {
            return Err(broken(format!("{} bytes of authentication without an end", buf.len())));
        }
        if stream.read_buf(&mut buf).await? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed during authentication"));
        }
    }
}

/// Reads from the socket, with the sender of each message written over.
///
/// `buf[given..ready]` may be handed out. Behind `ready` lies the start of a message whose header is not complete, and
/// only if nothing of a body is missing: `body_left` bytes still to come belong to a message whose header was handed out.
#[derive(Debug)]
struct PeerRead {
    socket: OwnedReadHalf,
    buf: Vec<u8>,
    given: usize,
    ready: usize,
    body_left: usize,
    /// Whether the manager takes descriptors on this connection. It sends none.
    passes_fds: bool,
}

impl PeerRead {
    /// Moves `ready` forward over all that can be handed out.
    fn advance(&mut self) -> io::Result<()> {
        loop {
            let arrived = self.buf.len() - self.ready;
            let body = self.body_left.min(arrived);
            self.ready += body;
            self.body_left -= body;
            let rest = &mut self.buf[self.ready..];
            let Some(preamble) = rest.first_chunk::<PREAMBLE_LEN>() else {
                return Ok(());
            };
            let big_endian = match preamble[0] {
                b'l' => false,
                b'B' => true,
                byte => return Err(broken(format!("byte order mark {byte:#04x}"))),
            };
            let body_len = word(preamble, 4, big_endian).ok_or_else(|| broken("short preamble"))?;
            let fields_len = word(preamble, 12, big_endian).ok_or_else(|| broken("short preamble"))?;
            if FIELDS_LEN_MAX < fields_len || BODY_LEN_MAX < body_len {
                return Err(broken(format!("a message of {fields_len} bytes of fields and {body_len} of body")));
            }
            let header_len = PREAMBLE_LEN + fields_len.next_multiple_of(8);
            let Some(header) = rest.get_mut(..header_len) else {
                return Ok(());
            };
            rename_sender(&mut header[PREAMBLE_LEN..PREAMBLE_LEN + fields_len], big_endian)
                .ok_or_else(|| broken("header fields end in the middle of one"))?;
            self.ready += header_len;
            self.body_left = body_len;
        }
    }
}

#[async_trait]
impl ReadHalf for PeerRead {
    async fn recvmsg(&mut self, out: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        while self.given == self.ready {
            self.buf.drain(..self.ready);
            (self.given, self.ready) = (0, 0);
            self.advance()?;
            if self.ready == 0 && self.socket.read_buf(&mut self.buf).await? == 0 {
                return Ok((0, Vec::new()));
            }
        }
        let n = out.len().min(self.ready - self.given);
        out[..n].copy_from_slice(&self.buf[self.given..self.given + n]);
        self.given += n;
        Ok((n, Vec::new()))
    }

    fn can_pass_unix_fd(&self) -> bool {
        self.passes_fds
    }
}

#[derive(Debug)]
struct PeerWrite {
    socket: OwnedWriteHalf,
}

#[async_trait]
impl WriteHalf for PeerWrite {
    async fn sendmsg(&mut self, buffer: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
        if fds.is_empty() {
            return self.socket.write(buffer).await;
        }
        let socket: &UnixStream = self.socket.as_ref();
        loop {
            socket.writable().await?;
            match socket.try_io(Interest::WRITABLE, || send_with(socket, buffer, fds)) {
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => (),
                sent => return sent,
            }
        }
    }

    fn can_pass_unix_fd(&self) -> bool {
        true
    }

    async fn close(&mut self) -> io::Result<()> {
        self.socket.shutdown().await
    }
}

/// Sends with descriptors, which go with the first byte.
fn send_with(socket: &UnixStream, buffer: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    Ok(sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(buffer)], &rights, flags, None)?)
}

fn broken(what: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not D-Bus: {what}"))
}

/// The 32-bit number at `at`, if that many bytes are there.
fn word(bytes: &[u8], at: usize, big_endian: bool) -> Option<usize> {
    let word = *bytes.get(at..)?.first_chunk::<4>()?;
    let word = if big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) };
    usize::try_from(word).ok()
}

/// Writes [`TO`] over a sender that is [`FROM`] in an array of header fields; `None` if the array is not well-formed.
///
/// A field is its code, a signature of one type (length, letter, zero) and the value; fields begin at multiples of 8. Only the
/// types that the specification gives to fields occur: string `s`, object path `o`, signature `g`, number `u`.
fn rename_sender(fields: &mut [u8], big_endian: bool) -> Option<()> {
    let mut at = 0;
    while at < fields.len() {
        let &[code, 1, ty, 0] = fields.get(at..)?.first_chunk::<4>()? else {
            return None;
        };
        at += 4;
        let len = match ty {
            b'g' => usize::from(*fields.get(at)?) + 2,
            b'u' => 4,
            b's' | b'o' => {
                let len = word(fields, at, big_endian)?;
                let value = fields.get_mut(at + 4..(at + 4).checked_add(len)?)?;
                if code == FIELD_SENDER && value == FROM {
                    value.copy_from_slice(TO);
                }
                len + 5
            }
            _ => return None,
        };
        at = at.checked_add(len)?;
        if fields.len() < at {
            return None;
        }
        at = at.next_multiple_of(8);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A signal as systemd sends it, built by hand: fields in `fields` are (code, type, value).
    fn message(fields: &[(u8, u8, &str)], body: &[u8]) -> Vec<u8> {
        let mut array = Vec::new();
        for (code, ty, value) in fields {
            array.resize(array.len().next_multiple_of(8), 0);
            array.extend([*code, 1, *ty, 0]);
            match ty {
                b'g' => array.push(u8::try_from(value.len()).expect("short")),
                _ => array.extend(u32::try_from(value.len()).expect("short").to_le_bytes()),
            }
            array.extend(value.as_bytes());
            array.push(0);
        }
        let mut out = vec![b'l', 4, 1, 1];
        out.extend(u32::try_from(body.len()).expect("short").to_le_bytes());
        out.extend(7u32.to_le_bytes());
        out.extend(u32::try_from(array.len()).expect("short").to_le_bytes());
        out.extend(&array);
        out.resize(out.len().next_multiple_of(8), 0);
        out.extend(body);
        out
    }

    const FIELDS: [(u8, u8, &str); 5] = [
        (1, b'o', "/org/freedesktop/systemd1"),
        (2, b's', "org.freedesktop.systemd1"),
        (3, b's', "UnitNew"),
        (7, b's', "org.freedesktop.systemd1"),
        (8, b'g', "so"),
    ];

    /// What comes out when `bytes` arrive in pieces of `piece` bytes and are taken `take` bytes at a time.
    async fn through(bytes: &[u8], piece: usize, take: usize) -> io::Result<Vec<u8>> {
        let (ours, theirs) = UnixStream::pair()?;
        let (socket, _write) = ours.into_split();
        let mut read = PeerRead { socket, buf: Vec::new(), given: 0, ready: 0, body_left: 0, passes_fds: false };
        let sent = bytes.to_vec();
        let sender = tokio::spawn(async move {
            let mut theirs = theirs;
            for piece in sent.chunks(piece) {
                if theirs.write_all(piece).await.is_err() {
                    break; // The reader gave up, which is what the hostile cases want.
                }
                tokio::task::yield_now().await;
            }
        });
        let mut out = Vec::new();
        let mut buf = vec![0; take];
        let outcome = loop {
            match read.recvmsg(&mut buf).await {
                Ok((0, _)) => break Ok(out),
                Ok((n, _)) => out.extend(&buf[..n]),
                Err(err) => break Err(err),
            }
        };
        drop(read);
        sender.await.expect("the sender does not panic");
        outcome
    }

    #[tokio::test]
    async fn only_the_sender_changes_however_the_bytes_arrive() {
        let mut renamed = FIELDS;
        renamed[3].2 = ":1.freedesktop-systemd-1";
        // The body has the name too: a body is not to be touched.
        let body = [b"org.freedesktop.systemd1".as_slice(), &[7; 3000]].concat();
        let sent = [message(&FIELDS, &body), message(&FIELDS, b""), message(&FIELDS, b"abc")].concat();
        let want = [message(&renamed, &body), message(&renamed, b""), message(&renamed, b"abc")].concat();
        for (piece, take) in [(1, 1), (1, 100), (7, 16), (100, 3), (5000, 5000), (20, 1)] {
            let got = through(&sent, piece, take).await.expect("well-formed");
            assert!(got == want, "pieces of {piece}, taken by {take}");
        }
    }

    #[tokio::test]
    async fn hostile_bytes_are_an_error_and_nothing_worse() {
        let good = message(&FIELDS, b"abc");
        let with = |at: usize, bytes: &[u8]| {
            let mut message = good.clone();
            message[at..at + bytes.len()].copy_from_slice(bytes);
            message
        };
        for (what, bytes) in [
            ("no byte order", with(0, b"x")),
            ("fields of 4 GiB", with(12, &[0xff; 4])),
            ("body of 4 GiB", with(4, &[0xff; 4])),
            ("a path of 4 GiB", with(20, &[0xff; 4])),
            ("a path that ends behind the fields", with(20, &[0xff, 0, 0, 0])),
            ("a type that no field has", with(18, b"v")),
            ("a signature of two types", with(17, &[2])),
        ] {
            let err = through(&bytes, 4096, 4096).await.expect_err(what);
            assert_eq!(err.kind(), io::ErrorKind::InvalidData, "{what}");
        }
    }

    /// Every cut-off and every changed byte of a message: an answer or an error, no panic, no endless loop.
    #[test]
    fn no_field_array_makes_it_panic() {
        let good = message(&FIELDS, b"");
        let fields = &good[PREAMBLE_LEN..];
        for at in 0..fields.len() {
            let _ = rename_sender(&mut fields[..at].to_vec(), false);
            for byte in [0, 1, 7, 0x7f, 0xff] {
                let mut changed = fields.to_vec();
                changed[at] = byte;
                let _ = rename_sender(&mut changed, false);
                let _ = rename_sender(&mut changed, true);
            }
        }
    }
}
