#!/usr/bin/env bash
# Downloads a published generator of CycleGAN, CUT or pix2pix to checkpoints/NAME_pretrained, for test.py.
# bash scripts/download_pretrained.sh NAME, or --list
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"  # sh may be another shell
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=.venv/bin/python
[ -x $python ] || python=python3
exec $python -m models.pretrained "$@"
