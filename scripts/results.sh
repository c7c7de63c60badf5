#!/usr/bin/env bash
# The evaluations behind docs/results/bundled-model.md, one after the other, each in a folder of its own under OUT.
# Run again after an interruption, it goes on where it stopped: each run has a journal.
#
#   scripts/results.sh DATA OUT [NAME...]       all of them, or those named; PICASO_MODEL chooses another model
#   TIME=590 scripts/results.sh DATA OUT        stops after so many seconds, to be continued
#
# DATA holds wiki.test.tokens, dev-v1.1.json (SQuAD) and msmarco.json (MS MARCO QA rows). Needs node, and of this folder
# package.json, dist/ (npm run build), models/, scripts/results.sh and node_modules/. WORKERS says how many processes
# measure (all cores unless given).
set -euo pipefail

data=$1
out=$2
shift 2
root=$(cd "$(dirname "$0")/.." && pwd)
workers=${WORKERS:-$(nproc)}
wiki="wikitext --data $data/wiki.test.tokens"
few="--methods none,soup,caso,picaso-r,picaso-s,concat --scatter 0 --timings 0"

declare -A runs=(
  [perplexity]="perplexity --data $data/wiki.test.tokens"
  [wikitext]="$wiki --queries 500"
  [wikitext-all]="$wiki -k 0,1,4,10 $few"
  [wikitext-many]="$wiki -k 16,32,64 --queries 500 $few"
  [form]="$wiki --ablation form -k 1,4,10 --queries 500"
  [shared]="$wiki --ablation shared -k 4,10 --queries 500"
  [passage-length]="$wiki --ablation passage-length -k 4 --queries 500"
  [retrieval]="$wiki --ablation retrieval -k 4 --queries 500"
  [layers]="$wiki --ablation layers -k 4 --queries 500"
  [conv]="$wiki --ablation conv -k 4 --queries 500"
  [codec]="$wiki --ablation codec -k 4 --queries 500"
  [msmarco]="msmarco --data $data/msmarco.json -k 0,1,2,3,5,10"
  [squad]="qa --data $data/dev-v1.1.json --queries 2000 -k 0,1,3,5 --methods none,best-1,soup,caso,picaso-r,picaso-s,concat --scatter 0 --timings 0"
  [squad-article]="qa --data $data/dev-v1.1.json --retrieval article --queries 2000 -k 3,5 $few"
  [squad-shared]="qa --data $data/dev-v1.1.json --ablation shared --queries 500 -k 3"
  [needle]="needle --data $data/wiki.test.tokens --queries 200 -k 0,1,2,4,8,16 $few"
  [distractors]="needle --data $data/wiki.test.tokens --ablation distractors --queries 200 -k 4,8,16"
)
order=(perplexity wikitext wikitext-all wikitext-many form shared passage-length retrieval layers conv codec msmarco
  squad squad-article squad-shared needle distractors)

names=("$@")
[ ${#names[@]} -gt 0 ] || names=("${order[@]}")
for name in "${names[@]}"; do
  [ -n "${runs[$name]:-}" ] || { echo "no run $name; there are: ${order[*]}" >&2; exit 2; }
done
for name in "${names[@]}"; do
  [ -e "$out/$name/done" ] && continue
  mkdir -p "$out/$name"
  left=
  if [ -n "${TIME:-}" ]; then
    left=$((TIME - SECONDS))
    [ "$left" -gt 5 ] || { echo "time is up before $name" >&2; exit 1; }
  fi
  echo "== $name" >&2
  # The words of a run are its arguments. SIGINT lets the journal end with a whole line.
  # shellcheck disable=SC2086
  ${left:+timeout -s INT -k 10 $left} node "$root/dist/cli/main.js" eval ${runs[$name]} --workers "$workers" \
    --out "$out/$name" > "$out/$name/table.txt"
  touch "$out/$name/done"
done
