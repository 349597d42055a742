"""The comparisons, one family a file."""
