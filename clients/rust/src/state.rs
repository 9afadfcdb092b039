use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;

use tokio::sync::watch;
use tonic::{Response, Status};

use crate::again::{again, PATIENCE};
use crate::line::{Lines, Service, MAX_FRAME_BYTES};
use crate::v1::state_service_client::StateServiceClient;
use crate::v1::{
    save_request, AgentPresence, AgentState, DeleteRequest, Filter, GetRequest, ListRequest, Record, RecordKind, SaveRequest,
    TaskResult, WatchRequest, WorkflowState,
};
use crate::{Error, Line, Options, Result, Watch};

const FETCHED: i32 = 1000; // records of one page of a list

/// Keeps what agents must find again. Clones share one connection, which is restored where it is lost, and moves to another
/// replica when the service asks for it. A call that was pending where it is lost fails with `STATE_DISCONNECTED`, and it is not
/// known whether its write was made. What the service refuses for now is asked again when it says, within 30 s.
#[derive(Clone, Debug)]
pub struct State {
    pub(crate) lines: Arc<Lines>,
}

macro_rules! saved {
    ($($record:ident),*) => {$(
        impl From<$record> for save_request::Value {
            fn from(record: $record) -> Self {
                Self::$record(record)
            }
        }
    )*};
}

saved!(AgentState, WorkflowState, TaskResult, AgentPresence);

impl State {
    /// Connects to a state service or a sidecar; see [`crate::connect`].
    pub async fn connect(address: &str) -> Result<Self> {
        Self::connect_with(address, Options::default()).await
    }

    /// Connects with options.
    pub async fn connect_with(address: &str, options: Options) -> Result<Self> {
        Ok(Self { lines: Lines::connect(address, options, Service::State).await? })
    }

    /// Returns the stubs over the connection of now, for the calls that have no method here. They do not move with the client.
    pub fn stub(&self) -> StateServiceClient<Line> {
        stub(self.lines.way().line)
    }

    /// Tells how often the connection was lost and is restored.
    pub fn restored(&self) -> watch::Receiver<u64> {
        self.lines.restored()
    }

    /// Saves a record whole, and returns its new revision. The record must have the revision that is expected, 0 of one that must not
    /// exist; else `REVISION_MISMATCH`. None: the last write wins.
    pub async fn save(&self, record: impl Into<save_request::Value>, expected_revision: Option<i64>) -> Result<i64> {
        let request = SaveRequest { value: Some(record.into()), expected_revision, ..Default::default() };
        Ok(self.call(request, |mut stub, request| async move { stub.save(request).await }).await?.revision)
    }

    /// Returns a record; where there is none, an error `NOT_FOUND`.
    pub async fn get(&self, kind: RecordKind, id: &str) -> Result<Record> {
        let request = GetRequest { kind: kind.into(), id: id.to_owned() };
        Ok(self.call(request, |mut stub, request| async move { stub.get(request).await }).await?.record.unwrap_or_default())
    }

    /// Deletes a record, where it has the revision that is expected; tells whether there was one.
    pub async fn delete(&self, kind: RecordKind, id: &str, expected_revision: Option<i64>) -> Result<bool> {
        let request = DeleteRequest { kind: kind.into(), id: id.to_owned(), expected_revision, ..Default::default() };
        Ok(self.call(request, |mut stub, request| async move { stub.delete(request).await }).await?.deleted)
    }

    /// Returns at most so many records of one kind that match, in order of their ids, and the token of the next page. Empty tokens:
    /// of the first page, and behind the last one.
    pub async fn page(&self, kind: RecordKind, filter: Option<Filter>, size: i32, token: &str) -> Result<(Vec<Record>, String)> {
        let request = ListRequest { kind: kind.into(), filter, page_size: Some(size), page_token: token.to_owned() };
        let page = self.call(request, |mut stub, request| async move { stub.list(request).await }).await?;
        Ok((page.records, page.next_page_token))
    }

    /// Returns all records of one kind that match, in order of their ids, fetched page by page.
    pub fn list(&self, kind: RecordKind, filter: Option<Filter>) -> List {
        List { state: self.clone(), kind, filter, waiting: VecDeque::new(), token: Some(String::new()) }
    }

    /// Reports the records that a request names, then [`crate::Change::Synced`], then each change in order of revisions; or, where
    /// the request says after which revision, the changes. Where the connection is lost or moves, or the service ends the stream
    /// since it is read too slowly, it goes on where it was, without gaps and without repetition.
    pub fn watch(&self, request: WatchRequest) -> Watch {
        Watch::begin(&self.lines, request)
    }

    async fn call<Q: Clone, T, A>(&self, request: Q, ask: impl Fn(StateServiceClient<Line>, Q) -> A) -> Result<T>
    where
        A: Future<Output = std::result::Result<Response<T>, Status>>,
    {
        let once = || async {
            let (way, _entered) = self.lines.enter().await;
            answered(ask(stub(way.line), request.clone()).await)
        };
        again(PATIENCE, |_| once()).await
    }
}

/// The records of a list.
pub struct List {
    state: State,
    kind: RecordKind,
    filter: Option<Filter>,
    waiting: VecDeque<Record>,
    token: Option<String>,
}

impl List {
    /// Returns the next record; None behind the last one. After an error the same page is asked for again.
    pub async fn next(&mut self) -> Result<Option<Record>> {
        loop {
            if let Some(record) = self.waiting.pop_front() {
                return Ok(Some(record));
            }
            let Some(token) = &self.token else { return Ok(None) };
            let (records, next) = self.state.page(self.kind, self.filter.clone(), FETCHED, token).await?;
            self.waiting = records.into();
            self.token = Some(next).filter(|next| !next.is_empty());
        }
    }
}

pub(crate) fn stub(line: Line) -> StateServiceClient<Line> {
    StateServiceClient::new(line).max_decoding_message_size(MAX_FRAME_BYTES)
}

/// Returns what a state answered.
pub(crate) fn answered<T>(answer: std::result::Result<Response<T>, Status>) -> Result<T> {
    answer.map(Response::into_inner).map_err(|status| Error::of(Service::State, status))
}
