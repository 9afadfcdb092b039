// Command trunkline-load measures what a bus and a state service carry, and what each message or call costs them: their own
// CPU, where it is told which processes they are, since rates say as much of the machine and of who asks.
//
//	trunkline-load -bus 127.0.0.1:7431 -bus-pid PID -state 127.0.0.1:7432 -state-pid PID
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"trunkline"
	pb "trunkline/v1"
)

const channel = "trunkline-load:channel"

// ticks is how many of them a second of CPU has in /proc: on Linux 100, whatever its clock.
const ticks = 100

var (
	busAddress   = flag.String("bus", "127.0.0.1:7431", "`address` of the bus; empty: leave it out")
	stateAddress = flag.String("state", "127.0.0.1:7432", "`address` of the state service; empty: leave it out")
	busPID       = flag.Int("bus-pid", 0, "the bus's `process`, whose CPU is measured; 0: not measured")
	statePID     = flag.Int("state-pid", 0, "the state service's `process`")
	count        = flag.Int("count", 20_000, "`messages` or calls of each kind")
	inFlight     = flag.Int("in-flight", 64, "`calls` at once")
	size         = flag.Int("size", 256, "`bytes` of a payload")
	only         = flag.String("only", "", "measure these alone: `names` with commas between")
)

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	if *count < 1 || *inFlight < 1 || *size < 0 {
		return errors.New("-count and -in-flight are at least 1, -size at least 0")
	}
	fmt.Printf("%-16s %12s %16s %16s\n", "", "a second", "server, µs each", "here, µs each")
	if *busAddress != "" {
		bus, err := trunkline.ConnectBus(ctx, *busAddress)
		if err != nil {
			return err
		}
		if err := errors.Join(measureBus(ctx, bus), bus.Close(ctx)); err != nil {
			return err
		}
	}
	if *stateAddress != "" {
		state, err := trunkline.ConnectState(ctx, *stateAddress)
		if err != nil {
			return err
		}
		defer state.Close()
		return measureState(ctx, state)
	}
	return nil
}

func message() *trunkline.Message {
	return &trunkline.Message{SenderId: "load", Payload: &pb.Message_Data{Data: make([]byte, *size)}}
}

func measureBus(ctx context.Context, bus *trunkline.Bus) error {
	err := measure("publish-unary", *busPID, func() error {
		return each(ctx, func(int) error {
			_, err := bus.Service().Publish(ctx, &pb.PublishRequest{Channel: channel, Messages: []*trunkline.Message{message()}})
			return err
		})
	})
	if err != nil {
		return err
	}
	err = measure("publish-stream", *busPID, func() error {
		if err := each(ctx, func(int) error { return bus.Publish(ctx, channel, message()) }); err != nil {
			return err
		}
		return bus.Flush(ctx)
	})
	if err != nil {
		return err
	}
	err = measure("publish-stored", *busPID, func() error {
		return each(ctx, func(int) error {
			_, err := bus.PublishStored(ctx, channel, message())
			return err
		})
	})
	if err != nil {
		return err
	}
	err = measure("subscribe", *busPID, func() error { return subscribe(ctx, bus) })
	if err != nil {
		return err
	}
	responder, err := bus.Respond(ctx, channel, func(_ context.Context, request *trunkline.Request) (*trunkline.Message, error) {
		return &trunkline.Message{Payload: request.GetPayload()}, nil
	}, trunkline.Concurrency(*inFlight))
	if err != nil {
		return err
	}
	defer responder.Close()
	return measure("request", *busPID, func() error {
		return each(ctx, func(int) error {
			_, err := bus.Request(ctx, channel, message())
			return err
		})
	})
}

// subscribe publishes, and waits until all of it came back, without running ahead of it.
func subscribe(ctx context.Context, bus *trunkline.Bus) error {
	const ahead = 4096 // below what a subscriber's queue holds
	came, room := make(chan struct{}), make(chan struct{}, ahead)
	var arrived atomic.Int64
	subscription, err := bus.Subscribe(ctx, channel, func(context.Context, *trunkline.Received) error {
		<-room
		if arrived.Add(1) == int64(*count) {
			close(came)
		}
		return nil
	})
	if err != nil {
		return err
	}
	defer subscription.Close()
	for range *count {
		room <- struct{}{}
		if err := bus.Publish(ctx, channel, message()); err != nil {
			return err
		}
	}
	select {
	case <-came:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func measureState(ctx context.Context, state *trunkline.State) error {
	id := func(n int) string { return "trunkline-load-" + strconv.Itoa(n%1000) }
	metadata := fmt.Sprintf(`{"filling": %q}`, strings.Repeat("x", *size))
	err := measure("save", *statePID, func() error {
		return each(ctx, func(n int) error {
			_, err := trunkline.Save(ctx, state, &trunkline.AgentState{AgentId: id(n), AgentType: "load", Status: "idle", MetadataJson: metadata})
			return err
		})
	})
	if err != nil {
		return err
	}
	err = measure("get", *statePID, func() error {
		return each(ctx, func(n int) error {
			_, err := state.Get(ctx, trunkline.AgentStates, id(n%min(*count, 1000)))
			return err
		})
	})
	if err != nil {
		return err
	}
	return each(ctx, func(n int) error {
		if n >= 1000 {
			return nil
		}
		_, err := state.Delete(ctx, trunkline.AgentStates, id(n))
		return err
	})
}

// each does something so many times, so many at once, until one fails.
func each(ctx context.Context, do func(n int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var working sync.WaitGroup
	for range *inFlight {
		working.Go(func() {
			for n := int(next.Add(1)) - 1; n < *count && ctx.Err() == nil; n = int(next.Add(1)) - 1 {
				if err := do(n); err != nil {
					cancel(err)
				}
			}
		})
	}
	working.Wait()
	return context.Cause(ctx)
}

// measure does something, and prints what it took.
func measure(name string, server int, do func() error) error {
	if *only != "" && !strings.Contains(","+*only+",", ","+name+",") {
		return nil
	}
	there, err := cpu(server)
	if err != nil {
		return err
	}
	here, err := cpu(os.Getpid())
	if err != nil {
		return err
	}
	began := time.Now()
	if err := do(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	took := time.Since(began)
	thereAfter, err := cpu(server)
	if err != nil {
		return err
	}
	hereAfter, err := cpu(os.Getpid())
	if err != nil {
		return err
	}
	cost := "-"
	if server != 0 {
		cost = perEach(thereAfter - there)
	}
	fmt.Printf("%-16s %12.0f %16s %16s\n", name, float64(*count)/took.Seconds(), cost, perEach(hereAfter-here))
	return nil
}

func perEach(spent time.Duration) string {
	return strconv.FormatFloat(float64(spent.Microseconds())/float64(*count), 'f', 1, 64)
}

// cpu returns what a process has computed, user and system, as Linux counts it.
func cpu(pid int) (time.Duration, error) {
	if pid == 0 {
		return 0, nil
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("the CPU of process %d cannot be read: %w", pid, err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	user, err := strconv.ParseInt(fields[11], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * time.Second / ticks, err
}
