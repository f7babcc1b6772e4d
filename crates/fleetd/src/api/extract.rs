//! What requests to v2 say, taken apart: each mistake is a problem like any other.

use std::collections::BTreeMap;
use std::str::FromStr;

use axum::extract::{FromRequest, FromRequestParts, OptionalFromRequest, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use fleet_api::v2;
use serde::de::DeserializeOwned;

use super::Api;
use super::body::{BodyError, Held};
use super::problem::{Kind, Refused, bad_request, problem};

/// The one parameter in a path.
pub struct Segment(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Segment, Refused> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(segment) = path.map_err(|err| bad_request(format!("the path cannot be read: {}", err.body_text())))?;
        Ok(Segment(segment))
    }
}

/// A query of single values.
pub struct Asked<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Asked<T>, Refused> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        let Query(asked) =
            query.map_err(|err| bad_request(format!("the query cannot be read: {}", err.body_text())))?;
        Ok(Asked(asked))
    }
}

/// A query whose parameters may be repeated. Each has to be taken: one that nobody knows is refused, for a filter that is
/// misspelt would show everything.
pub struct Params(BTreeMap<String, Vec<String>>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Params, Refused> {
        let mut params = BTreeMap::<String, Vec<String>>::new();
        for (key, value) in form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()) {
            params.entry(key.into_owned()).or_default().push(value.into_owned());
        }
        Ok(Params(params))
    }
}

impl Params {
    /// All values of a parameter.
    pub fn all(&mut self, name: &str) -> Vec<String> {
        self.0.remove(name).unwrap_or_default()
    }

    /// All values of a parameter, read.
    pub fn each<T: FromStr>(&mut self, name: &str) -> Result<Vec<T>, v2::Problem>
    where
        T::Err: std::fmt::Display,
    {
        let read = |value: String| value.parse().map_err(|err: T::Err| bad_param(name, &value, &err));
        self.all(name).into_iter().map(read).collect()
    }

    /// The value of a parameter that may be given once.
    pub fn one<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, v2::Problem>
    where
        T::Err: std::fmt::Display,
    {
        let mut values = self.each(name)?;
        if 1 < values.len() {
            return Err(bad_request(format!("parameter `{name}` is given {} times", values.len())).about(name));
        }
        Ok(values.pop())
    }

    /// Refuses what nobody has taken.
    pub fn end(self, known: &str) -> Result<(), v2::Problem> {
        match self.0.into_keys().next() {
            None => Ok(()),
            Some(name) => {
                let problem = bad_request(format!("there is no parameter `{name}` here"));
                Err(problem.about(name).with_hint(format!("these are known: {known}")))
            }
        }
    }
}

/// A parameter whose value cannot be used.
pub fn bad_param(name: &str, value: &str, why: &dyn std::fmt::Display) -> v2::Problem {
    bad_request(format!("parameter `{name}` has the value `{value}`: {why}")).about(name)
}

/// A body of JSON, and its bytes.
pub struct Given<T> {
    pub value: T,
    pub bytes: Held,
}

impl<T: DeserializeOwned> FromRequest<Api> for Given<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, api: &Api) -> Result<Given<T>, Refused> {
        check_content_type(request.headers())?;
        let bytes = Held::from_request(request, api).await?;
        // serde takes a list of values for an object too; nobody means that.
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Err(bad_request("cannot understand the request's body: it is no JSON object").into());
        }
        let value = serde_json::from_slice(&bytes)
            .map_err(|err| bad_request(format!("cannot understand the request's body: {err}")))?;
        Ok(Given { value, bytes })
    }
}

/// A body that may be left out: none, or one of no bytes.
impl<T: DeserializeOwned + Default> OptionalFromRequest<Api> for Given<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, api: &Api) -> Result<Option<Given<T>>, Refused> {
        let is_said = request.headers().contains_key(header::CONTENT_TYPE);
        if is_said {
            return <Given<T> as FromRequest<Api>>::from_request(request, api).await.map(Some);
        }
        let bytes = Held::from_request(request, api).await?;
        if bytes.is_empty() { Ok(None) } else { Err(no_json(None)) }
    }
}

impl FromRequest<Api> for Held {
    type Rejection = Refused;

    async fn from_request(request: Request, api: &Api) -> Result<Held, Refused> {
        let (parts, body) = request.into_parts();
        let held = api.limits().bodies.read(&parts.headers, body).await;
        held.map_err(|err| {
            let kind = match err {
                BodyError::TooLarge { .. } => Kind::TooLarge,
                BodyError::Slow { .. } => Kind::TooSlow,
                BodyError::Broken { .. } => Kind::BadRequest,
                BodyError::Busy => Kind::Busy,
            };
            problem(kind, err.to_string()).into()
        })
    }
}

/// JSON, also one of its dialects (`application/merge-patch+json`), in UTF-8.
fn check_content_type(headers: &HeaderMap) -> Result<(), Refused> {
    let given = headers.get(header::CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let media_type = given.as_deref().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let media_type = media_type.to_ascii_lowercase();
    let is_json = media_type == "application/json"
        || media_type.strip_prefix("application/").is_some_and(|dialect| dialect.ends_with("+json"));
    if is_json { Ok(()) } else { Err(no_json(given.as_deref())) }
}

fn no_json(given: Option<&str>) -> Refused {
    let said = match given {
        Some(given) => format!("the request's body is said to be `{given}`"),
        None => "the request does not say what its body is".to_owned(),
    };
    let problem = problem(Kind::UnsupportedMediaType, said).about("Content-Type");
    problem.with_hint("send JSON, and the header `Content-Type: application/json`").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types() {
        let check = |given: Option<&'static str>| {
            let value = given.map(|given| (header::CONTENT_TYPE, given.parse().expect("a value")));
            check_content_type(&value.into_iter().collect()).is_ok()
        };
        for json in ["application/json", "Application/JSON; charset=utf-8", "application/merge-patch+json"] {
            assert!(check(Some(json)), "{json}");
        }
        for other in [None, Some(""), Some("text/json"), Some("application/x-www-form-urlencoded"), Some("json")] {
            assert!(!check(other), "{other:?}");
        }
    }

    #[test]
    fn params() {
        let pairs = [("name", "a"), ("name", "b"), ("limit", "3"), ("limit", "4"), ("odd", "x")];
        let mut params = Params(BTreeMap::new());
        for (key, value) in pairs {
            params.0.entry(key.to_owned()).or_default().push(value.to_owned());
        }
        assert_eq!(params.each::<u32>("name").map_err(|problem| problem.name), Err(Some("name".to_owned())));
        assert_eq!(params.one::<u32>("limit").map_err(|problem| problem.status), Err(400));
        assert_eq!(params.one::<u32>("absent"), Ok(None));
        let refused = params.end("name, limit").expect_err("`odd` was not taken");
        assert_eq!((refused.name.as_deref(), refused.status), (Some("odd"), 400));
    }
}
