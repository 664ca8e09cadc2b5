#!/bin/sh
# SPDX-License-Identifier: MIT
# The hand-over, searched by Spin: no error in the protocol as it is, and one
# for each flaw that can be put back into it (doc/handover.md).
#
#	tests/model.sh		the base case in parts, and every flaw: 2 minutes, 2 GB
#	tests/model.sh full	the whole base case alone: ten minutes, 9 GB
#
# Needs spin and a C compiler. Prints a line for each search; the last line is
# 'N passed, N failed', and the exit status says the same.
set -u

model=$(cd "$(dirname "$0")/../doc" && pwd)/handover.pml
cc=${CC:-cc}
work=$(mktemp -d "${TMPDIR:-/tmp}/dormouse-model.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
passed=0
failed=0

flaws=$(sed -n '/^mtype:flaw = {/,/^};/{ s/^mtype:flaw = { nothing,.*//
	s/^[[:space:]]*\([a-z_][a-z_]*\),\{0,1\}[[:space:]].*/\1/p; }' "$model")

for tool in spin "$cc"; do
	if ! command -v "$tool" >/dev/null 2>&1; then
		echo "model.sh: $tool is not installed"
		echo "0 passed, 1 failed"
		exit 1
	fi
done

# search NAME "MODEL FLAGS" "CC FLAGS" "PAN FLAGS": leaves the output in $out
search() {
	dir=$work/$1
	out=$dir/out
	mkdir "$dir" && cd "$dir" || exit 1
	# shellcheck disable=SC2086 # lists of flags
	spin $2 -a "$model" >"$out" 2>&1 &&
		"$cc" -w -O2 -DSAFETY -DCOLLAPSE -DVECTORSZ=2048 $3 -o pan pan.c >>"$out" 2>&1 &&
		nice ./pan -m100000 $4 >"$out" 2>&1
	states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' "$out")
	found=$(sed -n 's/^pan:1: \(.*\) (at depth.*/\1/p' "$out")
}

# verdict NAME OK TEXT
verdict() {
	if [ "$2" = yes ]; then
		passed=$((passed + 1))
		echo "ok    $1: $3"
	else
		failed=$((failed + 1))
		echo "FAIL  $1: $3"
		tail -n 20 "$out"
	fi
	cd / && rm -rf "$dir"
}

# Every state was looked at: not stopped by memory, depth or an error.
base() {
	search "$1" "$2" "-DMEMLIM=$3" "$4"
	ok=no
	if grep -q 'errors: 0$' "$out" && ! grep -q 'not completed\|max search depth' "$out"; then
		ok=yes
	fi
	verdict "base case, $1" "$ok" "${states:-no} states${found:+, $found}"
}

# The shortest way to the error. It must be a broken promise: an "invalid end
# state" or a model that cannot be compiled proves nothing.
flaw() {
	search "$1" "-DBUG=$1" "-DBFS -DMEMLIM=3000" "-w22"
	ok=no
	case $found in
	"assertion violated"*) ok=yes ;;
	esac
	depth=$(sed -n 's/^pan:1: .*(at depth \([0-9]*\)).*/\1/p' "$out")
	verdict "flaw $1" "$ok" "${depth:+error after $depth steps, }${states:-no} states"
}

case ${1:-} in
full)
	base "everything" "" 16000 "-w27"
	;;
"")
	base "no time-out" "-DNSLOW=0" 3500 "-w24"
	base "no kill" "-DNCRASH=0" 3500 "-w22"
	base "two keepalives, no kill" "-DNCRASH=0 -DK=2" 3500 "-w22"
	if [ -z "$flaws" ]; then
		out=/dev/null dir=$work
		verdict "flaws" no "none listed in the model"
	fi
	for f in $flaws; do
		flaw "$f"
	done
	;;
*)
	echo "usage: $0 [full]" >&2
	exit 2
	;;
esac

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
