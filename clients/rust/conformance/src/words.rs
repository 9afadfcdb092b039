use prost::Message as _;
use serde_json::{json, Value};
use trunkline::v1::message::Payload;
use trunkline::v1::{AgentState, Priority};
use trunkline::Message;

use crate::{text, Failed, Outcome, Step};

/// Returns a message of the table. Numbers of 64 bits are text, and so are times.
pub fn message(words: &Value) -> Message {
    let payload = if let Some(text) = words["json"].as_str() {
        Some(Payload::Json(text.to_owned()))
    } else if let Some(fill) = words["fill"].as_u64() {
        Some(Payload::Data(vec![0; fill as usize]))
    } else {
        words["data"].as_str().map(|data| Payload::Data(bytes(data)))
    };
    let of = |word| text(words, word).to_owned();
    Message {
        message_id: of("id"),
        message_type: of("type"),
        sender_id: of("sender"),
        recipient_id: of("recipient"),
        payload,
        timestamp: words["time"].as_str().map(|time| time.parse().expect("it is a time")),
        correlation_id: of("correlation"),
        priority: words["priority"].as_str().map_or(Priority::Unspecified, priority).into(),
        ttl_seconds: words["ttl"].as_i64().map(|ttl| ttl as i32),
        content_type: of("content_type"),
        metadata_json: of("metadata"),
        ordering_key: of("key"),
        ..Default::default()
    }
}

fn priority(word: &str) -> Priority {
    Priority::from_str_name(&format!("PRIORITY_{}", word.to_uppercase())).expect("it is one")
}

pub fn from_message(message: &Message) -> Value {
    let mut told = json!({"id": message.message_id});
    let texts = [
        ("type", &message.message_type),
        ("sender", &message.sender_id),
        ("recipient", &message.recipient_id),
        ("content_type", &message.content_type),
        ("correlation", &message.correlation_id),
        ("metadata", &message.metadata_json),
        ("key", &message.ordering_key),
    ];
    for (word, value) in texts.into_iter().filter(|(_, value)| !value.is_empty()) {
        told[word] = json!(value);
    }
    match &message.payload {
        Some(Payload::Json(text)) => told["json"] = json!(text),
        Some(Payload::Data(data)) => told["data"] = json!(hex(data)),
        None => {}
    }
    if message.priority != i32::from(Priority::Unspecified) {
        told["priority"] = json!(message.priority().as_str_name().trim_start_matches("PRIORITY_").to_lowercase());
    }
    if let Some(ttl) = message.ttl_seconds {
        told["ttl"] = json!(ttl);
    }
    if let Some(time) = &message.timestamp {
        told["time"] = json!(time.to_string());
    }
    told
}

/// Returns an agent state of the table.
pub fn state(words: &Value) -> AgentState {
    let of = |word| text(words, word).to_owned();
    AgentState {
        agent_id: of("id"),
        agent_type: of("type"),
        status: of("status"),
        current_task_id: of("task"),
        completed_tasks: words["completed"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|id| Some(id.as_str()?.to_owned()))
            .collect(),
        error_count: words["errors"].as_str().map_or(0, |errors| errors.parse().expect("it is a number")),
        last_heartbeat: words["heartbeat"].as_str().map(|time| time.parse().expect("it is a time")),
        metadata_json: of("metadata"),
        ..Default::default()
    }
}

pub fn from_state(state: &AgentState) -> Value {
    let mut told = json!({"id": state.agent_id});
    let texts = [
        ("type", &state.agent_type),
        ("status", &state.status),
        ("task", &state.current_task_id),
        ("metadata", &state.metadata_json),
    ];
    for (word, value) in texts.into_iter().filter(|(_, value)| !value.is_empty()) {
        told[word] = json!(value);
    }
    if !state.completed_tasks.is_empty() {
        told["completed"] = json!(state.completed_tasks);
    }
    if state.error_count != 0 {
        told["errors"] = json!(state.error_count.to_string());
    }
    if let Some(time) = &state.last_heartbeat {
        told["heartbeat"] = json!(time.to_string());
    }
    told
}

/// Reads the bytes of a vector.
pub fn decode(step: &Step) -> Outcome {
    let encoded = bytes(text(step, "hex"));
    let wrong = |error: prost::DecodeError| Failed::Wrong(error.to_string());
    Ok(json!({"value": match text(step, "kind") {
        "message" => from_message(&Message::decode(encoded.as_slice()).map_err(wrong)?),
        _ => from_state(&AgentState::decode(encoded.as_slice()).map_err(wrong)?),
    }}))
}

/// Writes what a vector has.
pub fn encode(step: &Step) -> Outcome {
    let encoded = match text(step, "kind") {
        "message" => message(&step["message"]).encode_to_vec(),
        _ => state(&step["record"]).encode_to_vec(),
    };
    Ok(json!({"hex": hex(&encoded)}))
}

fn bytes(hex: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("it is hexadecimal");
    (0..hex.len()).step_by(2).map(byte).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
