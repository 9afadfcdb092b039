use std::sync::Arc;
use std::time::Duration;

use serde_json::{json, Value};
use tokio::sync::{mpsc, oneshot, watch, Mutex};
use trunkline::v1::{Backoff, Durability, DurableSettings};
use trunkline::{
    Bus, DurableOptions, DurableSubscription, Error, Failure, Leased, LiveOptions, Received, RequestOptions, Responder,
    Subscription,
};

use crate::words::{from_message, message};
use crate::{bus_of, count, text, Failed, Outcome, Runner, Step};

/// What a subscription got.
pub struct Got {
    came: Queue<Came>,
    lagged: Queue<i64>,
    trouble: Queue<Error>,
    goes_on: watch::Sender<bool>, // nothing is held any more
    drains: watch::Sender<bool>,
    drained: watch::Sender<bool>,
    held: Mutex<Vec<Came>>, // what was expected, and is not settled
}

/// One message, whose subscription waits until it is settled.
struct Came {
    told: Value,
    settle: oneshot::Sender<Settled>,
}

/// How a message is to be settled; whoever reads the subscription says what came of it.
struct Settled {
    name: String,
    reason: String,
    done: oneshot::Sender<Result<(), Error>>,
}

/// What comes, until it is asked for.
struct Queue<T>(mpsc::UnboundedSender<T>, Mutex<mpsc::UnboundedReceiver<T>>);

impl<T> Queue<T> {
    fn new() -> Self {
        let (put, took) = mpsc::unbounded_channel();
        Self(put, Mutex::new(took))
    }

    fn put(&self, one: T) {
        let _held_by_self = self.0.send(one);
    }

    async fn take(&self) -> T {
        self.1.lock().await.recv().await.expect("it is held by itself")
    }
}

pub async fn publish(bus: &Bus, step: &Step) -> Outcome {
    let channel = text(step, "channel");
    let messages: Vec<_> = step["messages"].as_array().into_iter().flatten().map(message).collect();
    if !step["stored"].as_bool().unwrap_or_default() {
        bus.publish(channel, messages).await?;
        return Ok(Value::Null);
    }
    let receipts = bus.publish_stored(channel, messages).await?;
    let told: Vec<_> = receipts
        .iter()
        .map(|receipt| {
            let durability = Durability::try_from(receipt.durability).unwrap_or_default().as_str_name();
            json!({
                "sequence": receipt.sequence,
                "duplicate": receipt.duplicate,
                "durability": durability.trim_start_matches("DURABILITY_"),
            })
        })
        .collect();
    Ok(json!({"receipts": told}))
}

pub async fn subscribe(runner: &Runner, step: &Step) -> Outcome {
    let bus = bus_of(runner).await;
    let (pattern, credit) = (text(step, "pattern"), step["credit"].as_u64().map(|credit| credit as u16));
    let got = Arc::new(Got {
        came: Queue::new(),
        lagged: Queue::new(),
        trouble: Queue::new(),
        goes_on: watch::Sender::new(!step["hold"].as_bool().unwrap_or_default()),
        drains: watch::Sender::new(false),
        drained: watch::Sender::new(false),
        held: Mutex::default(),
    });
    let reading = if let Some(name) = step["durable"].as_str() {
        let settings = step["ack_wait"].as_f64().map(|wait| DurableSettings {
            ack_wait: Some(Duration::from_secs_f64(wait).try_into().expect("it is one")),
            backoff: Some(Backoff::default()),
            ..Default::default()
        });
        let options = DurableOptions { credit: credit.unwrap_or_default(), settings, ..Default::default() };
        let subscription = bus.subscribe_durable(pattern, name, options).await?;
        tokio::spawn(read_durable(subscription, Arc::clone(&got)))
    } else {
        let mut options = LiveOptions { group: text(step, "group").to_owned(), ..Default::default() };
        options.credit = credit.unwrap_or(options.credit);
        tokio::spawn(read_live(bus.subscribe(pattern, options).await?, Arc::clone(&got)))
    };
    let mut made = runner.lock().await;
    made.tasks.push(reading.abort_handle());
    made.subscriptions.insert(text(step, "name").to_owned(), got);
    Ok(Value::Null)
}

impl Got {
    /// Takes note of a message, and returns where it is said how it is settled.
    fn note(&self, received: &Received, attempt: Option<i32>) -> oneshot::Receiver<Settled> {
        let mut told = json!({"channel": received.channel, "message": from_message(&received.message)});
        if let Some(attempt) = attempt {
            (told["attempt"], told["sequence"]) = (json!(attempt), json!(received.sequence));
        }
        let (settle, settled) = oneshot::channel();
        self.came.put(Came { told, settle });
        settled
    }
}

/// Waits until something is so.
async fn until(it: &watch::Sender<bool>) {
    it.subscribe().wait_for(|is_so| *is_so).await.expect("it is held by whoever waits");
}

async fn read_live(mut subscription: Subscription, got: Arc<Got>) {
    let mut dropped = 0;
    loop {
        let came = match subscription.next().await {
            Ok(came) => came,
            Err(why) => return got.trouble.put(why),
        };
        if subscription.dropped() > dropped {
            got.lagged.put(subscription.dropped() - dropped);
            dropped = subscription.dropped();
        }
        let _settled = got.note(&came, None);
        until(&got.goes_on).await;
    }
}

async fn read_durable(mut subscription: DurableSubscription, got: Arc<Got>) {
    loop {
        let leased = tokio::select! {
            came = subscription.next() => match came {
                Ok(leased) => leased,
                Err(why) => return got.trouble.put(why),
            },
            () = until(&got.drains) => break,
        };
        let settling = settle_as_told(leased, Arc::clone(&got));
        tokio::pin!(settling);
        tokio::select! {
            () = &mut settling => {}
            () = until(&got.drains) => {
                tokio::join!(subscription.drain(), settling);
                got.drained.send_replace(true);
                return;
            }
        }
    }
    subscription.drain().await;
    got.drained.send_replace(true);
}

/// Settles a message as the next steps say, or acks it when nothing is held any more.
async fn settle_as_told(leased: Leased, got: Arc<Got>) {
    let settled = got.note(&leased, Some(leased.attempt));
    let told = tokio::select! {
        settled = settled => settled.ok(),
        () = until(&got.goes_on) => None,
        why = leased.lost() => return got.trouble.put(why),
    };
    let Some(Settled { name, reason, done }) = told else {
        return leased.ack().unwrap_or_else(|why| got.trouble.put(why));
    };
    let _waited_for = done.send(match name.as_str() {
        "ack" => leased.ack(),
        "nak" => leased.nak_for(&reason, Duration::ZERO),
        _ => leased.terminate(&reason),
    });
}

impl Got {
    pub async fn expect(&self, step: &Step) -> Outcome {
        let mut told = Vec::new();
        for _ in 0..count(step) {
            let came = self.came.take().await;
            told.push(came.told.clone());
            self.held.lock().await.push(came);
        }
        Ok(json!({"messages": told}))
    }

    pub async fn lagged(&self) -> Outcome {
        Ok(json!({"dropped": self.lagged.take().await}))
    }

    pub async fn trouble(&self) -> Outcome {
        Err(self.trouble.take().await.into())
    }

    /// Settles the oldest message that was expected.
    pub async fn settle(&self, step: &Step) -> Outcome {
        let first = self.held.lock().await.remove(0);
        let (done, answered) = oneshot::channel();
        let settled = Settled { name: text(step, "name").to_owned(), reason: text(step, "reason").to_owned(), done };
        let wrong = || Failed::Wrong("it is settled already".to_owned());
        first.settle.send(settled).map_err(|_| wrong())?;
        answered.await.map_err(|_| wrong())??;
        Ok(Value::Null)
    }

    pub fn go_on(&self) -> Outcome {
        self.goes_on.send_replace(true);
        Ok(Value::Null)
    }

    pub async fn drain(&self) -> Outcome {
        self.drains.send_replace(true);
        until(&self.drained).await;
        Ok(Value::Null)
    }
}

pub async fn respond(bus: &Bus, step: &Step) -> Result<Responder, Error> {
    let (fail, hold) = (step["fail"].clone(), step["hold"].as_bool().unwrap_or_default());
    let takes = Duration::from_secs_f64(step["takes"].as_f64().unwrap_or_default());
    bus.respond(text(step, "pattern"), 1, move |request| {
        let fail = fail.clone();
        async move {
            if !fail.is_null() {
                let is_retryable = fail["retryable"].as_bool().unwrap_or_default();
                return Err(Failure::new(text(&fail, "code"), text(&fail, "text"), is_retryable));
            }
            if hold {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(takes).await;
            let payload = request.message.payload.clone();
            Ok(trunkline::Message { payload, sender_id: "responder".to_owned(), ..Default::default() })
        }
    })
    .await
}

pub async fn request(bus: &Bus, step: &Step) -> Outcome {
    let options = RequestOptions {
        timeout: Duration::from_secs_f64(step["timeout"].as_f64().unwrap_or_default()),
        wait_for_responder: step["wait_for_responder"].as_bool().unwrap_or_default(),
        ..Default::default()
    };
    let reply = bus.request(text(step, "channel"), message(&step["message"]), options).await?;
    Ok(json!({"message": from_message(&reply.message)}))
}
