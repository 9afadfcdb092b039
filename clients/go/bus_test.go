package trunkline

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	pb "trunkline/v1"
)

func numbered(n int) *Message { return JSON(map[string]int{"n": n}) }

func number(t *testing.T, message *Message) int {
	t.Helper()
	var said struct{ N int }
	must(t, Decode(message, &said))
	return said.N
}

func TestPublishedMessagesArriveInOrder(t *testing.T) {
	bus := connectBus(t, start(t, "bus", "--engine", "memory").address)
	ctx := patient(t)
	const count = 20_000
	came := make(chan *Received, count)
	_, err := bus.Subscribe(ctx, "news:*", func(_ context.Context, m *Received) error { came <- m; return nil })
	must(t, err)
	for n := range count {
		must(t, bus.Publish(ctx, "news:go", numbered(n)))
	}
	must(t, bus.Flush(ctx))
	for n := range count {
		message := next(t, came)
		if got := number(t, message.Message); got != n || message.Channel != "news:go" {
			t.Fatalf("message %d on %s came where %d was due", got, message.Channel, n)
		}
	}
}

func TestTheHigherPriorityGoesFirst(t *testing.T) {
	bus := connectBus(t, start(t, "bus", "--engine", "memory").address)
	ctx := patient(t)
	held, entered := make(chan struct{}), make(chan struct{}, 1)
	came := make(chan pb.Priority, 8)
	_, err := bus.Subscribe(ctx, "work", func(_ context.Context, m *Received) error {
		select {
		case entered <- struct{}{}:
			<-held
		default:
		}
		came <- m.GetPriority()
		return nil
	})
	must(t, err)
	must(t, bus.Publish(ctx, "work", numbered(0)))
	next(t, (<-chan struct{})(entered))
	entered <- struct{}{} // nobody else waits
	for _, priority := range []pb.Priority{Low, Medium, High, Critical} {
		message := numbered(1)
		message.Priority = priority
		must(t, bus.Publish(ctx, "work", message))
	}
	must(t, bus.Flush(ctx))
	probe := make(chan int, 1)
	watching := connectBus(t, string(bus.at))
	_, err = watching.Subscribe(ctx, "probe", func(context.Context, *Received) error { probe <- 1; return nil })
	must(t, err)
	waitUntil(t, func() bool {
		bus.mu.Lock()
		defer bus.mu.Unlock()
		waiting := 0
		for _, each := range bus.now.subscriptions {
			waiting += each.waiting
		}
		return waiting == 4
	})
	close(held)
	next(t, (<-chan pb.Priority)(came))
	for _, due := range []pb.Priority{Critical, High, Medium, Low} {
		if got := next(t, (<-chan pb.Priority)(came)); got != due {
			t.Fatalf("%v came where %v was due", got, due)
		}
	}
}

func waitUntil(t *testing.T, isSo func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !isSo(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it never was so")
		}
	}
}

func TestAHandlerFailsItsOwnMessageAlone(t *testing.T) {
	bus := connectBus(t, start(t, "bus", "--engine", "memory").address)
	ctx := patient(t)
	attempts, done := map[int][]int{}, make(chan int, 8)
	var mu sync.Mutex
	never := make(chan struct{})
	defer close(never)
	ends := []func() error{
		func() error { panic("handler") },
		func() error { runtime.Goexit(); return nil },
		func() error { return errors.New("bad \xff text") },
		func() error { <-never; return nil },
		func() error { return nil },
	}
	settings := Settings(&pb.DurableSettings{Backoff: &pb.Backoff{}})
	_, err := bus.SubscribeDurable(ctx, "work", "workers", func(_ context.Context, m *Leased) error {
		n := number(t, m.Message)
		mu.Lock()
		attempts[n] = append(attempts[n], m.Attempt)
		mu.Unlock()
		if m.Attempt == 1 {
			if err := ends[n](); err != nil {
				return err
			}
		}
		done <- n
		return nil
	}, settings, HandlerTimeout(500*time.Millisecond))
	must(t, err)
	for n := range ends {
		_, err := bus.PublishStored(ctx, "work", numbered(n))
		must(t, err)
	}
	for range ends {
		next(t, (<-chan int)(done))
	}
	mu.Lock()
	defer mu.Unlock()
	if fmt.Sprint(attempts) != "map[0:[1 2] 1:[1 2] 2:[1 2] 3:[1 2] 4:[1]]" {
		t.Fatal(attempts)
	}
}

func TestWhatIsTerminatedIsADeadLetter(t *testing.T) {
	bus := connectBus(t, start(t, "bus", "--engine", "memory").address)
	ctx := patient(t)
	s, err := bus.SubscribeDurable(ctx, "work", "workers", func(_ context.Context, m *Leased) error {
		return m.Terminate("never \xff")
	})
	must(t, err)
	_, err = bus.PublishStored(ctx, "work", numbered(1))
	must(t, err)
	waitUntil(t, func() bool {
		letters, err := bus.Service().ListDeadLetters(ctx, &pb.ListDeadLettersRequest{})
		must(t, err)
		return len(letters.GetDeadLetters()) == 1
	})
	must(t, s.Drain(ctx))
	_, err = bus.Service().GetDurableSubscription(ctx, &pb.GetDurableSubscriptionRequest{Name: "nobody"})
	if !errors.Is(err, SubscriptionNotFound) {
		t.Fatal(err)
	}
}

func TestDrainGivesBackWhatWasNotBegun(t *testing.T) {
	bus := connectBus(t, start(t, "bus", "--engine", "memory").address)
	ctx := patient(t)
	begun, goOn := make(chan int, 8), make(chan struct{})
	s, err := bus.SubscribeDurable(ctx, "work", "workers", func(_ context.Context, m *Leased) error {
		begun <- number(t, m.Message)
		<-goOn
		return nil
	}, Credit(4))
	must(t, err)
	for n := range 4 {
		_, err := bus.PublishStored(ctx, "work", numbered(n))
		must(t, err)
	}
	next(t, (<-chan int)(begun))
	ended := make(chan error, 1)
	go func() { ended <- s.Drain(ctx) }()
	next(t, s.Done())
	close(goOn)
	must(t, next(t, (<-chan error)(ended)))
	came := make(chan int, 8)
	_, err = bus.SubscribeDurable(ctx, "work", "workers", func(_ context.Context, m *Leased) error {
		if m.Attempt != 1 {
			t.Errorf("%d came with attempt %d", number(t, m.Message), m.Attempt)
		}
		came <- number(t, m.Message)
		return nil
	})
	must(t, err)
	for due := 1; due < 4; due++ {
		if got := next(t, (<-chan int)(came)); got != due {
			t.Fatalf("%d came where %d was due", got, due)
		}
	}
}

func TestRequestsAreAnsweredOrFail(t *testing.T) {
	bus := connectBus(t, start(t, "bus", "--engine", "memory").address)
	ctx := patient(t)
	_, err := bus.Request(ctx, "ask:sum", numbered(1))
	if !errors.Is(err, NoResponders) || !Retryable(err) {
		t.Fatal(err)
	}
	called := make(chan struct{})
	s, err := bus.Respond(ctx, "ask:*", func(ctx context.Context, r *Request) (*Message, error) {
		switch r.Channel {
		case "ask:panic":
			panic("handler")
		case "ask:fail":
			return nil, &Failure{Code: "MODEL_OVERLOADED", Text: "later", Retryable: true}
		case "ask:exit":
			runtime.Goexit()
		case "ask:slow":
			<-ctx.Done()
			close(called)
			return nil, ctx.Err()
		case "ask:huge":
			return JSON(string(make([]byte, 5*mib))), nil
		}
		must(t, r.Progress(0.5, "half"))
		return numbered(number(t, r.Message) + 1), nil
	})
	must(t, err)
	reply, err := bus.Request(ctx, "ask:sum", numbered(41))
	must(t, err)
	if number(t, reply.Message) != 42 {
		t.Fatal(reply)
	}
	for channel, code := range map[string]string{"ask:panic": "", "ask:exit": "", "ask:fail": "MODEL_OVERLOADED", "ask:huge": "MESSAGE_TOO_LARGE"} {
		_, err = bus.Request(ctx, channel, numbered(1))
		var said *Error
		if !errors.As(err, &said) || said.Reason != RequestFailed || said.Metadata["code"] != code || said.Retryable() != (channel == "ask:fail") {
			t.Fatalf("%s: %#v", channel, err)
		}
	}
	short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	if _, err = bus.Request(short, "ask:slow", numbered(1)); !errors.Is(err, RequestTimeout) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	next(t, (<-chan struct{})(called))
	if _, err = bus.Request(ctx, "ask:sum", numbered(1), Timeout(0)); !errors.Is(err, InvalidMessage) {
		t.Fatal(err)
	}
	must(t, s.Drain(ctx))
	waitUntil(t, func() bool {
		_, err = bus.Request(ctx, "ask:sum", numbered(1))
		return errors.Is(err, NoResponders)
	})
}

func TestWhoAskedOneThatLeavesHearsThatItIsLost(t *testing.T) {
	at := start(t, "bus", "--engine", "memory").address
	bus := connectBus(t, at)
	ctx := patient(t)
	gone, cancel := context.WithCancel(ctx)
	cancel()
	for range 50 {
		other := connectBus(t, at)
		begun := make(chan struct{})
		_, err := other.Respond(ctx, "ask:slow", func(ctx context.Context, _ *Request) (*Message, error) {
			close(begun)
			<-ctx.Done()
			return nil, ctx.Err() // what a handler says of its end is no answer
		})
		must(t, err)
		asked := make(chan error, 1)
		go func() {
			_, err := bus.Request(ctx, "ask:slow", numbered(1))
			asked <- err
		}()
		next(t, (<-chan struct{})(begun))
		if err = other.Close(gone); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if err = next(t, (<-chan error)(asked)); !errors.Is(err, ResponderLost) || !Retryable(err) {
			t.Fatal(err)
		}
	}
}

func TestOneCallersBadMessageIsItsOwn(t *testing.T) {
	// The bus takes less than the client does, so that the bus refuses.
	bus := connectBus(t, start(t, "bus", "--engine", "memory", "--max-message-bytes", "65536").address)
	ctx := patient(t)
	large := JSON(string(make([]byte, 20_000)))
	var wait sync.WaitGroup
	for n := range 200 {
		wait.Go(func() {
			message := numbered(n)
			if n%10 == 0 {
				message = large
			}
			receipts, err := bus.PublishStored(ctx, "work", message)
			if n%10 == 0 && !errors.Is(err, MessageTooLarge) {
				t.Errorf("%d: %v", n, err)
			}
			if n%10 != 0 && (err != nil || len(receipts) != 1 || receipts[0].GetSequence() == 0) {
				t.Errorf("%d: %v %v", n, receipts, err)
			}
		})
	}
	wait.Wait()
}

func TestABusThatIsKilledLosesNothingThatWasReceipted(t *testing.T) {
	server := start(t, "bus", "--path", filepath.Join(t.TempDir(), "bus.db"))
	down, up := make(chan error, 8), make(chan struct{}, 8)
	bus := connectBus(t, server.address, OnDisconnected(func(err error) { down <- err }), OnReconnected(func() { up <- struct{}{} }))
	ctx := patient(t)
	const count = 400
	came, news := make(chan int, 4*count), make(chan int, count)
	_, err := bus.SubscribeDurable(ctx, "work", "workers", func(_ context.Context, m *Leased) error {
		came <- number(t, m.Message)
		return nil
	}, Concurrency(4))
	must(t, err)
	_, err = bus.Subscribe(ctx, "news", func(_ context.Context, m *Received) error { news <- number(t, m.Message); return nil })
	must(t, err)
	var wait sync.WaitGroup
	half := make(chan struct{})
	for worker := range 4 {
		wait.Go(func() {
			for n := worker; n < count; n += 4 {
				if _, err := bus.PublishStored(ctx, "work", numbered(n)); err != nil {
					t.Errorf("%d: %v", n, err)
				}
				if n == count/2 {
					close(half)
				}
			}
		})
	}
	<-half
	server.kill()
	if err := next(t, (<-chan error)(down)); !errors.Is(err, BusDisconnected) || !Retryable(err) {
		t.Fatal(err)
	}
	must(t, bus.Publish(ctx, "news", numbered(7))) // waits in the buffer
	server.start()
	next(t, (<-chan struct{})(up))
	wait.Wait()
	seen := map[int]int{}
	for len(seen) < count {
		seen[next(t, (<-chan int)(came))]++
	}
	if got := next(t, (<-chan int)(news)); got != 7 {
		t.Fatal(got)
	}
}

func TestCloseWaitsForHandlers(t *testing.T) {
	server := start(t, "bus", "--engine", "memory")
	bus := connectBus(t, server.address)
	ctx := patient(t)
	begun, goOn := make(chan struct{}), make(chan struct{})
	_, err := bus.SubscribeDurable(ctx, "work", "workers", func(context.Context, *Leased) error {
		close(begun)
		<-goOn
		return nil
	})
	must(t, err)
	_, err = bus.PublishStored(ctx, "work", numbered(1))
	must(t, err)
	next(t, (<-chan struct{})(begun))
	ended := make(chan error, 1)
	go func() { ended <- bus.Close(ctx) }()
	close(goOn)
	must(t, next(t, (<-chan error)(ended)))
	if _, err = bus.PublishStored(ctx, "work", numbered(1)); !errors.Is(err, BusDisconnected) {
		t.Fatal(err)
	}
	other := connectBus(t, server.address)
	durable, err := other.Service().GetDurableSubscription(ctx, &pb.GetDurableSubscriptionRequest{Name: "workers"})
	must(t, err)
	if s := durable.GetSubscription(); s.GetAcked() != 1 || s.GetLeased() != 0 {
		t.Fatal(s)
	}
}
