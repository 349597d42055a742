"""Writes `wire_pb2.py` and `wire_pb2.pyi` from compose/proto/driftlab.proto: `python -m lab.containers.generate`."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
SCHEMA = HERE.parents[1] / "compose" / "proto" / "driftlab.proto"
GENERATED = ("wire_pb2.py", "wire_pb2.pyi")


def generate(folder: Path) -> None:
    """Write the generated files into `folder`. Raise CalledProcessError if the schema is not valid."""
    with tempfile.TemporaryDirectory() as scratch:
        shutil.copy(SCHEMA, Path(scratch) / "wire.proto")  # the generated names follow the file's
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{scratch}", f"--python_out={scratch}"]
        subprocess.run([*command, f"--pyi_out={scratch}", "wire.proto"], check=True, cwd=scratch, timeout=60)
        for name in GENERATED:
            shutil.copy(Path(scratch) / name, folder / name)


if __name__ == "__main__":
    generate(HERE)
