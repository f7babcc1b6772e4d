//! Refusals and failures: one form for all of API v2 (RFC 9457, `application/problem+json`).

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

use super::PREFIX;

/// Where the kinds of problems are explained, under [`PREFIX`]; a problem's `type` is a path below it.
pub const PROBLEMS_PATH: &str = "/problems";

/// Why something was refused or failed (RFC 9457, `application/problem+json`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// What kind of problem it is, for programs: one of [`ProblemKind`], here as its short word (`unknown-unit`). On the wire it
    /// is the path under which the kind is explained: `/fleet/v2/problems/unknown-unit`.
    #[serde(rename = "type", serialize_with = "type_out", deserialize_with = "type_in")]
    #[schema(value_type = String, example = "/fleet/v2/problems/unknown-unit")]
    pub kind: String,
    /// What all problems of this kind have in common, in a few words.
    #[serde(rename = "title", default)]
    pub summary: String,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    /// What failed this time, with which value.
    #[serde(default)]
    pub detail: String,
    /// The request's ID, which the lines about it in `fleetd`'s log carry, and the header `X-Request-Id` of every answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub instance: Option<Box<str>>,
    /// The unit, machine, header or parameter that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The single findings, such as the mistakes in a unit file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// One of several things that are wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// The line of the unit file, counted from 1; nothing if it is about no single line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub line: Option<u32>,
    /// What is wrong.
    pub message: String,
}

impl Problem {
    /// A problem of this kind, with what failed this time.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Problem {
        Problem {
            kind: kind.as_str().to_owned(),
            summary: kind.title().to_owned(),
            status: kind.status(),
            detail: detail.into(),
            instance: None,
            name: None,
            findings: Vec::new(),
            hint: None,
        }
    }

    /// The same with what to do about it.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Problem {
        Problem { hint: Some(hint.into()), ..self }
    }

    /// The same, about this unit, machine, header or parameter.
    #[must_use]
    pub fn about(self, name: impl Into<String>) -> Problem {
        Problem { name: Some(name.into()), ..self }
    }

    /// Whether it is of this kind.
    pub fn is(&self, kind: ProblemKind) -> bool {
        self.kind == kind.as_str()
    }
}

/// What failed, and nothing more: the findings and the hint are for who prints them apart.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.detail.is_empty() { &self.summary } else { &self.detail })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl From<String> for Finding {
    fn from(message: String) -> Finding {
        Finding { line: None, message }
    }
}

fn type_out<S: Serializer>(kind: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{PREFIX}{PROBLEMS_PATH}/{kind}"))
}

fn type_in<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let given = String::deserialize(deserializer)?;
    Ok(given.rsplit('/').next().unwrap_or_default().to_owned())
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $variant:ident $word:literal $status:literal $title:literal)+) => {
        /// The kinds of problems. A newer fleetd may know more: an unknown one is to be taken by its status.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ProblemKind {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl ProblemKind {
            /// All of them, by status.
            pub const ALL: &[ProblemKind] = &[$(ProblemKind::$variant),+];

            /// Its word, the last part of a problem's `type`.
            pub const fn as_str(self) -> &'static str {
                match self { $(ProblemKind::$variant => $word,)+ }
            }

            /// Its HTTP status.
            pub const fn status(self) -> u16 {
                match self { $(ProblemKind::$variant => $status,)+ }
            }

            /// What all problems of this kind have in common.
            pub const fn title(self) -> &'static str {
                match self { $(ProblemKind::$variant => $title,)+ }
            }

            /// When it occurs and what to do about it.
            pub fn about(self) -> &'static str {
                match self { $(ProblemKind::$variant => concat!($($doc),+).trim(),)+ }
            }
        }
    };
}

kinds! {
    /// A parameter, a header or the body cannot be understood. `detail` says which and why; `name` names it.
    BadRequest "bad-request" 400 "the request cannot be understood"
    /// A text that is to be a unit's name is none.
    BadUnitName "bad-unit-name" 400 "that is no unit name"
    /// A unit file has mistakes: each is one of the `findings`, with its line.
    BadUnitFile "bad-unit-file" 400 "the unit file cannot be used"
    /// What was sent to be restored is no backup, or not a whole one: the `findings` say what is wrong. Nothing was changed.
    BadBackup "bad-backup" 400 "the backup cannot be used"
    /// Commands beside units are switched off on that machine, by `exec = false` in its fleetd's configuration.
    ExecOff "exec-off" 403 "commands beside units are switched off"
    /// The path is none of this API. `/fleet/v2/openapi.json` lists all that there are.
    NotFound "not-found" 404 "there is nothing at this path"
    /// There is no such unit in the cluster.
    UnknownUnit "unknown-unit" 404 "the unit does not exist"
    /// There is no such machine: none that is present, has orders, or was spoken of by operators.
    UnknownMachine "unknown-machine" 404 "the machine is not known"
    /// The unit is on no machine, or not on this one, so that nothing can be asked there.
    NoMachine "no-machine" 404 "the unit is on no machine"
    /// The path is there and knows other methods: the header `Allow` has them.
    MethodNotAllowed "method-not-allowed" 405 "this path knows no such method"
    /// The body did not come within `api_body_timeout`.
    TooSlow "too-slow" 408 "the body came too slowly"
    /// A file was sent for a unit that has another, without `replace`.
    DifferentFile "different-file" 409 "the unit exists with a different file"
    /// Others keep changing the same thing: try again.
    Conflict "conflict" 409 "others keep changing the same"
    /// A machine that is present cannot be given up.
    MachinePresent "machine-present" 409 "the machine is present"
    /// A backup is to be restored onto a cluster that has something in it, without `replace`.
    NotEmpty "not-empty" 409 "the cluster is not empty"
    /// The machine's systemd was asked and has refused: `detail` has its words.
    SystemdRefused "systemd-refused" 409 "systemd has refused"
    /// `If-Match`, `If-None-Match` or a change's `generation` does not hold: the unit or machine is not as you saw it. Read it again
    /// and decide again. Nothing was changed.
    PreconditionFailed "precondition-failed" 412 "it is not as you saw it"
    /// The body, or what is asked for, is over a limit; `detail` names the limit.
    TooLarge "too-large" 413 "that is over a limit"
    /// The body is to be JSON, and its `Content-Type` has to say so.
    UnsupportedMediaType "unsupported-media-type" 415 "the body is to be JSON"
    /// The machine's systemd could not begin the command, or would not: `detail` says why.
    CommandNotStarted "command-not-started" 422 "the command could not be begun"
    /// An `Idempotency-Key` was used before, for another request. Each request has its own.
    KeyReused "key-reused" 422 "the idempotency key belongs to another request"
    /// So many of these are underway, or kept, that no more are taken now. `Retry-After` says when to try again.
    TooMany "too-many" 429 "too many at once"
    /// Something in fleetd went wrong that should not. Its log says more, with the request's ID.
    Internal "internal" 500 "fleetd failed"
    /// A value in the store cannot be read: it was written by a newer fleet, or by something else.
    Unreadable "unreadable" 500 "the store holds what cannot be read"
    /// Another machine's fleetd was to be asked, and it cannot be.
    MachineUnreachable "machine-unreachable" 502 "the machine cannot be asked"
    /// So many large requests are being read that this one has no room. Try again.
    Busy "busy" 503 "too many large requests at once"
    /// The machine is not present: nobody can ask it.
    MachineAbsent "machine-absent" 503 "the machine is absent"
    /// fleetd has just started and has not read the store yet. Units are not affected. Try again.
    NotReady "not-ready" 503 "fleetd has not read the store yet"
    /// The store did not answer: *a write may have been done*. Units are not affected. Try again, with the same `Idempotency-Key` if
    /// there was one.
    StoreUnavailable "store-unavailable" 503 "the store does not answer"
    /// Another machine's fleetd did not answer in time.
    MachineSilent "machine-silent" 504 "the machine does not answer"
}

/// `GET /problems`: one kind of problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProblemType {
    /// The `type` of such problems.
    #[serde(rename = "type")]
    pub kind: String,
    /// What they have in common.
    pub title: String,
    /// Their HTTP status.
    pub status: u16,
    /// When they occur and what to do about it.
    pub about: String,
}

impl From<ProblemKind> for ProblemType {
    fn from(kind: ProblemKind) -> ProblemType {
        ProblemType {
            kind: format!("{PREFIX}{PROBLEMS_PATH}/{}", kind.as_str()),
            title: kind.title().to_owned(),
            status: kind.status(),
            about: kind.about().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_the_wire() {
        let mut problem = Problem::new(ProblemKind::BadUnitFile, "the file of unit a.service cannot be used")
            .about("a.service")
            .with_hint("did you mean `Global`?");
        problem.findings.push(Finding { line: Some(3), message: "unknown option".to_owned() });
        problem.instance = Some("6-1".into());
        let text = serde_json::to_string_pretty(&problem).expect("it has a JSON form");
        expect_test::expect![[r#"
            {
              "type": "/fleet/v2/problems/bad-unit-file",
              "title": "the unit file cannot be used",
              "status": 400,
              "detail": "the file of unit a.service cannot be used",
              "instance": "6-1",
              "name": "a.service",
              "findings": [
                {
                  "line": 3,
                  "message": "unknown option"
                }
              ],
              "hint": "did you mean `Global`?"
            }"#]]
        .assert_eq(&text);
        assert_eq!(serde_json::from_str::<Problem>(&text).expect("it is one"), problem);
    }

    /// Of a newer fleetd, or of something else that speaks RFC 9457.
    #[test]
    fn of_others() {
        let read = |text: &str| serde_json::from_str::<Problem>(text).expect("a problem");
        let newer = read(r#"{"type":"/fleet/v2/problems/too-hot","status":418,"title":"x","more":1}"#);
        assert_eq!((newer.kind.as_str(), newer.to_string().as_str()), ("too-hot", "x"));
        assert_eq!(read(r#"{"type":"about:blank","status":500}"#).kind, "about:blank");
    }

    #[test]
    fn kinds_are_told_apart() {
        let words: std::collections::BTreeSet<&str> = ProblemKind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(words.len(), ProblemKind::ALL.len());
        assert!(ProblemKind::ALL.iter().all(|kind| (400..600).contains(&kind.status())));
        assert!(ProblemKind::ALL.is_sorted_by_key(|kind| kind.status()));
    }
}
