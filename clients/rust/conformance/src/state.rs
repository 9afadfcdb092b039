use std::sync::Arc;

use serde_json::{json, Value};
use tokio::sync::{mpsc, Mutex};
use trunkline::v1::record::Value as Kept;
use trunkline::v1::{AgentState, Filter, Record, RecordKind, WatchRequest};
use trunkline::{Change, State};

use crate::words::{from_state, state};
use crate::{count, state_of, text, Failed, Outcome, Runner, Step};

pub async fn save(to: &State, step: &Step) -> Outcome {
    Ok(json!({"revision": to.save(state(&step["record"]), step["expected_revision"].as_i64()).await?}))
}

pub async fn get(from: &State, step: &Step) -> Outcome {
    let found = from.get(RecordKind::AgentState, text(step, "id")).await?;
    Ok(json!({"record": from_state(agent_state(&found)?), "revision": found.revision}))
}

pub async fn delete(from: &State, step: &Step) -> Outcome {
    Ok(json!({"deleted": from.delete(RecordKind::AgentState, text(step, "id"), None).await?}))
}

fn agent_state(record: &Record) -> Result<&AgentState, Failed> {
    match &record.value {
        Some(Kept::AgentState(state)) => Ok(state),
        other => Err(Failed::Wrong(format!("{other:?} is no agent state"))),
    }
}

fn filter(step: &Step) -> Option<Filter> {
    step["status"].as_str().map(|status| Filter { status: status.to_owned(), ..Default::default() })
}

pub async fn page(from: &State, step: &Step) -> Outcome {
    let size = step["size"].as_i64().unwrap_or_default() as i32;
    let (records, token) = from.page(RecordKind::AgentState, filter(step), size, text(step, "token")).await?;
    let ids = records.iter().map(|record| Ok(&agent_state(record)?.agent_id)).collect::<Result<Vec<_>, Failed>>()?;
    Ok(json!({"ids": ids, "token": token}))
}

pub async fn list(from: &State, step: &Step) -> Outcome {
    let (mut listed, mut ids) = (from.list(RecordKind::AgentState, filter(step)), Vec::new());
    while let Some(record) = listed.next().await? {
        ids.push(agent_state(&record)?.agent_id.clone());
    }
    Ok(json!({"ids": ids}))
}

pub async fn watch(runner: &Runner, step: &Step) -> Outcome {
    let request = WatchRequest {
        kinds: vec![RecordKind::AgentState.into()],
        filter: filter(step),
        after_revision: step["after"].as_i64(),
        ..Default::default()
    };
    let mut watch = state_of(runner).await.watch(request);
    let (tell, changes) = mpsc::unbounded_channel();
    let reading = tokio::spawn(async move {
        loop {
            let next = watch.next().await;
            let is_over = next.is_err();
            if tell.send(next.map_err(Failed::Said).and_then(told)).is_err() || is_over {
                return;
            }
        }
    });
    let mut made = runner.lock().await;
    made.tasks.push(reading.abort_handle());
    made.watches.insert(text(step, "name").to_owned(), Arc::new(Mutex::new(changes)));
    Ok(Value::Null)
}

fn told(change: Change) -> Outcome {
    let kind = match &change {
        Change::Saved(_) => "saved",
        Change::Deleted(_) => "deleted",
        Change::Left(_) => "left",
        Change::Synced(_) => "synced",
    };
    let mut told = json!({"type": kind, "id": change.id()});
    if let Change::Saved(record) = &change {
        told["record"] = from_state(agent_state(record)?);
    }
    Ok(told)
}

pub async fn changes(of: &Mutex<mpsc::UnboundedReceiver<Outcome>>, step: &Step) -> Outcome {
    let (mut changes, mut told) = (of.lock().await, Vec::new());
    for _ in 0..count(step) {
        told.push(changes.recv().await.ok_or_else(|| "the watch is over".to_owned())??);
    }
    Ok(json!({"changes": told}))
}
