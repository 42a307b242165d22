"""`freehold export` and `freehold import` between two real servers: what upgrades and moves rest on."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import anthropic

from freehold.launch import ServerProcess
from tests.cli.commands import freehold

SKILL_MD = b"---\nname: own\ndescription: Does things.\n---\n"


def furnished(client: anthropic.Anthropic) -> None:
    client.files.upload(file=("a.txt", b"kept", "text/plain"))
    client.beta.skills.create(files=[("own/SKILL.md", SKILL_MD)])
    store = client.beta.memory_stores.create(name="Notes")
    client.beta.memory_stores.memories.create(store.id, path="/a.md", content="remembered")


def seen(client: anthropic.Anthropic) -> dict[str, Any]:
    (store,) = client.beta.memory_stores.list().data
    return {
        "files": [file.to_dict() for file in client.files.list().data],
        "skills": [skill.to_dict() for skill in client.beta.skills.list().data],
        "store": store.to_dict(),
        "memories": [one.to_dict() for one in client.beta.memory_stores.memories.list(store.id, view="full").data],
    }


def client(server: ServerProcess) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=server.address, api_key=server.key, max_retries=0)


def test_a_library_moves_from_one_server_to_another_as_it_is(tmp_path: Path) -> None:
    tar = tmp_path / "library.tar"
    with ServerProcess(tmp_path / "one", arguments=["--upstream", "simulator"]) as server, client(server) as first:
        furnished(first)
        before = seen(first)
        done = freehold("export", tar, "--data", server.data)
        assert done.returncode == 0, done.stderr
        again = freehold("export", tar, "--data", server.data)
        assert again.returncode != 0 and "cannot be written" in again.stderr
        with tarfile.open(tar) as members:
            content = members.extractfile(f"files/{before['files'][0]['id']}/content")
            assert content is not None and content.read() == b"kept"
    with ServerProcess(tmp_path / "two", arguments=["--upstream", "simulator"]) as server, client(server) as second:
        done = freehold("import", tar, "--data", server.data)
        assert done.stdout == "1 files, 1 skills, 1 memory stores\n", done.stderr
        assert seen(second) == before
        twice = freehold("import", tar, "--data", server.data)
        assert twice.returncode != 0 and "409" in twice.stderr
        broken = tmp_path / "broken.tar"
        broken.write_bytes(tar.read_bytes()[:700])
        assert freehold("import", broken, "--data", server.data).returncode != 0
        none = freehold("export", tmp_path / "none.tar", "--workspace", "wrk_none", "--data", server.data)
        assert none.returncode != 0 and "404" in none.stderr and not (tmp_path / "none.tar").exists()
        assert seen(second) == before
