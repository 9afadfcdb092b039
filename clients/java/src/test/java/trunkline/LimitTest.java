package trunkline;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static trunkline.Programs.PATIENCE;
import static trunkline.Programs.connectBus;
import static trunkline.Programs.connectState;
import static trunkline.Programs.next;
import static trunkline.Programs.refused;
import static trunkline.Programs.soon;
import static trunkline.Programs.until;

import com.google.common.util.concurrent.ListenableFuture;
import io.grpc.Context;
import io.grpc.StatusRuntimeException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import trunkline.Programs.Program;
import trunkline.v1.AgentState;
import trunkline.v1.BusServiceGrpc;
import trunkline.v1.GetStateStatsRequest;
import trunkline.v1.GetStatsRequest;
import trunkline.v1.GetStatsResponse;
import trunkline.v1.Message;
import trunkline.v1.Receipt;
import trunkline.v1.RecordKind;
import trunkline.v1.StateServiceGrpc;

/** What a service refuses for now. */
final class LimitTest {
    private static final String ALLOWED = """
            [[allow]]
            who = ["anonymous"]
            publish = [">"]
            subscribe = [">"]
            request = [">"]
            records.read = ["*/*"]
            records.write = ["*/*"]
            inspect = ["stats"]
            [[limit]]
            who = ["*"]
            """;
    private static final String SLOW = "messages_per_second = 0.001\nmessages_burst = 1\n"; // one, and the next in 1000 s
    private static final String QUICK = "messages_per_second = 20\nmessages_burst = 3\n";
    private static final String SCARCE = "messages_per_second = 2\nmessages_burst = 3\n"; // one at a time is more than it takes
    private static final ConnectOptions PATIENT = new ConnectOptions().connectTimeout(PATIENCE).callTimeout(Duration.ofHours(1));
    private static final RequestOptions LONG = new RequestOptions().timeout(Duration.ofHours(1));
    private static final Message SOME = Messages.json(1);

    @TempDir
    private Path folder;

    private Program limited(String name, String limits) throws Exception {
        Path file = Files.writeString(folder.resolve("access.toml"), ALLOWED + limits);
        return Program.of(name, "--engine", "memory", "--access-file", file.toString());
    }

    private static GetStatsResponse stats(Bus bus) {
        return BusServiceGrpc.newBlockingStub(bus.channel()).getStats(GetStatsRequest.getDefaultInstance());
    }

    private static String reasonOf(StatusRuntimeException failed) {
        return TrunklineException.of(failed).reason();
    }

    @Test
    void whatIsTakenWithinTheCallersTimeIsAskedAgain() throws Exception {
        try (Program program = limited("bus", QUICK); Bus bus = connectBus(program.address)) {
            for (int left = 10; left > 0; left--) {
                stats(bus);
            }
            List<CompletableFuture<List<Receipt>>> stored = new ArrayList<>();
            for (int n = 0; n < 40; n++) {
                stored.add(bus.publishStored("stored", Messages.json(n), Messages.json(n)));
            }
            for (CompletableFuture<List<Receipt>> each : stored) {
                assertEquals(2, soon(each).size());
            }
        }
        try (Program program = limited("bus", SCARCE); Bus bus = connectBus(program.address)) {
            BlockingQueue<Received> came = new LinkedBlockingQueue<>();
            soon(bus.subscribe("live", came::add));
            CompletableFuture<Void> flushed;
            do {
                bus.publish("live", SOME); // alone: where it is refused, as the flush tells, nothing was taken behind it
                flushed = bus.flush();
            } while (flushed.handle((done, why) -> why == null).get(PATIENCE.toSeconds(), TimeUnit.SECONDS));
            assertTrue(TrunklineException.of(assertThrows(CompletionException.class, flushed::join)).is(Reason.OVERLOADED));
            bus.publish("live", Messages.json("last")); // waits
            soon(bus.flush());
            while (!Messages.text(next(came).message()).equals("\"last\"")) { }
        }
    }

    @Test
    void whatWouldBeTakenTooLateFailsAtOnce() throws Exception {
        try (Program program = limited("bus", SLOW); Bus bus = connectBus(program.address)) {
            soon(bus.publishStored("a", SOME));
            assertEquals(Reason.OVERLOADED, refused(() -> bus.publishStored("a", SOME)).reason());
            assertEquals(Reason.OVERLOADED, refused(() -> bus.request("a", SOME)).reason());
            assertEquals(Reason.OVERLOADED, reasonOf(assertThrows(StatusRuntimeException.class, () -> stats(bus))));
            bus.publish("a", SOME);
            assertEquals(Reason.OVERLOADED, refused(bus::flush).reason());
            assertEquals(Reason.OVERLOADED, assertThrows(TrunklineException.class, () -> bus.publish("a", SOME)).reason());
            assertEquals(Reason.OVERLOADED, refused(() -> bus.publishStored("a", SOME)).reason());
        }
        try (Program program = limited("state", SLOW); State state = connectState(program.address)) {
            soon(state.save(AgentState.newBuilder().setAgentId("a").setAgentType("coding").setStatus("x").build()));
            assertEquals(Reason.OVERLOADED, refused(() -> state.get(RecordKind.RECORD_KIND_AGENT_STATE, "a")).reason());
            assertEquals(Reason.OVERLOADED, reasonOf(assertThrows(StatusRuntimeException.class, () ->
                    StateServiceGrpc.newBlockingStub(state.channel())
                            .withDeadlineAfter(PATIENCE.toSeconds(), TimeUnit.SECONDS)
                            .getStateStats(GetStateStatsRequest.getDefaultInstance()))));
        }
    }

    /** Calls of all kinds that wait. */
    private record Waiting(
            CompletableFuture<List<Receipt>> stored,
            CompletableFuture<Received> asked,
            ListenableFuture<GetStatsResponse> called,
            Context.CancellableContext context,
            CompletableFuture<GetStatsResponse> blocked,
            CompletableFuture<List<Receipt>> behind) {
        /** Makes them, where the next is taken in 1000 s. */
        static Waiting on(Bus bus) throws Exception {
            CompletableFuture<List<Receipt>> stored = bus.publishStored("a", SOME);
            CompletableFuture<Received> asked = bus.request("a", SOME, LONG);
            Context.CancellableContext context = Context.current().withCancellation();
            CompletableFuture<GetStatsResponse> blocked = new CompletableFuture<>();
            Threads.POOL.execute(context.wrap(() -> {
                try {
                    blocked.complete(stats(bus));
                } catch (RuntimeException failed) {
                    blocked.completeExceptionally(TrunklineException.of(failed));
                }
            }));
            ListenableFuture<GetStatsResponse> called =
                    BusServiceGrpc.newFutureStub(bus.channel()).getStats(GetStatsRequest.getDefaultInstance());
            await(bus, 4);
            Waiting made = new Waiting(stored, asked, called, context, blocked, bus.publishStored("a", SOME));
            await(bus, 5);
            return made;
        }

        private static void await(Bus bus, int count) throws Exception {
            until(() -> {
                bus.lock.lock();
                try {
                    return bus.again.waiting() == count;
                } finally {
                    bus.lock.unlock();
                }
            });
        }
    }

    @Test
    void whoeverWaitsCanBeCancelledAndFailsWithTheEnd() throws Exception {
        try (Program program = limited("bus", SLOW); Bus bus = soon(Bus.connect(program.address, PATIENT))) {
            soon(bus.publishStored("a", SOME));
            Waiting cancelled = Waiting.on(bus);
            assertTrue(cancelled.stored.cancel(false) && cancelled.asked.cancel(false) && cancelled.behind.cancel(false));
            assertTrue(cancelled.called.cancel(true));
            cancelled.context.cancel(null);
            assertEquals(Reason.BUS_DISCONNECTED, refused(() -> cancelled.blocked).reason()); // as gRPC's CANCELLED is called
            Waiting.await(bus, 0);

            Waiting open = Waiting.on(bus);
            CompletableFuture<Void> live = CompletableFuture.runAsync(() -> bus.publish("a", SOME), Threads.POOL);
            bus.close(Duration.ofMillis(1));
            for (CompletableFuture<?> each : List.of(open.stored, open.asked, open.blocked, open.behind, live)) {
                assertEquals(Reason.BUS_DISCONNECTED, refused(() -> each).reason());
            }
            ExecutionException why =
                    assertThrows(ExecutionException.class, () -> open.called.get(PATIENCE.toSeconds(), TimeUnit.SECONDS));
            assertEquals(Reason.BUS_DISCONNECTED, TrunklineException.of(why).reason());
        }
        try (Program program = limited("state", SLOW); State state = soon(State.connect(program.address, PATIENT))) {
            assertEquals(Reason.NOT_FOUND, refused(() -> state.get(RecordKind.RECORD_KIND_AGENT_STATE, "a")).reason());
            CompletableFuture<trunkline.v1.Record> got = state.get(RecordKind.RECORD_KIND_AGENT_STATE, "a");
            Runnable close = state::close; // before its block ends
            close.run();
            assertEquals(Reason.STATE_DISCONNECTED, refused(() -> got).reason());
        }
    }

    @Test
    void whoIsLetInLaterConnectsThen() throws Exception {
        try (Program program = limited("bus", "streams = 1\n"); Bus first = connectBus(program.address)) {
            CompletableFuture<Bus> second = Bus.connect(program.address, PATIENT);
            ConnectOptions brief = new ConnectOptions().connectTimeout(Duration.ofMillis(900)); // it is told to wait a second
            until(() -> refused(() -> Bus.connect(program.address, brief)).is(Reason.OVERLOADED));
            first.close(Duration.ofMillis(1));
            soon(second).close();
        }
    }
}
