package trunkline

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// patience is how long tests wait for what must happen: only a test that fails waits for so long.
const patience = 60 * time.Second

// program is a real service in a process of its own.
type program struct {
	t       *testing.T
	command []string
	address string
	process *exec.Cmd
	input   io.Closer
}

// python is the interpreter that has the services: TRUNKLINE_PYTHON, or the checkout's own.
func python(t *testing.T) string {
	t.Helper()
	if named := os.Getenv("TRUNKLINE_PYTHON"); named != "" {
		return named
	}
	found, err := filepath.Abs(filepath.Join("..", "..", ".venv", "bin", "python"))
	if err == nil {
		_, err = os.Stat(found)
	}
	if err != nil {
		t.Fatalf("no Python with the services: run make install, or set TRUNKLINE_PYTHON (%v)", err)
	}
	return found
}

// start starts a bus or a state service, and ends it with the test.
func start(t *testing.T, name string, options ...string) *program {
	t.Helper()
	p := &program{t: t, address: "127.0.0.1:0"}
	p.command = append([]string{python(t), "-m", "trunklined", name, "--log-format", "json", "--end-with-stdin"}, options...)
	p.start()
	t.Cleanup(p.kill)
	return p
}

// start returns when the program serves. Started again, it serves at the same address.
func (p *program) start() {
	p.t.Helper()
	p.process = exec.Command(p.command[0], append(p.command[1:], "--address", p.address)...)
	input, err := p.process.StdinPipe()
	must(p.t, err)
	output, err := p.process.StderrPipe()
	must(p.t, err)
	must(p.t, p.process.Start())
	p.input = input
	ready := make(chan string, 1)
	go func() {
		defer close(ready)
		for lines := bufio.NewScanner(output); lines.Scan(); {
			var said struct{ Event, Address string }
			if json.Unmarshal(lines.Bytes(), &said) == nil && said.Event == "ready" {
				ready <- said.Address
			}
		}
	}()
	select {
	case address, ok := <-ready:
		if !ok {
			p.t.Fatalf("%v ended before it served", p.command)
		}
		p.address = address
	case <-time.After(patience):
		p.t.Fatalf("%v never served", p.command)
	}
}

// kill ends it with SIGKILL.
func (p *program) kill() {
	if p.process == nil {
		return
	}
	_ = p.process.Process.Kill() // it may have ended
	_ = p.process.Wait()         // says that it was killed
	_ = p.input.Close()
	p.process = nil
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// patient is a context that only a test that fails waits out.
func patient(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func next[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case came := <-from:
		return came
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic("not reached")
	}
}

func connectBus(t *testing.T, at string, options ...Option) *Bus {
	t.Helper()
	bus, err := ConnectBus(patient(t), at, options...)
	must(t, err)
	t.Cleanup(func() { bus.end() })
	return bus
}

func connectState(t *testing.T, at string) *State {
	t.Helper()
	state, err := ConnectState(patient(t), at)
	must(t, err)
	t.Cleanup(state.Close)
	return state
}
