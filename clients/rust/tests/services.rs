//! Against a bus, one that takes a message and hardly another, one that speaks TLS, and a state service, whose addresses the
//! environment has.

use std::time::Duration;

use trunkline::v1::state_service_client::StateServiceClient;
use trunkline::v1::{AgentState, Backoff, DurableSettings, GetRequest, RecordKind, WatchRequest};
use trunkline::{
    connect, json, Bus, Certificate, Change, ClientTlsConfig, DurableOptions, Error, Failure, LiveOptions, Message, Options,
    RequestOptions, State,
};

const PATIENCE: Duration = Duration::from_secs(60);

fn given(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} says where it is"))
}

async fn bus() -> Bus {
    Bus::connect(&given("TRUNKLINE_TEST_BUS")).await.expect("it runs")
}

fn numbered(number: i64) -> Message {
    json(&serde_json::json!({ "n": number }))
}

fn patient() -> RequestOptions {
    RequestOptions { timeout: PATIENCE, ..Default::default() }
}

async fn within<T>(what: impl std::future::Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it comes in time")
}

#[tokio::test]
async fn live_messages_come_in_order() {
    let bus = bus().await;
    let options = LiveOptions { credit: 4, ..Default::default() };
    let mut subscription = bus.subscribe("live:*", options).await.expect("it is registered");
    for number in 0..100 {
        bus.publish("live:news", vec![numbered(number)]).await.expect("it is published");
    }
    for number in 0..100 {
        let came = within(subscription.next()).await.expect("it comes");
        assert_eq!(came.channel, "live:news");
        assert_eq!(came.json().expect("it is JSON")["n"], number);
    }
    assert_eq!(subscription.dropped(), 0);
}

#[tokio::test]
async fn stored_messages_come_until_they_are_settled() {
    let bus = bus().await;
    let settings = DurableSettings {
        max_deliveries: Some(3),
        backoff: Some(Backoff { initial: Some(Duration::from_millis(10).try_into().expect("it is one")), ..Default::default() }),
        ..Default::default()
    };
    let options = DurableOptions { settings: Some(settings), ..Default::default() };
    let mut subscription = bus.subscribe_durable("stored:*", "rust", options).await.expect("it is made");
    let receipts = bus.publish_stored("stored:work", (0..3).map(numbered).collect()).await.expect("they are stored");
    assert_eq!(receipts.len(), 3);

    let first = within(subscription.next()).await.expect("it comes");
    assert_eq!((first.json().expect("it is JSON")["n"].clone(), first.attempt), (0.into(), 1));
    first.ack().expect("it is held");
    let second = within(subscription.next()).await.expect("it comes");
    second.nak("not yet").expect("it is held");
    let mut came = Vec::new();
    while came.len() < 3 {
        let leased = within(subscription.next()).await.expect("it comes");
        came.push((leased.json().expect("it is JSON")["n"].as_i64().expect("it is a number"), leased.attempt));
        match leased.attempt {
            1 => drop(leased), // which is a failure
            _ => leased.ack().expect("it is held"),
        }
    }
    came.sort_unstable();
    assert_eq!(came, [(1, 2), (2, 1), (2, 2)]);
}

#[tokio::test]
async fn requests_are_answered_and_failures_are_told() {
    let bus = bus().await;
    let _responder = bus
        .respond("ask:>", 2, |request| async move {
            match request.channel.as_str() {
                "ask:fail" => Err("it cannot be done".into()),
                "ask:later" => Err(Failure::new("TOO_EARLY", "it cannot be done yet", true)),
                "ask:panic" => panic!("it cannot be done at all"),
                _ => Ok(json(&request.json().expect("it is JSON"))),
            }
        })
        .await
        .expect("it is registered");
    for number in 0..5 {
        let reply = bus.request("ask:me", numbered(number), patient()).await.expect("it is answered");
        assert_eq!(reply.json().expect("it is JSON")["n"], number);
    }
    for (channel, kind) in [("ask:fail", "error"), ("ask:panic", "panic")] {
        let failed = bus.request(channel, numbered(0), patient()).await.expect_err("it failed");
        assert_eq!((failed.reason.as_str(), failed.metadata["type"].as_str()), ("REQUEST_FAILED", kind));
        assert!(failed.message.contains("it cannot be done"), "{failed}");
        assert!(!failed.is_retryable());
    }
    let later = bus.request("ask:later", numbered(0), patient()).await.expect_err("it failed");
    assert_eq!((later.reason.as_str(), later.metadata["code"].as_str()), ("REQUEST_FAILED", "TOO_EARLY"));
    assert!(later.is_retryable());
    bus.request("ask:me", numbered(1), patient()).await.expect("a panic hits nobody else");
}

#[tokio::test]
async fn errors_say_what_was_wrong() {
    let bus = bus().await;
    let nobody = bus.request("nobody:there", numbered(0), patient()).await.expect_err("nobody answers");
    assert_eq!(nobody.reason, "NO_RESPONDERS");
    assert!(nobody.is_retryable());
    let wrong = bus.publish("not a channel", vec![numbered(0)]).await.expect_err("it is none");
    assert_eq!((wrong.reason.as_str(), wrong.metadata["field"].as_str()), ("INVALID_CHANNEL", "channel"));
    let zero = bus
        .request("nobody:there", numbered(0), RequestOptions { timeout: Duration::ZERO, ..patient() })
        .await
        .expect_err("it is over");
    assert_eq!(zero.reason, "INVALID_MESSAGE");
    for address in ["", "nowhere", "127.0.0.1:0", "127.0.0.1:bus", "unix:"] {
        let error = connect(address).await.expect_err("it is none");
        assert_eq!((error.reason.as_str(), error.metadata["value"].as_str()), ("INVALID_ADDRESS", address));
    }
    let options = Options { token: Some("secret".to_owned()), ..Default::default() };
    let open = Bus::connect_with("bus.example:7431", options).await.expect_err("a token goes over TLS");
    assert_eq!((open.reason.as_str(), open.metadata["reason"].as_str()), ("TLS", "tls_required"));
}

#[tokio::test]
async fn what_is_refused_for_now_waits_no_longer_than_who_asks() {
    let bus = Bus::connect(&given("TRUNKLINE_TEST_LIMITED_BUS")).await.expect("it runs");
    bus.publish("limited", vec![numbered(0)]).await.expect("there is room for one");
    let lasting = |timeout| RequestOptions { timeout, ..Default::default() };
    let request = bus.request("limited", numbered(1), lasting(8 * PATIENCE));
    let refused = [
        within(request).await.expect_err("it takes no more by then"),
        within(bus.publish_stored("limited", vec![numbered(2)])).await.expect_err("it takes no more by then"),
        within(bus.publish("limited", vec![numbered(3)])).await.expect_err("it takes no more by then"),
    ];
    for error in refused {
        assert_eq!(error.reason, "OVERLOADED");
        assert!(error.retry_after().is_some_and(|wait| wait > 8 * PATIENCE), "{error:?}");
    }

    let mut waiting = tokio::spawn(async move { bus.request("limited", numbered(4), lasting(1000 * PATIENCE)).await.err() });
    tokio::time::timeout(Duration::from_millis(200), &mut waiting).await.expect_err("it waits to ask again");
    waiting.abort();
    assert!(within(waiting).await.expect_err("nobody waits for it any more").is_cancelled());
}

#[tokio::test]
async fn what_is_not_begun_when_it_is_drained_goes_to_others() {
    let bus = bus().await;
    let options = DurableOptions { credit: 2, ..Default::default() };
    let mut first = bus.subscribe_durable("drained", "drained", options).await.expect("it is made");
    bus.publish_stored("drained", (0..2).map(numbered).collect()).await.expect("they are stored");
    let held = within(first.next()).await.expect("it comes");
    let drained = tokio::spawn(first.drain());
    let mut second = bus.subscribe_durable("drained", "drained", DurableOptions::default()).await.expect("it joins");
    let other = within(second.next()).await.expect("it comes");
    assert_eq!((other.json().expect("it is JSON")["n"].clone(), other.attempt), (1.into(), 1));
    assert!(!drained.is_finished());
    held.ack().expect("it is held");
    within(drained).await.expect("it ends");
    other.ack().expect("it is held");
}

#[tokio::test]
async fn a_watch_reports_what_is_saved_and_lists_have_it() {
    let state = State::connect(&given("TRUNKLINE_TEST_STATE")).await.expect("it runs");
    let request = WatchRequest { kinds: vec![RecordKind::AgentState.into()], id: "watched".to_owned(), ..Default::default() };
    let mut watch = state.watch(request);
    assert!(matches!(within(watch.next()).await.expect("it begins"), Change::Synced(_)));
    let agent = AgentState { agent_id: "watched".to_owned(), agent_type: "coding".to_owned(), ..Default::default() };
    let revision = state.save(agent.clone(), Some(0)).await.expect("it is new");
    let saved = within(watch.next()).await.expect("it comes");
    assert_eq!((saved.id(), saved.revision()), ("watched", revision));
    let again = state.save(agent, Some(0)).await.expect_err("it is there");
    assert_eq!(again.reason, "REVISION_MISMATCH");
    let mut listed = state.list(RecordKind::AgentState, None);
    let mut revisions = Vec::new();
    while let Some(record) = within(listed.next()).await.expect("it is listed") {
        revisions.push(record.revision);
    }
    assert!(revisions.contains(&revision));
    assert!(state.delete(RecordKind::AgentState, "watched", Some(revision)).await.expect("it is there"));
    assert!(matches!(within(watch.next()).await.expect("it comes"), Change::Deleted(left) if left.id == "watched"));
    assert_eq!(state.get(RecordKind::AgentState, "watched").await.expect_err("it is gone").reason, "NOT_FOUND");
}

#[tokio::test]
async fn the_stubs_bring_the_same_errors() {
    let mut state = StateServiceClient::new(connect(&given("TRUNKLINE_TEST_STATE")).await.expect("it runs"));
    let missing = GetRequest { kind: RecordKind::AgentState.into(), id: "missing".to_owned() };
    let error = Error::from(state.get(missing).await.expect_err("there is none"));
    assert_eq!(error.reason, "NOT_FOUND");
}

#[tokio::test]
async fn tls_is_spoken_where_the_address_says_so() {
    let authority = std::fs::read(given("TRUNKLINE_TEST_CA")).expect("it is there");
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority));
    let secure = given("TRUNKLINE_TEST_SECURE_BUS");
    let options = Options { tls: Some(tls.clone()), ..Default::default() };
    let bus = Bus::connect_with(&secure, options).await.expect("it is trusted");
    bus.publish("secure:news", vec![numbered(0)]).await.expect("it is published");

    let untrusted = Bus::connect_with(&secure, Options::default()).await.expect_err("its authority is not known");
    assert_eq!((untrusted.reason.as_str(), untrusted.metadata["reason"].as_str()), ("TLS", "untrusted_authority"));
    let plain = secure.trim_start_matches("tls://");
    let refused = Bus::connect(plain).await.expect_err("it speaks TLS");
    assert_eq!((refused.reason.as_str(), refused.metadata["reason"].as_str()), ("TLS", "tls_required"));
}
