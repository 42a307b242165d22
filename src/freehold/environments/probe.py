"""What this machine gives to boxes, found out by opening one and looking around in it. Never guessed.

Each protection that is missing comes with the one thing to do about it.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from freehold.environments import quota
from freehold.environments.base import BoxDied, Boxes, BoxFailed, BoxSpec, Capabilities, Protection
from freehold.environments.limits import Limiter, remedy
from freehold.environments.workdirs import Workdir

_LOOK = r"""
for f in NoNewPrivs Seccomp CapEff; do echo "$f $(grep "^$f:" /proc/self/status | tr -d '\t' | cut -d: -f2)"; done
echo "interfaces $(cut -d: -f1 /proc/net/dev | tail -n +3 | tr -d ' \n')"
echo "processes $(ls -d /proc/[0-9]* | wc -l)"
echo "first $(tr '\0' ' ' < /proc/1/environ 2>/dev/null | wc -c) $(ls /proc/1/fd 2>/dev/null | wc -l)"
echo "root $(touch /etc/x /usr/x /x 2>/dev/null && echo writable || echo fixed)"
for n in user pid net mnt ipc uts; do echo "ns_$n $(readlink /proc/self/ns/$n)"; done
for p in python3 git rg curl node; do command -v $p >/dev/null && echo "has_$p yes"; done
echo "python $(python3 -c 'import sys; print(sys.version.split()[0])' 2>&1 | head -1)"
"""
_NAMESPACES = ("user", "pid", "net", "mnt", "ipc", "uts")


async def of_boxes(boxes: Boxes, root: Path, limiter: Limiter, shared: Sequence[str] = ()) -> Capabilities:
    """Open a box on a folder of its own under `root`, look, and take both away again.

    `shared`: the namespaces that boxes of this kind have in common with the host.
    """
    spec = BoxSpec(f"probe_{secrets.token_hex(6)}", root / f"probe_{secrets.token_hex(6)}", epoch=1)
    try:
        box = await boxes.open(spec)
        try:
            outcome = await box.call("bash", {"command": _LOOK}, key="probe", epoch=1)
        finally:
            await box.close()
    except (BoxFailed, BoxDied) as error:
        return Capabilities(boxes.name, False, limits(limiter, root), reason=explained(str(error)))
    finally:
        if spec.workdir.exists():
            Workdir(spec.workdir).delete()
    text = str(outcome.content[0]["text"])
    facts = dict(line.partition(" ")[::2] for line in text.splitlines())
    walls = isolation(facts, shared)
    found = (*walls, *limits(limiter, root), *programs(facts))
    broken = [p for p in walls if not p.present]
    reason = "; ".join(f"{p.name}: {p.detail}" for p in broken)
    return Capabilities(boxes.name, not broken, found, reason)


def isolation(facts: dict[str, str], allowed: Sequence[str] = ()) -> tuple[Protection, ...]:
    """The walls: each of them must stand."""
    own = {name: os.readlink(f"/proc/self/ns/{name}") for name in _NAMESPACES}
    wanted = [name for name in _NAMESPACES if name not in allowed]
    shared = [name for name in wanted if facts.get(f"ns_{name}") in (None, "", own[name])]
    return (
        Protection(
            "namespaces",
            not shared,
            f"shared with the host: {', '.join(shared)}" if shared else f"{', '.join(wanted)}: its own",
        ),
        Protection("no network", facts.get("interfaces") == "lo", f"interfaces: {facts.get('interfaces')}"),
        Protection("seccomp filter", facts.get("Seccomp") == "2", f"mode {facts.get('Seccomp')}"),
        Protection("no new privileges", facts.get("NoNewPrivs") == "1", f"NoNewPrivs {facts.get('NoNewPrivs')}"),
        Protection("no capabilities", set(facts.get("CapEff", "?")) == {"0"}, f"CapEff {facts.get('CapEff')}"),
        Protection(
            "sealed supervisor", facts.get("first") == "0 0", "its environment and descriptors are out of reach"
        ),
        Protection("read-only system", facts.get("root") == "fixed", "/, /usr and /etc cannot be written"),
    )


def limits(limiter: Limiter, root: Path) -> tuple[Protection, ...]:
    """The bounds: a box runs without them, and the operator should know. `root`: where the files of sessions lie."""
    todo, by_quota = remedy(limiter), quota.kept(root)
    bounds = {
        "memory": "of the whole box",
        "processes": "of the whole box (else of its user)",
        "cpu": "a share of the processors",
        "freeze": "a box that fills the disk can be stopped where it stands",
    }
    return (
        *(
            Protection(f"limit: {name}", name in limiter.controls, f"{what}; by {limiter.name}", todo)
            for name, what in bounds.items()
        ),
        Protection(
            "limit: disk",
            by_quota,
            "of all files of a session; by the quota of its user"
            if by_quota
            else "soft: a watch over what the disk loses; each file has a hard limit",
            quota.REMEDY,
        ),
    )


def programs(facts: dict[str, str]) -> tuple[Protection, ...]:
    """What an agent finds inside. None of it is needed by the tools themselves."""
    python = facts.get("python", "")
    return (
        Protection("program: python3", "has_python3" in facts, python, "apt install python3"),
        *(
            Protection(f"program: {name}", f"has_{name}" in facts, "for the agent to use", f"apt install {package}")
            for name, package in {"git": "git", "rg": "ripgrep", "curl": "curl", "node": "nodejs"}.items()
        ),
    )


def explained(words: str) -> str:
    """What bubblewrap said, and what to do about it where that is known."""
    for sign, remedy_text in _REMEDIES.items():
        if sign in words:
            return f"{words}. {remedy_text}"
    return words


_REMEDIES = {
    "setting up uid map: Permission denied": (
        "This kernel lets only named programs make user namespaces (Ubuntu 24.04 and later): give bwrap an AppArmor "
        "profile with `userns,`, or run: sysctl kernel.apparmor_restrict_unprivileged_userns=0"
    ),
    "No permissions to create new namespace": (
        "User namespaces are off: sysctl kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000; in a "
        "container also: --security-opt seccomp=unconfined"
    ),
    "Creating new namespace failed": (
        "User namespaces are off: sysctl user.max_user_namespaces=10000; in a container: "
        "--security-opt seccomp=unconfined"
    ),
    "Can't mount proc": (
        "The server runs in a container that masks parts of /proc: start it with --security-opt seccomp=unconfined "
        "--security-opt systempaths=unconfined (podman: unmask=ALL)"
    ),
}


def summary(found: Capabilities) -> str:
    """One line per protection, for a terminal."""
    lines = [f"{found.backend}: {'isolated' if found.isolated else 'NOT ISOLATED'} {found.reason}".rstrip()]
    for protection in found.protections:
        mark = "yes" if protection.present else "no "
        todo = f" -> {protection.remedy}" if protection.remedy and not protection.present else ""
        lines.append(f"  {mark} {protection.name}: {protection.detail}{todo}")
    return "\n".join(lines)
