package trunkline;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static trunkline.Programs.refused;

import com.google.gson.JsonElement;
import com.google.protobuf.Any;
import com.google.protobuf.Timestamp;
import com.google.rpc.ErrorInfo;
import io.grpc.Status;
import io.grpc.protobuf.StatusProto;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletionException;
import org.junit.jupiter.api.Test;
import trunkline.v1.AgentState;
import trunkline.v1.Message;
import trunkline.v1.WatchRequest;
import trunkline.v1.WatchResponse;

final class UnitTest {
    @Test
    void addresses() {
        for (String good : List.of(
                "127.0.0.1:7431", "[::1]:7431", "bus.example:1", "tls://bus:7431", "unix:/run/bus.sock", "unix:bus.sock")) {
            assertEquals(good, new Address(good).text());
        }
        for (String bad : List.of(
                "", "bus", "bus:", ":7431", "bus:0", "bus:65536", "http://bus:80", "::1:7431", "unix:", "unix:" + "x".repeat(108), "a b:1")) {
            TrunklineException why = refused(() -> Bus.connect(bad));
            assertTrue(why.is(Reason.INVALID_ADDRESS), bad);
            assertEquals("address", why.details().get("field"));
        }
    }

    private static boolean isFine(Runnable check) {
        try {
            check.run();
            return true;
        } catch (TrunklineException why) {
            assertTrue(why.is(Reason.INVALID_CHANNEL));
            return false;
        }
    }

    @Test
    void channelsAndPatterns() {
        for (String both : List.of("a", "a:b-1_.c")) {
            assertTrue(isFine(() -> Channels.checkChannel(both)) && isFine(() -> Channels.checkPattern(both)), both);
        }
        for (String pattern : List.of("a:*", ">", "a:>")) {
            assertTrue(!isFine(() -> Channels.checkChannel(pattern)) && isFine(() -> Channels.checkPattern(pattern)), pattern);
        }
        for (String neither : List.of("", ":", "a::b", "a:>:b", "a b", "ä", "a:b*", "x".repeat(256))) {
            assertFalse(isFine(() -> Channels.checkChannel(neither)) || isFine(() -> Channels.checkPattern(neither)), neither);
        }
    }

    @Test
    void messagesThatCannotBe() {
        Message.Builder made = Message.newBuilder();
        List<Message> all = new ArrayList<>(List.of(
                made.clone().setPriorityValue(9).build(), made.clone().setTtlSeconds(0).build(),
                made.clone().setOrderingKey("x".repeat(256)).build(), made.clone().setSenderId("\ud800").build(),
                made.clone().setTimestamp(Timestamp.newBuilder().setNanos(-1)).build()));
        all.add(null);
        for (Message bad : all) {
            assertTrue(refused(() -> Messages.encode(bad, 1000)).is(Reason.INVALID_MESSAGE));
        }
        Message late = made.clone().setDeliverAt(Timestamp.getDefaultInstance()).build();
        assertTrue(refused(() -> { Messages.checkLive(late); return null; }).is(Reason.INVALID_MESSAGE));
        assertTrue(refused(() -> Messages.encode(Messages.json("x".repeat(2000)), 1000)).is(Reason.MESSAGE_TOO_LARGE));
        assertTrue(refused(() -> Messages.decode(made.clone().setJson("{} {}").build(), Map.class)).is(Reason.INVALID_MESSAGE));
        JsonElement exact = Messages.decode(made.clone().setJson("9007199254740993").build(), JsonElement.class);
        assertEquals("9007199254740993", Messages.text(Messages.json(exact)));
    }

    @Test
    void errorsKeepTheirReasonOverGrpc() {
        ErrorInfo info = ErrorInfo.newBuilder().setDomain("trunkline").setReason(Reason.REVISION_MISMATCH).putMetadata("actual", "5").build();
        com.google.rpc.Status said = com.google.rpc.Status.newBuilder()
                .setCode(Status.Code.ABORTED.value()).setMessage("it is 5").addDetails(Any.pack(info)).build();
        TrunklineException back = TrunklineException.of(new CompletionException(StatusProto.toStatusRuntimeException(said)));
        assertTrue(back.is(Reason.REVISION_MISMATCH));
        assertEquals(Map.of("actual", "5"), back.details());
        assertEquals("it is 5", back.getMessage());
        assertFalse(back.isRetryable());
        Map<Status, String> reasons = Map.of(
                Status.UNAVAILABLE, Reason.BUS_DISCONNECTED, Status.CANCELLED, Reason.BUS_DISCONNECTED,
                Status.DEADLINE_EXCEEDED, Reason.REQUEST_TIMEOUT, Status.RESOURCE_EXHAUSTED, Reason.OVERLOADED,
                Status.UNIMPLEMENTED, "UNIMPLEMENTED", Status.DATA_LOSS, "DATA_LOSS");
        reasons.forEach((status, reason) -> assertEquals(reason, TrunklineException.of(status.asException()).reason()));
        assertNull(TrunklineException.of(new IllegalStateException("another's")));
    }

    @Test
    void aTokenNeverGoesOverAnOpenNetwork() {
        TrunklineException why = refused(() -> Bus.connect("192.0.2.1:7431", new ConnectOptions().token(() -> "secret")));
        assertTrue(why.is(Reason.TLS));
        assertFalse(why.toString().contains("secret"));
    }

    @Test
    void aServiceThatIsAwayIsSaidAtOnce() throws Exception {
        String at;
        try (ServerSocket socket = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            at = "127.0.0.1:" + socket.getLocalPort();
        }
        ConnectOptions once = new ConnectOptions().withoutWaiting().connectTimeout(Programs.PATIENCE);
        assertTrue(refused(() -> Bus.connect(at, once)).is(Reason.BUS_DISCONNECTED));
        ConnectOptions brief = new ConnectOptions().connectTimeout(Duration.ofMillis(50));
        assertTrue(refused(() -> State.connect(at, brief)).is(Reason.STATE_DISCONNECTED));
    }

    @Test
    void aLimitSaysWhenToTryAgain() {
        TrunklineException limit = new TrunklineException(Reason.OVERLOADED, Status.Code.RESOURCE_EXHAUSTED, "too many");
        assertEquals(Duration.ofMillis(250), limit.with("retry_after", "0.25").retryAfter());
        assertNull(limit.retryAfter());
        assertNull(limit.with("retry_after", "soon").retryAfter());
    }

    private static List<Long> sift(Overlap overlap, long... sequences) {
        List<Subscription.Entry> came = new ArrayList<>();
        for (long each : sequences) {
            came.add(new Subscription.Entry(Message.getDefaultInstance(), "news", each, 0));
        }
        return overlap.sift(came).stream().map(each -> each.sequence).toList();
    }

    @Test
    void whatTwoStreamsBringIsGivenOnce() {
        Overlap overlap = new Overlap();
        assertEquals(List.of(1L, 2L), sift(overlap, 1, 2));
        overlap.begin();
        assertEquals(List.of(3L), sift(overlap, 3));
        overlap.begin(); // another stream is tried, since the first one was given up
        assertEquals(List.of(4L, 5L), sift(overlap, 4, 5));
        overlap.end();
        assertEquals(List.of(2L, 6L), sift(overlap, 2, 3, 4, 5, 6)); // what came before it could come twice is not known
        overlap.begin();
        assertEquals(List.of(7L), sift(overlap, 5, 7)); // still known of the move before
        overlap.forget();
        assertEquals(List.of(7L), sift(overlap, 7)); // the other has brought nothing
    }

    private static WatchResponse saved(String id, long revision) {
        return WatchResponse.newBuilder()
                .setRecord(trunkline.v1.Record.newBuilder().setRevision(revision).setAgentState(AgentState.newBuilder().setAgentId(id)))
                .build();
    }

    private static WatchResponse synced(long revision) {
        return WatchResponse.newBuilder().setSynced(WatchResponse.Synced.newBuilder().setRevision(revision)).build();
    }

    @Test
    void aWatchThatBeginsAgainRepeatsNothing() {
        WatchCursor cursor = new WatchCursor(WatchRequest.getDefaultInstance());
        cursor.begin();
        assertEquals(1, cursor.take(saved("a", 1)).size());
        assertEquals(1, cursor.take(saved("b", 2)).size());
        assertFalse(cursor.begin().hasAfterRevision()); // the stream was lost before it was synced
        assertEquals(0, cursor.take(saved("a", 1)).size());
        assertEquals(1, cursor.take(saved("c", 3)).size());
        List<Change> told = cursor.take(synced(4));
        assertEquals(List.of(Change.Type.DELETED, Change.Type.SYNCED), told.stream().map(Change::type).toList());
        assertEquals("b", told.get(0).id());
        assertEquals(4, cursor.begin().getAfterRevision());
        assertEquals(1, cursor.take(saved("a", 6)).size());
        assertEquals(6, cursor.begin().getAfterRevision());
    }
}
