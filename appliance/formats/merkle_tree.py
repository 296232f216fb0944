"""The Merkle tree of a certificate log: hashes, the two proofs, and a tree that grows by its right edge. Pure.

Rules: a proof that does not lead to the root it was asked for is Tampered; a proof has no hash to spare.
Sources: RFC 6962 2.1 (hashes) and 2.1.2 (proofs); RFC 9162 2.1.3.2 and 2.1.4.2 (how to check them).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from appliance.core.errors import Invalid, Tampered

HASH_BYTES = 32
#: Of a tree of 2^63 leaves, and one more.
MAX_PROOF_HASHES = 64
EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(leaf: bytes) -> bytes:
    """Hash a leaf."""
    return hashlib.sha256(b"\0" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two nodes to the one above them."""
    return hashlib.sha256(b"\1" + left + right).digest()


@dataclass(frozen=True)
class RightEdge:
    """A tree by its size and the roots of its whole subtrees, largest first: enough to grow and to name the root."""

    size: int = 0
    peaks: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if self.size < 0 or len(self.peaks) != self.size.bit_count():
            raise Invalid("merkle_edge")
        if any(len(peak) != HASH_BYTES for peak in self.peaks):
            raise Invalid("merkle_edge")

    def add(self, hashed_leaf: bytes) -> RightEdge:
        """Give the tree with one leaf more."""
        peaks, size = list(self.peaks), self.size
        while size & 1:
            hashed_leaf = node_hash(peaks.pop(), hashed_leaf)
            size >>= 1
        return RightEdge(self.size + 1, (*peaks, hashed_leaf))

    def root(self) -> bytes:
        """Give the root hash."""
        if not self.peaks:
            return EMPTY_ROOT
        root = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            root = node_hash(peak, root)
        return root


def edge_of_last_leaf(hashed_leaf: bytes, size: int, proof: Sequence[bytes], root: bytes) -> RightEdge:
    """Give the right edge of a tree of `size` from the proof that this is its last leaf; Tampered("log_proof").

    Every hash of that proof is a left neighbour, so they are the whole subtrees of the tree without the leaf.
    """
    if size < 1 or len(proof) != (size - 1).bit_count():
        raise Tampered("log_proof")
    edge = RightEdge(size - 1, tuple(reversed(proof))).add(hashed_leaf)
    if edge.root() != root:
        raise Tampered("log_proof")
    return edge


def check_inclusion(hashed_leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that the tree holds this leaf at `index`; Tampered("log_proof"). RFC 9162 2.1.3.2."""
    if not 0 <= index < size:
        raise Tampered("log_proof")
    node, last, here = index, size - 1, hashed_leaf
    for sibling in proof:
        if last == 0:
            raise Tampered("log_proof")
        if node & 1 or node == last:
            here = node_hash(sibling, here)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            here = node_hash(here, sibling)
        node, last = node >> 1, last >> 1
    if last != 0 or here != root:
        raise Tampered("log_proof")


def check_consistency(old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the new tree begins with the old one; Tampered("log_forked"). RFC 9162 2.1.4.2."""
    if old_size > new_size:
        raise Tampered("log_forked")
    if old_size in (0, new_size):
        if proof or old_root != (new_root if old_size else EMPTY_ROOT):
            raise Tampered("log_forked")
        return
    path = list(proof)
    if old_size.bit_count() == 1:
        path.insert(0, old_root)
    if not path:
        raise Tampered("log_forked")
    node, last = old_size - 1, new_size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise Tampered("log_forked")
        if node & 1 or node == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        node, last = node >> 1, last >> 1
    if last != 0 or old != old_root or new != new_root:
        raise Tampered("log_forked")
