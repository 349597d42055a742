package server

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

func TestServeEndsWithItsContextAndRefusesATakenPort(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := Serve(context.Background(), address, zerolog.Nop()); err == nil {
		t.Fatal("served on a port that is taken")
	}
	_ = listener.Close()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, address, zerolog.Nop()) }()
	waitFor(t, "the server to answer", func() bool { return CheckHealth(address) == nil })
	stop()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Error("the server did not stop")
	}
	if CheckHealth(address) == nil {
		t.Error("the server answers after its end")
	}
}
