"""The certificate log's tree: RFC 6962's definition, the vectors its authors published, and Go's sumdb/tlog as a second opinion."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.core.errors import Invalid, Tampered
from appliance.formats.merkle_tree import (
    EMPTY_ROOT,
    RightEdge,
    check_consistency,
    check_inclusion,
    edge_of_last_leaf,
    leaf_hash,
)
from tests.simulators.certificate_log import consistency_proof, inclusion_proof, tree_root

#: The eight leaves and the roots of the trees of 1 to 8 of them in the tests of Certificate Transparency's own code.
LEAVES = [
    bytes.fromhex(leaf)
    for leaf in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def _edge(leaves: list[bytes]) -> RightEdge:
    edge = RightEdge()
    for leaf in leaves:
        edge = edge.add(leaf_hash(leaf))
    return edge


def _leaves(size: int) -> list[bytes]:
    return [f"leaf {number}".encode() for number in range(size)]


def test_roots_are_those_of_the_published_vectors() -> None:
    assert RightEdge().root() == EMPTY_ROOT == tree_root([])
    for size, root in enumerate(ROOTS, start=1):
        assert _edge(LEAVES[:size]).root().hex() == root == tree_root(LEAVES[:size]).hex()


@given(st.integers(1, 70), st.data())
def test_every_right_proof_is_taken_and_any_changed_one_refused(size: int, data: st.DataObject) -> None:
    leaves = _leaves(size)
    root = tree_root(leaves)
    assert _edge(leaves).root() == root
    index = data.draw(st.integers(0, size - 1))
    proof = inclusion_proof(index, leaves)
    check_inclusion(leaf_hash(leaves[index]), index, size, proof, root)
    for wrong in _changed(proof, data):
        with pytest.raises(Tampered):
            check_inclusion(leaf_hash(leaves[index]), index, size, wrong, root)
    with pytest.raises(Tampered):
        check_inclusion(leaf_hash(b"another"), index, size, proof, root)
    old = data.draw(st.integers(1, size))
    between = consistency_proof(old, leaves)
    check_consistency(old, tree_root(leaves[:old]), size, root, between)
    for wrong in _changed(between, data):
        with pytest.raises(Tampered):
            check_consistency(old, tree_root(leaves[:old]), size, root, wrong)
    with pytest.raises(Tampered):
        check_consistency(old, tree_root([b"x", *leaves[1:old]]), size, root, between)
    edge = edge_of_last_leaf(leaf_hash(leaves[-1]), size, inclusion_proof(size - 1, leaves), root)
    assert edge == _edge(leaves)
    for wrong in _changed(inclusion_proof(size - 1, leaves), data):
        with pytest.raises(Tampered):
            edge_of_last_leaf(leaf_hash(leaves[-1]), size, wrong, root)


def _changed(proof: list[bytes], data: st.DataObject) -> list[list[bytes]]:
    longer = [*proof, b"\x22" * 32]
    if not proof:
        return [longer]
    place = data.draw(st.integers(0, len(proof) - 1))
    return [
        longer,
        proof[:-1],
        [b"\x33" * 32 if number == place else one for number, one in enumerate(proof)],
    ]


def test_a_tree_never_grows_smaller() -> None:
    leaves = _leaves(5)
    with pytest.raises(Tampered):
        check_consistency(5, tree_root(leaves), 4, tree_root(leaves[:4]), [])


def test_the_empty_tree_is_the_beginning_of_every_tree() -> None:
    check_consistency(0, EMPTY_ROOT, 3, tree_root(_leaves(3)), [])
    with pytest.raises(Tampered):
        check_consistency(0, b"\0" * 32, 3, tree_root(_leaves(3)), [])


def test_an_edge_has_a_peak_for_each_bit_of_its_size() -> None:
    with pytest.raises(Invalid):
        RightEdge(3, (b"\0" * 32,))
    with pytest.raises(Invalid):
        RightEdge(1, (b"\0" * 31,))


GO = """package main

import (
	"encoding/json"
	"os"

	"golang.org/x/mod/sumdb/tlog"
)

type question struct {
	Size, Old, Index int64
	Root, OldRoot, Leaf []byte
	Inclusion, Consistency [][]byte
}

func hash(b []byte) (h tlog.Hash) { copy(h[:], b); return }

func hashes(bs [][]byte) (hs []tlog.Hash) {
	for _, b := range bs {
		hs = append(hs, hash(b))
	}
	return
}

func main() {
	var questions []question
	if err := json.NewDecoder(os.Stdin).Decode(&questions); err != nil {
		panic(err)
	}
	for _, q := range questions {
		if tlog.RecordHash(q.Leaf) == hash(nil) {
			panic("leaf")
		}
		if err := tlog.CheckRecord(hashes(q.Inclusion), q.Size, hash(q.Root), q.Index, tlog.RecordHash(q.Leaf)); err != nil {
			panic(err)
		}
		if err := tlog.CheckTree(hashes(q.Consistency), q.Size, hash(q.Root), q.Old, hash(q.OldRoot)); err != nil {
			panic(err)
		}
	}
	json.NewEncoder(os.Stdout).Encode(len(questions))
}
"""


def test_another_implementation_takes_what_is_taken_here(tmp_path: Path) -> None:
    """golang.org/x/mod/sumdb/tlog (Debian's package) checks the proofs that this side checks, and reaches the same roots."""
    questions = []
    for size in (1, 2, 3, 7, 8, 9, 33, 64, 100):
        leaves = _leaves(size)
        for old, index in ((1, 0), ((size + 1) // 2, size // 3), (size, size - 1)):
            included, between = inclusion_proof(index, leaves), consistency_proof(old, leaves)
            check_inclusion(leaf_hash(leaves[index]), index, size, included, _edge(leaves).root())
            check_consistency(old, _edge(leaves[:old]).root(), size, _edge(leaves).root(), between)
            questions.append(
                {
                    "Size": size,
                    "Old": old,
                    "Index": index,
                    "Root": _base64(_edge(leaves).root()),
                    "OldRoot": _base64(_edge(leaves[:old]).root()),
                    "Leaf": _base64(leaves[index]),
                    "Inclusion": [_base64(one) for one in included],
                    "Consistency": [_base64(one) for one in between],
                }
            )
    (tmp_path / "main.go").write_text(GO)
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "GOPATH": "/usr/share/gocode",
        "GO111MODULE": "off",
        "GOFLAGS": "-mod=mod",
        "GOCACHE": str(tmp_path / "cache"),
    }
    subprocess.run(["go", "build", "-o", "peer", "main.go"], cwd=tmp_path, env=environment, check=True, timeout=120)
    done = subprocess.run(
        [tmp_path / "peer"], input=json.dumps(questions), capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == len(questions) == 27


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
