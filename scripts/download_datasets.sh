#!/usr/bin/env bash
# The paper's third command: get all benchmarks into DIRECTORY (./datasets).
cd "$(dirname "$0")/.." && exec uv run cie datasets download all "${1:-datasets}"
