#!/bin/sh
# Regenerates wire/ from the one schema. Needs protoc-gen-go on PATH and grpcio-tools in $PYTHON:
#   go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
set -eu
cd "$(dirname "$0")"
"${PYTHON:-python3}" -m grpc_tools.protoc \
  --proto_path=../proto --go_out=. --go_opt=module=driftlab/replica driftlab.proto
