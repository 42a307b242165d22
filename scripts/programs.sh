#!/usr/bin/env bash
# Sees to it that programs are there which no Python package brings; installs the missing where that needs no question.
# Usage: programs.sh run | compile | test
# `run`: what a server needs. `compile`: what makes the hot path C. `test`: both, and what tests compare with or talk to.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin
wanted=(bwrap:bubblewrap)
why="Agents run in bubblewrap boxes."
if [ "${1:-run}" != run ]; then
  wanted+=(cc:gcc)
  why="The hot path is compiled to C."
  # A Python that was not the system's package has its headers with it.
  headers=$(.venv/bin/python -c 'import sys, sysconfig as s; print(s.get_path("include") * (sys.base_prefix == "/usr"))')
  [ -z "$headers" ] || wanted+=("$headers/Python.h:$(basename "$headers")-dev")
fi
if [ "${1:-run}" = test ]; then
  wanted+=(rg:ripgrep git:git curl:curl zstd:zstd node:nodejs npm:npm chromium:chromium chromedriver:chromium-driver
    nginx:nginx-light podman:podman runc:runc)
  why="The tests need these."
fi
is_there() { if [[ $1 == */* ]]; then [ -e "$1" ]; else command -v "$1" >/dev/null; fi; }
missing=()
for pair in "${wanted[@]}"; do is_there "${pair%%:*}" || missing+=("${pair#*:}"); done
[ ${#missing[@]} -gt 0 ] || exit 0

if command -v apt-get >/dev/null; then line="apt-get install -y --no-install-recommends ${missing[*]}"
elif command -v dnf >/dev/null; then line="dnf install -y ${missing[*]/%-dev/-devel}"
elif command -v apk >/dev/null; then line="apk add ${missing[*]/python3.*-dev/python3-dev}"
elif command -v pacman >/dev/null; then line="pacman -S --noconfirm ${missing[*]}"
else
  echo "$why This system lacks ${missing[*]}, and has no package manager that I know." >&2
  exit 1
fi
if [ "$(id -u)" = 0 ]; then as=""
elif sudo -n true 2>/dev/null; then as="sudo -n "
else
  echo "$why Please run this line, then the same command again:" >&2
  echo "    sudo $line" >&2
  exit 1
fi
echo "Installing ${missing[*]}: $as$line"
export DEBIAN_FRONTEND=noninteractive
$as$line >/dev/null 2>&1 || { [[ $line != apt-get* ]] || ${as}apt-get update >/dev/null; $as$line >/dev/null; }
for pair in "${wanted[@]}"; do
  is_there "${pair%%:*}" || { echo "${pair#*:} did not install; try: sudo $line" >&2; exit 1; }
done
