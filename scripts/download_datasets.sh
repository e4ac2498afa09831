#!/usr/bin/env bash
# The paper's third command: get all benchmarks into DIRECTORY (./datasets), seen from where it is called.
exec uv run --project "$(dirname "$0")/.." cie datasets download all "${1:-datasets}"
