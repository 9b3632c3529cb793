#!/usr/bin/env bash
# Screenshots of every page from the real window, and of the report in Chromium: assets/screenshots, light and dark, at 1280×800.
# Usage: packaging/screenshots.sh MODEL-F16.gguf [OUTPUT_DIR] [WIDTH HEIGHT [SCALE]]; set PLANISH to the binary (default: what run.sh builds)
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/window_lib.sh

model=$(realpath "$1")
shots=${2:-assets/screenshots}
width=${3:-1280} height=${4:-800}
export WINIT_X11_SCALE_FACTOR=${5:-1}
target=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
PLANISH=${PLANISH:-$target/checkout/planish}
work=$(mktemp -d)
trap 'stop_all; rm -rf "$work"' EXIT
mkdir -p "$shots" "$work/config/planish" "$work/bin" "$work/models"
# A short path: the window shows it.
cat >"$work/config/planish/settings.json" <<JSON
{ "theme": "Dark", "levels": ["Q8_0", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K"], "output_dir": "$work/models",
  "quality": { "max_tokens": 4000 },
  "ask": { "prompt": "What is the capital of France?", "max_tokens": 64 } }
JSON

start_display "$width" "$height"
start_window "$work" "$width" "$height" "$model"
sleep 2 # the machine is being measured
wait_idle 60
press ctrl+4
sleep 1 # software rendering draws the page slowly
press ctrl+Return
wait_file 600 "$work/models/$(basename "$model" -F16.gguf)-Q2_K.gguf"
wait_idle 30
press ctrl+5
sleep 1
press ctrl+Return
wait_title 60 'measuring'
wait_idle 600
press ctrl+l
wait_title 60 'measuring'
wait_idle 600

pages=(model machine plan optimize compare)
# Tabs of the Compare page after the first, in their order.
tabs=(flips answers tensors history)
# Tabs whose shortcut starts a job. It is pressed for the first theme only; the second shows the same result.
jobs=" answers tensors "
for theme in dark light; do
    [ "$theme" = light ] && press ctrl+t
    for idx in "${!pages[@]}"; do
        press "ctrl+$((idx + 1))"
        shot "$shots/${pages[idx]}-$theme.png"
        [ "${pages[idx]}" = compare ] || continue
        for tab in "${tabs[@]}"; do
            press ctrl+Next
            sleep 0.5
            if [ "$theme" = dark ] && [[ $jobs = *" $tab "* ]]; then
                press ctrl+Return
                sleep 1
                wait_idle 120
            fi
            shot "$shots/$tab-$theme.png"
        done
        press ctrl+Next
    done
done
close_window

PLANISH_HISTORY=$work/history.sqlite3 "$PLANISH" report "$model" --out "$work/report.html"
for theme in dark light; do
    scheme=1
    [ "$theme" = dark ] && scheme=0
    chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --blink-settings=preferredColorScheme=$scheme \
        --window-size=1100,1500 --screenshot="$shots/report-$theme.png" "file://$work/report.html" >/dev/null 2>&1
done
