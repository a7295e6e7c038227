#!/usr/bin/env bash
# Builds, trains and evaluates with a table of LAMA's facts, once for each seed.
# Usage: examples/facts/run.sh LAMA FOLDER [SEED …]   (again after a kill: it goes on where it was)
set -euo pipefail
usage="Expected the folder of LAMA's files and a folder for the homes: run.sh LAMA FOLDER [SEED …]"
lama=$(realpath "${1:?$usage}")
folder=$(realpath -m "${2:?$usage}")
example=$(realpath "$(dirname "$0")")
shift 2

for seed in "${@:-0}"; do
    export TOOLFORMER_HOME="$folder/seed-$seed"
    seeds=(--set "sampling.seed=$seed" --set "training.seed=$seed")
    python "$example/facts.py" "$lama" "$TOOLFORMER_HOME"
    cp "$example/toolformer.yaml" "$TOOLFORMER_HOME/"
    toolformer ingest "$TOOLFORMER_HOME/sentences.jsonl" --shard-size 100
    toolformer build "${seeds[@]}"
    for variant in calls plain shuffled; do toolformer train --variant "$variant" "${seeds[@]}"; done
    toolformer evaluate --models base,finetuned,plain,shuffled "${seeds[@]}"
done
