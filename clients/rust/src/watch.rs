use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::mpsc::{self, Sender};
use tokio::task::JoinHandle;

use crate::again::Pauses;
use crate::line::{ended, Lines, Service};
use crate::state::{answered, stub};
use crate::stream::promised;
use crate::v1::watch_response::{Frame, Left};
use crate::v1::{record, Record, RecordKind, WatchRequest};
use crate::{Error, Result};

const AHEAD: usize = 256; // changes that may wait for who reads them

/// What a watch reports.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant)] // most are the large one
pub enum Change {
    /// A record as it is now; at the beginning, or saved since.
    Saved(Record),
    /// A record that is no more.
    Deleted(Left),
    /// A record that was saved, and matches the filter no longer.
    Left(Left),
    /// What was there has been reported, as of this revision; from here on, changes.
    Synced(i64),
}

impl Change {
    /// Returns the revision of the change; a watch that shall go on later begins after it.
    pub fn revision(&self) -> i64 {
        match self {
            Self::Saved(record) => record.revision,
            Self::Deleted(left) | Self::Left(left) => left.revision,
            Self::Synced(revision) => *revision,
        }
    }

    /// Returns the id of the record; empty where everything was reported.
    pub fn id(&self) -> &str {
        match self {
            Self::Saved(record) => identity(record).1,
            Self::Deleted(left) | Self::Left(left) => &left.id,
            Self::Synced(_) => "",
        }
    }
}

/// Changes of records. Dropping it ends it.
pub struct Watch {
    changes: mpsc::Receiver<Result<Change>>,
    reader: JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Watch {
    pub(crate) fn begin(lines: &Arc<Lines>, request: WatchRequest) -> Self {
        let (tell, changes) = mpsc::channel(AHEAD);
        let reader = tokio::spawn(follow(Arc::clone(lines), request, tell));
        Self { changes, reader }
    }

    /// Returns the next change, or why the service ended the watch.
    pub async fn next(&mut self) -> Result<Change> {
        self.changes.recv().await.unwrap_or_else(|| Err(ended(Service::State)))
    }
}

/// Reads one stream after the other.
async fn follow(lines: Arc<Lines>, request: WatchRequest, tell: Sender<Result<Change>>) {
    let is_filtered = request.filter.is_some();
    let mut cursor = Cursor { after: request.after_revision, is_filtered, is_synced: false, given: HashMap::new() };
    let mut pauses = Pauses::default();
    loop {
        let request = WatchRequest { after_revision: cursor.after, ..request.clone() };
        match read(&lines, request, &mut cursor, &tell, &mut pauses).await {
            Ok(()) => {} // it goes on by another connection
            Err(why) if why.is_lost() || why.reason == "OVERLOADED" => pauses.pass(&why).await,
            Err(why) => return drop(tell.send(Err(why)).await),
        }
        if tell.is_closed() {
            return;
        }
    }
}

/// Reads a stream until the client has moved, or the stream is lost.
async fn read(
    lines: &Lines, request: WatchRequest, cursor: &mut Cursor, tell: &Sender<Result<Change>>, pauses: &mut Pauses,
) -> Result<()> {
    let mut ways = lines.ways();
    let way = ways.borrow_and_update().clone();
    let mut frames = answered(stub(way.line.clone()).watch(promised(request)).await)?;
    let mut seen = HashSet::new();
    loop {
        let frame = tokio::select! {
            frame = frames.message() => frame.map_err(|status| Error::of(Service::State, status))?,
            _ = ways.changed() => return Ok(()), // see `Move` in move.proto; the cursor knows where it is
        };
        *pauses = Pauses::default();
        let changes = cursor.take(frame.ok_or_else(|| ended(Service::State))?.frame, &mut seen);
        let give = async {
            for change in changes {
                let _unread = tell.send(Ok(change)).await;
            }
        };
        tokio::pin!(give);
        tokio::select! {
            () = &mut give => {}
            _ = ways.changed() => {
                drop(frames); // which nobody reads: the service waits for its end
                give.await;
                return Ok(());
            }
        }
    }
}

/// A record's kind and id.
type Key = (i32, String);

/// How far a watch has come, over all streams that carry it. Before it is synced a new stream begins with the records again: those
/// that were given are left out, and those that are gone are reported. After it, a new stream goes on after the last revision.
struct Cursor {
    after: Option<i64>,
    is_filtered: bool,
    is_synced: bool,
    given: HashMap<Key, i64>, // until it is synced: the records that were given, with their revisions
}

impl Cursor {
    /// Returns what a frame reports. `seen` has what came before on its stream.
    fn take(&mut self, frame: Option<Frame>, seen: &mut HashSet<Key>) -> Vec<Change> {
        let change = match frame {
            Some(Frame::Record(record)) => Change::Saved(record),
            Some(Frame::Left(left)) if left.deleted => Change::Deleted(left),
            Some(Frame::Left(left)) => Change::Left(left),
            Some(Frame::Synced(synced)) => return self.sync(synced.revision, seen),
            Some(Frame::Progress(progress)) => {
                if self.is_synced {
                    self.after = self.after.max(Some(progress.revision));
                }
                return Vec::new();
            }
            Some(Frame::Move(_)) | None => return Vec::new(), // it follows the client, which hears so at home
        };
        if self.after.is_some() {
            self.after = Some(change.revision());
            return vec![change];
        }
        let key = match &change {
            Change::Saved(record) => (identity(record).0, identity(record).1.to_owned()),
            Change::Deleted(left) | Change::Left(left) => (left.kind, left.id.clone()),
            Change::Synced(_) => return Vec::new(),
        };
        let revision = change.revision();
        seen.insert(key.clone());
        match self.given.insert(key, revision) {
            Some(given) if given == revision => Vec::new(),
            _ => vec![change],
        }
    }

    fn sync(&mut self, revision: i64, seen: &HashSet<Key>) -> Vec<Change> {
        let given = std::mem::take(&mut self.given).into_keys();
        let gone = given.filter(|key| self.after.is_none() && !seen.contains(key)).map(|(kind, id)| {
            let left = Left { kind, id, revision, deleted: !self.is_filtered, ..Default::default() };
            if self.is_filtered {
                Change::Left(left)
            } else {
                Change::Deleted(left)
            }
        });
        let mut told: Vec<_> = gone.collect();
        if !std::mem::replace(&mut self.is_synced, true) {
            told.push(Change::Synced(revision));
        }
        self.after = self.after.max(Some(revision));
        told
    }
}

/// Returns a record's kind and id.
fn identity(record: &Record) -> (i32, &str) {
    let (kind, id) = match &record.value {
        Some(record::Value::AgentState(state)) => (RecordKind::AgentState, &state.agent_id),
        Some(record::Value::WorkflowState(state)) => (RecordKind::WorkflowState, &state.workflow_id),
        Some(record::Value::TaskResult(result)) => (RecordKind::TaskResult, &result.task_id),
        Some(record::Value::Lease(lease)) => (RecordKind::Lease, &lease.name),
        Some(record::Value::AgentPresence(presence)) => (RecordKind::AgentPresence, &presence.agent_id),
        None => return (RecordKind::Unspecified.into(), ""),
    };
    (kind.into(), id)
}
