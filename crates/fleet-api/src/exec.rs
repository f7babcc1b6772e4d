//! Commands beside units.

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};

use crate::client::{Lines, REQUEST_ID, TextStream};
use crate::{Client, ClientError, v2};

/// Lines of `POST /units/NAME/exec`.
pub type ExecStream = BoxStream<'static, Result<v2::ExecEvent, ClientError>>;

impl Client {
    /// Runs a command beside a unit, on the unit's machine: as the unit's user, in its directories, environment and private
    /// namespaces. It runs as long as the stream is read: drop that, and the command is stopped with all its children.
    ///
    /// # Errors
    /// A unit that is on no machine is a `no-machine`; one that is on several, without `machine`, a `bad-request`; a command that
    /// cannot be begun a `command-not-started`; where commands are switched off it is `exec-off`; also in the stream.
    pub async fn exec(
        &self,
        name: &str,
        query: &v2::ExecQuery,
        request: &v2::ExecRequest,
    ) -> Result<ExecStream, ClientError> {
        let response = self.send(self.http.post(self.url(&["units", name, "exec"])).query(query).json(request)).await?;
        let lines = Lines::of(self, response);
        let events =
            stream::try_unfold(lines, |mut lines| async move { Ok(lines.next().await?.map(|event| (event, lines))) });
        Ok(events.boxed())
    }

    /// The same as lines that nobody has read yet, under the ID of another request: for a fleetd that passes them on.
    ///
    /// # Errors
    /// As [`Client::exec`].
    pub async fn exec_for(
        &self,
        name: &str,
        query: &v2::ExecQuery,
        request: &v2::ExecRequest,
        request_id: Option<&str>,
    ) -> Result<TextStream, ClientError> {
        let asked = self.http.post(self.url(&["units", name, "exec"])).query(query).json(request);
        let asked = request_id.into_iter().fold(asked, |asked, id| asked.header(REQUEST_ID, id));
        Ok(self.living(self.send(asked).await?).map(|piece| Ok(piece?.to_vec())).boxed())
    }
}
