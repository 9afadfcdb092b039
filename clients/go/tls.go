package trunkline

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"
)

const handshakePatience = 2 * time.Second

// TLS says what is trusted at a tls:// address, and what is shown of oneself. What is empty is what the variables
// TRUNKLINE_TLS_CA, TRUNKLINE_TLS_CERT, TRUNKLINE_TLS_KEY and TRUNKLINE_TLS_SERVER_NAME say, as for every client.
// Own certificate and key are read anew for each connection.
type TLS struct {
	// CA has the authorities that may sign the service's certificate: a PEM file, PEM itself, or "system" (the default).
	CA string
	// Cert and Key are the client's own, PEM files or PEM, for a service that asks for one.
	Cert, Key string
	// ServerName is the name that the service's certificate must have. Default: the host of the address.
	ServerName string
}

func (t TLS) orEnvironment() TLS {
	pick := func(given, variable string) string {
		if given != "" {
			return given
		}
		return os.Getenv(variable)
	}
	return TLS{
		CA:   pick(t.CA, "TRUNKLINE_TLS_CA"),
		Cert: pick(t.Cert, "TRUNKLINE_TLS_CERT"), Key: pick(t.Key, "TRUNKLINE_TLS_KEY"),
		ServerName: pick(t.ServerName, "TRUNKLINE_TLS_SERVER_NAME"),
	}
}

// config returns what crypto/tls takes.
func (t TLS) config(at address) (*tls.Config, error) {
	host, _, _ := net.SplitHostPort(at.hostPort())
	made := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host, NextProtos: []string{"h2"}}
	if t.ServerName != "" {
		made.ServerName = t.ServerName
	}
	if t.CA != "" && t.CA != "system" {
		text, err := pemOf(t.CA)
		made.RootCAs = x509.NewCertPool()
		if err != nil || !made.RootCAs.AppendCertsFromPEM(text) {
			return nil, tlsError(at, "invalid_files", "no certificate of an authority can be read (TRUNKLINE_TLS_CA)").with("field", "ca").because(err)
		}
	}
	if (t.Cert == "") != (t.Key == "") {
		return nil, tlsError(at, "invalid_files", "a certificate and its key are given together (TRUNKLINE_TLS_CERT, TRUNKLINE_TLS_KEY)")
	}
	if t.Cert != "" {
		if _, err := t.pair(); err != nil {
			return nil, tlsError(at, "invalid_files", "certificate and key cannot be taken: "+err.Error()).because(err)
		}
		made.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return t.pair() }
	}
	return made, nil
}

func (t TLS) pair() (*tls.Certificate, error) {
	certificate, err := pemOf(t.Cert)
	if err != nil {
		return nil, err
	}
	key, err := pemOf(t.Key)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certificate, key)
	return &pair, err
}

func pemOf(fileOrText string) ([]byte, error) {
	if strings.Contains(fileOrText, "-----BEGIN ") {
		return []byte(fileOrText), nil
	}
	return os.ReadFile(fileOrText)
}

func tlsError(at address, reason, words string) *Error {
	return newError(TLSFailed, codes.Unavailable, "no TLS with %s: %s", string(at), words).with("reason", reason, "address", string(at))
}

// whyRefused asks why no connection can be made, by a handshake of its own; nil where TLS is not the reason, or it cannot
// be told.
func whyRefused(ctx context.Context, at address, trusted *tls.Config) *Error {
	if at.isUnix() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, handshakePatience)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", at.hostPort())
	if err != nil {
		return nil
	}
	defer raw.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = raw.SetDeadline(deadline) // a socket that takes none fails at its first read
	}
	if trusted == nil {
		connection := tls.Client(raw, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // asks only whether it is TLS
		if err := connection.HandshakeContext(ctx); err != nil && !isAlert(err) {
			return nil
		}
		return tlsError(at, "tls_required", "it speaks TLS: write tls://"+string(at))
	}
	connection := tls.Client(raw, trusted)
	err = connection.HandshakeContext(ctx)
	if err == nil { // since TLS 1.3 a client's certificate is judged after the client's handshake
		_, err = connection.Read(make([]byte, 1))
		if err == nil || isTimeout(err) {
			return nil
		}
		if !isAlert(err) {
			reason := "certificate_refused"
			if trusted.GetClientCertificate == nil {
				reason = "certificate_required"
			}
			return tlsError(at, reason, "it hangs up after the handshake (TRUNKLINE_TLS_CERT)").because(err)
		}
	}
	return refusal(at, trusted, err)
}

func refusal(at address, trusted *tls.Config, err error) *Error {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var bad x509.CertificateInvalidError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &unknown):
		return tlsError(at, "untrusted_authority", "its certificate is not trusted: "+err.Error()+" (TRUNKLINE_TLS_CA)").because(err)
	case errors.As(err, &name):
		return tlsError(at, "wrong_name", "its certificate is not for "+trusted.ServerName+" (TRUNKLINE_TLS_SERVER_NAME)").because(err)
	case errors.As(err, &bad) && bad.Reason == x509.Expired:
		return tlsError(at, "expired", "its certificate is not valid now: "+err.Error()).because(err)
	case errors.As(err, &record), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return tlsError(at, "not_tls", "it does not speak TLS").because(err)
	case isTimeout(err):
		return nil
	case isAlert(err) && strings.Contains(err.Error(), "certificate required"):
		return tlsError(at, "certificate_required", "it asks for a client certificate, and none is given").because(err)
	case isAlert(err) && strings.Contains(err.Error(), "certificate"):
		return tlsError(at, "certificate_refused", "it does not take the client certificate: "+err.Error()).because(err)
	}
	return tlsError(at, "handshake_failed", err.Error()).because(err)
}

func isAlert(err error) bool {
	var alert tls.AlertError
	var operation *net.OpError
	return errors.As(err, &alert) || (errors.As(err, &operation) && operation.Op == "remote error")
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}
