// Command measure is an agent that measures texts: it does tasks that wait in a durable subscription, answers requests, and
// keeps each result in the state service, where a watch sees it.
//
//	measure [BUS [STATE]]
//
// Each address is host:port, tls://host:port or unix:/path; of a sidecar, the same for both.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"

	"trunkline"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, argument(1, "127.0.0.1:7431"), argument(2, "127.0.0.1:7432")); err != nil {
		log.Fatal(err)
	}
}

func argument(at int, otherwise string) string {
	if len(os.Args) > at {
		return os.Args[at]
	}
	return otherwise
}

type text struct{ Name, Source string }

func run(ctx context.Context, busAddress, stateAddress string) error {
	bus, err := trunkline.ConnectBus(ctx, busAddress)
	if err != nil {
		return err
	}
	state, err := trunkline.ConnectState(ctx, stateAddress)
	if err != nil {
		return errors.Join(err, bus.Close(ctx))
	}
	defer state.Close()

	_, err = bus.Respond(ctx, "measure:ask", func(_ context.Context, request *trunkline.Request) (*trunkline.Message, error) {
		var asked text
		if err := request.Decode(&asked); err != nil {
			return nil, err // whoever asked hears why
		}
		return trunkline.JSON(map[string]int{"lines": lines(asked)}), nil
	})
	if err != nil {
		return errors.Join(err, bus.Close(ctx))
	}

	_, err = bus.SubscribeDurable(ctx, "measure:tasks", "measure", func(ctx context.Context, task *trunkline.Leased) error {
		var given text
		if err := task.Decode(&given); err != nil {
			return task.Terminate(err.Error())
		}
		_, err := trunkline.Save(ctx, state, &trunkline.TaskResult{
			TaskId: given.Name, AgentId: "measure-go", Status: "completed",
			OutputDataJson: fmt.Sprintf(`{"lines": %d}`, lines(given)),
		})
		return err
	})
	if err != nil {
		return errors.Join(err, bus.Close(ctx))
	}

	fmt.Println("ready")
	<-ctx.Done()
	return bus.Close(context.Background())
}

func lines(of text) int { return strings.Count(of.Source, "\n") }
