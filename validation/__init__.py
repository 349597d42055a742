"""The model held against published and exact results. `python -m validation` prints the comparison."""
