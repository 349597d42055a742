"""What people read: the terminal summary, the figures and the one-page report. Reads results, computes no result."""
