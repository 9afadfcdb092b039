package trunkline

import (
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
)

func reasonOf(t *testing.T, at string, options ...Option) string {
	t.Helper()
	_, err := ConnectBus(patient(t), at, append(options, WithConnectTimeout(patience))...)
	var said *Error
	if !errors.As(err, &said) || said.Reason != TLSFailed {
		t.Fatalf("%s: %v", at, err)
	}
	return said.Metadata["reason"]
}

func TestWhyTLSFailsIsSaidAtOnce(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	at := server.Listener.Addr().String()
	if got := reasonOf(t, at); got != "tls_required" {
		t.Error(got)
	}
	if got := reasonOf(t, "tls://"+at); got != "untrusted_authority" {
		t.Error(got)
	}
	authority := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	if got := reasonOf(t, "tls://"+at, WithTLS(TLS{CA: authority, ServerName: "bus.invalid"})); got != "wrong_name" {
		t.Error(got)
	}
	if got := reasonOf(t, at, WithTLS(TLS{CA: authority})); got != "tls_required" {
		t.Error(got)
	}
	plain := start(t, "bus", "--engine", "memory").address
	if got := reasonOf(t, "tls://"+plain, WithTLS(TLS{CA: authority})); got != "not_tls" {
		t.Error(got)
	}
	bus := connectBus(t, plain)
	must(t, bus.Publish(patient(t), "a", numbered(1))) // it goes on serving
	must(t, bus.Flush(patient(t)))
}
