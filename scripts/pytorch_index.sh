#!/usr/bin/env bash
# Prints the pip option that brings PyTorch without CUDA, or nothing.
#
# On Linux the package index gives a build with some gigabytes of CUDA. Without an NVIDIA GPU the
# CPU build of pytorch.org serves as well, so it is named where it can be reached. Whoever has told
# pip where to look (a mirror, a folder of wheels) is left alone.
set -euo pipefail

PYTHON="${1:?usage: scripts/pytorch_index.sh PYTHON}"
CPU_INDEX="https://download.pytorch.org/whl/cpu"

has_nvidia_gpu() { command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1; }

pip_is_configured() { [[ "$("$PYTHON" -m pip config list)" =~ index-url|find-links|no-index ]]; }

is_reachable() {
  timeout 5 "$PYTHON" -c "
import urllib.request
request = urllib.request.Request('$CPU_INDEX/', method='HEAD')
urllib.request.urlopen(request, timeout=4)
" 2>/dev/null
}

[ "$(uname -s)" = Linux ] || exit 0  # elsewhere the package index has the CPU build
if ! has_nvidia_gpu && ! pip_is_configured && is_reachable; then
  echo "--extra-index-url $CPU_INDEX"
fi
