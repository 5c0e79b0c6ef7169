#!/bin/sh
# Provides Chromium for the page tests, where that takes no question: as root on Debian. Elsewhere those tests are skipped.
set -eu

for name in chromium chromium-browser google-chrome; do
    command -v "$name" >/dev/null && exit 0
done
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "chromium: not found; page tests will be skipped. Install chromium to run them."
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
echo "chromium: installing it for the page tests"
{ apt-get -o Acquire::http::Timeout=20 update && apt-get install -y --no-install-recommends chromium fonts-dejavu-core; } >/dev/null </dev/null ||
    echo "chromium: apt-get could not install it; page tests will be skipped."
