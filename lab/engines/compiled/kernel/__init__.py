"""The engine's source, copied into every generated module: plain functions over one block of 64-bit words.

These files are ordinary Python (lists work in place of the block), but they are meant to be compiled: the generator
copies their text behind the lifted protocol, so that one file holds everything a machine-code cache must depend on.
"""
