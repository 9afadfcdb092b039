// Command trunkline-load measures what a bus and a state service carry, and what each message or call costs them: their own
// CPU, where it is told which processes they are, since rates say as much of the machine and of who asks. Where it is told
// of a NATS server, that does the same work in the same run.
//
//	trunkline-load -bus 127.0.0.1:7431 -bus-pid PID -state 127.0.0.1:7432 -state-pid PID
//	trunkline-load -nats 127.0.0.1:4222 -nats-pid PID
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

	"google.golang.org/protobuf/types/known/durationpb"

	"trunkline"
	pb "trunkline/v1"
)

const (
	channel = "trunkline-load:channel"
	keys    = 1000
)

// ticks is how many of them a second of CPU has in /proc: on Linux 100, whatever its clock.
const ticks = 100

var (
	busAddress   = flag.String("bus", "127.0.0.1:7431", "`address` of the bus; empty: leave it out")
	stateAddress = flag.String("state", "127.0.0.1:7432", "`address` of the state service; empty: leave it out")
	busPID       = flag.Int("bus-pid", 0, "the bus's `process`, whose CPU is measured; 0: not measured")
	statePID     = flag.Int("state-pid", 0, "the state service's `process`")
	natsAddress  = flag.String("nats", "", "`address` of a NATS server with JetStream, to measure beside; empty: leave it out")
	natsPID      = flag.Int("nats-pid", 0, "its `process`")
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
	fmt.Printf("%-20s %12s %16s %16s\n", "", "a second", "server, µs each", "here, µs each")
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
		if err := measureState(ctx, state); err != nil {
			return err
		}
	}
	if *natsAddress != "" {
		return measureNATS(ctx, *natsAddress)
	}
	return nil
}

func message() *trunkline.Message {
	return &trunkline.Message{SenderId: "load", Payload: &pb.Message_Data{Data: make([]byte, *size)}}
}

func measureBus(ctx context.Context, bus *trunkline.Bus) error {
	return measure(*busPID,
		work{"publish-unary", func() error {
			return each(ctx, func(int) error {
				_, err := bus.Service().Publish(ctx, &pb.PublishRequest{Channel: channel, Messages: []*trunkline.Message{message()}})
				return err
			})
		}},
		work{"publish-stream", func() error {
			if err := each(ctx, func(int) error { return bus.Publish(ctx, channel, message()) }); err != nil {
				return err
			}
			return bus.Flush(ctx)
		}},
		work{"publish-stored", func() error {
			return each(ctx, func(int) error {
				_, err := bus.PublishStored(ctx, channel, message())
				return err
			})
		}},
		work{"subscribe", func() error {
			came := newArrival()
			subscription, err := bus.Subscribe(ctx, channel, func(context.Context, *trunkline.Received) error {
				came.one()
				return nil
			})
			if err != nil {
				return err
			}
			defer subscription.Close()
			return came.all(ctx, func() error { return bus.Publish(ctx, channel, message()) })
		}},
		work{"request", answered(ctx, bus, func() error {
			_, err := bus.Request(ctx, channel, message())
			return err
		})},
		work{"request-unary", answered(ctx, bus, func() error {
			asked := &pb.RequestRequest{Channel: channel, Message: message(), Timeout: durationpb.New(time.Minute)}
			_, err := bus.Service().Request(ctx, asked)
			return err
		})},
	)
}

// answered does one request after the other, while they are answered over the same connection.
func answered(ctx context.Context, bus *trunkline.Bus, ask func() error) func() error {
	return func() error {
		responder, err := bus.Respond(ctx, channel, func(_ context.Context, request *trunkline.Request) (*trunkline.Message, error) {
			return &trunkline.Message{Payload: request.GetPayload()}, nil
		}, trunkline.Concurrency(*inFlight))
		if err != nil {
			return err
		}
		defer responder.Close()
		return each(ctx, func(int) error { return ask() })
	}
}

// arrival waits for messages that come back, and lets a publisher not run ahead of them.
type arrival struct {
	room    chan struct{}
	done    chan struct{}
	arrived atomic.Int64
}

func newArrival() *arrival {
	const ahead = 4096 // below what a subscriber's queue holds
	return &arrival{room: make(chan struct{}, ahead), done: make(chan struct{})}
}

// one says that one came.
func (a *arrival) one() {
	<-a.room
	if a.arrived.Add(1) == int64(*count) {
		close(a.done)
	}
}

// all publishes, and waits until all of it came back.
func (a *arrival) all(ctx context.Context, publish func() error) error {
	for range *count {
		a.room <- struct{}{}
		if err := publish(); err != nil {
			return err
		}
	}
	select {
	case <-a.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// key names one of the records that are saved and read.
func key(n int) string { return "trunkline-load-" + strconv.Itoa(n%keys) }

func measureState(ctx context.Context, state *trunkline.State) error {
	metadata := fmt.Sprintf(`{"filling": %q}`, strings.Repeat("x", *size))
	return errors.Join(measure(*statePID,
		work{"save", func() error {
			return each(ctx, func(n int) error {
				_, err := trunkline.Save(ctx, state, &trunkline.AgentState{AgentId: key(n), AgentType: "load", Status: "idle", MetadataJson: metadata})
				return err
			})
		}},
		work{"get", func() error {
			return each(ctx, func(n int) error {
				_, err := state.Get(ctx, trunkline.AgentStates, key(n%*count))
				return err
			})
		}},
	), each(ctx, func(n int) error {
		if n >= keys {
			return nil
		}
		_, err := state.Delete(ctx, trunkline.AgentStates, key(n))
		return err
	}))
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

// work is what is measured, a kind of message or call, all of them together.
type work struct {
	name string
	do   func() error
}

// measure does each work, and prints what it took; of a server's process, where it is told one.
func measure(server int, works ...work) error {
	for _, each := range works {
		if *only != "" && !strings.Contains(","+*only+",", ","+each.name+",") {
			continue
		}
		if err := each.measure(server); err != nil {
			return fmt.Errorf("%s: %w", each.name, err)
		}
	}
	return nil
}

func (w work) measure(server int) error {
	there, err := cpu(server)
	if err != nil {
		return err
	}
	here, err := cpu(os.Getpid())
	if err != nil {
		return err
	}
	began := time.Now()
	if err := w.do(); err != nil {
		return err
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
	fmt.Printf("%-20s %12.0f %16s %16s\n", w.name, float64(*count)/took.Seconds(), cost, perEach(hereAfter-here))
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
