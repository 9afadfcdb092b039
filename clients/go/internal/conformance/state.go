package main

import (
	"context"

	"trunkline"
)

// watch is what a watch reports.
type watch struct {
	came chan reported
}

type reported struct {
	change trunkline.Change
	err    error
}

func (r *runner) save(ctx context.Context, wanted step) (said, error) {
	options := []trunkline.SaveOption{}
	if wanted.Expected != nil {
		options = append(options, trunkline.ExpectRevision(*wanted.Expected))
	}
	revision, err := trunkline.Save(ctx, r.state, wanted.Record.state(), options...)
	return said{"revision": revision}, err
}

func (r *runner) get(ctx context.Context, wanted step) (said, error) {
	found, err := r.state.Get(ctx, trunkline.AgentStates, wanted.ID)
	if err != nil {
		return nil, err
	}
	return said{"record": recordOf(found.GetAgentState()), "revision": found.GetRevision()}, nil
}

func (r *runner) remove(ctx context.Context, wanted step) (said, error) {
	deleted, err := r.state.Delete(ctx, trunkline.AgentStates, wanted.ID)
	return said{"deleted": deleted}, err
}

func filterOf(wanted step) *trunkline.Filter { return &trunkline.Filter{Status: wanted.Status} }

func (r *runner) page(ctx context.Context, wanted step) (said, error) {
	records, token, err := r.state.Page(ctx, trunkline.AgentStates, filterOf(wanted), wanted.Size, wanted.Token)
	if err != nil {
		return nil, err
	}
	ids := []string{}
	for _, each := range records {
		ids = append(ids, each.GetAgentState().GetAgentId())
	}
	return said{"ids": ids, "token": token}, nil
}

func (r *runner) list(ctx context.Context, wanted step) (said, error) {
	ids := []string{}
	for each, err := range r.state.List(ctx, trunkline.AgentStates, filterOf(wanted)) {
		if err != nil {
			return nil, err
		}
		ids = append(ids, each.GetAgentState().GetAgentId())
	}
	return said{"ids": ids}, nil
}

func (r *runner) watch(_ context.Context, wanted step) (said, error) {
	options := []trunkline.WatchOption{}
	if wanted.After != nil {
		options = append(options, trunkline.AfterRevision(*wanted.After))
	}
	if wanted.Status != "" {
		options = append(options, trunkline.Matching(filterOf(wanted)))
	}
	made := &watch{came: make(chan reported, 10_000)}
	r.watches[wanted.Name] = made
	changes := r.state.Watch(context.Background(), []trunkline.Kind{trunkline.AgentStates}, options...)
	go func() {
		for change, err := range changes { // ends with the state
			made.came <- reported{change, err}
		}
	}()
	return nil, nil
}

func (r *runner) changes(ctx context.Context, wanted step) (said, error) {
	told := []said{}
	for range max(wanted.Count, 1) {
		came, err := take(ctx, r.watches[wanted.From].came)
		if err == nil {
			err = came.err
		}
		if err != nil {
			return nil, err
		}
		one := said{"type": came.change.Type.String(), "id": came.change.ID}
		if came.change.Record != nil {
			one["record"] = recordOf(came.change.Record.GetAgentState())
		}
		told = append(told, one)
	}
	return said{"changes": told}, nil
}
