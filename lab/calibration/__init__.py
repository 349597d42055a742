"""How far the simulator may be trusted: what real links add to what is asked, and both planes on the same faults."""
