package trunkline

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
)

func agent(n int) *AgentState {
	return &AgentState{AgentId: fmt.Sprintf("agent-%03d", n), AgentType: "coding", Status: "idle"}
}

func TestRecordsAreKeptWithRevisions(t *testing.T) {
	state := connectState(t, start(t, "state", "--engine", "memory").address)
	ctx := patient(t)
	if _, err := state.Get(ctx, AgentStates, "nobody"); !errors.Is(err, NotFound) {
		t.Fatal(err)
	}
	revision, err := Save(ctx, state, agent(1), ExpectRevision(0))
	must(t, err)
	_, err = Save(ctx, state, agent(1), ExpectRevision(revision+5))
	var said *Error
	if !errors.As(err, &said) || said.Reason != RevisionMismatch || said.Metadata["actual"] != fmt.Sprint(revision) {
		t.Fatal(err)
	}
	record, err := state.Get(ctx, AgentStates, "agent-001")
	must(t, err)
	if record.GetRevision() != revision || record.GetAgentState().GetCreatedAt() == nil {
		t.Fatal(record)
	}
	if record.GetWrittenBy() == "" || record.GetWrittenAt() == nil {
		t.Fatal(record)
	}
	outcomes, err := state.Batch(ctx, false, SaveOf(agent(2)), SaveOf(agent(1), ExpectRevision(0)))
	must(t, err)
	if outcomes[0].Err() != nil || !errors.Is(outcomes[1].Err(), RevisionMismatch) {
		t.Fatal(outcomes)
	}
	deleted, err := state.Delete(ctx, AgentStates, "agent-001")
	must(t, err)
	again, err := state.Delete(ctx, AgentStates, "agent-001")
	must(t, err)
	if !deleted || again {
		t.Fatal(deleted, again)
	}
}

func TestListsComeByPages(t *testing.T) {
	state := connectState(t, start(t, "state", "--engine", "memory").address)
	ctx := patient(t)
	for n := range 25 {
		_, err := Save(ctx, state, agent(n))
		must(t, err)
	}
	var ids []string
	for token := ""; ; {
		records, next, err := state.Page(ctx, AgentStates, &Filter{Type: "coding"}, 10, token)
		must(t, err)
		for _, each := range records {
			ids = append(ids, each.GetAgentState().GetAgentId())
		}
		if token = next; token == "" {
			break
		}
	}
	at := 0
	for record, err := range state.List(ctx, AgentStates, nil) {
		must(t, err)
		if record.GetAgentState().GetAgentId() != ids[at] {
			t.Fatal(ids)
		}
		at++
	}
	if at != 25 || len(ids) != 25 {
		t.Fatal(at, ids)
	}
	if _, _, err := state.Page(ctx, AgentStates, nil, 10, "never given"); !errors.Is(err, InvalidRecord) {
		t.Fatal(err)
	}
}

func TestAWatchOutlivesItsService(t *testing.T) {
	server := start(t, "state", "--path", filepath.Join(t.TempDir(), "state.db"))
	state := connectState(t, server.address)
	watching, cancel := context.WithCancel(patient(t))
	ctx := patient(t)
	_, err := Save(ctx, state, agent(0))
	must(t, err)
	changes, ended := make(chan Change, 64), make(chan error, 1)
	go func() {
		for change, err := range state.Watch(watching, []Kind{AgentStates}) {
			if err != nil {
				ended <- err
				return
			}
			changes <- change
		}
	}()
	if first := next(t, (<-chan Change)(changes)); first.Type != Saved || first.ID != "agent-000" {
		t.Fatal(first)
	}
	if second := next(t, (<-chan Change)(changes)); second.Type != Synced {
		t.Fatal(second)
	}
	server.kill()
	server.start()
	for n := 1; n < 4; n++ {
		_, err := Save(ctx, state, agent(n)) // waits for the connection
		must(t, err)
	}
	for n := 1; n < 4; n++ {
		got := next(t, (<-chan Change)(changes))
		if got.Type != Saved || got.ID != agent(n).AgentId {
			t.Fatalf("%v came where %d was due", got, n)
		}
		if got.WrittenBy != got.Record.GetWrittenBy() || got.WrittenBy == "" {
			t.Fatal(got)
		}
	}
	_, err = state.Delete(ctx, AgentStates, "agent-001")
	must(t, err)
	if got := next(t, (<-chan Change)(changes)); got.Type != Deleted || got.WrittenBy == "" || got.WrittenAt.IsZero() {
		t.Fatal(got)
	}
	cancel()
	if err := next(t, (<-chan error)(ended)); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}
