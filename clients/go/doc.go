// Package trunkline is the Go client of Trunkline: publish and subscribe, requests and replies, durable delivery and
// shared state between agents.
//
// [ConnectBus] and [ConnectState] connect to a service, or to a sidecar, which serves both at one address. Each object has
// one long stream that carries everything, and restores it by itself: subscriptions come back, watches resume. Messages and
// records are those of the contract, package trunkline/v1; what this package has no method for is called by the stubs
// that [Bus.Service] and [State.Service] return, over the same connection and with the same errors.
//
// Every error that a service or this package raises is an [Error]: errors.Is(err, trunkline.NoResponders) asks for its
// reason, [Retryable] whether the same call may succeed later.
package trunkline
