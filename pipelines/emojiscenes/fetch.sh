#!/bin/sh
# Brings the pinned drawings and names into BUILD/node_modules with npm.
# usage: fetch.sh BUILD
set -eu
build=${1:?usage: fetch.sh BUILD}
mkdir -p "$build"
exec npm install --prefix "$build" --ignore-scripts --no-audit --no-fund --no-save \
    emoji-datasource-google@16.0.0 emoji-datasource-twitter@16.0.0 emojibase-data@17.0.0
