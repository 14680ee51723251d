//! Error responses as problem documents (RFC 9457). This is the only place that turns errors into HTTP.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::HeaderValue;
use hyper::{Response, StatusCode, header};
use schemars::JsonSchema;
use serde::Serialize;

use super::http_response::HttpResponse;
use crate::bounded_errors::{BoundedErrors, MAX_ERRORS_PER_RESPONSE};
use crate::ingest::SubmitError;
use crate::kinds::Rejection;
use crate::ratelimit::Limited;
use crate::status::StatusError;

pub(super) const MEDIA_TYPE: &str = "application/problem+json";
/// Path of the description of a problem code, on both listeners.
pub(super) const DESCRIPTION: &str = "/errors/{code}";
/// Delay for a retry if the end of the cause cannot be predicted.
const RETRY_SOON: Duration = Duration::from_secs(1);

/// A stable kind of problem: clients switch on `code`, people read `title`.
#[derive(Debug, PartialEq, Eq)]
pub struct Type {
    pub code: &'static str,
    pub status: u16,
    pub title: &'static str,
    /// Whether the same request may succeed later.
    pub retryable: bool,
}

/// The reference for `type`: [`DESCRIPTION`] with this code. The client resolves it against the address of its request
/// (RFC 9457, section 3.1.1).
fn reference(code: &str) -> String {
    DESCRIPTION.replace("{code}", code)
}

macro_rules! types {
    ($($name:ident $code:literal $status:literal $retryable:literal $title:literal;)*) => {
        $(pub(super) const $name: Type =
            Type { code: $code, status: $status, title: $title, retryable: $retryable };)*
        /// All kinds of problems, for OpenAPI.
        pub(super) const ALL: &[&Type] = &[$(&$name),*];
    };
}

types! {
    MALFORMED_REQUEST "malformed_request" 400 false "The request is not valid HTTP/1.1";
    AMBIGUOUS_LENGTH "ambiguous_length" 400 false "The length of the body is ambiguous";
    TLS_ON_PLAIN_PORT "tls_on_plain_port" 400 false "This port serves plain HTTP, not TLS";
    TRUNCATED_BODY "truncated_body" 400 false "The body ended before its announced length";
    MALFORMED_BODY "malformed_body" 400 false "The body is malformed";
    BAD_HEADER "bad_header" 400 false "A header is invalid or missing";
    BAD_PARAMETER "bad_parameter" 400 false "A query parameter is invalid";
    INVALID_EVENT "invalid_event" 400 false "The CloudEvent is not valid";
    EMPTY_BATCH "empty_batch" 400 false "The batch contains no command";
    WRONG_PASSWORD "wrong_password" 401 false "The old password is wrong";
    WRONG_CREDENTIALS "wrong_credentials" 401 false "The name or the password is wrong";
    UNAUTHENTICATED "unauthenticated" 401 false "Authentication is required";
    INVALID_TOKEN "invalid_token" 401 false "The token is not valid";
    CROSS_SITE "cross_site" 403 false "The request comes from a web page of another origin";
    FORBIDDEN "forbidden" 403 false "The caller is not allowed to do this";
    UNKNOWN_KIND "unknown_kind" 404 false "No kind of command has this name";
    NOT_FOUND "not_found" 404 false "Not found";
    OTHER_LOG "other_log" 404 false "Another daemon accepted this command";
    METHOD_NOT_ALLOWED "method_not_allowed" 405 false "The path does not support this method";
    HEAP_PROFILING_OFF "heap_profiling_off" 409 false "Heap profiling is off";
    PROFILE_RUNNING "profile_running" 409 true "Another profile is in progress";
    TAKEN "taken" 409 false "Another user has this value";
    TIMEOUT "timeout" 408 true "The request did not arrive in time";
    BODY_TOO_LARGE "body_too_large" 413 false "The body is too large";
    RECORD_TOO_LARGE "record_too_large" 413 false "The record is too large for Kafka";
    TOO_MANY_LINES "too_many_lines" 413 false "The batch contains too many commands";
    URI_TOO_LONG "uri_too_long" 414 false "The request target is too long";
    UNSUPPORTED_MEDIA_TYPE "unsupported_media_type" 415 false "The body's media type or encoding is not supported";
    UNKNOWN_HOST "unknown_host" 421 false "The listener does not serve this host name";
    INVALID_COMMAND "invalid_command" 422 false "The body is not valid for its kind";
    INVALID_LIMIT "invalid_limit" 422 false "Some fields are invalid";
    INVALID_USER "invalid_user" 422 false "Some fields are invalid";
    REJECTED "rejected" 422 false "The database refused the registration";
    IDEMPOTENCY_CONFLICT "idempotency_conflict" 422 false "The idempotency key was used with another body";
    RATE_LIMITED "rate_limited" 429 true "Too many requests";
    HEADERS_TOO_LARGE "headers_too_large" 431 false "The headers are too large or too many";
    INTERNAL "internal" 500 true "Internal error";
    UNSUPPORTED_TRANSFER_CODING "unsupported_transfer_coding" 501 false "The transfer coding is not supported";
    OVERLOADED "overloaded" 503 true "The daemon is overloaded";
    QUEUE_FULL "queue_full" 503 true "Too many requests wait for a flush";
    BACKLOG_FULL "backlog_full" 503 true "The backlog is full";
    POISONED "poisoned" 503 true "The log failed and accepts no more commands";
    STOPPING "stopping" 503 true "The daemon is stopping";
    INDEX_REBUILDING "index_rebuilding" 503 true "The index is being rebuilt";
    UNAVAILABLE "unavailable" 503 true "The log cannot be read at the moment";
    CLOCK_BEHIND "clock_behind" 503 true "A newer change was accepted by a daemon whose clock is ahead";
    UNDER_WAY "under_way" 503 true "The outcome of a request is not decided yet";
    MARKERS_UNAVAILABLE "markers_unavailable" 503 true "The reservation store is unavailable";
    DATABASE_UNAVAILABLE "database_unavailable" 503 true "The database is unavailable";
    BUSY "busy" 503 true "Too many logins are in progress";
    HASHING_BUSY "hashing_busy" 503 true "Too many passwords wait to be hashed";
    LIMITS_NOT_SHARED "limits_not_shared" 503 true "Other daemons do not have the change yet";
    DISK_FULL "disk_full" 507 true "The disk is full";
}

/// One error response.
#[derive(Debug)]
pub struct Problem {
    pub kind: &'static Type,
    pub detail: Cow<'static, str>,
    /// The invalid header, parameter or member.
    pub field: Option<Cow<'static, str>>,
    pub retry_after: Option<Duration>,
    /// Value of the header `Allow`.
    pub allow: Option<String>,
    /// Each invalid place, if there may be several.
    pub errors: BoundedErrors<ErrorDetail, MAX_ERRORS_PER_RESPONSE>,
}

/// An invalid place.
// Members are in alphabetical order, as in every earlier version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct ErrorDetail {
    pub detail: String,
    /// Line of a batch. The first line is 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "usize")]
    pub line: Option<usize>,
    /// JSON pointer into the body, or into the line of a batch.
    pub pointer: String,
}

/// A problem document (RFC 9457).
// Members are in alphabetical order, as in every earlier version.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "problem")]
pub struct Document<'a> {
    #[schemars(extend("enum" = codes()))]
    code: &'static str,
    detail: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schemars(length(max = MAX_ERRORS_PER_RESPONSE))]
    errors: &'a [ErrorDetail],
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    field: Option<&'a str>,
    retryable: bool,
    status: u16,
    title: &'static str,
    trace_id: &'a str,
    /// Refers to the description of the code, relative to the address of the request.
    #[serde(rename = "type")]
    kind: String,
}

fn codes() -> Vec<&'static str> {
    ALL.iter().map(|kind| kind.code).collect()
}

impl ErrorDetail {
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), line: None, pointer: pointer.into() }
    }

    pub fn at(self, line: usize) -> Self {
        Self { line: Some(line), ..self }
    }

    /// The same place, in a document that contains the value at `pointer`.
    pub fn below(self, pointer: &str) -> Self {
        Self { pointer: format!("{pointer}{}", self.pointer), ..self }
    }
}

impl Problem {
    pub fn new(kind: &'static Type, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            field: None,
            retry_after: None,
            allow: None,
            errors: BoundedErrors::default(),
        }
    }

    pub fn field(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.field = Some(name.into());
        self
    }

    /// The same problem, for the value at this pointer in the body.
    pub fn below(mut self, pointer: &str) -> Self {
        // The field of a duplicate is a name, not a pointer.
        let is_place = |field: &Cow<'static, str>| field.is_empty() || field.starts_with('/');
        self.field = match self.field {
            Some(field) if is_place(&field) => Some(format!("{pointer}{field}").into()),
            other => other,
        };
        self.errors = self.errors.iter().map(|place| place.clone().below(pointer)).collect();
        self
    }

    pub fn from_submit_error(error: &SubmitError, retry_after: Duration) -> Self {
        let kind = match error {
            SubmitError::QueueFull => &QUEUE_FULL,
            SubmitError::BacklogFull { .. } => &BACKLOG_FULL,
            SubmitError::DiskFull => &DISK_FULL,
            SubmitError::SegmentNotReady => &OVERLOADED,
            SubmitError::Undecided => &UNDER_WAY,
            SubmitError::Poisoned => &POISONED,
            SubmitError::Closing => &STOPPING,
            SubmitError::KeyConflict => &IDEMPOTENCY_CONFLICT,
            SubmitError::IndexRebuilding => &INDEX_REBUILDING,
            SubmitError::TooLarge { .. } => &BODY_TOO_LARGE,
            // A bug: the configuration rules it out.
            SubmitError::Unencrypted => &UNAVAILABLE,
        };
        let field = (*error == SubmitError::KeyConflict).then_some(Cow::Borrowed("Idempotency-Key"));
        Self { field, retry_after: Some(retry_after), ..Self::new(kind, error.to_string()) }
    }

    fn body(&self, trace_id: &str) -> Vec<u8> {
        let document = Document {
            code: self.kind.code,
            detail: &self.detail,
            errors: &self.errors,
            field: self.field.as_deref(),
            retryable: self.kind.retryable,
            status: self.kind.status,
            title: self.kind.title,
            trace_id,
            kind: reference(self.kind.code),
        };
        // Serialising these documents cannot fail, because their keys are strings.
        serde_json::to_vec(&document).unwrap_or_default()
    }

    /// `Retry-After` in whole seconds, at least 1, for the statuses that docs/http-api.md#errors lists.
    fn retry_after_seconds(&self) -> Option<u64> {
        matches!(self.kind.status, 429 | 503 | 507).then(|| {
            let wait = self.retry_after.unwrap_or(RETRY_SOON);
            (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
        })
    }

    /// `WWW-Authenticate`: the credentials that a client must send. Every 401 has it (RFC 9110, section 15.5.2; RFC 6750,
    /// section 3).
    fn www_authenticate(&self) -> Option<&'static str> {
        match *self.kind {
            INVALID_TOKEN => Some(r#"Bearer realm="forebay", error="invalid_token""#),
            Type { status: 401, .. } => Some(r#"Bearer realm="forebay""#),
            _ => None,
        }
    }

    pub fn into_response(self, trace_id: &str) -> HttpResponse {
        let mut response = Response::new(Full::new(Bytes::from(self.body(trace_id))));
        *response.status_mut() =
            StatusCode::from_u16(self.kind.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after_seconds() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(challenge) = self.www_authenticate() {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if let Some(allow) = self.allow.as_deref().and_then(|allow| HeaderValue::from_str(allow).ok()) {
            headers.insert(header::ALLOW, allow);
        }
        response
    }

    /// The document alone, if no request could be read.
    pub fn document(&self) -> Vec<u8> {
        self.body(&random_trace_id())
    }

    /// The response as bytes, for connections without a request that hyper could answer.
    pub fn raw_response(&self) -> Vec<u8> {
        let body = self.document();
        let reason = StatusCode::from_u16(self.kind.status).ok().and_then(|code| code.canonical_reason());
        let mut head = format!(
            "HTTP/1.1 {} {}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {}\r\nconnection: close\r\n",
            self.kind.status,
            reason.unwrap_or_default(),
            body.len(),
        );
        if let Some(seconds) = self.retry_after_seconds() {
            // Writing to a String cannot fail.
            let _ = write!(head, "retry-after: {seconds}\r\n");
        }
        head.push_str("\r\n");
        [head.into_bytes(), body].concat()
    }
}

/// The problem of a request head with two body lengths.
pub(super) fn ambiguous_length() -> Problem {
    Problem::new(&AMBIGUOUS_LENGTH, "Send Content-Length once, or Transfer-Encoding: chunked, not both.")
}

fn random_trace_id() -> String {
    let mut bytes = [0; 16];
    // Without randomness, the id is all zeros. This only makes the error harder to find in a log.
    let _ = getrandom::fill(&mut bytes);
    format!("{:032x}", u128::from_be_bytes(bytes))
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        let kind = if rejection.is_malformed() { &MALFORMED_BODY } else { &INVALID_COMMAND };
        let mut problem = Self::new(kind, rejection.to_string());
        problem.field = rejection.pointer().map(|pointer| Cow::Owned(pointer.to_owned()));
        match &rejection {
            Rejection::Schema(violations) => {
                let place = |v: &crate::kinds::Violation| ErrorDetail::new(&*v.pointer, &*v.detail);
                problem.errors = violations.iter().map(place).collect();
            }
            Rejection::Duplicate { name } => problem.field = Some(Cow::Owned(name.clone())),
            _ => {}
        }
        problem
    }
}

impl From<Limited> for Problem {
    fn from(limited: Limited) -> Self {
        if limited.is_too_large {
            // A retry would not help.
            return Self::new(
                &TOO_MANY_LINES,
                "The batch has more commands than the rate limit allows at once.",
            );
        }
        let problem = Self::new(&RATE_LIMITED, "Repeat the request after the time in Retry-After.");
        Self { retry_after: Some(limited.retry_after), ..problem }
    }
}

impl From<StatusError> for Problem {
    fn from(error: StatusError) -> Self {
        match error {
            StatusError::NotFound => Self::new(&NOT_FOUND, "No command has this id."),
            StatusError::OtherLog => {
                Self::new(&OTHER_LOG, "Send the request to the daemon that answered 202.")
            }
            // The text may name files, so it belongs in the log, not in a response.
            StatusError::Unavailable(reason) => {
                tracing::warn!(
                    event = "status.read_failed",
                    error = reason,
                    "status of a command could not be read"
                );
                Self::new(&UNAVAILABLE, "The log could not be read. Try again.")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_their_statuses_are_errors() {
        for (index, kind) in ALL.iter().enumerate() {
            assert!((400..600).contains(&kind.status), "{kind:?}");
            assert!(ALL[index + 1..].iter().all(|other| other.code != kind.code), "{kind:?}");
        }
    }

    #[test]
    fn every_401_has_a_challenge() {
        for kind in ALL {
            let answer = Problem::new(kind, "").into_response("t");
            assert_eq!(answer.headers().contains_key("www-authenticate"), kind.status == 401, "{kind:?}");
        }
    }

    #[test]
    fn temporary_errors_have_retry_after() {
        let problem = Problem::from_submit_error(&SubmitError::DiskFull, Duration::from_millis(2_100));
        let answer = problem.into_response("t");
        assert_eq!(answer.status(), 507);
        assert_eq!(answer.headers()["retry-after"], "3");
        assert!(!Problem::new(&NOT_FOUND, "").into_response("t").headers().contains_key("retry-after"));
    }

    #[test]
    fn a_failed_lookup_shows_no_path() {
        let problem = Problem::from(StatusError::Unavailable("cannot read /var/lib/x".to_owned()));
        assert!(!String::from_utf8(problem.body("t")).unwrap().contains("/var"));
    }
}
