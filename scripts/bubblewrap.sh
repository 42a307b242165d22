#!/usr/bin/env bash
# Sees to it that bubblewrap, which makes the boxes, is there; installs it where that is possible without asking.
set -euo pipefail
command -v bwrap >/dev/null && exit 0
if command -v apt-get >/dev/null; then line="apt-get install -y bubblewrap"
elif command -v dnf >/dev/null; then line="dnf install -y bubblewrap"
elif command -v apk >/dev/null; then line="apk add bubblewrap"
elif command -v pacman >/dev/null; then line="pacman -S --noconfirm bubblewrap"
else
  echo "Agents run in bubblewrap boxes, and this system has no bubblewrap and no package manager that I know." >&2
  exit 1
fi
if [ "$(id -u)" = 0 ]; then as=""
elif sudo -n true 2>/dev/null; then as="sudo -n"
else
  echo "Agents run in bubblewrap boxes. Please run this line, then the same command again:" >&2
  echo "    sudo $line" >&2
  exit 1
fi
echo "Installing bubblewrap, the sandbox: $as $line"
export DEBIAN_FRONTEND=noninteractive
$as $line >/dev/null 2>&1 || { [[ $line != apt-get* ]] || $as apt-get update >/dev/null; $as $line >/dev/null; }
command -v bwrap >/dev/null || { echo "bubblewrap did not install; try: sudo $line" >&2; exit 1; }
