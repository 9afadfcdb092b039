use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::line::Service;
use crate::v1;

const DOMAIN: &str = "trunkline";

/// What a call of this crate returns.
pub type Result<T> = std::result::Result<T, Error>;

/// What a service, or this crate, says went wrong.
#[derive(Clone, Debug)]
pub struct Error {
    /// The word for programs, such as `NO_RESPONDERS`; of what is no service of ours, the status, such as `UNAVAILABLE`.
    pub reason: String,
    /// For people: what was wrong, naming the field and the value.
    pub message: String,
    /// The figures, such as `size` and `limit`, as text.
    pub metadata: HashMap<String, String>,
    /// The status that a call ends with.
    pub code: Code,
}

impl Error {
    pub(crate) fn new(reason: &str, code: Code, message: impl Into<String>) -> Self {
        Self { reason: reason.to_owned(), message: message.into(), metadata: HashMap::new(), code }
    }

    pub(crate) fn invalid(reason: &str, field: &str, value: &str, message: impl Into<String>) -> Self {
        let mut error = Self::new(reason, Code::InvalidArgument, message);
        error.metadata = [("field", field), ("value", value)].map(|(word, of)| (word.to_owned(), of.to_owned())).into();
        error
    }

    /// Reads what a service says of a call.
    pub(crate) fn of(service: Service, status: Status) -> Self {
        if let Some(info) = status.get_details_error_info().filter(|info| info.domain == DOMAIN) {
            return Self {
                reason: info.reason,
                message: status.message().to_owned(),
                metadata: info.metadata,
                code: status.code(),
            };
        }
        let reason = match status.code() {
            Code::Unavailable | Code::Cancelled | Code::Unknown => service.lost(),
            Code::DeadlineExceeded => "REQUEST_TIMEOUT",
            Code::ResourceExhausted => "OVERLOADED",
            Code::Unauthenticated => "UNAUTHENTICATED",
            Code::PermissionDenied => "PERMISSION_DENIED",
            Code::Unimplemented => "UNIMPLEMENTED",
            _ => "INTERNAL",
        };
        let code = if reason == service.lost() { Code::Unavailable } else { status.code() };
        Self::new(reason, code, status.message())
    }

    /// Tells whether the same call may succeed later without a change: the connection was lost, a limit was reached, whoever held a
    /// request is gone, or a handler said so of its failure. What became of a call whose connection was lost is not known.
    pub fn is_retryable(&self) -> bool {
        match self.reason.as_str() {
            "BUS_DISCONNECTED"
            | "STATE_DISCONNECTED"
            | "OVERLOADED"
            | "STORAGE_UNAVAILABLE"
            | "KEYS_UNAVAILABLE"
            | "NO_RESPONDERS"
            | "REQUEST_TIMEOUT"
            | "RESPONDER_LOST" => true,
            "REQUEST_FAILED" => self.metadata.get("retryable").is_some_and(|said| said == "true"),
            _ => false,
        }
    }

    /// Returns for how long a service refuses what was asked, where it is `OVERLOADED` for now and says so.
    pub fn retry_after(&self) -> Option<Duration> {
        let said = self.metadata.get("retry_after").filter(|_| self.reason == "OVERLOADED")?;
        Duration::try_from_secs_f64(said.parse().ok()?).ok()
    }

    /// Tells whether the connection was lost, or the service is away.
    pub(crate) fn is_lost(&self) -> bool {
        self.code == Code::Unavailable && self.reason != "TLS"
    }
}

impl fmt::Display for Error {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}: {}", self.reason, self.message)
    }
}

impl std::error::Error for Error {}

impl From<Status> for Error {
    /// Reads what the service says in its `google.rpc.ErrorInfo`. A lost connection is `BUS_DISCONNECTED`, whichever service was
    /// called.
    fn from(status: Status) -> Self {
        Self::of(Service::Bus, status)
    }
}

impl From<v1::Error> for Error {
    /// Reads what the service says of one item of a stream.
    fn from(said: v1::Error) -> Self {
        Self { reason: said.reason, message: said.message, metadata: said.metadata, code: Code::from_i32(said.code) }
    }
}
