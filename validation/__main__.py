"""Run the comparisons: `python -m validation [--full] [--figures] [--workers N] [--json FILE] [WORD ...]`."""

from __future__ import annotations

import sys

from validation.runner import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
