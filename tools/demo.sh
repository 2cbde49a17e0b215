#!/bin/sh
# The main job from nothing: make boards, train with AutoML off, evaluate, run inference. Each command is shown as typed.
set -eu
bin=$1
out=${2:-demo}
export SKILLRUN_WORKSPACE="$out"
PATH="$bin:$PATH"

step() {
  printf '\n$ %s\n' "$*" >&2
  "$@"
}

rm -rf "$out/boards"
mkdir -p "$out"
step skillrun data synth --out "$out/boards" --pairs 800 --size 64 --seed 1
step skillrun visual_changenet train --no-automl \
  --train-data "$out/boards/train" --eval-data "$out/boards/eval" \
  model.backbone.type=fan_tiny_8_p4_hybrid dataset.classify.image_width=64 dataset.classify.image_height=64 \
  num_epochs=8 batch_size=16 learning_rate=3e-4 train.validation_interval=2 \
  dataset.classify.augmentation_config.augment=true dataset.classify.fpratio_sampling=1.0
step skillrun visual_changenet evaluate --parent last --eval-data "$out/boards/eval"
trained=$(skillrun runs list --json | "$bin/python" -c \
  'import json, sys; print(next(run["run"] for run in json.load(sys.stdin)["runs"] if run["action"] == "train"))')
step skillrun visual_changenet inference --parent "$trained" --infer-data "$out/boards/eval"
step skillrun runs list
