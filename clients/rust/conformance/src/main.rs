//! Does the steps of the table that all clients are held to (tests/conformance): it reads a step as a JSON object a line, and
//! answers each with a line, {"ok": …} or {"error": …}.

mod bus;
mod state;
mod words;

use std::collections::HashMap;
use std::future::Future;
use std::io::{BufRead, Write};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{json, Value};
use tokio::sync::{mpsc, watch, Mutex};
use tokio::task::{AbortHandle, JoinHandle};
use trunkline::{Bus, ClientTlsConfig, Error, Options, Responder, State};

/// How long a step waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// What one line asks for: the verb and its words.
type Step = Value;

/// Why a step failed.
enum Failed {
    /// As the client says it.
    Said(Error),
    /// The runner, or the step, is wrong.
    Wrong(String),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Said(error)
    }
}

impl From<String> for Failed {
    fn from(why: String) -> Self {
        Self::Wrong(why)
    }
}

type Outcome = Result<Value, Failed>;

/// What the steps of one case made.
#[derive(Default)]
struct Made {
    bus: Option<Bus>,
    state: Option<State>,
    restored: HashMap<String, watch::Receiver<u64>>, // by "bus" and "state", as far as it was asked for
    subscriptions: HashMap<String, Arc<bus::Got>>,
    responders: Vec<Responder>,
    watches: HashMap<String, Arc<Mutex<mpsc::UnboundedReceiver<Outcome>>>>,
    tasks: Vec<AbortHandle>,
    later: HashMap<String, JoinHandle<Value>>,
}

impl Drop for Made {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
        self.later.values().for_each(JoinHandle::abort);
    }
}

/// Steps are done one after the other, but for those that are done later: these are beside the next ones.
type Runner = Arc<Mutex<Made>>;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("it starts");
    let runner = Runner::default();
    for line in std::io::stdin().lock().lines() {
        let step: Step = serde_json::from_str(&line.expect("it is UTF-8")).expect("it is JSON");
        let answer = runtime.block_on(answer(&runner, step));
        let mut out = std::io::stdout().lock();
        writeln!(out, "{answer}").and_then(|()| out.flush()).expect("somebody reads it");
    }
}

/// Does a step now, or beside those that follow.
async fn answer(runner: &Runner, step: Step) -> Value {
    if let Some(name) = step["later"].as_str() {
        let doing = tokio::spawn(attempt(Arc::clone(runner), step.clone()));
        runner.lock().await.later.insert(name.to_owned(), doing);
        return json!({"ok": {}});
    }
    if step["do"] == "wait" {
        let name = text(&step, "for");
        let Some(doing) = runner.lock().await.later.remove(name) else { return failure(format!("{name:?} is nothing").into()) };
        return match tokio::time::timeout(PATIENCE, doing).await {
            Ok(done) => done.unwrap_or_else(|error| failure(error.to_string().into())),
            Err(_) => failure(late()),
        };
    }
    attempt(Arc::clone(runner), step).await
}

async fn attempt(runner: Runner, step: Step) -> Value {
    let done = tokio::time::timeout(PATIENCE, act(&runner, &step)).await;
    match done.unwrap_or_else(|_| Err(late())) {
        Ok(told) => json!({"ok": if told.is_null() { json!({}) } else { told }}),
        Err(why) => failure(why),
    }
}

fn late() -> Failed {
    Failed::Wrong(format!("it did not come within {PATIENCE:?}"))
}

fn failure(why: Failed) -> Value {
    match why {
        Failed::Wrong(message) => json!({"error": {"code": "?", "message": message}}),
        Failed::Said(error) => json!({"error": {
            "code": error.reason, "message": error.message, "retryable": error.is_retryable(), "details": error.metadata,
        }}),
    }
}

async fn act(runner: &Runner, step: &Step) -> Outcome {
    match text(step, "do") {
        "connect_bus" => {
            connect(runner, step, "bus", |address, options| async move {
                let bus = Bus::connect_with(&address, options).await?;
                let restored = bus.restored();
                Ok((restored, move |made: &mut Made| made.bus = Some(bus)))
            })
            .await
        }
        "connect_state" => {
            connect(runner, step, "state", |address, options| async move {
                let state = State::connect_with(&address, options).await?;
                let restored = state.restored();
                Ok((restored, move |made: &mut Made| made.state = Some(state)))
            })
            .await
        }
        "reconnected" => {
            let mut restored = runner.lock().await.restored[text(step, "of")].clone();
            let changed = restored.changed().await;
            runner.lock().await.restored.insert(text(step, "of").to_owned(), restored);
            changed.map(|()| Value::Null).map_err(|error| Failed::Wrong(error.to_string()))
        }
        "reconnections" => Ok(json!({"count": *runner.lock().await.restored[text(step, "of")].borrow()})),
        "close" => {
            let _ended = std::mem::take(&mut *runner.lock().await);
            Ok(Value::Null)
        }
        "publish" => bus::publish(&bus_of(runner).await, step).await,
        "subscribe" => bus::subscribe(runner, step).await,
        "expect" => subscription(runner, step).await.expect(step).await,
        "lagged" => subscription(runner, step).await.lagged().await,
        "trouble" => subscription(runner, step).await.trouble().await,
        "settle" => subscription(runner, step).await.settle(step).await,
        "go_on" => subscription(runner, step).await.go_on(),
        "drain" => subscription(runner, step).await.drain().await,
        "respond" => {
            let responder = bus::respond(&bus_of(runner).await, step).await?;
            runner.lock().await.responders.push(responder);
            Ok(Value::Null)
        }
        "request" => bus::request(&bus_of(runner).await, step).await,
        "save" => state::save(&state_of(runner).await, step).await,
        "get" => state::get(&state_of(runner).await, step).await,
        "delete" => state::delete(&state_of(runner).await, step).await,
        "page" => state::page(&state_of(runner).await, step).await,
        "list" => state::list(&state_of(runner).await, step).await,
        "watch" => state::watch(runner, step).await,
        "changes" => {
            let changes = Arc::clone(&runner.lock().await.watches[text(step, "from")]);
            state::changes(&changes, step).await
        }
        "decode" => words::decode(step),
        "encode" => words::encode(step),
        other => Err(Failed::Wrong(format!("{other:?} is no step"))),
    }
}

async fn bus_of(runner: &Runner) -> Bus {
    runner.lock().await.bus.clone().expect("it is connected")
}

async fn state_of(runner: &Runner) -> State {
    runner.lock().await.state.clone().expect("it is connected")
}

async fn subscription(runner: &Runner, step: &Step) -> Arc<bus::Got> {
    Arc::clone(&runner.lock().await.subscriptions[text(step, "from")])
}

async fn connect<C, K>(runner: &Runner, step: &Step, of: &str, connect: impl FnOnce(String, Options) -> C) -> Outcome
where
    C: Future<Output = Result<(watch::Receiver<u64>, K), Error>>,
    K: FnOnce(&mut Made),
{
    let mut options = Options {
        connect_timeout: step["timeout"].as_f64().map_or(PATIENCE, Duration::from_secs_f64),
        wait_for_ready: step["wait"].as_bool().unwrap_or(true),
        ..Default::default()
    };
    if let Some(path) = step["ca"].as_str() {
        let authority = std::fs::read(path).map_err(|error| Failed::Wrong(error.to_string()))?;
        options.tls = Some(ClientTlsConfig::new().ca_certificate(trunkline::Certificate::from_pem(authority)));
    }
    let (restored, keep) = connect(text(step, "address").to_owned(), options).await?;
    let mut made = runner.lock().await;
    made.restored.insert(of.to_owned(), restored);
    keep(&mut made);
    Ok(Value::Null)
}

/// Returns a word of a step that is text; empty where it is not there.
fn text<'a>(step: &'a Step, word: &str) -> &'a str {
    step[word].as_str().unwrap_or_default()
}

/// Returns how often a step asks for something.
fn count(step: &Step) -> u64 {
    step["count"].as_u64().unwrap_or(1)
}
