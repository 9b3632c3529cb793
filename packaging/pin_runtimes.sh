#!/bin/sh
# Writes the versions and checksums of what `planish runtime install` fetches, for all platforms: assets/runtimes/NAME.txt from NAME.in.
# Needs uv. Run it when a version in NAME.in changes.
set -eu
cd "$(dirname "$0")/../assets/runtimes"
for wanted in *.in; do
    uv pip compile --quiet --generate-hashes --universal --python-version 3.11 --no-header --no-annotate \
        "$wanted" --output-file "${wanted%.in}.txt"
    echo "${wanted%.in}.txt: $(grep -c == "${wanted%.in}.txt") packages"
done
