use serde_json::Value;
use tonic::Code;

use crate::v1::message::Payload;
use crate::{Error, Message, Result};

/// Returns a message whose payload is JSON.
pub fn json(value: &Value) -> Message {
    Message { payload: Some(Payload::Json(value.to_string())), ..Default::default() }
}

/// A message that came.
#[derive(Clone, Debug)]
pub struct Received {
    /// As it was published.
    pub message: Message,
    /// Where it was published.
    pub channel: String,
    /// Its number on the bus; 0 of a reply.
    pub sequence: i64,
}

impl Received {
    /// Returns the payload, which must be JSON.
    pub fn json(&self) -> Result<Value> {
        let Some(Payload::Json(text)) = &self.message.payload else {
            let message = format!("message {} has no JSON", self.message.message_id);
            return Err(Error::new("INVALID_MESSAGE", Code::InvalidArgument, message));
        };
        serde_json::from_str(text).map_err(|error| {
            let message = format!("message {} has no valid JSON: {error}", self.message.message_id);
            Error::new("INVALID_MESSAGE", Code::InvalidArgument, message)
        })
    }
}

/// Gives a message an id where it has none, so that it stays the same message where it is sent again.
pub(crate) fn named(mut message: Message) -> Message {
    if message.message_id.is_empty() {
        message.message_id = uuid::Uuid::new_v4().to_string();
    }
    message
}
