#!/usr/bin/env bash
# Makes .venv and installs what the project needs; with --dev also what its tests need.
# Run again, it reuses what is there. PYTHON=python3.12 chooses the interpreter. TORCH_INDEX_URL=... is where torch and
# torchvision come from instead of pip's own index: PyTorch's index of CPU builds, say, which saves gigabytes.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"  # sh may be another shell
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
wanted=(requirements.txt)
[ "${1:-}" = "--dev" ] && wanted+=(requirements-dev.txt)

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
    echo "setup.sh: Python 3.10 or later is needed; name one with PYTHON=/path/to/python3 bash $0" >&2
    exit 2
fi
if [ ! -x .venv/bin/python ] || ! .venv/bin/python -c 'import pip' 2>/dev/null; then
    echo "setup.sh: making .venv"
    "$python" -m venv --clear .venv || {
        echo "setup.sh: $python cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2
        exit 2
    }
fi

install() { .venv/bin/python -m pip install --quiet --disable-pip-version-check "$@"; }

for file in "${wanted[@]}"; do
    stamp=.venv/installed-$file
    if ! cmp -s "$file" "$stamp"; then
        echo "setup.sh: installing $file (torch is large: minutes)"
        if [ -n "${TORCH_INDEX_URL:-}" ] && [ "$file" = requirements.txt ]; then
            # shellcheck disable=SC2046 - one word for each of the two packages
            install --index-url "$TORCH_INDEX_URL" $(grep -E '^torch(vision)?[<=>]' "$file")
        fi
        install -r "$file"
        if [ "$file" = requirements-dev.txt ]; then
            # visdom is a source package whose build imports pkg_resources, which setuptools 81 dropped.
            install 'setuptools<81' wheel
            install --no-build-isolation 'visdom>=0.2.4' ||
                echo "setup.sh: visdom could not be installed; its tests will be skipped" >&2
        fi
        cp "$file" "$stamp"
    fi
done
echo "setup.sh: ready; activate it with: . .venv/bin/activate"
