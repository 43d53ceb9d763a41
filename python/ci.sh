#!/usr/bin/env bash
# Builds the wheel, installs it in a virtual environment, checks the types and runs the tests.
#
# ./ci.sh              in the profile `ci`, which is cheaper to build
# ./ci.sh --release    as a wheel is shipped; also checks its size and what loading it costs
set -euo pipefail
cd "$(dirname "$0")"

profile=dev
if [ "${1:-}" = --release ]; then
    profile=release
    export CARGO_TARGET_DIR=$PWD/target
else
    export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/../target}
fi

python=${PYTHON:-}
for name in python3.13 python3.12 python3.11 python3.10 python3; do
    [ -n "$python" ] && break
    if "$name" -c 'import sys, venv; sys.exit(sys.version_info < (3, 10))' 2> /dev/null; then python=$name; fi
done
if [ -z "$python" ]; then
    echo "there is no Python 3.10 or newer: the Python package is not tested"
    exit 0
fi

venv=.venv
if [ ! -x "$venv/bin/python" ]; then
    "$python" -m venv "$venv" || { echo "$python has no venv: the Python package is not tested"; rm -rf "$venv"; exit 0; }
fi
if ! "$venv/bin/pip" install --quiet --disable-pip-version-check -r requirements-ci.txt; then
    echo "the packages for the tests cannot be fetched: the Python package is not tested"
    exit 0
fi

started=$SECONDS
rm -rf "$CARGO_TARGET_DIR/wheels"
"$venv/bin/maturin" build --quiet --locked --profile "$profile" --interpreter "$venv/bin/python" --out "$CARGO_TARGET_DIR/wheels"
"$venv/bin/pip" install --quiet --disable-pip-version-check --force-reinstall --no-deps "$CARGO_TARGET_DIR"/wheels/*.whl
echo "the wheel: $(stat -c %s "$CARGO_TARGET_DIR"/wheels/*.whl) bytes, built in $((SECONDS - started)) s"

started=$SECONDS
"$venv/bin/python" make_stubs.py --check
"$venv/bin/mypy"
"$venv/bin/pyright" --pythonpath "$venv/bin/python" | tail -n 20
# From another folder, so that the installed package is loaded and not its sources.
(cd tests && "../$venv/bin/python" -m mypy.stubtest llmspell_storage._native --allowlist ../stubtest-allowlist.txt)
(cd tests && "../$venv/bin/python" -m pytest -q -p no:cacheprovider)
if [ "$profile" = release ]; then
    "$venv/bin/python" -I bench/overhead.py --check
fi
echo "types and tests: $((SECONDS - started)) s"
