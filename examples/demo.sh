#!/usr/bin/env bash
# The user's story on one machine: build all ten networks, serve them, classify a photograph, measure, print the table.
#   examples/demo.sh TRITONGEN REPOSITORY
set -euo pipefail
tritongen=$1
repository=$2

run() {
    printf '\n$ tritongen %s\n' "$*"
    "$tritongen" "$@"
}

run build --models all --precision fp16 --output "$repository"

# Triton's own ports if nobody listens on them, else free ones.
ports=()
for port in 8000 8001 8002; do
    if (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
        ports=(--http-port 0 --grpc-port 0 --metrics-port 0)
    fi
done
printf '\n$ tritongen serve %s\n' "$repository ${ports[*]}"
exec 3< <(exec "$tritongen" serve "$repository" "${ports[@]}" 2>&1)
server=$!
stop() {
    status=$?
    kill -TERM "$server" 2>/dev/null && while kill -0 "$server" 2>/dev/null; do sleep 0.2; done
    ((status == 0)) || cat <&3 # what the server printed last
    exit "$status"
}
trap stop EXIT
url=
while read -r line <&3; do
    printf '%s\n' "$line"
    [[ $line =~ grpc\ ([^ ]+) ]] && url=${BASH_REMATCH[1]}
    [[ $line != Ctrl-C* ]] || break
done
[[ -n $url ]] || exit 1

run infer generator/imagenet/assets/chelsea.jpg --model densenet121 --url "$url"

# At batch 1 three rounds of each network fit into two minutes, so that most values settle.
run perf --gpu cpu --batch-sizes 1 --measurement quick --time-limit 2m --url "$url"
