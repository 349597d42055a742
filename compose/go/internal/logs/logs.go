// Package logs makes the diagnostic log of a process.
package logs

import (
	"io"
	"log/slog"
	"strings"
)

// New makes a logger that writes one JSON object a line, with the names that all replicas use.
func New(replica, level string, errput io.Writer) *slog.Logger {
	levels := map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo,
		"warn": slog.LevelWarn, "error": slog.LevelError,
	}
	handler := slog.NewJSONHandler(errput, &slog.HandlerOptions{
		Level: levels[level],
		ReplaceAttr: func(groups []string, attribute slog.Attr) slog.Attr {
			switch {
			case len(groups) > 0:
			case attribute.Key == slog.MessageKey:
				attribute.Key = "message"
			case attribute.Key == slog.LevelKey:
				attribute.Value = slog.StringValue(strings.ToLower(attribute.Value.String()))
			case attribute.Value.Kind() == slog.KindString && attribute.Value.String() == "":
				return slog.Attr{}
			}
			return attribute
		},
	})
	return slog.New(handler).With("replica", replica)
}
