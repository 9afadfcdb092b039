//! Trunkline for Rust: publish and subscribe, durable delivery, requests and replies, by one address of a bus or a sidecar; and the
//! generated stubs of the whole contract ([`v1`]) over the same connection, for shared state and all else.
//!
//! Each subscription is a call of its own, which is made anew where the connection is lost.

mod address;
mod bus;
mod durable;
mod error;
mod message;
mod respond;
mod subscription;

/// The contract, as generated from the protos.
#[rustfmt::skip]
#[path = "gen/trunkline.v1.rs"]
#[allow(missing_docs, clippy::all, rustdoc::all)]
pub mod v1;

#[cfg(feature = "tls")]
pub use tonic::transport::ClientTlsConfig;

pub use address::{connect, connect_with, Bearer, Line, Options};
pub use bus::Bus;
pub use durable::{DurableOptions, DurableSubscription, Leased};
pub use error::{Error, Result};
pub use message::{json, Received};
pub use respond::{Request, Responder};
pub use subscription::{LiveOptions, Subscription};
pub use v1::Message;
