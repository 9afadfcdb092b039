//! Trunkline for Rust: publish and subscribe, durable delivery, requests and replies, and shared state, by one address of a service
//! or a sidecar; and the generated stubs of the whole contract ([`v1`]) over the same connection, for all else.
//!
//! Each subscription is a stream of its own, which is made anew where the connection is lost, and follows the client to another
//! replica when the service asks it to move.

mod address;
mod again;
mod bus;
mod call;
mod durable;
mod error;
mod line;
mod message;
mod respond;
mod state;
mod stream;
mod subscription;
mod watch;

/// The contract, as generated from the protos.
#[rustfmt::skip]
#[path = "gen/trunkline.v1.rs"]
#[allow(missing_docs, clippy::all, rustdoc::all)]
pub mod v1;

#[cfg(feature = "tls")]
pub use tonic::transport::{Certificate, ClientTlsConfig, Identity};

pub use address::{connect, connect_with, Caller, Line, Options};
pub use bus::{Bus, RequestOptions};
pub use durable::{DurableOptions, DurableSubscription, Leased};
pub use error::{Error, Result};
pub use message::{json, Received};
pub use respond::{Failure, Request, Responder};
pub use state::{List, State};
pub use subscription::{LiveOptions, Subscription};
pub use v1::Message;
pub use watch::{Change, Watch};
