package trunkline

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	pb "trunkline/v1"
)

// aFewCalls lets four calls pass, and the next one after minutes: longer than a test waits.
const aFewCalls = "messages_per_second = 0.005\nmessages_burst = 4\n"

// limited starts a service with a limit for everybody.
func limited(t *testing.T, name, limit string) *program {
	t.Helper()
	access := filepath.Join(t.TempDir(), "access.toml")
	must(t, os.WriteFile(access, []byte(`
[[allow]]
who = ["anonymous"]
publish = [">"]
request = [">"]
dead_letters.see = ["*"]
records.read = ["*/*"]
records.write = ["*/*"]

[[limit]]
who = ["*"]
`+limit), 0o600))
	return start(t, name, "--engine", "memory", "--access-file", access)
}

func refusedFor(retryAfter string) *Error {
	return newError(Overloaded, codes.ResourceExhausted, "too much").with("retry_after", retryAfter)
}

func TestWhatIsRefusedForNowIsAskedAgainWhenTheServiceSays(t *testing.T) {
	refusals := []error{refusedFor("0.001"), refusedFor("0.002"), nil}
	asked := 0
	answer, err := again(patient(t), context.Background(), func() (string, error) {
		asked++
		return "answer", refusals[asked-1]
	})
	if answer != "answer" || err != nil || asked != len(refusals) {
		t.Fatal(answer, err, asked)
	}
	for _, final := range []error{
		newError(Overloaded, codes.ResourceExhausted, "it does not say for how long"), refusedFor("soon"), refusedFor("NaN"),
		refusedFor("3600"), newError(StorageUnavailable, codes.Unavailable, "something else"), errors.New("of nobody"),
	} {
		asked, ctx := 0, patient(t)
		_, err := again(ctx, context.Background(), func() (int, error) { asked++; return 0, final })
		if err != final || asked != 1 || ctx.Err() != nil {
			t.Errorf("%v: %v, asked %d times", final, err, asked)
		}
	}
}

func TestNobodyWaitsWhoIsCancelledOrCloses(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	_, err := again(ctx, context.Background(), func() (int, error) { cancel(); return 0, refusedFor("3600") })
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	closing, closes := context.WithCancelCause(context.Background())
	_, err = again(context.Background(), closing, func() (int, error) { closes(BusDisconnected); return 0, refusedFor("3600") })
	if !errors.Is(err, BusDisconnected) {
		t.Fatal(err)
	}
}

func TestWhatWouldBeAskedAgainBehindItsDeadlineFailsAtOnce(t *testing.T) {
	bus, state := connectBus(t, limited(t, "bus", aFewCalls).address), connectState(t, limited(t, "state", aFewCalls).address)
	ctx := patient(t)
	calls := []func() error{
		func() error { _, err := bus.PublishStored(ctx, "work", numbered(1)); return err },
		func() error { _, err := bus.Request(ctx, "ask", numbered(1)); return err },
		func() error { _, err := bus.Service().ListDeadLetters(ctx, &pb.ListDeadLettersRequest{}); return err },
		func() error { return bus.Publish(ctx, "news", numbered(1)) }, // it waits for its turn
		func() error { _, err := Save(ctx, state, agent(1)); return err },
		func() error { _, err := state.Get(ctx, AgentStates, "agent-001"); return err },
		func() error {
			_, err := state.Service().Get(ctx, &pb.GetRequest{Kind: AgentStates, Id: "agent-001"})
			return err
		},
	}
	for at, call := range calls {
		var err error
		for range 5 { // what it takes is used up by the first
			if err = call(); err != nil {
				break
			}
		}
		if !errors.Is(err, Overloaded) || ctx.Err() != nil {
			t.Errorf("%d: %v", at, err)
		}
	}
}

func TestWhoeverWaitsForItsTurnIsEndedByCancelAndClose(t *testing.T) {
	bus := connectBus(t, limited(t, "bus", aFewCalls).address)
	var refused error
	for refused == nil {
		_, refused = bus.PublishStored(patient(t), "work", numbered(1))
	}
	if !errors.Is(refused, Overloaded) || bus.turn == nil {
		t.Fatal(refused)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	ended := make(chan error, 3)
	begin := func() {
		go func() { _, err := bus.PublishStored(ctx, "work", numbered(1)); ended <- err }()
		go func() { _, err := bus.Service().ListDeadLetters(ctx, &pb.ListDeadLettersRequest{}); ended <- err }()
		go func() { ended <- bus.Publish(ctx, "news", numbered(1)) }()
	}
	begin()
	cancel()
	for range cap(ended) {
		if err := next(t, (<-chan error)(ended)); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	ctx, cancel = context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	begin()
	bus.end()
	for range cap(ended) {
		if err := next(t, (<-chan error)(ended)); !errors.Is(err, BusDisconnected) {
			t.Error(err)
		}
	}
}

func TestWhatIsPublishedLiveAfterARefusalWaitsForItsTurn(t *testing.T) {
	bus := connectBus(t, limited(t, "bus", "messages_per_second = 1\n").address)
	ctx := patient(t)
	publish := func() error {
		must(t, bus.Publish(ctx, "news", numbered(1)))
		return bus.Flush(ctx)
	}
	var refused error
	for refused == nil {
		refused = publish()
	}
	if !errors.Is(refused, Overloaded) {
		t.Fatal(refused)
	}
	must(t, publish())
}

func TestAConnectionThatIsRefusedForNowIsTriedAgain(t *testing.T) {
	at := limited(t, "bus", "streams = 1\n").address
	first := connectBus(t, at)
	tries, connected := make(chan struct{}, 1000), make(chan error, 1)
	go func() {
		second, err := ConnectBus(patient(t), at, WithoutWaiting(), WithConnectTimeout(patience), WithToken(
			func(context.Context) (string, error) { tries <- struct{}{}; return "of-nobody", nil }))
		if err == nil {
			second.end()
		}
		connected <- err
	}()
	for range 2 { // the first one was refused
		next(t, (<-chan struct{})(tries))
	}
	first.end()
	must(t, next(t, (<-chan error)(connected)))
}
