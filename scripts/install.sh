#!/bin/sh
# Installs the pinned CPU stack and this project into .venv. Does nothing when the locks and pyproject.toml are unchanged.
#
#   PYTHON=/path/to/python3.11 sh scripts/install.sh
set -eu
cd "$(dirname "$0")/.."

venv=.venv
needed_gib=8
stamp=$venv/.installed
unfinished=$venv/.unfinished

fail() {
    printf 'install: %s\n' "$*" >&2
    exit 1
}

# The path counts too: a virtual environment does not survive a move.
fingerprint() {
    { pwd && cat requirements/cpu.lock requirements/dev.lock pyproject.toml; } | cksum
}

find_python() {
    for candidate in "${PYTHON:-}" python3.11 python3 python; do
        version=$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
        [ "$version" = 3.11 ] && command -v "$candidate" && return
        found="${found:-}${found:+, }$candidate is $version"
    done
    fail "Python 3.11 is needed, since the locked packages are built for it, but was not found (${found:-no Python on the PATH})." \
        "Install Python 3.11, or name one: make install PYTHON=/path/to/python3.11"
}

check_disk() {
    free_kib=$(df -Pk . | awk 'NR == 2 { print $4 }')
    held_kib=$(du -sk "$venv" 2>/dev/null | awk '{ print $1 }')
    if [ $((free_kib + ${held_kib:-0})) -lt $((needed_gib * 1024 * 1024)) ]; then
        fail "about $needed_gib GiB of free disk are needed for packages, models and a run, but $(pwd) has" \
            "$((free_kib / 1024 / 1024)) GiB. Free some space, or move the checkout to a larger disk."
    fi
}

imports_torch() {
    "$venv/bin/python" -c 'import torch' 2>/dev/null
}

# The package index carries torch's CUDA build, which imports with NVIDIA's libraries only. It computes on the CPU as the CPU build does.
check_torch() {
    imports_torch && return
    echo "install: pip took torch's CUDA build, so its libraries are installed too (3.8 GB more). Make PyTorch's CPU wheels known to pip" \
        "to spare them (requirements/README.md)."
    needed_gib=12
    check_disk
    # Quietly: pip would complain of what the locks leave out on purpose.
    "$@" install -qqq --no-input "$(grep '^torch==' requirements/cpu.lock)" && imports_torch && return
    "$venv/bin/python" -c 'import torch' >&2 || true
    "$@" uninstall --quiet --yes torch
    fail "torch was installed but cannot be imported: pip took its CUDA build, and the libraries of that could not be installed." \
        "Make PyTorch's CPU wheels known to pip (see requirements/README.md) and run make install again."
}

# Two installs at once would write the same files; the second waits, then finds nothing to do.
if command -v flock >/dev/null; then
    exec 9<scripts/install.sh
    flock 9
fi

[ "$(cat "$stamp" 2>/dev/null)" = "$(fingerprint)" ] && exit 0

# pip takes a package that was cut off half-way for an installed one, so an interrupted install starts over.
[ -e "$unfinished" ] && rm -rf "$venv"
python=$(find_python)
check_disk

started=$(date +%s)
count=$(cat requirements/cpu.lock requirements/dev.lock | grep -c '==')
echo "install: $count pinned packages into $venv (3.5 GB; two to four minutes, once)"
# Debian's Python has a pip of its own but none to put into an environment.
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv" >/dev/null 2>&1 || "$python" -m venv --without-pip "$venv" ||
    fail "$python could not create a virtual environment in $(pwd)/$venv (its message is above)."
if "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    set -- "$venv/bin/python" -m pip
else
    set -- "$python" -m pip --python "$venv/bin/python"
fi
touch "$unfinished"
"$@" install -qq --no-input --no-deps -r requirements/cpu.lock -r requirements/dev.lock ||
    fail "pip could not install the locked packages (its message is above). Check the network and the disk, then run make install again."
check_torch "$@"
"$@" install -qq --no-input --no-deps --no-build-isolation -e . ||
    fail "pip could not install this project (its message is above). Check pyproject.toml, then run make install again."
fingerprint >"$stamp"
rm "$unfinished"
echo "install: done in $(($(date +%s) - started)) s"
