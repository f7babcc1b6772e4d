//! A client that knows nothing of fleet: bytes out, bytes in, over any stream.

use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use crate::world::WAIT_LIMIT;

/// Where a server listens.
#[derive(Clone, Debug)]
pub enum Address {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

/// A connection.
pub trait Stream: Read + Write + Send {}

impl<S: Read + Write + Send> Stream for S {}

/// What a server answered.
pub struct Answer {
    pub status: u16,
    /// With their names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Address {
    /// A connection on which nothing takes longer than tests wait.
    pub fn connect(&self) -> Box<dyn Stream> {
        self.try_connect().unwrap_or_else(|err| panic!("{self:?}: {err}"))
    }

    /// The same where nobody may listen.
    pub fn try_connect(&self) -> std::io::Result<Box<dyn Stream>> {
        Ok(match self {
            Address::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(WAIT_LIMIT))?;
                Box::new(stream)
            }
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_read_timeout(Some(WAIT_LIMIT))?;
                Box::new(stream)
            }
        })
    }

    /// Sends a request on a connection of its own. `text` is the request line without its version, headers if there are any,
    /// and after an empty line the body; `Host` and `Content-Length` are added.
    pub fn ask(&self, text: &str) -> Answer {
        let mut stream = self.connect();
        send(&mut *stream, text);
        let is_head = text.starts_with("HEAD ");
        receive(&mut BufReader::new(stream), is_head).unwrap_or_else(|err| panic!("no answer to {text}: {err}"))
    }
}

/// Writes a request as [`Address::ask`] does.
pub fn send(stream: &mut dyn Stream, text: &str) {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let line = lines.next().expect("a request line");
    let mut request = format!("{line} HTTP/1.1\r\nHost: fleet\r\n");
    for header in lines {
        request += &format!("{header}\r\n");
    }
    if !body.is_empty() {
        request += &format!("Content-Length: {}\r\n", body.len());
    }
    request += &format!("\r\n{body}");
    stream.write_all(request.as_bytes()).expect("the server reads");
}

/// Reads one answer; one to `HEAD` has no body whatever its headers say.
pub fn receive(stream: &mut impl BufRead, is_head: bool) -> std::io::Result<Answer> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other(format!("`{line}` is no status line")))?;
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.trim().to_owned())),
            None => break,
        }
    }
    let mut answer = Answer { status, headers, body: String::new() };
    let mut body = Vec::new();
    if is_head {
        // Nothing.
    } else if answer.header("transfer-encoding") == Some("chunked") {
        loop {
            let mut size = String::new();
            stream.read_line(&mut size)?;
            let size = usize::from_str_radix(size.trim(), 16).map_err(std::io::Error::other)?;
            let mut chunk = vec![0; size + 2];
            stream.read_exact(&mut chunk)?;
            if size == 0 {
                break;
            }
            body.extend_from_slice(&chunk[..size]);
        }
    } else if let Some(len) = answer.header("content-length") {
        body = vec![0; len.parse().map_err(std::io::Error::other)?];
        stream.read_exact(&mut body)?;
    }
    answer.body = String::from_utf8(body).map_err(std::io::Error::other)?;
    Ok(answer)
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Status and the headers that clients act on, in one line; then the body.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        for name in ["content-type", "allow", "location"] {
            if let Some(value) = self.header(name) {
                write!(f, " {name}: {value}")?;
            }
        }
        if !self.body.is_empty() {
            write!(f, "\n{}", self.body)?;
        }
        Ok(())
    }
}
