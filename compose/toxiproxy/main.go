// Command toxiproxy is a Toxiproxy server with two more toxics: "message" decides the fate of every frame in a stream of
// length-prefixed frames by keyed draws, "hold" makes what comes wait. All stock toxics and the whole HTTP API are there as
// well.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/rs/zerolog"
	"github.com/rs/zerolog/log"

	"driftlab/toxiproxy/internal/hold"
	"driftlab/toxiproxy/internal/server"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "toxiproxy:", err)
		os.Exit(1)
	}
}

// run serves the API, or, where the first argument is health, asks a running server whether it answers.
func run(arguments []string) error {
	health := len(arguments) > 0 && arguments[0] == "health"
	if health {
		arguments = arguments[1:]
	}
	flags := flag.NewFlagSet("toxiproxy [health]", flag.ExitOnError)
	host := flags.String("host", "localhost", "host of the HTTP API")
	port := flags.String("port", "8474", "port of the HTTP API")
	levelName := flags.String("log-level", "info", "trace, debug, info, warn, error or disabled")
	_ = flags.Parse(arguments) // exits by itself
	if flags.NArg() > 0 {
		return fmt.Errorf("unknown argument %q; the only command is health, before the flags", flags.Arg(0))
	}
	address := net.JoinHostPort(*host, *port)
	if health {
		return server.CheckHealth(address)
	}
	level, err := zerolog.ParseLevel(*levelName)
	if err != nil || *levelName == "" {
		return fmt.Errorf("unknown log level %q", *levelName)
	}
	hold.Register()
	// Some stock toxics write to the global logger.
	log.Logger = zerolog.New(os.Stdout).Level(level).With().Timestamp().Logger()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return server.Serve(ctx, address, log.Logger)
}
