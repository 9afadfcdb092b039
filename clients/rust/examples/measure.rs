//! An agent that measures texts: it does tasks that wait in a durable subscription, answers requests, and keeps each result in the
//! state service, where a watch sees it.
//!
//!     measure [BUS [STATE]]
//!
//! Each address is host:port, tls://host:port or unix:/path; of a sidecar, the same for both.

use serde_json::Value;
use trunkline::v1::TaskResult;
use trunkline::{json, Bus, DurableOptions, State};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut address = |otherwise: &str| arguments.next().unwrap_or_else(|| otherwise.to_owned());
    let bus = Bus::connect(&address("127.0.0.1:7431")).await?;
    let state = State::connect(&address("127.0.0.1:7432")).await?;

    let _responder = bus
        .respond("measure:ask", 1, |request| async move {
            let asked = request.json().map_err(|error| error.to_string())?;
            let lines = lines(&asked).ok_or_else(|| "there is no source to measure".to_owned())?; // who asked hears why
            Ok::<_, String>(json(&serde_json::json!({ "lines": lines })))
        })
        .await?;

    let mut tasks = bus.subscribe_durable("measure:tasks", "measure", DurableOptions::default()).await?;
    println!("ready");
    loop {
        let task = tokio::select! {
            task = tasks.next() => task?,
            interrupted = tokio::signal::ctrl_c() => return Ok(interrupted?),
        };
        let given = task.json().ok();
        let Some((given, lines)) = given.as_ref().and_then(|given| Some((given, lines(given)?))) else {
            task.terminate("there is no source to measure")?;
            continue;
        };
        let result = TaskResult {
            task_id: given["name"].as_str().unwrap_or_default().to_owned(),
            agent_id: "measure-rust".to_owned(),
            status: "completed".to_owned(),
            output_data_json: serde_json::json!({ "lines": lines }).to_string(),
            ..Default::default()
        };
        match state.save(result, None).await {
            Ok(_) => task.ack()?,
            Err(error) => task.nak(&error.to_string())?,
        }
    }
}

fn lines(of: &Value) -> Option<usize> {
    Some(of["source"].as_str()?.matches('\n').count())
}
