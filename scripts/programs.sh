#!/usr/bin/env bash
# Sees to it that programs are there which no Python package brings; installs the missing where that needs no question.
# Usage: programs.sh run | test     `run`: what a server needs. `test`: also what the tests compare with or talk to.
set -euo pipefail
PATH=$PATH:/usr/sbin
wanted=(bwrap:bubblewrap)
why="Agents run in bubblewrap boxes."
if [ "${1:-run}" = test ]; then
  wanted+=(rg:ripgrep git:git curl:curl zstd:zstd node:nodejs npm:npm chromium:chromium chromedriver:chromium-driver
    nginx:nginx-light cc:gcc podman:podman runc:runc)
  why="The tests need these."
fi
missing=()
for pair in "${wanted[@]}"; do command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}"); done
[ ${#missing[@]} -gt 0 ] || exit 0

if command -v apt-get >/dev/null; then line="apt-get install -y --no-install-recommends ${missing[*]}"
elif command -v dnf >/dev/null; then line="dnf install -y ${missing[*]}"
elif command -v apk >/dev/null; then line="apk add ${missing[*]}"
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
  command -v "${pair%%:*}" >/dev/null || { echo "${pair#*:} did not install; try: sudo $line" >&2; exit 1; }
done
