// Command replica is one replica of a replicated changelog: the leader or a follower.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"driftlab/replica/internal/core"
	"driftlab/replica/internal/logs"
	"driftlab/replica/internal/node"
	"driftlab/replica/internal/settings"
)

// version is reported by the health check; a build may set it.
var version = "0.1.0"

const (
	defaultSettings = "/etc/driftlab/settings.json"
	// stopTimeout ends a stop that hangs, so that the process is gone before it is killed.
	stopTimeout   = 1800 * time.Millisecond
	healthTimeout = 2 * time.Second

	exitFailure = 1
	exitUsage   = 2
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func run(arguments []string, input io.Reader, output, errput io.Writer) int {
	command := "serve"
	if len(arguments) > 0 && !strings.HasPrefix(arguments[0], "-") {
		command, arguments = arguments[0], arguments[1:]
	}
	flags := flag.NewFlagSet("replica "+command, flag.ContinueOnError)
	flags.SetOutput(errput)
	var path, ordering string
	var bug core.Bug
	switch command {
	case "serve", "health":
		flags.StringVar(&path, "settings", defaultSettings, "the settings `file`")
	case "apply":
		flags.StringVar(&ordering, "ordering", "sequence", "sequence or key")
	default:
		fmt.Fprintf(errput, "unknown command %q: use serve, health or apply\n", command)
		return exitUsage
	}
	if command != "health" {
		flags.Func("seeded-bug", "be wrong on purpose, by the `name` of a bug",
			func(name string) (err error) { bug, err = core.ParseBug(name); return err })
	}
	if err := flags.Parse(arguments); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return exitUsage
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(errput, "unexpected argument %q\n", flags.Arg(0))
		return exitUsage
	}
	if command == "apply" {
		return apply(ordering, bug, input, output, errput)
	}
	loaded, err := settings.Load(path)
	if err != nil {
		fmt.Fprintf(errput, "%s: %s\n", path, err)
		return exitUsage
	}
	if command == "health" {
		return checkHealth(loaded, errput)
	}
	return serve(loaded, bug, output, errput)
}

// serve runs the replica until it is told to stop.
func serve(loaded *settings.Settings, bug core.Bug, output, errput io.Writer) int {
	// A closed event log is an error to report, not a reason to die without a word.
	signal.Ignore(syscall.SIGPIPE)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	logger := logs.New(loaded.Name, loaded.LogLevel, errput)
	if bug != "" {
		// Said whatever the level is: nobody may take this replica for a correct one.
		logs.New(loaded.Name, "warn", errput).Warn("a bug is seeded", "seeded_bug", string(bug))
	}
	running, err := node.Start(node.Options{
		Settings: loaded, Version: version, Events: output, Logger: logger, Bug: bug,
	})
	if err != nil {
		logger.Error("the replica cannot start", "error", err)
		return exitFailure
	}
	logger.Info("the replica is up", "run_id", loaded.RunID)
	select {
	case err := <-running.Failed():
		logger.Error("the replica cannot go on", "error", err)
		return exitFailure
	case <-stop:
	}
	stopped := make(chan struct{})
	go func() {
		running.Stop()
		close(stopped)
	}()
	select {
	case <-stopped:
	case <-time.After(stopTimeout):
		logger.Error("the replica did not stop in time")
	}
	return 0
}

// checkHealth asks the replica of the same settings whether it is up.
func checkHealth(loaded *settings.Settings, errput io.Writer) int {
	host, port, err := net.SplitHostPort(loaded.Listen.Control)
	if err != nil {
		fmt.Fprintln(errput, err)
		return exitFailure
	}
	if address := net.ParseIP(host); host == "" || address != nil && address.IsUnspecified() {
		host = "127.0.0.1"
	}
	client := http.Client{Timeout: healthTimeout}
	response, err := client.Get("http://" + net.JoinHostPort(host, port) + "/healthz")
	if err != nil {
		fmt.Fprintln(errput, err)
		return exitFailure
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		fmt.Fprintln(errput, "the replica answers", response.Status)
		return exitFailure
	}
	return 0
}
