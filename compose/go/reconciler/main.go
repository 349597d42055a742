// Command reconciler compares the followers of a replicated changelog with their leader, puts
// right what drifted, and keeps snapshots. It is a process of its own: nothing waits for it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"driftlab/replica/internal/logs"
	"driftlab/replica/internal/reconcile"
)

// version is reported by the health check; a build may set it.
var version = "0.1.0"

const (
	defaultSettings = "/etc/driftlab/settings.json"
	// stopTimeout ends a stop that hangs, so that the process is gone before it is killed.
	stopTimeout = 1800 * time.Millisecond

	exitFailure = 1
	exitUsage   = 2
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(arguments []string, output, errput io.Writer) int {
	flags := flag.NewFlagSet("reconciler", flag.ContinueOnError)
	flags.SetOutput(errput)
	path := flags.String("settings", defaultSettings, "the settings `file`")
	if err := flags.Parse(arguments); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return exitUsage
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(errput, "unexpected argument %q\n", flags.Arg(0))
		return exitUsage
	}
	text, err := os.ReadFile(*path)
	if err != nil {
		fmt.Fprintln(errput, err)
		return exitUsage
	}
	settings, err := reconcile.ParseSettings(text)
	if err != nil {
		fmt.Fprintf(errput, "%s: %s\n", *path, err)
		return exitUsage
	}
	logger := logs.New("reconciler", settings.LogLevel, errput)
	if err := serve(settings, logger, output); err != nil {
		logger.Error("the reconciler cannot go on", "error", err)
		return exitFailure
	}
	return 0
}

// serve runs until the process is told to stop.
func serve(settings *reconcile.Settings, logger *slog.Logger, output io.Writer) error {
	signal.Ignore(syscall.SIGPIPE)
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	made, err := reconcile.New(settings, output, logger)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", settings.Listen)
	if err != nil {
		return err
	}
	control := &http.Server{
		Handler: made.Control(version), ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute,
	}
	failed := make(chan error, 1)
	go func() { failed <- control.Serve(listener) }()
	defer control.Close()
	done := make(chan struct{})
	go func() {
		made.Run(ctx)
		close(done)
	}()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	select {
	case <-done:
	case <-time.After(stopTimeout):
		logger.Error("the reconciler did not stop in time")
	}
	return nil
}
