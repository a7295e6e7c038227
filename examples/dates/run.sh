#!/usr/bin/env bash
# Builds, trains and evaluates with Dates, and then with the Calendar in its place.
# Usage: examples/dates/run.sh TEXTS FOLDER   (again after a kill: it goes on where it was)
set -euo pipefail
usage="Expected a file of texts and a folder for the homes: run.sh TEXTS FOLDER"
texts=$(realpath "${1:?$usage}")
folder=$(realpath -m "${2:?$usage}")
example=$(realpath "$(dirname "$0")")
export PYTHONPATH="$example${PYTHONPATH:+:$PYTHONPATH}"

measure() { # TOOL OTHER, and options of ingest
    export TOOLFORMER_HOME="$folder/$1"
    local only=(--set "tools.$1.is_enabled=true" --set "tools.$2.is_enabled=false")
    local last=(--set sampling.round=2 "${only[@]}")
    mkdir -p "$TOOLFORMER_HOME"
    cp "$example/toolformer.yaml" "$TOOLFORMER_HOME/"
    toolformer ingest "$texts" "${@:3}"
    toolformer build --rounds 2 "${only[@]}"
    toolformer train --variant plain "${last[@]}"
    toolformer evaluate --models base,finetuned,plain "${last[@]}"
}

measure Dates Calendar --shard-size 200               # only texts with a place are annotated
measure Calendar Dates --shard-size 40 --limit 500    # so many that enough are kept to train on
