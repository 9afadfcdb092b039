package trunkline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "trunkline/v1"
)

const errorDomain = "trunkline"

// Reason names what went wrong, as every client and the wire do. It is an error too, to be asked for:
// errors.Is(err, trunkline.NoResponders).
type Reason string

// The reasons. docs/errors.md says when each comes.
const (
	InvalidChannel       Reason = "INVALID_CHANNEL"
	InvalidMessage       Reason = "INVALID_MESSAGE"
	InvalidRecord        Reason = "INVALID_RECORD"
	InvalidAddress       Reason = "INVALID_ADDRESS"
	TLSFailed            Reason = "TLS"
	MessageTooLarge      Reason = "MESSAGE_TOO_LARGE"
	NoResponders         Reason = "NO_RESPONDERS"
	RequestTimeout       Reason = "REQUEST_TIMEOUT"
	RequestFailed        Reason = "REQUEST_FAILED"
	RequestCancelled     Reason = "REQUEST_CANCELLED"
	RequestNotFound      Reason = "REQUEST_NOT_FOUND"
	ResponderLost        Reason = "RESPONDER_LOST"
	TaskNotFound         Reason = "TASK_NOT_FOUND"
	NotFound             Reason = "NOT_FOUND"
	RevisionMismatch     Reason = "REVISION_MISMATCH"
	LeaseHeld            Reason = "LEASE_HELD"
	LeaseLost            Reason = "LEASE_LOST"
	StaleAck             Reason = "STALE_ACK"
	SubscriptionExists   Reason = "SUBSCRIPTION_EXISTS"
	SubscriptionNotFound Reason = "SUBSCRIPTION_NOT_FOUND"
	DeadLetterNotFound   Reason = "DEAD_LETTER_NOT_FOUND"
	Compacted            Reason = "COMPACTED"
	Overloaded           Reason = "OVERLOADED"
	Storage              Reason = "STORAGE"
	StorageUnavailable   Reason = "STORAGE_UNAVAILABLE"
	BusNotConnected      Reason = "BUS_NOT_CONNECTED"
	StateNotConnected    Reason = "STATE_NOT_CONNECTED"
	BusDisconnected      Reason = "BUS_DISCONNECTED"
	StateDisconnected    Reason = "STATE_DISCONNECTED"
	Unauthenticated      Reason = "UNAUTHENTICATED"
	KeysUnavailable      Reason = "KEYS_UNAVAILABLE"
	PermissionDenied     Reason = "PERMISSION_DENIED"
	Internal             Reason = "INTERNAL"
)

func (r Reason) Error() string { return string(r) }

// Error is what a service, or this package, says went wrong.
type Error struct {
	// Reason is the word for programs. One that a newer service made passes as it is.
	Reason Reason
	// Message is for people: what was wrong, naming the field and the value.
	Message string
	// Metadata has the figures, such as "size" and "limit", as text.
	Metadata map[string]string
	// Code is the status that a unary call ends with.
	Code codes.Code

	cause error
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %s", e.Reason, e.Message) }

// Is tells whether the error has a reason. A [RequestTimeout] is a context.DeadlineExceeded too, whoever noticed it.
func (e *Error) Is(target error) bool {
	if target == context.DeadlineExceeded {
		return e.Reason == RequestTimeout
	}
	reason, ok := target.(Reason)
	return ok && reason == e.Reason
}

// Unwrap returns what caused it here; nil where a service said it.
func (e *Error) Unwrap() error { return e.cause }

// GRPCStatus returns the error as gRPC has it.
func (e *Error) GRPCStatus() *status.Status {
	said := status.New(e.Code, e.Message)
	info := &errdetails.ErrorInfo{Reason: string(e.Reason), Domain: errorDomain, Metadata: e.Metadata}
	if detailed, err := said.WithDetails(info); err == nil {
		return detailed
	}
	return said
}

// Retryable tells whether the same call may succeed later without a change: the connection was lost, a limit was reached,
// whoever held a request is gone, or a handler said so of its failure. What became of a call whose connection was lost is
// not known: repeat it where it may be done twice.
func (e *Error) Retryable() bool {
	switch e.Reason {
	case BusDisconnected, StateDisconnected, Overloaded, StorageUnavailable, KeysUnavailable, NoResponders, RequestTimeout, ResponderLost:
		return true
	case RequestFailed:
		return e.Metadata["retryable"] == "true"
	}
	return false
}

// retryAfter returns for how long the service refused something, where it refused it for now.
func (e *Error) retryAfter() (wait time.Duration, isForNow bool) {
	seconds, err := strconv.ParseFloat(e.Metadata["retry_after"], 64)
	if e.Reason != Overloaded || err != nil || !(seconds >= 0) {
		return 0, false
	}
	return time.Duration(min(seconds, maxRequest.Seconds()) * float64(time.Second)), true
}

// Retryable tells whether an error is one of this package after which the same call may succeed; see [Error.Retryable].
func Retryable(err error) bool {
	var said *Error
	return errors.As(err, &said) && said.Retryable()
}

func newError(reason Reason, code codes.Code, format string, values ...any) *Error {
	return &Error{Reason: reason, Code: code, Message: fmt.Sprintf(format, values...)}
}

func (e *Error) with(pairs ...string) *Error {
	if e.Metadata == nil {
		e.Metadata = make(map[string]string, len(pairs)/2)
	}
	for at := 0; at+1 < len(pairs); at += 2 {
		e.Metadata[pairs[at]] = pairs[at+1]
	}
	return e
}

func (e *Error) because(cause error) *Error {
	e.cause = cause
	return e
}

func invalid(reason Reason, field, value, format string, values ...any) *Error {
	return newError(reason, codes.InvalidArgument, format, values...).with("field", field, "value", value)
}

// fromItem returns what a service said of one item of a stream.
func fromItem(item *pb.Error) *Error {
	return &Error{
		Reason: Reason(item.GetReason()), Message: item.GetMessage(), Metadata: maps.Clone(item.GetMetadata()),
		Code: codes.Code(item.GetCode()), //nolint:gosec // a canonical code
	}
}

// fromCall returns the error of a call as this package has it. `lost` is the reason where the service cannot be reached.
// The end of the caller's own context stays what it is.
func fromCall(ctx context.Context, err error, lost Reason) error {
	if err == nil {
		return nil
	}
	if known := (*Error)(nil); errors.As(err, &known) {
		return err
	}
	said := status.Convert(err)
	for _, detail := range said.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.GetDomain() == errorDomain {
			return &Error{
				Reason: Reason(info.GetReason()), Message: said.Message(), Metadata: maps.Clone(info.GetMetadata()),
				Code: said.Code(),
			}
		}
	}
	if ctx.Err() != nil && (said.Code() == codes.Canceled || said.Code() == codes.DeadlineExceeded) {
		return contextError(ctx)
	}
	name := []string{"grpc_status", statusName(said.Code())}
	switch said.Code() {
	case codes.Unavailable, codes.Canceled:
		return newError(lost, codes.Unavailable, "the service is unavailable: %s", said.Message()).with(name...).because(err)
	case codes.DeadlineExceeded:
		return newError(RequestTimeout, said.Code(), "no answer came before the deadline").with(name...).because(err)
	case codes.ResourceExhausted:
		if strings.Contains(said.Message(), "message larger than max") || strings.Contains(said.Message(), "Sent message larger") {
			return newError(MessageTooLarge, codes.InvalidArgument, "over gRPC's size limit: %s", said.Message()).with(name...)
		}
		return newError(Overloaded, said.Code(), "%s", said.Message()).with(name...)
	}
	return newError(Reason(statusName(said.Code())), said.Code(), "%s", said.Message()).with(name...).because(err)
}

// contextError returns why a context ended: a deadline is a [RequestTimeout].
func contextError(ctx context.Context) error {
	cause := context.Cause(ctx)
	if known := (*Error)(nil); errors.As(cause, &known) {
		return cause
	}
	if errors.Is(cause, context.DeadlineExceeded) {
		return newError(RequestTimeout, codes.DeadlineExceeded, "no answer came before the deadline").because(cause)
	}
	return cause
}

// statusName returns a code's canonical name, such as INVALID_ARGUMENT.
func statusName(code codes.Code) string {
	if code == codes.Canceled {
		return "CANCELLED"
	}
	var name strings.Builder
	for at, letter := range code.String() {
		if at > 0 && letter >= 'A' && letter <= 'Z' && code != codes.OK {
			name.WriteByte('_')
		}
		name.WriteRune(letter)
	}
	return strings.ToUpper(name.String())
}
