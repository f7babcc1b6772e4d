//! A client of API v1, for clusters that speak nothing else: those of the original.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::client::Client;
use crate::endpoint::Endpoint;
use crate::error::ClientError;
use crate::v1;

/// Most pages of a list that are read. A token counts pages in 16 bits, so no list has more.
const PAGES_MAX: usize = 65_535;

/// A client of one fleetd, the original's or ours.
#[derive(Clone, Debug)]
pub struct ClientV1 {
    http: reqwest::Client,
    endpoint: Endpoint,
    base: String,
    timeout: Duration,
}

impl ClientV1 {
    /// A client whose requests may each take `timeout`. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ClientError::Setup`], [`ClientError::Tls`].
    pub fn new(endpoint: Endpoint, timeout: Duration) -> Result<ClientV1, ClientError> {
        let (http, base, endpoint) = Client::builder(endpoint).http()?;
        Ok(ClientV1 { http, endpoint, base: base + v1::PREFIX, timeout })
    }

    /// All units with their files and states, page after page.
    ///
    /// The original has no cursor: a unit that is created or destroyed meanwhile may shift another one over a page's border.
    /// A unit that comes twice is given once.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn units(&self) -> Result<Vec<v1::Unit>, ClientError> {
        let mut units = Vec::new();
        let (mut names, mut tokens) = (BTreeSet::new(), BTreeSet::new());
        let mut token: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let query = token.iter().map(|token| ("nextPageToken", token.as_str())).collect::<Vec<_>>();
            let page: v1::UnitPage = self.get("units", &query).await?;
            units.extend(page.units.into_iter().filter(|unit| names.insert(unit.name.clone())));
            // The original's page numbers wrap, and then its tokens come again.
            match page.next_page_token.filter(|token| !token.is_empty() && tokens.insert(token.clone())) {
                Some(next) => token = Some(next),
                None => break,
            }
        }
        Ok(units)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T, ClientError> {
        let unreachable = |err| ClientError::Unreachable { endpoint: self.endpoint.clone(), err };
        let request = self.http.get(format!("{}/{path}", self.base)).query(query).timeout(self.timeout);
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let body = response.bytes().await.map_err(unreachable)?;
        if !status.is_success() {
            let said = serde_json::from_slice::<v1::Error>(&body).map(|said| said.error.message).unwrap_or_default();
            let message = if said.is_empty() { "it does not say why".to_owned() } else { said };
            return Err(ClientError::Refused { endpoint: self.endpoint.clone(), status: status.as_u16(), message });
        }
        serde_json::from_slice(&body)
            .map_err(|err| ClientError::Garbled { endpoint: self.endpoint.clone(), reason: err.to_string() })
    }
}
