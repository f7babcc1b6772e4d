//! Reading `GET /events`.

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};

use crate::client::Pieces;
use crate::{Client, ClientError, Endpoint, v2};

/// Longest line of a stream of events that is accepted, in bytes. An event is about one unit on one machine.
const LINE_MAX: usize = 1 << 20;

/// Which events are wanted. Of each list that is not empty, one has to fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// The kinds; a `reset` comes in any case.
    pub kinds: Vec<v2::EventKind>,
    /// Globs of unit names.
    pub units: Vec<String>,
    /// Machine IDs.
    pub machines: Vec<String>,
    /// Begin after this revision: that of the last event seen, or of the list that was read. Without it, with what happens from now on.
    pub after: Option<u64>,
}

/// Events, as they happen.
pub type EventStream = BoxStream<'static, Result<v2::Event, ClientError>>;

impl Client {
    /// What happens in the cluster, until the caller has enough or the connection ends. Then go on with another stream, `after` the
    /// revision of the last event: nothing is missed, or the first event says so ([`v2::EventKind::Reset`]).
    ///
    /// # Errors
    /// [`ClientError::Silent`] in a stream whose connection is dead; `too-many` if so many streams are open that this one is not; a malformed glob is a `bad-request`; also in the stream.
    pub async fn events(&self, filter: &EventFilter) -> Result<EventStream, ClientError> {
        let mut query: Vec<(&str, String)> = Vec::new();
        query.extend(filter.kinds.iter().map(|kind| ("kind", kind.as_str().to_owned())));
        query.extend(filter.units.iter().map(|glob| ("unit", glob.clone())));
        query.extend(filter.machines.iter().map(|id| ("machine", id.clone())));
        query.extend(filter.after.map(|after| ("after", after.to_string())));
        let response = self.send(self.http.get(self.url(&["events"])).query(&query)).await?;
        let reader = Reader { bytes: self.living(response), text: Vec::new(), endpoint: self.endpoint().clone() };
        let events =
            stream::try_unfold(
                reader,
                |mut reader| async move { Ok(reader.next().await?.map(|event| (event, reader))) },
            );
        Ok(events.boxed())
    }
}

/// Cuts a body into events. Of server-sent events it needs no more than fleet sends: one line of data for each.
struct Reader {
    bytes: Pieces,
    text: Vec<u8>,
    endpoint: Endpoint,
}

impl Reader {
    async fn next(&mut self) -> Result<Option<v2::Event>, ClientError> {
        loop {
            while let Some(at) = self.text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.text.drain(..=at).collect();
                // `id` and `event` are in the data too; comments only show that the connection lives.
                if let Some(data) = line.strip_prefix(b"data:") {
                    return serde_json::from_slice(data).map(Some).map_err(|err| self.garbled(&err));
                }
            }
            if LINE_MAX < self.text.len() {
                return Err(self.garbled(&format!("a line of more than {LINE_MAX} bytes")));
            }
            match self.bytes.next().await {
                Some(Ok(bytes)) => self.text.extend_from_slice(&bytes),
                Some(Err(err)) => return Err(err),
                None => return Ok(None),
            }
        }
    }

    fn garbled(&self, reason: &dyn std::fmt::Display) -> ClientError {
        ClientError::Garbled { endpoint: self.endpoint.clone(), reason: reason.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn read(pieces: &[&'static str]) -> String {
        let pieces: Vec<_> = pieces.iter().map(|piece| Ok(bytes::Bytes::from_static(piece.as_bytes()))).collect();
        let endpoint = Endpoint::Unix("/run/fleet.sock".into());
        let mut reader = Reader { bytes: stream::iter(pieces).boxed(), text: Vec::new(), endpoint };
        let mut told = Vec::new();
        // Nothing here waits: all pieces are there.
        while let Some(next) = reader.next().now_or_never() {
            match next {
                Ok(Some(event)) => told.push(format!("{} {}", event.revision, event.kind.as_str())),
                Ok(None) => break,
                Err(err) => {
                    told.push(err.to_string());
                    break;
                }
            }
        }
        told.join("; ")
    }

    #[test]
    fn events_in_any_pieces() {
        assert_eq!(read(&[": hello\nid: 3\n\n"]), "");
        let unit = ["id: 4\nevent: unit\nda", "ta: {\"revision\":4,\"kind\":\"unit\",\"unit\":\"a.service\"}\n"];
        let reset = ["\n:\n\n", "id: 7\nevent: reset\ndata: {\"revision\":7,\"kind\":\"reset\"}\n\n"];
        assert_eq!(read(&[unit, reset].concat()), "4 unit; 7 reset");
        assert!(read(&["data: {}\n\n"]).contains("not fleet's"));
    }
}
