"""SipHash-2-4 of many texts at once.

Aumasson and Bernstein: SipHash, a fast short-input PRF (2012), section 2. It is what
`tf.strings.to_hash_bucket_strong` computes, without TensorFlow: `validate` does without it.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_WORD = 8
_INITIAL = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)


def siphash(texts: pa.Array, key: tuple[int, int]) -> np.ndarray:
    """The hash of each text's UTF-8 bytes.

    Args:
      texts: strings or bytes [N], none null.
      key: both halves of the key, from 0 to 2^64 - 1.

    Returns:
      uint64 [N].
    """
    lengths = pc.binary_length(texts).to_numpy().astype(np.int64)
    # Longest first: the texts that have a next word are then always the first ones.
    order = np.argsort(-lengths, kind="stable")
    texts, lengths = texts.take(pa.array(order)), lengths[order]
    data = np.frombuffer(texts.buffers()[2] or b"", np.uint8)
    ends = np.cumsum(lengths)
    starts = ends - lengths
    data = np.append(data[: ends[-1]] if len(ends) else data[:0], np.zeros(_WORD, np.uint8))
    words = np.lib.stride_tricks.sliding_window_view(data, _WORD)
    state = np.empty((4, len(lengths)), np.uint64)
    for n, initial in enumerate(_INITIAL):
        state[n] = np.uint64(initial ^ key[n % 2])
    whole = lengths // _WORD
    for n in range(int(whole[0]) if len(whole) else 0):
        count = int(np.searchsorted(-whole, -n))  # of those with more than n whole words
        word = words[starts[:count] + n * _WORD].view("<u8")[:, 0]
        _absorb(state[:, :count], word)
    rest = words[starts + whole * _WORD].view("<u8")[:, 0]
    bits = (8 * (lengths % _WORD)).astype(np.uint64)
    last = rest & ((np.uint64(1) << bits) - np.uint64(1))
    _absorb(state, last | (lengths.astype(np.uint64) << np.uint64(56)))
    state[2] ^= np.uint64(0xFF)
    for _ in range(4):
        _mix(state)
    hashes = np.empty(len(lengths), np.uint64)
    hashes[order] = state[0] ^ state[1] ^ state[2] ^ state[3]
    return hashes


def _absorb(state: np.ndarray, word: np.ndarray) -> None:
    state[3] ^= word
    _mix(state)
    _mix(state)
    state[0] ^= word


def _mix(state: np.ndarray) -> None:
    """One round (SipRound, figure 2.1), in place: uint64 [4, N]."""
    a, b, c, d = state
    a += b
    c += d
    _rotate(b, 13)
    _rotate(d, 16)
    b ^= a
    d ^= c
    _rotate(a, 32)
    c += b
    a += d
    _rotate(b, 17)
    _rotate(d, 21)
    b ^= c
    d ^= a
    _rotate(c, 32)


def _rotate(words: np.ndarray, bits: int) -> None:
    low = words >> np.uint64(64 - bits)
    words <<= np.uint64(bits)
    words |= low
