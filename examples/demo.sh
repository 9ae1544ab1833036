#!/usr/bin/env bash
# The user's story on one machine: build all ten networks, serve them, classify a photograph, measure, print the table.
#   examples/demo.sh TRITONGEN REPOSITORY
set -euo pipefail
tritongen=$1
repository=$2

step() { printf '\n$ tritongen %s\n' "$*"; }

step build --models all --precision fp16
"$tritongen" build --models all --precision fp16 --output "$repository"

step serve
exec 3< <(exec "$tritongen" serve "$repository" 2>&1)
server=$!
trap 'kill -TERM "$server" 2>/dev/null && while kill -0 "$server" 2>/dev/null; do sleep 0.2; done' EXIT
ready=
while read -r line <&3; do
    printf '%s\n' "$line"
    [[ $line != Ctrl-C* ]] || { ready=yes; break; }
done
[[ -n $ready ]] || exit 1

step infer generator/imagenet/assets/chelsea.jpg --model densenet121
"$tritongen" infer generator/imagenet/assets/chelsea.jpg --model densenet121

step perf --gpu cpu --measurement quick
"$tritongen" perf --gpu cpu --measurement quick
