#!/usr/bin/env bash
# The whole loop in the real window: open a model through the file dialog, convert two levels, measure them, compare, close.
# Screenshots are kept in target/window-test.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/window_lib.sh

target=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
PLANISH=${PLANISH:-$target/debug/planish}
model=$(tests/fetch_fixtures.sh)/SmolLM2-135M-Instruct.Q4_1.gguf
shots=$target/window-test
work=$(mktemp -d)
trap 'stop_all; rm -rf "$work"' EXIT
rm -rf "$shots" && mkdir -p "$shots" "$work/config/planish" "$work/bin" "$work/out"

# The dialog: rfd asks zenity, and this one always picks the model.
printf '#!/bin/sh\necho "%s"\n' "$model" >"$work/bin/zenity"
chmod +x "$work/bin/zenity"
# A recipe without changes is a choice: calibration, which takes minutes, is then not suggested.
cat >"$work/config/planish/settings.json" <<JSON
{ "theme": "Dark", "levels": ["Q8_0", "Q4_K_M"], "output_dir": "$work/out", "recipe": { "model": "$model", "overrides": {} },
  "bench": { "n_prompt_tokens": 64, "n_gen_tokens": 16, "n_repetitions": 2, "with_source": false } }
JSON

start_display 1280 800
start_window "$work" 1280 800
sleep 2 # the machine is being measured
wait_idle 60
shot "$shots/1-empty.png"
press ctrl+o
wait_title 30 'SmolLM2'
wait_idle 30
shot "$shots/2-model.png"
press ctrl+2
shot "$shots/3-machine.png"
press ctrl+3
shot "$shots/4-plan.png"
press ctrl+4
shot "$shots/5-optimize.png"
sleep 1 # software rendering draws the page slowly
press ctrl+Return
shot "$shots/6-converting.png"
for level in Q8_0 Q4_K_M; do
    wait_file 300 "$work/out/SmolLM2-135M-Instruct-$level.gguf"
done
wait_idle 30
shot "$shots/7-converted.png"
press ctrl+5
sleep 1 # software rendering draws the page slowly
press ctrl+Return
wait_title 30 'measuring'
wait_idle 300
shot "$shots/8-compare.png"

# Figures for the log; a test machine's clock is no reason to fail.
grep -o 'first frame after .*' "$work/log" || { echo "error: the first frame was not logged" >&2; cat "$work/log" >&2; exit 1; }
ticks() { awk '{ print $14 + $15 }' "/proc/$window_pid/stat"; }
before=$(ticks)
sleep 5
echo "idle: $((($(ticks) - before) * 100 / $(getconf CLK_TCK) / 5)) % of a core over 5 s"

close_window
# A fresh user, without any model and any file: one click does everything.
rm -rf "$work/fresh" && mkdir -p "$work/fresh/config/planish" "$work/fresh/bin"
echo '{ "theme": "Dark" }' >"$work/fresh/config/planish/settings.json"
export XDG_DATA_HOME=$work/fresh/data HF_HUB_CACHE=$work/fresh/hub
start_window "$work/fresh" 1280 800
sleep 2
wait_idle 60
started=$SECONDS
xdotool mousemove --window "$window" 783 274 click 1 # "Try the sample"
wait_title 60 'measuring'
wait_idle 300
shot "$shots/9-sample.png"
for level in BF16 Q8_0 Q4_K_M Q2_K; do
    [ -n "$(find "$work/fresh/data" -name "*-$level.gguf")" ] || { echo "error: the sample has no $level" >&2; exit 1; }
done
echo "the sample: the whole loop in $((SECONDS - started)) s"
close_window
[ -s "$work/config/planish/settings.json" ] && grep -q SmolLM2 "$work/config/planish/settings.json"
echo "window: the whole loop passed, screenshots in $shots"
