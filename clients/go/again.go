package trunkline

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// again makes a call, and makes it again when the service says, where that refuses it for now. Where that would not be before the
// context's deadline, it fails at once with what the service said. `closing` ends when the client is closed.
func again[T any](ctx, closing context.Context, call func() (T, error)) (T, error) {
	for {
		answered, err := call()
		wait, isForNow := waitOf(err)
		if !isForNow {
			return answered, err
		}
		if err := pause(ctx, closing, time.Now().Add(wait), err); err != nil {
			return answered, err
		}
	}
}

// pause waits until a time that the service has said, with an error. It returns that error at once where the context's deadline
// comes first, and why where the context or the client ends meanwhile.
func pause(ctx, closing context.Context, until time.Time, said error) error {
	wait := time.Until(until)
	if wait <= 0 {
		return nil
	}
	if deadline, has := ctx.Deadline(); has && !until.Before(deadline) {
		return said
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return contextError(ctx)
	case <-closing.Done():
		return context.Cause(closing)
	}
}

// waitOf returns for how long a service refused something, where it refused it for now.
func waitOf(err error) (wait time.Duration, isForNow bool) {
	var said *Error
	if !errors.As(err, &said) {
		return 0, false
	}
	return said.retryAfter()
}

// delay returns for how long what has failed is not tried again: at random, and at least for as long as the service said.
func delay(bound time.Duration, why error) time.Duration {
	wait, _ := waitOf(why)
	return max(wait, rand.N(bound)+1)
}
