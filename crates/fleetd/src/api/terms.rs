//! The terms on which a request is to be carried out: only if the thing is as the client saw it, and only once.

use std::collections::BTreeSet;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, header};
use fleet_api::v2;
use sha1::{Digest as _, Sha1};

use super::once::Once;
use super::problem::{Kind, Refused, bad_request, problem};

/// The header by which a client says that a request is the same as an earlier one.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// On what a write depends (RFC 9110, 13.1), in generations of a unit or revisions of what is said of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// `If-Match: *`: that there is one.
    Exists,
    /// `If-None-Match: *`: that there is none.
    Absent,
    /// `If-Match: "1", "2"`: that it is one of these. Of a list of weak ones it is none.
    AnyOf(BTreeSet<u64>),
}

impl Condition {
    /// Whether it holds for what is there.
    pub fn holds(&self, there: Option<u64>) -> bool {
        match self {
            Condition::Exists => there.is_some(),
            Condition::Absent => there.is_none(),
            Condition::AnyOf(tags) => there.is_some_and(|there| tags.contains(&there)),
        }
    }

    /// As [`v2::Change::generation`] says it.
    pub fn of_generation(generation: u64) -> Condition {
        if generation == 0 { Condition::Absent } else { Condition::AnyOf([generation].into()) }
    }

    /// It does not hold for the unit or machine of that name.
    pub fn failed(&self, what: &str, name: &str, there: Option<u64>) -> v2::Problem {
        let there = there.map_or_else(|| "is not there".to_owned(), |there| format!("is at {there}"));
        let wanted = match self {
            Condition::Exists => "to be there".to_owned(),
            Condition::Absent => "not to be there".to_owned(),
            Condition::AnyOf(tags) => {
                let tags: Vec<String> = tags.iter().map(ToString::to_string).collect();
                if tags.is_empty() { "to match a strong tag".to_owned() } else { format!("at {}", tags.join(" or ")) }
            }
        };
        let detail = format!("{what} {name} {there}, and was wanted {wanted}");
        problem(Kind::PreconditionFailed, detail).about(name).with_hint("read it again and decide again")
    }
}

/// The terms of one request.
pub struct Terms {
    pub condition: Option<Condition>,
    word: Option<String>,
    /// What is asked, without the body.
    asked: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Terms {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Terms, Refused> {
        let asked = format!("{} {}", parts.method, parts.uri);
        Ok(Terms { condition: condition(&parts.headers)?, word: word(&parts.headers)?, asked })
    }
}

impl Terms {
    /// What tells whether the request was carried out before, if the client may send it again.
    pub fn once(&self, body: &[u8]) -> Option<Once> {
        let word = self.word.as_ref()?;
        let mut hash = Sha1::new();
        hash.update(format!("{}\n{:?}\n", self.asked, self.condition));
        hash.update(body);
        let asked = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Some(Once::new(word, asked))
    }
}

fn word(headers: &HeaderMap) -> Result<Option<String>, v2::Problem> {
    let refused = |why: &str| bad_request(format!("header Idempotency-Key: {why}")).about("Idempotency-Key");
    let mut given = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(word) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return Err(refused("it is there twice"));
    }
    let word = word.to_str().map_err(|_| refused("it has other characters than those of ASCII"))?.trim();
    match word.len() {
        0 => Err(refused("it is empty")),
        len if v2::IDEMPOTENCY_KEY_LEN_MAX < len => {
            Err(refused(&format!("it has {len} characters, and at most {} are taken", v2::IDEMPOTENCY_KEY_LEN_MAX)))
        }
        _ => Ok(Some(word.to_owned())),
    }
}

fn condition(headers: &HeaderMap) -> Result<Option<Condition>, v2::Problem> {
    let all = |name: &HeaderName| {
        let values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let values: Vec<String> = values.collect();
        (!values.is_empty()).then(|| values.join(","))
    };
    match (all(&header::IF_MATCH), all(&header::IF_NONE_MATCH)) {
        (None, None) => Ok(None),
        (Some(given), None) => if_match(given.trim()).map(Some),
        (None, Some(given)) if given.trim() == "*" => Ok(Some(Condition::Absent)),
        (None, Some(given)) => {
            let problem = bad_request(format!("header If-None-Match is `{given}`: of a write it can only be `*`"));
            Err(problem.about("If-None-Match"))
        }
        (Some(_), Some(_)) => Err(bad_request("If-Match and If-None-Match contradict each other").about("If-Match")),
    }
}

fn if_match(given: &str) -> Result<Condition, v2::Problem> {
    if given == "*" {
        return Ok(Condition::Exists);
    }
    let refused = || {
        let problem = bad_request(format!("header If-Match is `{given}`, which is no list of tags")).about("If-Match");
        problem.with_hint("send the ETag of an earlier answer, with its quotes: `If-Match: \"12\"`")
    };
    let mut tags = BTreeSet::new();
    for tag in given.split(',').map(str::trim) {
        let (strong, quoted) = match tag.strip_prefix("W/") {
            Some(quoted) => (false, quoted),
            None => (true, tag),
        };
        let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).ok_or_else(refused)?;
        // One that is none of ours, or weak, matches nothing: that is no mistake.
        tags.extend(inner.parse::<u64>().ok().filter(|tag| strong && tag.to_string() == inner));
    }
    Ok(Condition::AnyOf(tags))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions() {
        let check = |name: HeaderName, value: &'static str| {
            let headers = [(name, value.parse().expect("a value"))].into_iter().collect();
            match condition(&headers) {
                Ok(Some(condition)) => [None, Some(0), Some(7), Some(8)].map(|there| condition.holds(there)),
                Ok(None) => panic!("there is a header"),
                Err(problem) => panic!("{problem}"),
            }
        };
        assert_eq!(check(header::IF_MATCH, "*"), [false, true, true, true]);
        assert_eq!(check(header::IF_MATCH, "\"7\""), [false, false, true, false]);
        assert_eq!(check(header::IF_MATCH, "\"7\", \"0\" ,\"x\""), [false, true, true, false]);
        assert_eq!(check(header::IF_MATCH, "W/\"7\""), [false; 4]);
        assert_eq!(check(header::IF_MATCH, "\"07\""), [false; 4]);
        assert_eq!(check(header::IF_NONE_MATCH, "*"), [true, false, false, false]);
        for (name, value) in [(header::IF_MATCH, "7"), (header::IF_MATCH, ""), (header::IF_NONE_MATCH, "\"7\"")] {
            let headers: HeaderMap = [(name, value.parse().expect("a value"))].into_iter().collect();
            assert_eq!(condition(&headers).expect_err("it is malformed").status, 400, "{value}");
        }
    }
}
