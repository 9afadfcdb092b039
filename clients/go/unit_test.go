package trunkline

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "trunkline/v1"
)

func TestAddresses(t *testing.T) {
	for _, good := range []string{"127.0.0.1:7431", "[::1]:7431", "bus.example:1", "tls://bus:7431", "unix:/run/bus.sock", "unix:bus.sock"} {
		if err := address(good).check(); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", "bus", "bus:", ":7431", "bus:0", "bus:65536", "http://bus:80", "::1:7431", "unix:", "unix:" + strings.Repeat("x", 108), "a b:1"} {
		if _, err := ConnectBus(patient(t), bad); !errors.Is(err, InvalidAddress) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestChannels(t *testing.T) {
	for channel, is := range map[string]struct{ channel, pattern bool }{
		"a": {true, true}, "a:b-1_.c": {true, true}, "a:*": {false, true}, ">": {false, true}, "a:>": {false, true},
		"": {}, ":": {}, "a::b": {}, "a:>:b": {}, "a b": {}, "ä": {}, "a:b*": {}, strings.Repeat("x", 256): {},
	} {
		if got := checkChannel(channel, false) == nil; got != is.channel {
			t.Errorf("channel %q: %v", channel, got)
		}
		if got := checkChannel(channel, true) == nil; got != is.pattern {
			t.Errorf("pattern %q: %v", channel, got)
		}
	}
}

func TestMessagesThatCannotBe(t *testing.T) {
	zero := int32(0)
	for _, bad := range []*Message{
		nil, {Priority: 9}, {TtlSeconds: &zero}, {OrderingKey: strings.Repeat("x", 256)}, {SenderId: "\xff"},
		{Timestamp: &timestamppb.Timestamp{Nanos: -1}}, {DeliverAt: timestamppb.Now()},
	} {
		err := (&Bus{}).Publish(context.Background(), "a", bad)
		if bad != nil && err == nil || !errors.Is(err, InvalidMessage) {
			t.Errorf("%v: %v", bad, err)
		}
	}
	if err := Decode(&Message{Payload: &pb.Message_Json{Json: "{} {}"}}, &struct{}{}); !errors.Is(err, InvalidMessage) {
		t.Error(err)
	}
	var any any
	if err := Decode(&Message{Payload: &pb.Message_Json{Json: "9007199254740993"}}, &any); err != nil || Text(JSON(any)) == nil ||
		string(Text(JSON(any))) != "9007199254740993" {
		t.Error(err, any)
	}
}

func TestErrorsKeepTheirReasonOverGRPC(t *testing.T) {
	made := newError(RevisionMismatch, codes.Aborted, "it is 5").with("actual", "5")
	back := fromCall(context.Background(), status.ErrorProto(made.GRPCStatus().Proto()), StateDisconnected)
	var said *Error
	if !errors.As(back, &said) || said.Reason != RevisionMismatch || said.Metadata["actual"] != "5" || said.Retryable() {
		t.Fatalf("%#v", back)
	}
	for code, reason := range map[codes.Code]Reason{
		codes.Unavailable: BusDisconnected, codes.Canceled: BusDisconnected, codes.DeadlineExceeded: RequestTimeout,
		codes.ResourceExhausted: Overloaded, codes.Unimplemented: "UNIMPLEMENTED", codes.DataLoss: "DATA_LOSS",
	} {
		if err := fromCall(context.Background(), status.Error(code, "x"), BusDisconnected); !errors.Is(err, reason) {
			t.Errorf("%v: %v", code, err)
		}
	}
}

func TestATokenNeverGoesOverAnOpenNetwork(t *testing.T) {
	token := WithToken(func(context.Context) (string, error) { return "secret", nil })
	_, err := ConnectBus(patient(t), "192.0.2.1:7431", token)
	if !errors.Is(err, TLSFailed) || strings.Contains(err.Error(), "secret") {
		t.Fatal(err)
	}
}

func TestAServiceThatIsAwayIsSaidAtOnce(t *testing.T) {
	listening, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	at := listening.Addr().String()
	must(t, listening.Close())
	if _, err := ConnectBus(patient(t), at, WithoutWaiting(), WithConnectTimeout(patience)); !errors.Is(err, BusDisconnected) {
		t.Fatal(err)
	}
	if _, err := ConnectState(patient(t), at, WithConnectTimeout(50*time.Millisecond)); !errors.Is(err, StateDisconnected) {
		t.Fatal(err)
	}
}

func TestAWatchThatBeginsAgainRepeatsNothing(t *testing.T) {
	saved := func(id string, revision int64) Change {
		return Change{Type: Saved, Kind: AgentStates, ID: id, Revision: revision}
	}
	cursor := newWatchCursor(&pb.WatchRequest{})
	cursor.begin()
	if len(cursor.take(saved("a", 1))) != 1 || len(cursor.take(saved("b", 2))) != 1 {
		t.Fatal("records are given")
	}
	cursor.begin() // the stream was lost before it was synced
	if len(cursor.take(saved("a", 1))) != 0 || len(cursor.take(saved("c", 3))) != 1 {
		t.Fatal("what was given is left out")
	}
	told := cursor.take(Change{Type: Synced, Revision: 4})
	if len(told) != 2 || told[0].Type != Deleted || told[0].ID != "b" || told[1].Type != Synced || *cursor.after != 4 {
		t.Fatal(told)
	}
	if len(cursor.take(saved("a", 6))) != 1 || *cursor.after != 6 {
		t.Fatal("changes follow")
	}
}
