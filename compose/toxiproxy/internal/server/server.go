// Package server is Toxiproxy's HTTP API with the toxic "message" added and its requests checked.
package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"driftlab/toxiproxy/internal/message"
)

// The deadlines of the stock server, so that a client meets the same ones on both.
const (
	readTimeout     = 15 * time.Second
	writeTimeout    = 30 * time.Second
	idleTimeout     = 60 * time.Second
	shutdownTimeout = 2 * time.Second
	healthTimeout   = 2 * time.Second
)

// NewHandler returns the whole API with an empty collection of proxies.
func NewHandler(logger zerolog.Logger) http.Handler {
	message.Register()
	api := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), logger)
	routes := api.Routes()
	routes.Use(func(next http.Handler) http.Handler { return strict(api.Collection, next) })
	return routes
}

// Serve answers on the address until the context ends.
func Serve(ctx context.Context, address string, logger zerolog.Logger) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:      NewHandler(logger),
		ReadTimeout:  readTimeout,
		WriteTimeout: writeTimeout,
		IdleTimeout:  idleTimeout,
	}
	logger.Info().Stringer("address", listener.Addr()).Str("version", toxiproxy.Version).Msg("listening")
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	logger.Info().Msg("stopping")
	deadline, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	if err := server.Shutdown(deadline); errors.Is(err, context.DeadlineExceeded) {
		return server.Close()
	} else {
		return err
	}
}

// CheckHealth asks a running server for its version.
func CheckHealth(address string) error {
	client := http.Client{Timeout: healthTimeout}
	response, err := client.Get("http://" + address + "/version")
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET /version answered %s", response.Status)
	}
	return nil
}
