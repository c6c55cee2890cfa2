#!/usr/bin/env bash
# Translates the photograph that scripts/train_sinsc.sh has learned from, at its own size, or with
# "--dataset_mode single" any folder or file. Further arguments go to test.py.
#
#   bash scripts/test_sinsc.sh DATAROOT NAME [FLAGS]
set -euo pipefail
cd "$(dirname "$0")/.."
if [ $# -lt 2 ]; then
    echo "usage: bash scripts/test_sinsc.sh DATAROOT NAME [FLAGS]" >&2
    exit 2
fi
set -x
exec .venv/bin/python test.py --model sinsc --dataroot "$1" --name "$2" "${@:3}"
