//! Calls beyond those that `fleetctl` began with: single units and machines, explanations, plans, states, counts.

use crate::{Client, ClientError, v2};

/// On which terms a write is carried out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Only if the unit has this generation, or the machine this revision; `Some(0)` for a unit: only if there is none.
    pub only_at: Option<u64>,
    /// A word of this request alone: sent again under it, the request takes effect once and is told the same.
    pub idempotency_key: Option<String>,
}

impl Terms {
    /// Only if the unit has this generation (0: there is none), or the machine this revision.
    pub fn only_at(number: u64) -> Terms {
        Terms { only_at: Some(number), ..Terms::default() }
    }

    /// As headers of a request about a unit.
    fn of_unit(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match self.only_at {
            Some(0) => self.once(request.header(reqwest::header::IF_NONE_MATCH, "*")),
            _ => self.of_machine(request),
        }
    }

    /// As headers of a request about a machine, which may never have been spoken of (0).
    fn of_machine(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match self.only_at {
            Some(number) => self.once(request.header(reqwest::header::IF_MATCH, format!("\"{number}\""))),
            None => self.once(request),
        }
    }

    fn once(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.idempotency_key {
            Some(key) => request.header(crate::client::IDEMPOTENCY_KEY, key),
            None => request,
        }
    }
}

impl Client {
    /// Creates a unit, or gives it another file.
    ///
    /// # Errors
    /// A file with mistakes is a `bad-unit-file`, with one finding for each; a generation that does not hold is a
    /// `precondition-failed`.
    pub async fn put_unit(
        &self,
        name: &str,
        unit: &v2::UnitPut,
        terms: &Terms,
    ) -> Result<v2::UnitChanged, ClientError> {
        self.call(terms.of_unit(self.http.put(self.url(&["units", name])).json(unit))).await
    }

    /// Changes what is wanted of a unit, or restarts it.
    ///
    /// # Errors
    /// `unknown-unit`; `precondition-failed`.
    pub async fn patch_unit(
        &self,
        name: &str,
        patch: v2::UnitPatch,
        terms: &Terms,
    ) -> Result<v2::UnitChanged, ClientError> {
        self.call(terms.of_unit(self.http.patch(self.url(&["units", name])).json(&patch))).await
    }

    /// Destroys a unit: its machine stops it and forgets it.
    ///
    /// # Errors
    /// `unknown-unit`; `precondition-failed`.
    pub async fn delete_unit(&self, name: &str, terms: &Terms) -> Result<v2::UnitChanged, ClientError> {
        self.call(terms.of_unit(self.http.delete(self.url(&["units", name])))).await
    }

    /// Why a unit is where it is, or nowhere: what each machine says to it.
    ///
    /// # Errors
    /// `unknown-unit`.
    pub async fn explain(&self, name: &str) -> Result<v2::Explanation, ClientError> {
        self.call(self.http.get(self.url(&["units", name, "explanation"]))).await
    }

    /// What would become of the cluster if this were asked for. Nothing is written.
    ///
    /// # Errors
    /// `unknown-machine`; `machine-present` for one that would be given up; `too-many` while others are thought out.
    pub async fn plan(&self, request: &v2::PlanRequest) -> Result<v2::PlanResponse, ClientError> {
        self.call(self.http.post(self.url(&["plan"])).json(request)).await
    }

    /// What machines say of the units whose names match one of `globs`; of all units if there is none.
    ///
    /// # Errors
    /// A malformed glob is a `bad-request`.
    pub async fn states(&self, globs: &[String]) -> Result<v2::StateList, ClientError> {
        let query: Vec<(&str, &str)> = globs.iter().map(|glob| ("name", glob.as_str())).collect();
        self.call(self.http.get(self.url(&["states"])).query(&query)).await
    }

    /// The cluster in numbers.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn counts(&self) -> Result<v2::Counts, ClientError> {
        self.call(self.http.get(self.url(&["counts"]))).await
    }

    /// One machine.
    ///
    /// # Errors
    /// `unknown-machine`.
    pub async fn machine(&self, id: &str) -> Result<v2::Machine, ClientError> {
        self.call(self.http.get(self.url(&["machines", id]))).await
    }

    /// Changes a machine's dynamic metadata on terms: see [`Client::patch_metadata`].
    ///
    /// # Errors
    /// A key or value that cannot be metadata is a `bad-request`; a revision that does not hold a `precondition-failed`.
    pub async fn patch_metadata_on(
        &self,
        id: &str,
        patch: &v2::MetadataPatch,
        terms: &Terms,
    ) -> Result<v2::Changed, ClientError> {
        self.call(terms.of_machine(self.http.patch(self.url(&["machines", id, "metadata"])).json(patch))).await
    }
}
