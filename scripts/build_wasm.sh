#!/bin/sh
# Build the core as WebAssembly: scripts/build_wasm.sh [FILE], by default musiclstm/core/core.wasm.
#
# Needs clang and lld (Debian: apt-get install clang lld). The same versions give the same bytes.
# wasm-ld is called directly, because clang would run any wasm-opt that it finds on PATH.
set -eu
export LC_ALL=C  # one order of files

start=$PWD
core=$(cd "$(dirname "$0")/../musiclstm/core" && pwd)
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT

cd "$core"  # relative paths, so that the bytes do not depend on the folder
for source in *.c wasm32/*.c; do
  case "$source" in  # what every token passes through; -O3 and unrolled loops are larger, not faster
    features* | sampling* | sequence* | step*) level="-O2 -fno-unroll-loops" ;;
    *) level=-Oz ;;
  esac
  # shellcheck disable=SC2086
  "${CLANG:-clang}" --target=wasm32 -std=c11 $level -msimd128 -mbulk-memory -ffp-contract=off \
    -fno-math-errno -fno-trapping-math -nostdlibinc -isystem wasm32 -Wall -Wextra -Werror \
    -c "$source" -o "$temporary/$(basename "$source" .c).o"
done

# Every function that core.h declares.
exports=$(sed -nE 's/^[a-z0-9_]+ \**([a-z0-9_]+)\(.*/--export=\1/p' core.h)
# The stack comes first, so that an overflow is a trap.
# shellcheck disable=SC2086
"${WASM_LD:-wasm-ld}" --no-entry --strip-all --stack-first -z stack-size=262144 \
  --export=__heap_base $exports "$temporary"/*.o -o "$temporary/core.wasm"
chmod 644 "$temporary/core.wasm"
cd "$start"
mv "$temporary/core.wasm" "${1:-$core/core.wasm}"
