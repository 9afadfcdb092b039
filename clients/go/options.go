package trunkline

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

const (
	kib = 1024
	mib = 1024 * kib

	defaultMaxMessage = 4 * mib
	maxFrameBytes     = 64 * mib // of one gRPC message of many
	frameBytes        = 256 * kib
	frameMessages     = 512
	bufferBytes       = 4 * mib // what Publish takes before it waits for the service
	windowMessages    = 8192    // what a live subscription is sent ahead
	maxSettled        = 10_000  // sequences that one frame names
	maxReported       = 1_000   // events that one answer brings

	reconnectMin      = 50 * time.Millisecond
	reconnectMax      = 5 * time.Second
	keepaliveInterval = 20 * time.Second
	keepaliveTimeout  = 10 * time.Second

	defaultConnect = 5 * time.Second
	defaultCall    = 30 * time.Second
	maxRequest     = 24 * time.Hour

	maxClientName = 255 // characters
)

// Option says how a connection is made.
type Option func(*options)

type options struct {
	tls             *TLS
	token           func(context.Context) (string, error)
	bearer          *bearer // of the connection; nil: no token
	clientName      string
	connectTimeout  time.Duration
	maxMessageBytes int
	wait            bool
	log             *slog.Logger
	onDisconnected  func(error)
	onReconnected   func()
}

// WithTLS says what is trusted and shown at a tls:// address. Without it, the environment does; see [TLS].
func WithTLS(trusted TLS) Option { return func(o *options) { o.tls = &trusted } }

// WithToken sends a bearer token with each call, which is asked for anew each time. Default: TRUNKLINE_TOKEN, or what the
// file has that TRUNKLINE_TOKEN_FILE names, read anew each time. It goes over TLS, to a UNIX socket or to loopback alone:
// elsewhere connecting fails.
func WithToken(token func(context.Context) (string, error)) Option {
	return func(o *options) { o.token = token }
}

// WithClientName says what this client is called, for people: subscriptions, leases and records that it wrote show it, also
// after a reconnect. It proves nothing. At most 255 characters that can be printed. Default: TRUNKLINE_CLIENT_NAME, else the
// host's name and the process.
func WithClientName(name string) Option { return func(o *options) { o.clientName = name } }

// WithConnectTimeout says how long connecting may take, where the service refuses it for now, too. Default: 5 s, or until the
// context ends.
func WithConnectTimeout(timeout time.Duration) Option {
	return func(o *options) { o.connectTimeout = timeout }
}

// WithMaxMessageBytes says how large one encoded message may be; the service has its own limit. Default: 4 MiB.
func WithMaxMessageBytes(limit int) Option { return func(o *options) { o.maxMessageBytes = limit } }

// WithoutWaiting lets connecting fail at once where the service cannot be reached. Default: it is waited for.
func WithoutWaiting() Option { return func(o *options) { o.wait = false } }

// WithLogger says where what nobody is told otherwise goes. Default: slog.Default().
func WithLogger(log *slog.Logger) Option { return func(o *options) { o.log = log } }

// OnDisconnected is called with the reason when the connection is lost. It is restored when the callback has returned, so
// this must neither wait nor close it.
func OnDisconnected(told func(error)) Option { return func(o *options) { o.onDisconnected = told } }

// OnReconnected is called when the connection is back, after subscriptions were asked for again. Nothing is read before it has
// returned.
func OnReconnected(told func()) Option { return func(o *options) { o.onReconnected = told } }

func newOptions(given []Option) *options {
	made := &options{connectTimeout: defaultConnect, maxMessageBytes: defaultMaxMessage, wait: true}
	for _, each := range given {
		each(made)
	}
	if made.log == nil {
		made.log = slog.Default()
	}
	if made.clientName == "" {
		made.clientName = os.Getenv("TRUNKLINE_CLIENT_NAME")
	}
	if made.clientName == "" {
		host, _ := os.Hostname() // only a default for people
		made.clientName = fmt.Sprintf("%s:%d", host, os.Getpid())
	}
	return made
}

// dial makes the gRPC connection to an address; nothing is sent yet. `trusted` is nil without TLS.
func (o *options) dial(at address, lost Reason) (connection *grpc.ClientConn, trusted *tls.Config, err error) {
	if err := at.check(); err != nil {
		return nil, nil, err
	}
	if name := o.clientName; utf8.RuneCountInString(name) > maxClientName || strings.ContainsFunc(name, isUnprintable) {
		return nil, nil, invalid(InvalidMessage, "client_name", name, "client_name is %q, it must be 1 to %d characters that can be printed",
			name, maxClientName)
	}
	carried := insecure.NewCredentials()
	if at.isTLS() {
		given := TLS{}
		if o.tls != nil {
			given = *o.tls
		}
		if trusted, err = given.orEnvironment().config(at); err != nil {
			return nil, nil, err
		}
		carried = credentials.NewTLS(trusted)
	} else if o.tls != nil {
		return nil, nil, tlsError(at, "tls_required", "WithTLS is given, and it is called without: write tls://host:port")
	}
	dialing := []grpc.DialOption{
		grpc.WithTransportCredentials(carried),
		grpc.WithPerRPCCredentials(called(o.clientName)),
		grpc.WithNoProxy(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxFrameBytes), grpc.MaxCallSendMsgSize(maxFrameBytes)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: reconnectMin, Multiplier: 2, Jitter: 0.5, MaxDelay: reconnectMax},
			MinConnectTimeout: defaultConnect,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: keepaliveInterval, Timeout: keepaliveTimeout, PermitWithoutStream: true,
		}),
		grpc.WithInitialWindowSize(4 * mib), grpc.WithInitialConnWindowSize(8 * mib),
		grpc.WithUnaryInterceptor(func(
			ctx context.Context, method string, request, reply any, on *grpc.ClientConn, invoke grpc.UnaryInvoker,
			calling ...grpc.CallOption,
		) error {
			return fromCall(ctx, invoke(ctx, method, request, reply, on, calling...), lost)
		}),
	}
	token := o.token
	if token == nil {
		if token, err = environmentToken(); err != nil {
			return nil, nil, err
		}
	}
	if token != nil {
		if !at.isTLS() && !at.isLoopback() {
			return nil, nil, tlsError(at, "tls_required", "a token goes over TLS, a UNIX socket or loopback alone: write tls://host:port")
		}
		o.bearer = &bearer{ask: token}
		dialing = append(dialing, grpc.WithPerRPCCredentials(o.bearer))
	}
	connection, err = grpc.NewClient(at.target(), dialing...)
	if err != nil {
		return nil, nil, invalid(InvalidAddress, "address", string(at), "%v", err).because(err)
	}
	return connection, trusted, nil
}

// environmentToken returns what gives the token that the environment names; nil where it names none.
func environmentToken() (func(context.Context) (string, error), error) {
	text, file := os.Getenv("TRUNKLINE_TOKEN"), os.Getenv("TRUNKLINE_TOKEN_FILE")
	switch {
	case text != "" && file != "":
		return nil, newError(Unauthenticated, codes.Unauthenticated,
			"both TRUNKLINE_TOKEN and TRUNKLINE_TOKEN_FILE are set: which of them counts?")
	case text != "":
		return func(context.Context) (string, error) { return text, nil }, nil
	case file != "":
		return func(context.Context) (string, error) {
			read, err := os.ReadFile(file)
			return string(read), err
		}, nil
	}
	return nil, nil
}

// called says in each call what the client is called.
type called string

func (c called) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"trunkline-client": url.PathEscape(string(c))}, nil
}

func (c called) RequireTransportSecurity() bool { return false }

func isUnprintable(r rune) bool { return !unicode.IsPrint(r) }

// bearer gives a token to each call.
type bearer struct {
	ask   func(context.Context) (string, error)
	given atomic.Pointer[string] // the last one
}

// hasOther tells whether there is another token now than was given last, or none to be had.
func (b *bearer) hasOther(ctx context.Context) bool {
	if b == nil {
		return false
	}
	token, err := b.ask(ctx)
	given := b.given.Load()
	return err != nil || given == nil || strings.TrimSpace(token) != *given
}

func (b *bearer) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	token, err := b.ask(ctx)
	if err != nil {
		return nil, status.Errorf(codes.Unauthenticated, "the token cannot be had: %v", err)
	}
	if token = strings.TrimSpace(token); !isToken(token) {
		return nil, status.Error(codes.Unauthenticated, "what is given is no token: 1 to 8192 printable ASCII characters without blanks")
	}
	b.given.Store(&token)
	return map[string]string{"authorization": "Bearer " + token}, nil
}

// isToken tells whether a text can go as one.
func isToken(text string) bool {
	return text != "" && len(text) <= 8*kib && strings.IndexFunc(text, func(each rune) bool { return each < '!' || each > '~' }) < 0
}

// RequireTransportSecurity is false since dial checks it: loopback needs none.
func (*bearer) RequireTransportSecurity() bool { return false }
