package main

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	subject = "trunkline-load.live"
	stored  = "trunkline-load.stored"
	kept    = "trunkline-load"

	patience = 30 * time.Second // as our requests have by default
)

// measureNATS lets NATS do what a bus and a state service do. It keeps what is stored in files; whether it syncs before it
// answers is a setting of the server. There is no publish whose answer says that it was taken, other than of one that is
// stored.
func measureNATS(ctx context.Context, address string) error {
	connection, err := nats.Connect("nats://" + address)
	if err != nil {
		return err
	}
	defer connection.Close()
	storage, err := jetstream.New(connection)
	if err != nil {
		return err
	}
	if _, err := storage.CreateStream(ctx, jetstream.StreamConfig{Name: kept, Subjects: []string{stored}}); err != nil {
		return err
	}
	bucket, err := storage.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: kept})
	if err != nil {
		return errors.Join(err, storage.DeleteStream(ctx, kept))
	}
	return errors.Join(
		measure(*natsPID, ofNATS(ctx, connection, storage, bucket)...),
		storage.DeleteStream(ctx, kept),
		storage.DeleteKeyValue(ctx, kept),
	)
}

func ofNATS(ctx context.Context, connection *nats.Conn, storage jetstream.JetStream, bucket jetstream.KeyValue) []work {
	return []work{
		{"nats-publish-stream", func() error {
			if err := each(ctx, func(int) error { return connection.Publish(subject, make([]byte, *size)) }); err != nil {
				return err
			}
			return connection.FlushTimeout(patience)
		}},
		{"nats-publish-stored", func() error {
			return each(ctx, func(int) error {
				_, err := storage.Publish(ctx, stored, make([]byte, *size))
				return err
			})
		}},
		{"nats-subscribe", func() error {
			came := newArrival()
			subscription, err := connection.Subscribe(subject, func(*nats.Msg) { came.one() })
			if err != nil {
				return err
			}
			err = came.all(ctx, func() error { return connection.Publish(subject, make([]byte, *size)) })
			return errors.Join(err, subscription.Unsubscribe())
		}},
		{"nats-request", func() error {
			responder, err := connection.Subscribe(subject, func(request *nats.Msg) { _ = request.Respond(request.Data) })
			if err != nil {
				return err
			}
			err = each(ctx, func(int) error {
				_, err := connection.Request(subject, make([]byte, *size), patience)
				return err
			})
			return errors.Join(err, responder.Unsubscribe())
		}},
		{"nats-save", func() error {
			return each(ctx, func(n int) error {
				_, err := bucket.Put(ctx, key(n), make([]byte, *size))
				return err
			})
		}},
		{"nats-get", func() error {
			return each(ctx, func(n int) error {
				_, err := bucket.Get(ctx, key(n%*count))
				return err
			})
		}},
	}
}
