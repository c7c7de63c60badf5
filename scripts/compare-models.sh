#!/usr/bin/env bash
# Several models on the same queries of one evaluation, as a table of the form of the paper's Table 1: measures each into
# OUT/NAME (going on where it stopped) and prints scripts/compare-models.ts.
#
#   scripts/compare-models.sh OUT "wikitext --data wiki.test.tokens -k 0,1,4,10 --queries 500" base=models/mamba2-26m-base bptc=DIR ...
set -euo pipefail

out=$1
run=$2
shift 2
root=$(cd "$(dirname "$0")/.." && pwd)
folders=()
for pair in "$@"; do
  name=${pair%%=*}
  # The words of a run are its arguments.
  # shellcheck disable=SC2086
  node "$root/dist/cli/main.js" eval $run --model "${pair#*=}" --scatter 0 --timings 0 --out "$out/$name" > /dev/null
  folders+=("$name=$out/$name")
done
npx --prefix "$root" tsx "$root/scripts/compare-models.ts" ${METRIC:+--metric "$METRIC"} "${folders[@]}"
