#!/bin/sh
# The main job from nothing: make boards, train with AutoML off, evaluate, run inference. Each command is shown as typed.
set -eu
export SKILLRUN_BACKEND=local  # as everywhere else, also where an engine has our image
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
step skillrun data synth --out "$out/boards" --pairs 1200 --size 64 --seed 1
step skillrun visual_changenet train --no-automl \
  --train-data "$out/boards/train" --eval-data "$out/boards/eval" \
  model.backbone.type=fan_tiny_8_p4_hybrid dataset.classify.image_width=64 dataset.classify.image_height=64 \
  model.decode_head.decoder_params.embed_dim=64 num_epochs=6 train.validation_interval=2 batch_size=32 learning_rate=2e-4 \
  dataset.classify.fpratio_sampling=1.0 "train.classify.cls_weight=[1.0, 1.0]" \
  dataset.classify.augmentation_config.random_color.enable=false dataset.classify.augmentation_config.with_random_blur=false
step skillrun visual_changenet evaluate --parent last --eval-data "$out/boards/eval"
newest() { # the newest run of an action
  skillrun runs list --json | "$bin/python" -c \
    'import json, sys; print(next(run["run"] for run in json.load(sys.stdin)["runs"] if run["action"] == sys.argv[1]))' "$1"
}
step skillrun visual_changenet inference --parent "$(newest train)" --infer-data "$out/boards/eval"
step skillrun runs list
skillrun runs show "$(newest evaluate)" --json | "$bin/python" -c '
import json, pathlib, sys
shown = json.load(sys.stdin)
numbers, folder = shown["run"]["metrics"], pathlib.Path(shown["run"]["run_dir"])
print("\naccuracy {test_acc:.1f} %, average precision {average_precision:.4f}".format(**numbers))
print("escape rate {0:.1f} %, overkill {1:.1f} %".format(100 * numbers["escape_rate"], 100 * numbers["overkill_rate"]))
print("look at", *(str(folder / item["path"]) for item in shown["artifacts"] if item["kind"] == "picture"))
'
