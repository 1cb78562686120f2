#!/usr/bin/env bash
# What phototag does on a CUDA device, in under ten minutes and one JSON file: see benchmarks/README.md.
#
#   benchmarks/gpu.sh [--dry-run] [--json FILE]
#
# Run it in a checkout, with phototag's Python first on the PATH. It needs no network: what it trains starts from random weights
# or from those that come with phototag. --dry-run goes the same way on the CPU with a few pictures, and shows that the script works.
set -u -o pipefail

usage() {
    sed -n '2,7s/^# \{0,1\}//p' "$0"
}

dry_run=no
json=gpu.json
while [ $# -gt 0 ]; do
    case $1 in
        --dry-run) dry_run=yes ;;
        --json)
            [ $# -ge 2 ] || { echo "gpu.sh: --json needs a file" >&2; exit 2; }
            json=$2
            shift
            ;;
        -h | --help)
            usage
            exit 0
            ;;
        *)
            echo "gpu.sh: $1? See gpu.sh --help" >&2
            exit 2
            ;;
    esac
    shift
done

root=$(cd "$(dirname "$0")/.." && pwd)
case $json in
    /*) ;;
    *) json=$PWD/$json ;;
esac
cd "$root" || exit 2
device=$(python -c 'import phototag, torch; print("cuda" if torch.cuda.is_available() else "cpu")') || {
    echo "gpu.sh: phototag and torch have to be installed; see docs/contributing.md" >&2
    exit 2
}
if [ "$device" = cpu ] && [ $dry_run = no ]; then
    echo "gpu.sh: torch finds no CUDA device here; --dry-run tries the script on the CPU" >&2
    exit 2
fi

work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
export PHOTOTAG_HOME=$work/home

# All steps together take ten minutes at most, whatever each of them does.
photos_500=1024 photos_12mp=256 rounds=3 epochs=5 side=224 tests="tests/runtime"
backbones="efficientnet_b0 convnext_tiny"
if [ $dry_run = yes ]; then
    photos_500=8 photos_12mp=4 rounds=1 epochs=1 side=64 tests="tests/runtime/test_doubt.py"
    backbones="test_efficientnet test_convnext"
fi
deadline=$((SECONDS + 590))

# step NAME COMMAND...: run it with what time is left; note its exit status, seconds and last lines.
step() {
    local name=$1 left=$((deadline - SECONDS)) started=$SECONDS status
    shift
    echo "== $name" >&2
    if [ "$left" -lt 5 ]; then
        status=124
        echo "no time was left" > "$work/$name.out"
    else
        timeout -k 5 "$left" "$@" > "$work/$name.out" 2>&1
        status=$?
    fi
    printf '%s\t%s\t%s\n' "$name" "$status" "$((SECONDS - started))" >> "$work/steps.tsv"
    tail -n 3 "$work/$name.out" >&2
}

step tests python -m pytest -q -p no:cacheprovider -m 'not slow' $tests
for backbone in $backbones; do
    step "model-$backbone" phototag train sample_images --backbone $backbone --no-pretrained --tune full --epochs 1 \
        --img-size $side --device $device --output "$work/$backbone.safetensors"
    for kind in 500px 12mp; do
        photos=$photos_500
        [ $kind = 12mp ] && photos=$photos_12mp
        step "throughput-$backbone-$kind" python benchmarks/throughput.py --kinds $kind --photos $photos --rounds $rounds \
            --device $device --pictures "$work/pictures" --model "$work/$backbone.safetensors" \
            --json "$work/throughput-$backbone-$kind.json"
    done
done
step train-full phototag train sample_images --tune full --epochs $epochs --img-size $side --device $device \
    --output "$work/full.safetensors"

python - "$work" "$json" "$dry_run" <<'PYTHON'
"""Put what the steps left into one file, and say what failed."""

import json
import sys
from pathlib import Path

from phototag.runtime import machine

work, target, dry_run = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "yes"
steps = {}
for line in (work / "steps.tsv").read_text().splitlines():
    name, status, seconds = line.split("\t")
    text = (work / f"{name}.out").read_text(errors="replace").replace(str(work), "WORK")
    steps[name] = {"status": int(status), "seconds": int(seconds), "last_lines": text.splitlines()[-25:]}
    figures = work / f"{name}.json"
    if figures.exists():
        steps[name]["figures"] = json.loads(figures.read_text())
import torch

gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
found = {"machine": machine(), "gpu": gpu, "torch": torch.__version__, "dry_run": dry_run, "steps": steps}
target.write_text(json.dumps(found, indent=2) + "\n")
failed = [name for name, step in steps.items() if step["status"] != 0]
print(f"{target}: {len(steps) - len(failed)} steps done" + (f"; failed: {', '.join(failed)}" if failed else ""))
sys.exit(1 if failed else 0)
PYTHON
