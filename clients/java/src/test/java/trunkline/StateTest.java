package trunkline;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static trunkline.Programs.connectState;
import static trunkline.Programs.next;
import static trunkline.Programs.refused;
import static trunkline.Programs.soon;

import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.LinkedBlockingQueue;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import trunkline.Programs.Program;
import trunkline.v1.AgentState;
import trunkline.v1.BatchResponse.Outcome;
import trunkline.v1.Filter;
import trunkline.v1.Message;
import trunkline.v1.RecordKind;

final class StateTest {
    private static final RecordKind KIND = RecordKind.RECORD_KIND_AGENT_STATE;

    private static AgentState agent(int n) {
        return AgentState.newBuilder().setAgentId("agent-%03d".formatted(n)).setAgentType("coding").setStatus("idle").build();
    }

    private static String idOf(trunkline.v1.Record record) {
        return record.getAgentState().getAgentId();
    }

    @Test
    void recordsAreKeptWithRevisionsAndListedByPages() throws Exception {
        try (Program program = Program.of("state", "--engine", "memory"); State state = connectState(program.address)) {
            assertTrue(refused(() -> state.get(KIND, "nobody")).is(Reason.NOT_FOUND));
            long revision = soon(state.save(agent(1), new SaveOptions().expectRevision(0)));
            TrunklineException other = refused(() -> state.save(agent(1), new SaveOptions().expectRevision(revision + 5)));
            assertTrue(other.is(Reason.REVISION_MISMATCH));
            assertEquals(Long.toString(revision), other.details().get("actual"));
            trunkline.v1.Record record = soon(state.get(KIND, "agent-001"));
            assertEquals(revision, record.getRevision());
            assertTrue(record.getAgentState().hasCreatedAt());
            List<Outcome> outcomes = soon(state.batch(
                    false, State.saveOf(agent(2), new SaveOptions()), State.saveOf(agent(1), new SaveOptions().expectRevision(0))));
            assertNull(State.errorOf(outcomes.get(0)));
            assertTrue(State.errorOf(outcomes.get(1)).is(Reason.REVISION_MISMATCH));
            assertTrue(refused(() -> state.batch(false, Message.getDefaultInstance())).is(Reason.INVALID_RECORD));
            assertTrue(soon(state.delete(KIND, "agent-001")));
            assertFalse(soon(state.delete(KIND, "agent-001")));

            List<CompletableFuture<Long>> saved = new ArrayList<>();
            for (int n = 0; n < 25; n++) {
                saved.add(state.save(agent(n)));
            }
            for (CompletableFuture<Long> each : saved) {
                soon(each);
            }
            List<String> ids = new ArrayList<>();
            String token = "";
            do {
                Page page = soon(state.page(KIND, Filter.newBuilder().setType("coding").build(), 10, token));
                page.records().forEach(each -> ids.add(idOf(each)));
                token = page.next();
            } while (!token.isEmpty());
            assertEquals(25, ids.size());
            assertEquals(ids, state.list(KIND, Filter.getDefaultInstance()).map(StateTest::idOf).toList());
            assertTrue(refused(() -> state.page(KIND, Filter.getDefaultInstance(), 10, "never given")).is(Reason.INVALID_RECORD));
            assertTrue(refused(() -> state.list(RecordKind.RECORD_KIND_UNSPECIFIED, Filter.getDefaultInstance()).toList())
                    .is(Reason.INVALID_RECORD));
        }
    }

    @Test
    void aWatchOutlivesItsService(@TempDir Path folder) throws Exception {
        try (Program program = Program.of("state", "--path", folder.resolve("state.db").toString());
                State state = connectState(program.address);
                State other = connectState(program.address)) {
            soon(state.save(agent(0)));
            BlockingQueue<Change> changes = new LinkedBlockingQueue<>();
            Watch watch = state.watch(new WatchOptions().kinds(KIND), changes::add);
            Change first = next(changes);
            assertEquals("agent-000", first.id());
            assertFalse(first.writtenBy().isEmpty());
            assertTrue(first.writtenAt().isAfter(Instant.EPOCH));
            assertEquals(Change.Type.SYNCED, next(changes).type());
            program.kill();
            program.start();
            for (int n = 1; n < 4; n++) {
                soon(state.save(agent(n))); // waits for the connection
            }
            for (int n = 1; n < 4; n++) {
                Change change = next(changes);
                assertEquals(Change.Type.SAVED, change.type());
                assertEquals(agent(n).getAgentId(), change.id());
            }
            watch.close();
            soon(watch.done());

            Watch broken = state.watch(new WatchOptions().kinds(KIND), change -> { throw new IllegalStateException("its own"); });
            BlockingQueue<Throwable> why = new LinkedBlockingQueue<>();
            broken.done().whenComplete((ended, failed) -> why.add(TrunklineException.unwrap(failed)));
            assertEquals("its own", next(why).getMessage());
            Watch open = other.watch(new WatchOptions().kinds(KIND), change -> { });
            Runnable close = other::close; // before its block ends
            close.run();
            assertTrue(refused(open::done).is(Reason.STATE_DISCONNECTED));
        }
    }
}
