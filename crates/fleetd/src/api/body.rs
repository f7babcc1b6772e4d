//! Reading request bodies, within limits of size, time and memory.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use futures_util::StreamExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio::time::{Instant, timeout_at};

/// All bodies that are being read or worked on may have so many times the memory of the largest one.
///
/// Enough that one large request keeps nobody out, and a limit to what many senders can make this process hold.
const BODIES_AT_ONCE: usize = 4;

/// The limits, and what of them is in use. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Bodies {
    max: usize,
    limit: Duration,
    /// Bytes that may still be held.
    left: Arc<Semaphore>,
}

/// A whole body.
#[derive(Debug)]
pub struct Held {
    bytes: Vec<u8>,
    _budget: Option<OwnedSemaphorePermit>,
}

/// Why a body was not taken.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("the request's body is over the limit of {max} bytes (api_body_bytes)")]
    TooLarge { max: usize },
    #[error("the request's body did not come within {} s (api_body_timeout)", limit.as_secs())]
    Slow { limit: Duration },
    #[error("too many large requests at once; try again")]
    Busy,
    #[error("the request's body broke off: {reason}")]
    Broken { reason: String },
}

impl BodyError {
    /// The HTTP status that says so.
    pub fn status(&self) -> u16 {
        match self {
            BodyError::TooLarge { .. } => 413,
            BodyError::Slow { .. } => 408,
            BodyError::Busy => 503,
            BodyError::Broken { .. } => 400,
        }
    }
}

impl Bodies {
    /// Bodies of at most `max` bytes, each of which has to be there within `limit`.
    pub fn new(max: usize, limit: Duration) -> Bodies {
        let left = max.saturating_mul(BODIES_AT_ONCE).min(Semaphore::MAX_PERMITS);
        Bodies { max, limit, left: Arc::new(Semaphore::new(left)) }
    }

    /// Reads a body. Only what has come takes memory, whatever the client says that it will send.
    pub async fn read(&self, headers: &HeaderMap, body: Body) -> Result<Held, BodyError> {
        let said = headers.get(header::CONTENT_LENGTH).and_then(|len| len.to_str().ok()?.parse::<usize>().ok());
        if said.is_some_and(|said| self.max < said) {
            return Err(BodyError::TooLarge { max: self.max });
        }
        let deadline = Instant::now() + self.limit;
        let mut pieces = body.into_data_stream();
        let (mut bytes, mut budget) = (Vec::new(), None::<OwnedSemaphorePermit>);
        loop {
            let next = timeout_at(deadline, pieces.next()).await;
            let Some(piece) = next.map_err(|_| BodyError::Slow { limit: self.limit })? else { break };
            let piece = piece.map_err(|err| BodyError::Broken { reason: err.to_string() })?;
            if self.max - bytes.len() < piece.len() {
                return Err(BodyError::TooLarge { max: self.max });
            }
            let more = self.take(piece.len())?;
            match &mut budget {
                Some(budget) => budget.merge(more),
                None => budget = Some(more),
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(Held { bytes, _budget: budget })
    }

    fn take(&self, n_bytes: usize) -> Result<OwnedSemaphorePermit, BodyError> {
        let n = u32::try_from(n_bytes).map_err(|_| BodyError::TooLarge { max: self.max })?;
        Arc::clone(&self.left).try_acquire_many_owned(n).map_err(|err| match err {
            TryAcquireError::NoPermits | TryAcquireError::Closed => BodyError::Busy,
        })
    }
}

impl Deref for Held {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::body::Bytes;
    use futures_util::stream;

    use super::*;

    fn pieces(sizes: &[usize]) -> Body {
        let pieces: Vec<Result<Bytes, Infallible>> = sizes.iter().map(|size| Ok(vec![b'x'; *size].into())).collect();
        Body::from_stream(stream::iter(pieces))
    }

    async fn read(bodies: &Bodies, sizes: &[usize]) -> Result<usize, u16> {
        let held = bodies.read(&HeaderMap::new(), pieces(sizes)).await;
        held.map(|held| held.len()).map_err(|err| err.status())
    }

    #[tokio::test]
    async fn sizes() {
        let bodies = Bodies::new(10, Duration::from_secs(60));
        assert_eq!(read(&bodies, &[]).await, Ok(0));
        assert_eq!(read(&bodies, &[4, 6]).await, Ok(10));
        assert_eq!(read(&bodies, &[4, 7]).await, Err(413));
        let says = |len: &'static str| HeaderMap::from_iter([(header::CONTENT_LENGTH, len.parse().expect("a value"))]);
        let refused = bodies.read(&says("11"), Body::from_stream(stream::pending::<Result<Bytes, Infallible>>())).await;
        assert_eq!(refused.expect_err("it is too long").status(), 413, "before anything of it came");
    }

    #[tokio::test]
    async fn memory_is_bounded_and_given_back() {
        let bodies = Bodies::new(10, Duration::from_secs(60));
        let mut held = Vec::new();
        for _ in 0..BODIES_AT_ONCE {
            held.push(bodies.read(&HeaderMap::new(), pieces(&[10])).await.expect("there is room"));
        }
        assert_eq!(read(&bodies, &[1]).await, Err(503));
        held.pop();
        assert_eq!(read(&bodies, &[10]).await, Ok(10));
    }

    /// A byte now and then is not enough: the whole has to be there in time.
    #[tokio::test]
    async fn slow_ones_are_given_up() {
        let bodies = Bodies::new(1_000, Duration::from_millis(50));
        let drops = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            Some((Ok::<_, Infallible>(Bytes::from_static(b"x")), ()))
        });
        let refused = bodies.read(&HeaderMap::new(), Body::from_stream(drops)).await;
        assert_eq!(refused.expect_err("it is slow").status(), 408);
    }
}
