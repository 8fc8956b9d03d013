#!/usr/bin/env bash
# Every check and timing that needs a GPU, in one call of about four minutes: bash benchmarks/gpu.sh OUT
# Logs go to OUT, one per step; the last lines of each are printed. Runs without Ray, where torch is.
set -u
out=${1:?where logs go}
export PYTHONPATH=. PYTHONUNBUFFERED=1 PYTHONWARNINGS=ignore
mkdir -p "$out"
nvidia-smi -L
step() { # step NAME SECONDS COMMAND...: run it, keep its log
    local name=$1 limit=$2 began=$SECONDS
    shift 2
    timeout "$limit" "$@" >"$out/$name.log" 2>&1
    echo "== $name: exit $?, $((SECONDS - began)) s"
}
# Correctness first, all at once; then timings, one after the other.
step graphed 90 python3 -m pytest -q --noconftest -p no:cacheprovider tests/core/engine/test_graphed.py &
step engines 120 python3 benchmarks/gpu_check.py --only engines &
step experts-check 120 python3 benchmarks/gpu_check.py --only experts --only networks &
step run 120 python3 benchmarks/gpu_check.py --only run &
wait
step matching-ipc1 40 python3 benchmarks/matching.py --device cuda --engine graphed --ipc 1 --steps 50 --rounds 5
step matching-ipc10 40 python3 benchmarks/matching.py --device cuda --engine graphed --ipc 10 --steps 30 --rounds 5
step matching-bf16 40 python3 benchmarks/matching.py --device cuda --engine graphed --ipc 10 --steps 30 --precision bf16
step experts 50 python3 benchmarks/experts.py --device cuda --steps 10 --together 8
step evaluation 30 python3 benchmarks/evaluation.py --device cuda
for log in "$out"/*.log; do
    echo "---- $log"
    tail -n 14 "$log" | cut -c1-900
done
