"""The manifest is whole, and says only what is true."""

from __future__ import annotations

import pytest

from freehold.wire.contract import generate
from tests.contract import manifest


def test_the_contract_is_what_the_installed_sdk_says() -> None:
    assert generate.drift() == []


def test_the_manifest_lists_exactly_what_has_no_proof() -> None:
    assert manifest.MANIFEST.read_text() == manifest.written(), "run `python -m tests.contract.manifest`"


def test_every_proof_names_something_that_the_sdk_has() -> None:
    assert [proof for proof in manifest.proofs() if proof.what not in manifest.known()] == []


def test_nothing_is_proven_that_is_said_not_to_be_built() -> None:
    assert [proof for proof in manifest.proofs() if proof.what in manifest.not_built()] == []


def test_nothing_is_said_twice_not_to_be_built() -> None:
    names = [name for group in manifest.manifest()["not_built"].values() for name in group]
    assert sorted(names) == sorted(set(names))
    assert set(names) <= manifest.known()


def test_whatever_is_not_built_stands_in_the_registry_of_differences() -> None:
    assert set(manifest.not_built().values()) <= manifest.differences().keys()


def test_every_difference_says_what_it_is_and_names_a_test_that_shows_it() -> None:
    for identity, entry in manifest.differences().items():
        assert entry.keys() == {"id", "what", "class", "source", "test"}, identity
        assert all(isinstance(value, str) and value for value in entry.values()), identity
        assert entry["class"] in ("deliberate", "inferred"), identity
        assert entry["test"] in manifest.tests(), f"{identity}: there is no {entry['test']}"
        assert (identity, entry["test"]) in manifest.shown(), f"{entry['test']} lacks @shows_difference({identity!r})"


def test_every_test_that_shows_a_difference_names_one_of_the_registry() -> None:
    assert {identity for identity, _ in manifest.shown()} <= manifest.differences().keys()


def test_a_proof_of_something_that_does_not_exist_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match=r"beta\.agents\.destroy"):
        manifest.proves("beta.agents.destroy")
    with pytest.raises(ValueError, match="not in differences"):
        manifest.shows_difference("no-such-thing")
