"""Which settings to run: search over paired seeds, confirm on fresh ones, recommend or refuse."""
