package main

import "testing"

func TestBadArgumentsAreRefused(t *testing.T) {
	for _, arguments := range [][]string{
		{"-log-level", "loud"}, {"-log-level", ""}, {"healthy"}, {"-port", "1", "health"},
		{"health", "-host", "127.0.0.1", "-port", "1"},
	} {
		if run(arguments) == nil {
			t.Errorf("%q was accepted", arguments)
		}
	}
}
