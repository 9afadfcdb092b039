// Command conformance does the steps of the table that all clients are held to (tests/conformance): it reads a step as a JSON
// object a line, and answers each with a line, {"ok": …} or {"error": …}.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"trunkline"
)

// patience is how long a step waits for what must happen.
const patience = 60 * time.Second

// step is what one line asks for: the verb and its words.
type step struct {
	Do    string `json:"do"`
	Later string `json:"later"` // the step is done beside the next ones; "wait" answers what came of it
	For   string `json:"for"`

	Address string  `json:"address"`
	CA      string  `json:"ca"`
	Wait    *bool   `json:"wait"`
	Timeout float64 `json:"timeout"`

	Name     string    `json:"name"`
	From     string    `json:"from"`
	Of       string    `json:"of"`
	Count    int       `json:"count"`
	Channel  string    `json:"channel"`
	Pattern  string    `json:"pattern"`
	Messages []message `json:"messages"`
	Message  message   `json:"message"`
	Stored   bool      `json:"stored"`

	Group       string  `json:"group"`
	Credit      int     `json:"credit"`
	Durable     string  `json:"durable"`
	AckWait     float64 `json:"ack_wait"`
	Concurrency int     `json:"concurrency"`
	Hold        bool    `json:"hold"`
	Takes       float64 `json:"takes"`
	Parts       int     `json:"parts"`
	Fail        *failed `json:"fail"`
	Reason      string  `json:"reason"`

	WaitForResponder bool   `json:"wait_for_responder"`
	LeaveAt          string `json:"leave_at"` // the kind of an event

	Kind     string `json:"kind"`
	ID       string `json:"id"`
	Record   record `json:"record"`
	Expected *int64 `json:"expected_revision"`
	Size     int32  `json:"size"`
	Token    string `json:"token"`
	Status   string `json:"status"`
	After    *int64 `json:"after"`
	Hex      string `json:"hex"`
}

// failed is what a handler fails with.
type failed struct {
	Code      string `json:"code"`
	Text      string `json:"text"`
	Retryable bool   `json:"retryable"`
}

// said is what a step is answered with.
type said map[string]any

// runner has what the steps of one case made.
type runner struct {
	bus   *trunkline.Bus
	state *trunkline.State

	mu            sync.Mutex
	reconnected   map[string]chan struct{} // by "bus" and "state"
	subscriptions map[string]*received
	watches       map[string]*watch
	later         map[string]chan said
}

func main() {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	r := &runner{}
	r.reset()
	lines := bufio.NewReader(os.Stdin)
	answers := json.NewEncoder(os.Stdout)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			r.close()
			return
		}
		check(err)
		var wanted step
		check(json.Unmarshal(line, &wanted))
		check(answers.Encode(r.answer(wanted)))
	}
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func (r *runner) reset() {
	r.bus, r.state = nil, nil
	r.reconnected = map[string]chan struct{}{"bus": make(chan struct{}, 100), "state": make(chan struct{}, 100)}
	r.subscriptions, r.watches, r.later = map[string]*received{}, map[string]*watch{}, map[string]chan said{}
}

// answer does a step now, or beside those that follow.
func (r *runner) answer(wanted step) said {
	if wanted.Later == "" {
		return r.try(wanted)
	}
	came := make(chan said, 1)
	r.later[wanted.Later] = came
	go func() { came <- r.try(wanted) }()
	return said{"ok": said{}}
}

func (r *runner) try(wanted step) said {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if wanted.Do == "wait" {
		select {
		case came := <-r.later[wanted.For]:
			return came
		case <-ctx.Done():
			return failure(ctx.Err())
		}
	}
	verb := verbs[wanted.Do]
	if verb == nil {
		return failure(fmt.Errorf("%q is no step", wanted.Do))
	}
	told, err := verb(r, ctx, wanted)
	if err != nil {
		return failure(err)
	}
	if told == nil {
		told = said{}
	}
	return said{"ok": told}
}

func failure(err error) said {
	var known *trunkline.Error
	if !errors.As(err, &known) {
		return said{"error": said{"code": "?", "message": err.Error()}}
	}
	return said{"error": said{"code": string(known.Reason), "message": known.Message, "retryable": known.Retryable(), "details": known.Metadata}}
}

var verbs map[string]func(*runner, context.Context, step) (said, error)

func init() {
	verbs = map[string]func(*runner, context.Context, step) (said, error){
		"connect_bus": (*runner).connectBus, "connect_state": (*runner).connectState, "reconnected": (*runner).wasReconnected,
		"reconnections": (*runner).reconnections,
		"close":         func(r *runner, _ context.Context, _ step) (said, error) { return nil, r.close() },
		"publish":       (*runner).publish, "subscribe": (*runner).subscribe, "expect": (*runner).expect, "lagged": (*runner).lagged,
		"trouble": (*runner).trouble, "settle": (*runner).settle, "go_on": (*runner).goOn, "drain": (*runner).drain,
		"respond": (*runner).respond, "request": (*runner).request, "request_stream": (*runner).requestStream,
		"save": (*runner).save, "get": (*runner).get, "delete": (*runner).remove, "page": (*runner).page, "list": (*runner).list,
		"watch": (*runner).watch, "changes": (*runner).changes,
		"decode": (*runner).decode, "encode": (*runner).encode,
	}
}

func (r *runner) options(wanted step) []trunkline.Option {
	options := []trunkline.Option{}
	if wanted.CA != "" {
		options = append(options, trunkline.WithTLS(trunkline.TLS{CA: wanted.CA}))
	}
	if wanted.Wait != nil && !*wanted.Wait {
		options = append(options, trunkline.WithoutWaiting())
	}
	timeout := patience
	if wanted.Timeout != 0 {
		timeout = seconds(wanted.Timeout)
	}
	return append(options, trunkline.WithConnectTimeout(timeout))
}

func seconds(number float64) time.Duration { return time.Duration(number * float64(time.Second)) }

func (r *runner) connectBus(ctx context.Context, wanted step) (said, error) {
	back := r.reconnected["bus"]
	bus, err := trunkline.ConnectBus(ctx, wanted.Address, append(r.options(wanted), trunkline.OnReconnected(func() { back <- struct{}{} }))...)
	r.bus = bus
	return nil, err
}

func (r *runner) connectState(ctx context.Context, wanted step) (said, error) {
	back := r.reconnected["state"]
	state, err := trunkline.ConnectState(ctx, wanted.Address, append(r.options(wanted), trunkline.OnReconnected(func() { back <- struct{}{} }))...)
	r.state = state
	return nil, err
}

func (r *runner) wasReconnected(ctx context.Context, wanted step) (said, error) {
	_, err := take(ctx, r.reconnected[wanted.Of])
	return nil, err
}

func (r *runner) reconnections(_ context.Context, wanted step) (said, error) {
	return said{"count": len(r.reconnected[wanted.Of])}, nil
}

// close ends the case.
func (r *runner) close() error {
	ended, cancel := context.WithCancel(context.Background())
	cancel() // what is held goes back at once
	if r.bus != nil {
		_ = r.bus.Close(ended) // says that it did not wait
	}
	if r.state != nil {
		r.state.Close()
	}
	r.reset()
	return nil
}

// take waits for the next of something.
func take[T any](ctx context.Context, from <-chan T) (T, error) {
	select {
	case came := <-from:
		return came, nil
	case <-ctx.Done():
		var none T
		return none, fmt.Errorf("it did not come within %v", patience)
	}
}
