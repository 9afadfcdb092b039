package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"trunkline"
)

// received is what a subscription got.
type received struct {
	subscription *trunkline.Subscription
	came         chan delivery
	lagged       chan int64
	trouble      chan error
	goesOn       chan struct{} // closed when its handler holds nothing any more
	once         sync.Once

	held []delivery // what was expected, and is not settled
}

// delivery is one message at a handler, which waits until it is settled.
type delivery struct {
	message *trunkline.Received
	leased  *trunkline.Leased
	attempt int
	settled chan struct{}
}

func (r *runner) publish(ctx context.Context, wanted step) (said, error) {
	messages := make([]*trunkline.Message, len(wanted.Messages))
	for at, each := range wanted.Messages {
		messages[at] = each.message()
	}
	if !wanted.Stored {
		if err := r.bus.Publish(ctx, wanted.Channel, messages...); err != nil {
			return nil, err
		}
		return nil, r.bus.Flush(ctx)
	}
	receipts, err := r.bus.PublishStored(ctx, wanted.Channel, messages...)
	if err != nil {
		return nil, err
	}
	told := make([]said, len(receipts))
	for at, each := range receipts {
		told[at] = said{"sequence": each.GetSequence(), "duplicate": each.GetDuplicate(), "durability": each.GetDurability().String()[len("DURABILITY_"):]}
	}
	return said{"receipts": told}, nil
}

func (r *runner) subscribe(ctx context.Context, wanted step) (said, error) {
	got := &received{
		came: make(chan delivery, 100_000), lagged: make(chan int64, 1000), trouble: make(chan error, 1000), goesOn: make(chan struct{}),
	}
	options := []trunkline.SubscribeOption{trunkline.OnError(func(err error) { got.trouble <- err })}
	if wanted.Group != "" {
		options = append(options, trunkline.Group(wanted.Group))
	}
	if wanted.Credit != 0 {
		options = append(options, trunkline.Credit(wanted.Credit))
	}
	if wanted.Concurrency != 0 {
		options = append(options, trunkline.Concurrency(wanted.Concurrency))
	}
	hold := func(ctx context.Context, came delivery) error {
		came.settled = make(chan struct{})
		got.came <- came
		time.Sleep(seconds(wanted.Takes))
		if wanted.Fail != nil {
			return errors.New(wanted.Fail.Text)
		}
		if wanted.Hold {
			select {
			case <-came.settled:
			case <-got.goesOn:
			case <-ctx.Done():
			}
		}
		return nil
	}
	var err error
	if wanted.Durable == "" {
		options = append(options, trunkline.OnLagged(func(dropped int64) { got.lagged <- dropped }))
		got.subscription, err = r.bus.Subscribe(ctx, wanted.Pattern, func(ctx context.Context, came *trunkline.Received) error {
			return hold(ctx, delivery{message: came})
		}, options...)
	} else {
		if wanted.AckWait != 0 {
			options = append(options, trunkline.AckWait(seconds(wanted.AckWait), 0))
		}
		got.subscription, err = r.bus.SubscribeDurable(ctx, wanted.Pattern, wanted.Durable, func(ctx context.Context, came *trunkline.Leased) error {
			return hold(ctx, delivery{message: &came.Received, leased: came, attempt: came.Attempt})
		}, options...)
	}
	r.subscriptions[wanted.Name] = got
	return nil, err
}

func (r *runner) expect(ctx context.Context, wanted step) (said, error) {
	got := r.subscriptions[wanted.From]
	told := []said{}
	for range max(wanted.Count, 1) {
		came, err := take(ctx, got.came)
		if err != nil {
			return nil, err
		}
		got.held = append(got.held, came)
		one := said{"channel": came.message.Channel, "message": messageOf(came.message.Message)}
		if came.leased != nil {
			one["attempt"], one["sequence"] = came.attempt, came.message.Sequence
		}
		told = append(told, one)
	}
	return said{"messages": told}, nil
}

func (r *runner) lagged(ctx context.Context, wanted step) (said, error) {
	dropped, err := take(ctx, r.subscriptions[wanted.From].lagged)
	return said{"dropped": dropped}, err
}

func (r *runner) trouble(ctx context.Context, wanted step) (said, error) {
	why, err := take(ctx, r.subscriptions[wanted.From].trouble)
	if err == nil {
		err = why
	}
	return nil, err
}

// settle settles the oldest message that was expected.
func (r *runner) settle(_ context.Context, wanted step) (said, error) {
	got := r.subscriptions[wanted.From]
	first := got.held[0]
	got.held = got.held[1:]
	defer close(first.settled)
	switch wanted.Name {
	case "ack":
		return nil, first.leased.Ack()
	case "nak":
		return nil, first.leased.Nak(errors.New(wanted.Reason), 0)
	case "terminate":
		return nil, first.leased.Terminate(wanted.Reason)
	}
	return nil, errors.New("want ack, nak or terminate")
}

func (r *runner) goOn(_ context.Context, wanted step) (said, error) {
	got := r.subscriptions[wanted.From]
	got.once.Do(func() { close(got.goesOn) })
	return nil, nil
}

func (r *runner) drain(ctx context.Context, wanted step) (said, error) {
	return nil, r.subscriptions[wanted.From].subscription.Drain(ctx)
}

func (r *runner) respond(ctx context.Context, wanted step) (said, error) {
	_, err := r.bus.Respond(ctx, wanted.Pattern, func(ctx context.Context, request *trunkline.Request) (*trunkline.Message, error) {
		if wanted.Fail != nil {
			return nil, &trunkline.Failure{Code: wanted.Fail.Code, Text: wanted.Fail.Text, Retryable: wanted.Fail.Retryable}
		}
		if wanted.Hold {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		time.Sleep(seconds(wanted.Takes))
		for n := range wanted.Parts {
			if n == 0 {
				if err := request.Progress(0.5, "ж"); err != nil {
					return nil, err
				}
			}
			if err := request.Part(ctx, trunkline.JSON(map[string]int{"n": n})); err != nil {
				return nil, err
			}
		}
		return &trunkline.Message{Payload: request.GetPayload(), SenderId: "responder"}, nil
	})
	return nil, err
}

func (r *runner) request(ctx context.Context, wanted step) (said, error) {
	options := []trunkline.RequestOption{trunkline.Timeout(seconds(wanted.Timeout))}
	if wanted.WaitForResponder {
		options = append(options, trunkline.WaitForResponder())
	}
	reply, err := r.bus.Request(ctx, wanted.Channel, wanted.Message.message(), options...)
	if err != nil {
		return nil, err
	}
	return said{"message": messageOf(reply.Message)}, nil
}

// requestStream tells the events that came: each kind with how many came in a row, the last part and the end.
func (r *runner) requestStream(ctx context.Context, wanted step) (said, error) {
	told, runs := said{}, [][2]any{}
	for event, err := range r.bus.RequestStream(ctx, wanted.Channel, wanted.Message.message(), trunkline.Timeout(seconds(wanted.Timeout))) {
		if err != nil {
			return nil, err
		}
		kind := ""
		switch {
		case event.GetAccepted() != nil:
			kind = "accepted"
		case event.GetProgress() != nil:
			kind = "progress"
			told["progress"] = said{"fraction": event.GetProgress().GetFraction(), "text": event.GetProgress().GetText()}
		case event.GetPart() != nil:
			kind = "part"
			told["part"] = messageOf(event.GetPart().GetMessage())
		case event.GetResult() != nil:
			kind = "result"
			told["end"] = messageOf(event.GetResult().GetMessage())
		case event.GetFailure() != nil:
			kind = "failure"
			failure := event.GetFailure()
			told["end"] = said{"code": failure.GetCode(), "text": failure.GetText(), "retryable": failure.GetRetryable()}
		case event.GetCancelled() != nil:
			kind = "cancelled"
		}
		if last := len(runs) - 1; last >= 0 && runs[last][0] == kind {
			runs[last][1] = runs[last][1].(int) + 1
		} else {
			runs = append(runs, [2]any{kind, 1})
		}
		if kind == wanted.LeaveAt {
			break
		}
	}
	told["events"] = runs
	return told, nil
}

func timeOf(text string) time.Time {
	parsed, err := time.Parse(time.RFC3339Nano, text)
	check(err)
	return parsed
}
