# What a maintainer types; `just` alone lists it. Without just, copy the lines.

default:
    @just --list

# the environment, from the lock, and the hooks that run before each commit
setup:
    uv sync
    uv run pre-commit install

# tests, or some of them: just test -k words
test *arguments:
    uv run pytest {{arguments}}

# style, spelling and types; what can be corrected by itself is
lint:
    uv run ruff check --fix .
    uv run ruff format .
    uv run typos
    uv run poe typecheck

# the documentation with the reference, in site/, to look at while it is written
docs:
    uv run mkdocs serve

# everything that a change has to pass
check:
    bash .ci/run
