"""The supervisor and the tools as one blob of compiled code, made by the very interpreter that will run it.

A box gets code, not files: nothing of Freehold is mounted into it, and it does not have to compile anything (45 ms of
45). The server never loads what a box has compiled.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from freehold.environments.base import BoxFailed

MODULES = (
    "supervisor.jsonlines",
    "supervisor.output",
    "supervisor.kernel",
    "supervisor.loop",
    "supervisor.spawning",
    "supervisor.doorway",
    "tools.results",
    "tools.bash",
    "supervisor.shell",
    "supervisor.work",
    "supervisor.main",
    "tools.places",
    "tools.shortened",
    "tools.read",
    "tools.write",
    "tools.edit",
    "tools.files",
    "tools.glob",
    "tools.grep",
)
"""In the order of need: each imports only from those before it."""
_ROOM = "freehold.environments"
_LATE = (
    "supervisor.doorway",
    "tools.places",
    "tools.shortened",
    "tools.files",
    "tools.read",
    "tools.write",
    "tools.edit",
    "tools.glob",
    "tools.grep",
)
"""Run when they are first used, or when an open box has nothing to do."""

_COMPILE = """
import json, marshal, sys
loader, sources = json.load(sys.stdin)
codes = [(name, late, compile(text, "<box>/" + name, "exec", optimize=1)) for name, late, text in sources]
codes = [(name, late, marshal.dumps(code) if late else code) for name, late, code in codes]
sys.stdout.buffer.write(marshal.dumps((compile(loader, "<box>/loader", "exec"), codes)))
"""

LOADER = """
_M=type(sys)
class _Late:
 codes={}
 @classmethod
 def find_spec(cls,name,path=None,target=None):
  if name in cls.codes:
   from _frozen_importlib import ModuleSpec
   return ModuleSpec(name,cls)
 @staticmethod
 def create_module(spec):return None
 @classmethod
 def exec_module(cls,module):
  code=cls.codes[module.__name__]
  exec(marshal.loads(code) if type(code) is bytes else code,module.__dict__)
def _package(name):
 if name in sys.modules:return
 module=sys.modules[name]=_M(name);module.__path__=[]
 head,_,tail=name.rpartition('.')
 if head:_package(head);setattr(sys.modules[head],tail,module)
sys.meta_path.insert(0,_Late)
_Late.codes.update((n,c) for n,l,c in _codes)
for _n,_l,_c in _codes:
 _package(_n.rpartition('.')[0])
 if not _l:__import__(_n)
"""
"""Makes the modules of the blob importable, and imports those that every box needs. It is compiled like them."""

START = (
    "import marshal,sys;_load,_codes=marshal.loads(open(int(sys.argv[2]),'rb').read());exec(_load);"
    "sys.modules['freehold.environments.supervisor.main'].main(int(sys.argv[1]))"
)
"""What `python3 -I -S -c` is told: load the blob from descriptor argv[2], then serve on argv[1]."""


def sources() -> list[tuple[str, bool, str]]:
    """Full name, whether it is loaded late, and text of every module that runs inside a box."""
    root = resources.files(_ROOM)
    found = []
    for name in MODULES:
        room, _, file = name.partition(".")
        text = (root / room / f"{file}.py").read_text("utf-8")
        found.append((f"{_ROOM}.{name}", name in _LATE, text))
    return found


def compiled(interpreter: Sequence[str | Path]) -> bytes:
    """The blob for that interpreter (its command line as the host runs it). Costs one start of it.

    Raises:
        BoxFailed: the interpreter does not run, or is too old for the code.
    """
    command = [*(os.fspath(word) for word in interpreter), "-I", "-S", "-c", _COMPILE]
    try:
        done = subprocess.run(
            command, input=json.dumps([LOADER, sources()]).encode(), capture_output=True, env={}, timeout=60, check=True
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BoxFailed(f"{interpreter[0]}: the Python for boxes does not run: {error}") from error
    except subprocess.CalledProcessError as error:
        words = error.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise BoxFailed(f"{interpreter[0]}: the Python for boxes cannot load the supervisor: {words}") from error
    return done.stdout
