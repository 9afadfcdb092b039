package trunkline.conformance;

import static trunkline.conformance.Words.seconds;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonNull;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.BufferedReader;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import trunkline.Bus;
import trunkline.Change;
import trunkline.ConnectOptions;
import trunkline.Failure;
import trunkline.Leased;
import trunkline.Messages;
import trunkline.Page;
import trunkline.Received;
import trunkline.RequestOptions;
import trunkline.SaveOptions;
import trunkline.State;
import trunkline.SubscribeOptions;
import trunkline.Tls;
import trunkline.TrunklineException;
import trunkline.Watch;
import trunkline.WatchOptions;
import trunkline.v1.AgentState;
import trunkline.v1.Filter;
import trunkline.v1.LifeEvent;
import trunkline.v1.Message;
import trunkline.v1.Receipt;
import trunkline.v1.RecordKind;

/**
 * Does the steps of the table that all clients are held to (tests/conformance): it reads a step as a JSON object a line, and answers
 * each with a line, {"ok": …} or {"error": …}.
 */
public final class Runner {
    /** How long a step waits for what must happen. */
    private static final Duration PATIENCE = Duration.ofSeconds(60);

    private static final Gson GSON = new GsonBuilder().disableHtmlEscaping().create();
    private static final ThreadLocal<Runnable> CALLED = ThreadLocal.withInitial(() -> () -> {}); // of a step that is done beside others
    private static final RecordKind KIND = RecordKind.RECORD_KIND_AGENT_STATE;

    private Bus bus;
    private State state;
    private Map<String, BlockingQueue<Boolean>> reconnected; // by "bus" and "state"
    private Map<String, Got> subscriptions;
    private Map<String, Seen> watches;
    private Map<String, CompletableFuture<JsonObject>> later;

    /** What a subscription got. */
    private static final class Got {
        final BlockingQueue<Delivery> came = new LinkedBlockingQueue<>();
        final BlockingQueue<Long> lagged = new LinkedBlockingQueue<>();
        final BlockingQueue<TrunklineException> trouble = new LinkedBlockingQueue<>();
        final CompletableFuture<Void> goesOn = new CompletableFuture<>(); // done when its handler holds nothing any more
        final ArrayDeque<Delivery> held = new ArrayDeque<>(); // what was expected, and is not settled
        trunkline.Subscription subscription;
    }

    /** One message at a handler, which waits until it is settled. */
    private record Delivery(Received message, CompletableFuture<Void> settled) {}

    /** What a watch reports. */
    private record Seen(BlockingQueue<Object> came, Watch watch) {}

    /** Does a step; returns what it is answered with. */
    private interface Verb {
        JsonObject act(JsonObject step) throws Exception;
    }

    private final Map<String, Verb> verbs = Map.ofEntries(
            Map.entry("connect_bus", this::connectBus), Map.entry("connect_state", this::connectState),
            Map.entry("reconnected", step -> said("back", take(reconnected.get(step.get("of").getAsString())))),
            Map.entry("reconnections", step -> said("count", reconnected.get(text(step, "of")).size())),
            Map.entry("close", step -> close()), Map.entry("publish", this::publish), Map.entry("subscribe", this::subscribe),
            Map.entry("expect", this::expect), Map.entry("lagged", step -> said("dropped", take(from(step).lagged))),
            Map.entry("trouble", step -> { throw take(from(step).trouble); }),
            Map.entry("settle", this::settle),
            Map.entry("go_on", step -> said("ok", from(step).goesOn.complete(null))),
            Map.entry("drain", step -> { await(from(step).subscription.drain()); return new JsonObject(); }),
            Map.entry("respond", this::respond), Map.entry("request", this::request),
            Map.entry("request_stream", this::requestStream), Map.entry("save", this::save),
            Map.entry("get", this::get), Map.entry("delete", step -> said("deleted", await(state.delete(KIND, text(step, "id"))))),
            Map.entry("page", this::page), Map.entry("list", this::list), Map.entry("watch", this::watch),
            Map.entry("changes", this::changes), Map.entry("decode", this::decode), Map.entry("encode", this::encode));

    public static void main(String[] arguments) throws Exception {
        Runner runner = new Runner();
        runner.reset();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream answers = new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.UTF_8);
        for (String line; (line = lines.readLine()) != null; ) {
            answers.println(GSON.toJson(runner.answer(JsonParser.parseString(line).getAsJsonObject())));
        }
        runner.close();
        System.exit(0); // handlers that hold their messages do not keep it
    }

    private void reset() {
        bus = null;
        state = null;
        reconnected = Map.of("bus", new LinkedBlockingQueue<>(), "state", new LinkedBlockingQueue<>());
        subscriptions = new HashMap<>();
        watches = new HashMap<>();
        later = new HashMap<>();
    }

    /** Does a step now, or beside those that follow. */
    private JsonObject answer(JsonObject step) throws InterruptedException {
        if (!step.has("later")) {
            return attempt(step);
        }
        CompletableFuture<JsonObject> came = new CompletableFuture<>();
        CountDownLatch called = new CountDownLatch(1);
        later.put(text(step, "later"), came);
        new Thread(() -> {
            CALLED.set(called::countDown);
            came.complete(attempt(step));
            called.countDown();
        }).start();
        called.await(); // what it asks for goes out before what the next steps do
        return said("ok", new JsonObject());
    }

    private JsonObject attempt(JsonObject step) {
        try {
            String verb = text(step, "do");
            if (verb.equals("wait")) {
                return later.get(text(step, "for")).get(PATIENCE.toSeconds(), TimeUnit.SECONDS);
            }
            if (!verbs.containsKey(verb)) {
                throw new IllegalArgumentException("\"" + verb + "\" is no step");
            }
            return said("ok", verbs.get(verb).act(step));
        } catch (Exception failed) {
            return said("error", failureOf(failed));
        }
    }

    private static JsonObject failureOf(Exception failed) {
        TrunklineException known = TrunklineException.of(failed);
        if (known == null) {
            JsonObject told = said("code", "?");
            told.addProperty("message", failed.toString());
            return told;
        }
        JsonObject told = said("code", known.reason());
        told.addProperty("message", known.getMessage());
        told.addProperty("retryable", known.isRetryable());
        told.add("details", GSON.toJsonTree(known.details()));
        return told;
    }

    static JsonObject said(String key, Object value) {
        JsonObject told = new JsonObject();
        told.add(key, value instanceof JsonElement made ? made : GSON.toJsonTree(value));
        return told;
    }

    static String text(JsonObject step, String word) {
        return step.has(word) ? step.get(word).getAsString() : "";
    }

    private static boolean is(JsonObject step, String word) {
        return step.has(word) && step.get(word).getAsBoolean();
    }

    private static int count(JsonObject step) {
        return step.has("count") ? step.get("count").getAsInt() : 1;
    }

    private Got from(JsonObject step) {
        return subscriptions.get(text(step, "from"));
    }

    /** Waits for the next of something. */
    private static <T> T take(BlockingQueue<T> queue) throws Exception {
        T came = queue.poll(PATIENCE.toSeconds(), TimeUnit.SECONDS);
        if (came == null) {
            throw new TimeoutException("it did not come within " + PATIENCE);
        }
        return came;
    }

    private static <T> T await(CompletableFuture<T> future) throws Exception {
        CALLED.get().run();
        return future.get(PATIENCE.toSeconds(), TimeUnit.SECONDS);
    }

    private ConnectOptions options(JsonObject step, String of) {
        BlockingQueue<Boolean> back = reconnected.get(of);
        ConnectOptions options = new ConnectOptions()
                .connectTimeout(step.has("timeout") ? seconds(step.get("timeout")) : PATIENCE)
                .callTimeout(PATIENCE)
                .onReconnected(() -> back.add(true));
        if (step.has("ca")) {
            options.tls(Tls.trusting(text(step, "ca")));
        }
        return step.has("wait") && !is(step, "wait") ? options.withoutWaiting() : options;
    }

    private JsonObject connectBus(JsonObject step) throws Exception {
        bus = await(Bus.connect(text(step, "address"), options(step, "bus")));
        return new JsonObject();
    }

    private JsonObject connectState(JsonObject step) throws Exception {
        state = await(State.connect(text(step, "address"), options(step, "state")));
        return new JsonObject();
    }

    /** Ends the case: what is held goes back at once. */
    private JsonObject close() {
        if (bus != null) {
            bus.close(Duration.ofMillis(1));
        }
        if (state != null) {
            state.close();
        }
        reset();
        return new JsonObject();
    }

    private JsonObject publish(JsonObject step) throws Exception {
        Message[] messages = step.getAsJsonArray("messages").asList().stream()
                .map(each -> Words.toMessage(each.getAsJsonObject()))
                .toArray(Message[]::new);
        String channel = text(step, "channel");
        if (!is(step, "stored")) {
            bus.publish(channel, messages);
            await(bus.flush());
            return new JsonObject();
        }
        JsonArray receipts = new JsonArray();
        for (Receipt each : await(bus.publishStored(channel, messages))) {
            JsonObject told = said("sequence", each.getSequence());
            told.addProperty("duplicate", each.getDuplicate());
            told.addProperty("durability", each.getDurability().name().substring("DURABILITY_".length()));
            receipts.add(told);
        }
        return said("receipts", receipts);
    }

    private JsonObject subscribe(JsonObject step) throws Exception {
        Got got = new Got();
        subscriptions.put(text(step, "name"), got);
        SubscribeOptions options = new SubscribeOptions().onError(got.trouble::add);
        if (step.has("group")) {
            options.group(text(step, "group"));
        }
        if (step.has("credit")) {
            options.credit(step.get("credit").getAsInt());
        }
        if (!step.has("durable")) {
            options.onLagged(got.lagged::add);
            got.subscription = await(bus.subscribe(text(step, "pattern"), options, came -> hold(step, got, came)));
            return new JsonObject();
        }
        if (step.has("ack_wait")) {
            options.ackWait(seconds(step.get("ack_wait")));
        }
        got.subscription = await(bus.subscribeDurable(text(step, "pattern"), text(step, "durable"), options, came -> hold(step, got, came)));
        return new JsonObject();
    }

    private static void hold(JsonObject step, Got got, Received came) throws Exception {
        Delivery delivery = new Delivery(came, new CompletableFuture<>());
        got.came.add(delivery);
        if (step.has("fail")) {
            throw new IllegalStateException(text(step.getAsJsonObject("fail"), "text"));
        }
        if (is(step, "hold")) {
            CompletableFuture.anyOf(delivery.settled(), got.goesOn).get(); // or it is interrupted
        }
    }

    private JsonObject expect(JsonObject step) throws Exception {
        Got got = from(step);
        JsonArray messages = new JsonArray();
        for (int left = count(step); left > 0; left--) {
            Delivery came = take(got.came);
            got.held.add(came);
            JsonObject one = said("channel", came.message().channel());
            one.add("message", Words.fromMessage(came.message().message()));
            if (came.message() instanceof Leased leased) {
                one.addProperty("attempt", leased.attempt());
                one.addProperty("sequence", leased.sequence());
            }
            messages.add(one);
        }
        return said("messages", messages);
    }

    /** Settles the oldest message that was expected. */
    private JsonObject settle(JsonObject step) {
        Delivery first = from(step).held.removeFirst();
        Leased leased = (Leased) first.message();
        try {
            switch (text(step, "name")) {
                case "ack" -> leased.ack();
                case "nak" -> leased.nak(new IllegalStateException(text(step, "reason")), Duration.ZERO);
                case "terminate" -> leased.terminate(text(step, "reason"));
                default -> throw new IllegalArgumentException("want ack, nak or terminate");
            }
        } finally {
            first.settled().complete(null);
        }
        return new JsonObject();
    }

    private JsonObject respond(JsonObject step) throws Exception {
        await(bus.respond(text(step, "pattern"), request -> {
            if (step.has("fail")) {
                JsonObject fail = step.getAsJsonObject("fail");
                throw new Failure(text(fail, "code"), text(fail, "text"), is(fail, "retryable"));
            }
            if (is(step, "hold")) {
                new CountDownLatch(1).await(); // until it is interrupted
            }
            if (step.has("takes")) {
                Thread.sleep(seconds(step.get("takes")).toMillis());
            }
            for (int n = 0; step.has("parts") && n < step.get("parts").getAsInt(); n++) {
                if (n == 0) {
                    request.progress(0.5, "ж");
                }
                request.part(Messages.json(Map.of("n", n)));
            }
            Message asked = request.message();
            Message.Builder answer = Message.newBuilder().setSenderId("responder");
            return (asked.hasData() ? answer.setData(asked.getData()) : answer.setJson(asked.getJson())).build();
        }));
        return new JsonObject();
    }

    private JsonObject request(JsonObject step) throws Exception {
        RequestOptions options = new RequestOptions().timeout(seconds(step.get("timeout")));
        if (is(step, "wait_for_responder")) {
            options.waitForResponder();
        }
        Message message = Words.toMessage(step.getAsJsonObject("message"));
        return said("message", Words.fromMessage(await(bus.request(text(step, "channel"), message, options)).message()));
    }

    /** Tells the events that came: each kind with how many came in a row, the last part and the end. */
    private JsonObject requestStream(JsonObject step) throws Exception {
        RequestOptions options = new RequestOptions().timeout(seconds(step.get("timeout")));
        CompletableFuture<Void> left = new CompletableFuture<>();
        JsonObject told = new JsonObject();
        JsonArray runs = new JsonArray();
        CompletableFuture<LifeEvent> end =
                bus.requestStream(text(step, "channel"), Words.toMessage(step.getAsJsonObject("message")), options, event -> {
                    String kind = event.getEventCase().name().toLowerCase(Locale.ROOT);
                    switch (event.getEventCase()) {
                        case PROGRESS -> {
                            told.add("progress", said("fraction", event.getProgress().getFraction()));
                            told.getAsJsonObject("progress").addProperty("text", event.getProgress().getText());
                        }
                        case PART -> told.add("part", Words.fromMessage(event.getPart().getMessage()));
                        case RESULT -> told.add("end", Words.fromMessage(event.getResult().getMessage()));
                        case FAILURE -> {
                            told.add("end", said("code", event.getFailure().getCode()));
                            told.getAsJsonObject("end").addProperty("text", event.getFailure().getText());
                            told.getAsJsonObject("end").addProperty("retryable", event.getFailure().getRetryable());
                        }
                        default -> { }
                    }
                    JsonArray last = runs.isEmpty() ? new JsonArray() : runs.get(runs.size() - 1).getAsJsonArray();
                    if (!last.isEmpty() && last.get(0).getAsString().equals(kind)) {
                        last.set(1, GSON.toJsonTree(last.get(1).getAsInt() + 1));
                    } else {
                        runs.add(GSON.toJsonTree(List.of(kind, 1)));
                    }
                    if (kind.equals(text(step, "leave_at"))) {
                        left.complete(null);
                        new CountDownLatch(1).await(); // until it is interrupted
                    }
                });
        await(CompletableFuture.anyOf(end, left));
        end.cancel(false);
        told.add("events", runs);
        return told;
    }

    private JsonObject save(JsonObject step) throws Exception {
        SaveOptions options = new SaveOptions();
        if (step.has("expected_revision")) {
            options.expectRevision(step.get("expected_revision").getAsLong());
        }
        return said("revision", await(state.save(Words.toState(step.getAsJsonObject("record")), options)));
    }

    private JsonObject get(JsonObject step) throws Exception {
        trunkline.v1.Record found = await(state.get(KIND, text(step, "id")));
        JsonObject told = said("record", Words.fromState(found.getAgentState()));
        told.addProperty("revision", found.getRevision());
        return told;
    }

    private static Filter filterOf(JsonObject step) {
        return Filter.newBuilder().setStatus(text(step, "status")).build();
    }

    private JsonObject page(JsonObject step) throws Exception {
        Page page = await(state.page(KIND, filterOf(step), step.get("size").getAsInt(), text(step, "token")));
        JsonObject told = said("ids", page.records().stream().map(each -> each.getAgentState().getAgentId()).toList());
        told.addProperty("token", page.next());
        return told;
    }

    private JsonObject list(JsonObject step) {
        return said("ids", state.list(KIND, filterOf(step)).map(each -> each.getAgentState().getAgentId()).toList());
    }

    private JsonObject watch(JsonObject step) {
        WatchOptions options = new WatchOptions().kinds(KIND);
        if (step.has("after")) {
            options.afterRevision(step.get("after").getAsLong());
        }
        if (step.has("status")) {
            options.filter(filterOf(step));
        }
        BlockingQueue<Object> came = new LinkedBlockingQueue<>();
        Watch watch = state.watch(options, came::add);
        watch.done().whenComplete((ended, why) -> {
            if (why != null) {
                came.add(why);
            }
        });
        watches.put(text(step, "name"), new Seen(came, watch));
        return new JsonObject();
    }

    private JsonObject changes(JsonObject step) throws Exception {
        JsonArray changes = new JsonArray();
        for (int left = count(step); left > 0; left--) {
            Object came = take(watches.get(text(step, "from")).came());
            if (came instanceof Throwable failed) {
                throw new CompletionException(failed);
            }
            Change change = (Change) came;
            JsonObject one = said("type", change.type().name().toLowerCase(Locale.ROOT));
            one.addProperty("id", change.id());
            one.add("record", change.record() == null ? JsonNull.INSTANCE : Words.fromState(change.record().getAgentState()));
            changes.add(one);
        }
        return said("changes", changes);
    }

    /** Reads the bytes of a vector. */
    private JsonObject decode(JsonObject step) throws Exception {
        byte[] encoded = HexFormat.of().parseHex(text(step, "hex"));
        return said("value", text(step, "kind").equals("message")
                ? Words.fromMessage(Message.parseFrom(encoded))
                : Words.fromState(AgentState.parseFrom(encoded)));
    }

    /** Writes what a vector has. */
    private JsonObject encode(JsonObject step) {
        byte[] encoded = text(step, "kind").equals("message")
                ? Words.toMessage(step.getAsJsonObject("message")).toByteArray()
                : Words.toState(step.getAsJsonObject("record")).toByteArray();
        return said("hex", HexFormat.of().formatHex(encoded));
    }
}
