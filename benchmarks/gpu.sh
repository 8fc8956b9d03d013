#!/usr/bin/env bash
# Every check and timing that needs a GPU, in one call: bash benchmarks/gpu.sh OUT [STEP...]
# A log per step goes to OUT; the last lines of each are printed. Runs without Ray, wherever torch is.
set -u
out=${1:?where logs go}
shift
export PYTHONPATH=. PYTHONUNBUFFERED=1
mkdir -p "$out"
nvidia-smi -L
wanted=" $* "
step() { # step NAME SECONDS COMMAND...: run it if it is wanted, keep its log
    local name=$1 limit=$2 began=$SECONDS
    shift 2
    [[ $wanted == "  " || $wanted == *" $name "* ]] || return 0
    timeout "$limit" "$@" >"$out/$name.log" 2>&1
    echo "== $name: exit $?, $((SECONDS - began)) s"
}
# Correctness first, all at once; then timings, one after the other.
step graphed 90 python3 -m pytest -q --noconftest -p no:cacheprovider tests/core/engines/test_cuda_graph.py &
step engines 120 python3 benchmarks/gpu_check.py --only engines &
step experts-check 120 python3 benchmarks/gpu_check.py --only experts &
step networks-check 120 python3 benchmarks/gpu_check.py --only networks &
step run 120 python3 benchmarks/gpu_check.py --only run &
wait
step matching-ipc1 60 python3 benchmarks/matching.py --device cuda --engine graphed --ipc 1 --steps 50
step matching-ipc10 60 python3 benchmarks/matching.py --device cuda --engine graphed --ipc 10 --steps 30
step matching-bf16 90 python3 benchmarks/matching.py --device cuda --engine graphed --ipc 10 --steps 30 --precision bf16
step launches 40 python3 benchmarks/launches.py
step experts 60 python3 benchmarks/experts.py --device cuda --steps 10 --together 8
step experts-32 60 python3 benchmarks/experts.py --device cuda --width 32 --steps 10 --together 8 --together-ast
step evaluation 30 python3 benchmarks/evaluation.py --device cuda
for log in "$out"/*.log; do
    echo "---- $log"
    tail -n 14 "$log" | cut -c1-700
done
