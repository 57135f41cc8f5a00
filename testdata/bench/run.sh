#!/usr/bin/env bash
# Runs the benchmark harness for Postfix and for this program, in turns on the same
# machine, and prints the medians that RESULTS.md holds.
#
#   BENCH=/path/to/bench testdata/bench/run.sh [TEST...]
#
# BENCH is the harness (bench.sh, summary.sh, loadgen); it needs root, Postfix,
# strace and Go. RUNS (5) and N (3000 messages) are passed on.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: "${BENCH:?set it to the directory of the harness}"
export RUNS=${RUNS:-5} N=${N:-3000} BENCH_ROOT=${BENCH_ROOT:-/var/tmp/mailbench}
export ROWS=${ROWS:-$BENCH_ROOT/rows.$(date +%s).tsv}
tests=("$@")
[ ${#tests[@]} -gt 0 ] || tests=(relay:20 relay:100 relay:1 local:20 fanout submit:1 submit:4)
for t in "${tests[@]}"; do
	"$BENCH/bench.sh" postfix "$t"
	"$BENCH/bench.sh" "$here/zmailer" "$t"
done
"$BENCH/summary.sh" "$ROWS"
