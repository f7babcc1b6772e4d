//! What went wrong with one call, sorted by what that says about the writes in it.

use std::error::Error;

use tonic::{Code, ConnectError, Status};

/// Why one call failed.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// It was never begun: another endpoint, or this one later, may be asked without doing anything twice.
    NotDone(String),
    /// Nobody knows whether it was done.
    Unknown(String),
    /// etcd understood it and said no; every endpoint will.
    Answer(Code, String),
}

/// Answers that etcd gives before it begins, because of the state that the asked member is in.
///
/// Source: etcd 3.4, `etcdserver/api/v3rpc/interceptor.go` and `EtcdServer.processInternalRaftRequestOnce`; "no leader" comes
/// before the call because every call asks for a member that knows one.
const NOT_BEGUN: [&str; 4] = [
    "etcdserver: no leader",
    "etcdserver: too many requests",
    "etcdserver: rpc not supported for learner",
    "etcdserver: not capable",
];

impl From<Status> for Failure {
    fn from(status: Status) -> Failure {
        let message = status.message();
        if NOT_BEGUN.contains(&message) {
            return Failure::NotDone(message.to_owned());
        }
        let mut cause: Option<&(dyn Error + 'static)> = status.source();
        let mut reasons: Vec<String> = Vec::new();
        let mut not_connected = false;
        while let Some(err) = cause {
            not_connected |= err.is::<ConnectError>();
            let reason = err.to_string();
            // Some errors repeat their source, and tonic's own words say nothing.
            if reason != "transport error" && !reasons.iter().any(|before| before.contains(&reason)) {
                reasons.push(reason);
            }
            cause = err.source();
        }
        if reasons.is_empty() {
            reasons.push(message.to_owned());
        }
        let reason = reasons.join(": ");
        if not_connected {
            return Failure::NotDone(reason);
        }
        match status.code() {
            // What etcd says when it gave up, and what the transport says when the connection broke.
            Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Unknown
            | Code::Internal
            | Code::Aborted
            | Code::DataLoss => Failure::Unknown(reason),
            code => Failure::Answer(code, message.to_owned()),
        }
    }
}

impl Failure {
    /// Whether history, or the revision that was asked for, is gone.
    pub fn is_compacted(&self) -> bool {
        self.says("etcdserver: mvcc: required revision has been compacted")
    }

    pub fn is_no_lease(&self) -> bool {
        self.says("etcdserver: requested lease not found")
    }

    /// Whether the answer was too large to be received; only the client itself says so.
    pub fn is_answer_too_large(&self) -> bool {
        matches!(self, Failure::Answer(Code::OutOfRange, message) if !message.starts_with("etcdserver:"))
    }

    /// Whether the token is old, unknown to the server, or missing. Nothing was done.
    pub fn wants_token(&self) -> bool {
        matches!(self, Failure::Answer(Code::Unauthenticated, _))
            || self.says("etcdserver: revision of auth store is old")
            || self.says("etcdserver: user name is empty")
    }

    pub fn is_auth_off(&self) -> bool {
        self.says("etcdserver: authentication is not enabled")
    }

    fn says(&self, text: &str) -> bool {
        matches!(self, Failure::Answer(_, message) if message == text)
    }

    pub fn reason(&self) -> &str {
        match self {
            Failure::NotDone(reason) | Failure::Unknown(reason) | Failure::Answer(_, reason) => reason,
        }
    }

    /// The same, if the call that failed was only made ready by this one.
    pub fn before_the_call(self) -> Failure {
        match self {
            Failure::Unknown(reason) => Failure::NotDone(reason),
            other => other,
        }
    }

    /// What to do about an answer, for those where etcd's own words leave that open. `PREFIX` stands for fleet's.
    pub fn hint(&self) -> Option<&'static str> {
        const HINTS: [(&str, &str); 7] = [
            ("etcdserver: permission denied", "grant the user's role `readwrite` on prefix `PREFIX`"),
            ("etcdserver: authentication failed, invalid user ID or password", "check the user's name and password"),
            ("etcdserver: user name is empty", "this etcd wants a user: configure name and password"),
            (
                "etcdserver: mvcc: database space exceeded",
                "compact and defragment etcd, then `etcdctl alarm disarm`; `--auto-compaction-retention` keeps it from filling up",
            ),
            ("etcdserver: request is too large", "set etcd's `--max-request-bytes` to its default of 1572864 or more"),
            (
                "etcdserver: too many operations in txn request",
                "set etcd's `--max-txn-ops` to its default of 128 or more",
            ),
            ("etcdserver: invalid auth token", "etcd's members disagree about tokens: look into their logs"),
        ];
        HINTS.iter().find(|(text, _)| self.says(text)).map(|&(_, hint)| hint)
    }
}
