#!/usr/bin/env bash
# A search on a Ray cluster made of this SLURM job's nodes: a worker on each of their GPUs.
#
#   sbatch --nodes 4 --gpus-per-node 8 scripts/slurm_ray.sh -e exact_match -d gsm8k -n mine
#   sbatch --nodes 4 --gpus-per-node 8 scripts/slurm_ray.sh --resume search/mine       goes on, also after a lost head
#
# Submit it from the repository's folder, which every node must see under the same name, .venv with the extra ray in it.
#SBATCH --job-name=h_swarm
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=24:00:00
#SBATCH --no-kill
#SBATCH --signal=B:TERM@120
# (--no-kill: a node that fails does not end the job; --signal: two minutes before the end the search stops politely)
set -euo pipefail
cd -- "${SLURM_SUBMIT_DIR:?this is a script for sbatch}"
bin=$PWD/.venv/bin
export RAY_USAGE_STATS_ENABLED=0

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
address=$head:$((20000 + SLURM_JOB_ID % 20000))
# keys of the shell that submitted this stay there: Ray hands its environment to whatever runs on it
kept=PATH,HOME,LANG,LD_LIBRARY_PATH,HF_HOME,HF_HUB_OFFLINE,XDG_CACHE_HOME,RAY_USAGE_STATS_ENABLED
one=(srun --export="$kept" --overlap --ntasks-per-node=1 --cpus-per-task="${SLURM_CPUS_PER_TASK:-16}")

"${one[@]}" --nodes=1 --ntasks=1 --nodelist="$head" \
    "$bin/ray" start --head --port="${address##*:}" --include-dashboard=false --block >ray_head.log 2>&1 &
others=$((SLURM_JOB_NUM_NODES - 1))
if ((others > 0)); then
    # each tries until the head is there; a node that fails takes no other with it
    "${one[@]}" --nodes="$others" --ntasks="$others" --exclude="$head" --kill-on-bad-exit=0 \
        bash -c 'until "$0" start --address="$1" --block; do sleep 5; done' "$bin/ray" "$address" >ray_nodes.log 2>&1 &
fi

# the search takes the nodes that are there when it starts
"$bin/python" - "$address" "$SLURM_JOB_NUM_NODES" <<'PY'
import socket, sys, time
import ray
address, wanted = sys.argv[1], int(sys.argv[2])
end = time.monotonic() + 600
while True:
    try:
        socket.create_connection(address.rsplit(":", 1), timeout=5).close()
        break
    except OSError:
        if time.monotonic() > end:
            sys.exit(f"no Ray head at {address} after ten minutes: see ray_head.log")
        time.sleep(1)
ray.init(address=address, log_to_driver=False, logging_level="ERROR")
while (there := sum(node["Alive"] for node in ray.nodes())) < wanted and time.monotonic() < end:
    time.sleep(1)
print(f"{there} of {wanted} nodes have joined {address}", flush=True)
PY

"$bin/python" search.py "$@" --executor ray --ray_address "$address" &
search=$!
trap 'kill -TERM "$search"' TERM
code=0
wait "$search" || code=$?
while kill -0 "$search" 2>/dev/null; do wait "$search" || code=$?; done
exit "$code"
