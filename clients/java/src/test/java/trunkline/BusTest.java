package trunkline;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static trunkline.Programs.connectBus;
import static trunkline.Programs.next;
import static trunkline.Programs.refused;
import static trunkline.Programs.soon;
import static trunkline.Programs.until;

import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import trunkline.Programs.Program;
import trunkline.v1.Backoff;
import trunkline.v1.BusServiceGrpc;
import trunkline.v1.DeadLetterFilter;
import trunkline.v1.DurableSettings;
import trunkline.v1.DurableSubscription;
import trunkline.v1.GetDurableSubscriptionRequest;
import trunkline.v1.LifeEvent;
import trunkline.v1.ListDeadLettersRequest;
import trunkline.v1.Message;
import trunkline.v1.Priority;

final class BusTest {
    private static Program program; // takes less than the client does, so that the bus refuses
    private Bus bus;

    record Numbered(int n) {}

    @BeforeAll
    static void start() throws Exception {
        program = Program.of("bus", "--engine", "memory", "--max-message-bytes", "65536");
    }

    @AfterAll
    static void end() throws Exception {
        program.close();
    }

    @BeforeEach
    void connect() throws Exception {
        bus = connectBus(program.address);
    }

    @AfterEach
    void disconnect() {
        bus.close(Duration.ofMillis(1));
    }

    private static Message numbered(int n) {
        return Messages.json(new Numbered(n));
    }

    private static int number(Received message) {
        return message.decode(Numbered.class).n();
    }

    private BusServiceGrpc.BusServiceBlockingStub service() {
        return BusServiceGrpc.newBlockingStub(bus.channel());
    }

    @Test
    void publishedMessagesArriveInOrder() throws Exception {
        int count = 20_000;
        BlockingQueue<Received> came = new LinkedBlockingQueue<>();
        soon(bus.subscribe("news:*", came::add));
        for (int n = 0; n < count; n++) {
            bus.publish("news:java", numbered(n));
        }
        soon(bus.flush());
        for (int n = 0; n < count; n++) {
            Received message = next(came);
            assertEquals(n, number(message));
            assertEquals("news:java", message.channel());
        }
    }

    @Test
    void theHigherPriorityGoesFirst() throws Exception {
        CountDownLatch held = new CountDownLatch(1);
        BlockingQueue<Priority> entered = new LinkedBlockingQueue<>();
        Subscription subscription = soon(bus.subscribe("urgent", came -> {
            entered.add(came.message().getPriority());
            held.await();
        }));
        bus.publish("urgent", numbered(0));
        next(entered);
        for (Priority each : List.of(
                Priority.PRIORITY_LOW, Priority.PRIORITY_MEDIUM, Priority.PRIORITY_HIGH, Priority.PRIORITY_CRITICAL)) {
            bus.publish("urgent", numbered(1).toBuilder().setPriority(each).build());
        }
        until(() -> {
            bus.lock.lock();
            try {
                return subscription.waiting() == 4;
            } finally {
                bus.lock.unlock();
            }
        });
        held.countDown();
        List<Priority> order = new ArrayList<>();
        for (int left = 4; left > 0; left--) {
            order.add(next(entered));
        }
        assertEquals(
                List.of(Priority.PRIORITY_CRITICAL, Priority.PRIORITY_HIGH, Priority.PRIORITY_MEDIUM, Priority.PRIORITY_LOW), order);
    }

    private static int recurse(int depth) {
        return recurse(depth + 1) + 1;
    }

    private static final DurableSettings AT_ONCE =
            DurableSettings.newBuilder().setBackoff(Backoff.getDefaultInstance()).setMaxDeliveries(100).build();

    @Test
    void aHandlerFailsItsOwnMessageAlone() throws Exception {
        List<Handler<Leased>> ends = List.of(
                came -> { throw new IllegalStateException("bad \ud800 text"); },
                came -> { throw new AssertionError("no exception"); },
                came -> recurse(0),
                came -> { throw new InterruptedException("not its thread's own"); },
                came -> Thread.currentThread().interrupt(),
                came -> { });
        Map<Integer, List<Integer>> attempts = new ConcurrentHashMap<>();
        BlockingQueue<Integer> done = new LinkedBlockingQueue<>();
        soon(bus.subscribeDurable("fails", "failing", new SubscribeOptions().settings(AT_ONCE), came -> {
            attempts.computeIfAbsent(number(came), n -> new ArrayList<>()).add(came.attempt());
            if (came.attempt() == 1) {
                ends.get(number(came)).handle(came);
            }
            done.add(number(came));
        }));
        Map<Integer, List<Integer>> due = new HashMap<>();
        for (int n = 0; n < ends.size(); n++) {
            soon(bus.publishStored("fails", numbered(n)));
            due.put(n, n < 4 ? List.of(1, 2) : List.of(1));
        }
        for (int left = ends.size(); left > 0; left--) {
            next(done);
        }
        assertEquals(due, attempts);
    }

    @Test
    void aHandlerThatNeverEndsHoldsNobodyUp() throws Exception {
        BlockingQueue<Leased> done = new LinkedBlockingQueue<>();
        BlockingQueue<Boolean> interrupted = new LinkedBlockingQueue<>();
        CountDownLatch never = new CountDownLatch(1);
        SubscribeOptions options = new SubscribeOptions().settings(AT_ONCE).handlerTimeout(Duration.ofMillis(200));
        soon(bus.subscribeDurable("never", "endless", options, came -> {
            if (number(came) == 0 && came.attempt() == 1) {
                while (never.getCount() > 0) {
                    try {
                        never.await();
                    } catch (InterruptedException ended) {
                        interrupted.add(true); // and it goes on
                    }
                }
            }
            done.add(came);
        }));
        soon(bus.publishStored("never", numbered(0), numbered(1)));
        next(interrupted);
        Set<Integer> seen = new HashSet<>();
        while (seen.size() < 2) {
            Leased came = next(done);
            seen.add(number(came));
            assertTrue(number(came) == 1 || came.attempt() > 1);
        }
        never.countDown();
    }

    @Test
    void whatIsTerminatedIsADeadLetter() throws Exception {
        Subscription subscription = soon(bus.subscribeDurable("poison", "poisoned", came -> came.terminate("never \ud800")));
        soon(bus.publishStored("poison", numbered(1)));
        DeadLetterFilter filter = DeadLetterFilter.newBuilder().setDurable("poisoned").build();
        ListDeadLettersRequest wanted = ListDeadLettersRequest.newBuilder().setFilter(filter).build();
        until(() -> service().listDeadLetters(wanted).getDeadLettersCount() == 1);
        soon(subscription.drain());
        GetDurableSubscriptionRequest nobody = GetDurableSubscriptionRequest.newBuilder().setName("nobody").build();
        TrunklineException why = null;
        try {
            service().getDurableSubscription(nobody);
        } catch (io.grpc.StatusRuntimeException failed) {
            why = TrunklineException.of(failed);
        }
        assertTrue(why.is(Reason.SUBSCRIPTION_NOT_FOUND));
    }

    @Test
    void drainGivesBackWhatWasNotBegun() throws Exception {
        BlockingQueue<Integer> begun = new LinkedBlockingQueue<>();
        CountDownLatch goOn = new CountDownLatch(1);
        Subscription subscription = soon(bus.subscribeDurable("drain", "drained", new SubscribeOptions().credit(4), came -> {
            begun.add(number(came));
            goOn.await();
        }));
        for (int n = 0; n < 4; n++) {
            soon(bus.publishStored("drain", numbered(n)));
        }
        next(begun);
        CompletableFuture<Void> drained = subscription.drain();
        soon(subscription.done());
        assertFalse(drained.isDone());
        goOn.countDown();
        soon(drained);
        BlockingQueue<Leased> came = new LinkedBlockingQueue<>();
        soon(bus.subscribeDurable("drain", "drained", came::add));
        for (int due = 1; due < 4; due++) {
            Leased message = next(came);
            assertEquals(due, number(message));
            assertEquals(1, message.attempt());
        }
    }

    @Test
    void requestsAreAnsweredOrFail() throws Exception {
        TrunklineException nobody = refused(() -> bus.request("ask:sum", numbered(1)));
        assertTrue(nobody.is(Reason.NO_RESPONDERS) && nobody.isRetryable());
        CompletableFuture<Void> interrupted = new CompletableFuture<>();
        BlockingQueue<Request> slow = new LinkedBlockingQueue<>();
        Subscription subscription = soon(bus.respond("ask:*", new SubscribeOptions().concurrency(2), request -> {
            switch (request.channel()) {
                case "ask:error" -> throw new AssertionError("no exception");
                case "ask:fail" -> throw new Failure("MODEL_OVERLOADED", "later", true);
                case "ask:huge" -> {
                    return Messages.json("x".repeat(5 * 1024 * 1024));
                }
                case "ask:slow" -> {
                    slow.add(request);
                    try {
                        new CountDownLatch(1).await();
                    } catch (InterruptedException ended) {
                        interrupted.complete(null);
                    }
                    return null;
                }
                default -> {
                    request.progress(0.5, "half");
                    return numbered(number(request) + 1);
                }
            }
        }));
        assertEquals(42, number(soon(bus.request("ask:sum", numbered(41)))));
        Map<String, String> codes = new HashMap<>(Map.of("ask:fail", "MODEL_OVERLOADED", "ask:huge", Reason.MESSAGE_TOO_LARGE));
        codes.put("ask:error", "");
        for (Map.Entry<String, String> each : codes.entrySet()) {
            TrunklineException why = refused(() -> bus.request(each.getKey(), numbered(1)));
            assertTrue(why.is(Reason.REQUEST_FAILED), why::toString);
            assertEquals(each.getValue(), why.details().getOrDefault("code", ""));
            assertEquals(each.getKey().equals("ask:fail"), why.isRetryable());
        }
        CompletableFuture<Received> cancelled = bus.request("ask:slow", numbered(1));
        Request pending = next(slow);
        cancelled.cancel(false);
        soon(pending.calledOff());
        soon(interrupted);
        RequestOptions brief = new RequestOptions().timeout(Duration.ofMillis(200));
        assertTrue(refused(() -> bus.request("ask:slow", numbered(1), brief)).is(Reason.REQUEST_TIMEOUT));
        RequestOptions zero = new RequestOptions().timeout(Duration.ZERO);
        assertTrue(refused(() -> bus.request("ask:sum", numbered(1), zero)).is(Reason.INVALID_MESSAGE));
        soon(subscription.drain());
        until(() -> refused(() -> bus.request("ask:sum", numbered(1))).is(Reason.NO_RESPONDERS));
    }

    @Test
    void partsArriveInOrderBeforeTheResult() throws Exception {
        soon(bus.respond("parts", request -> {
            for (int n = 0; n < 1000; n++) {
                request.part(numbered(n)); // beyond the credit it waits
            }
            return numbered(1000);
        }));
        List<Integer> came = new ArrayList<>();
        LifeEvent end = soon(bus.requestStream("parts", numbered(0), event -> {
            if (!event.hasAccepted()) {
                Message message = event.hasPart() ? event.getPart().getMessage() : event.getResult().getMessage();
                came.add(Messages.decode(message, Numbered.class).n());
            }
        }));
        assertTrue(end.hasResult());
        List<Integer> due = new ArrayList<>();
        for (int n = 0; n <= 1000; n++) {
            due.add(n);
        }
        assertEquals(due, came);
    }

    @Test
    void whoFollowsARequestNoMoreCancelsIt() throws Exception {
        BlockingQueue<Request> held = new LinkedBlockingQueue<>();
        soon(bus.respond("held", request -> {
            held.add(request);
            new CountDownLatch(1).await();
            return null;
        }));
        CompletableFuture<Void> interrupted = new CompletableFuture<>();
        BlockingQueue<LifeEvent> entered = new LinkedBlockingQueue<>();
        CompletableFuture<LifeEvent> followed = bus.requestStream("held", numbered(1), event -> {
            entered.add(event);
            try {
                new CountDownLatch(1).await();
            } catch (InterruptedException ended) {
                interrupted.complete(null);
            }
        });
        Request first = next(held);
        assertTrue(next(entered).hasAccepted());
        followed.cancel(false);
        soon(first.calledOff());
        soon(interrupted);
        CompletableFuture<LifeEvent> broken =
                bus.requestStream("held", numbered(2), event -> { throw new IllegalStateException("its own"); });
        BlockingQueue<Throwable> why = new LinkedBlockingQueue<>();
        broken.whenComplete((end, failed) -> why.add(TrunklineException.unwrap(failed)));
        soon(next(held).calledOff());
        assertEquals("its own", next(why).getMessage());
    }

    @Test
    void oneCallersBadMessageIsItsOwn() throws Exception {
        Message large = Messages.json("x".repeat(70_000));
        List<CompletableFuture<List<trunkline.v1.Receipt>>> all = new ArrayList<>();
        for (int n = 0; n < 200; n++) {
            all.add(bus.publishStored("mixed", n % 10 == 0 ? large : numbered(n)));
        }
        for (int n = 0; n < 200; n++) {
            CompletableFuture<List<trunkline.v1.Receipt>> each = all.get(n);
            if (n % 10 == 0) {
                TrunklineException why = refused(() -> each);
                assertTrue(why.is(Reason.MESSAGE_TOO_LARGE), why::toString);
                assertEquals("0", why.details().get("index"));
            } else {
                assertEquals(1, soon(each).size());
                assertTrue(soon(each).get(0).getSequence() > 0);
            }
        }
    }

    @Test
    void whoWaitsBehindAFutureHoldsNobodyUp() throws Exception {
        CompletableFuture<Integer> behind = bus.publishStored("chain", numbered(1))
                .thenApply(receipts -> bus.publishStored("chain", numbered(2)).join().size());
        assertEquals(1, soon(behind));
    }

    @Test
    void aBusThatIsKilledLosesNothingThatWasReceipted(@TempDir Path folder) throws Exception {
        BlockingQueue<TrunklineException> down = new LinkedBlockingQueue<>();
        BlockingQueue<Boolean> up = new LinkedBlockingQueue<>();
        ConnectOptions options = new ConnectOptions()
                .connectTimeout(Programs.PATIENCE)
                .callTimeout(Programs.PATIENCE)
                .onDisconnected(down::add)
                .onReconnected(() -> up.add(true));
        int count = 400;
        try (Program server = new Program("bus", "unix:" + folder.resolve("bus.sock"), "--path", folder.resolve("bus.db").toString())) {
            Bus other = soon(Bus.connect(server.address, options));
            BlockingQueue<Integer> came = new LinkedBlockingQueue<>();
            BlockingQueue<Integer> news = new LinkedBlockingQueue<>();
            soon(other.subscribeDurable("work", "workers", new SubscribeOptions().concurrency(4), each -> came.add(number(each))));
            soon(other.subscribe("news", each -> news.add(number(each))));
            List<CompletableFuture<?>> receipts = new ArrayList<>();
            for (int n = 0; n < count; n++) {
                receipts.add(other.publishStored("work", numbered(n)));
                if (n == count / 2) {
                    soon(receipts.get(count / 4));
                    server.kill();
                }
            }
            TrunklineException why = next(down);
            assertTrue(why.is(Reason.BUS_DISCONNECTED) && why.isRetryable());
            other.publish("news", numbered(7)); // waits in the buffer
            server.start();
            next(up);
            soon(CompletableFuture.allOf(receipts.toArray(CompletableFuture<?>[]::new)));
            Set<Integer> seen = new HashSet<>();
            while (seen.size() < count) {
                seen.add(next(came));
            }
            assertEquals(7, next(news));
            other.close();
        }
    }

    @Test
    void closeWaitsForHandlers() throws Exception {
        Bus other = connectBus(program.address);
        CountDownLatch begun = new CountDownLatch(1);
        CountDownLatch goOn = new CountDownLatch(1);
        soon(other.subscribeDurable("closing", "closers", came -> {
            begun.countDown();
            goOn.await();
        }));
        soon(other.publishStored("closing", numbered(1)));
        begun.await();
        CompletableFuture<Void> closed = CompletableFuture.runAsync(other::close, Threads.POOL);
        goOn.countDown();
        soon(closed);
        assertTrue(refused(() -> other.publishStored("closing", numbered(1))).is(Reason.BUS_DISCONNECTED));
        DurableSubscription durable = service()
                .getDurableSubscription(GetDurableSubscriptionRequest.newBuilder().setName("closers").build())
                .getSubscription();
        assertEquals(1, durable.getAcked());
        assertEquals(0, durable.getLeased());
    }
}
