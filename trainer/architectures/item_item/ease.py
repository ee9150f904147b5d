"""Weights between items in closed form.

    min_B |X - X B|^2 + |Lambda^(1/2) B|^2   where diag(B) = 0,

X being who interacted with what. Steck: Embarrassingly Shallow Autoencoders for Sparse Data (2019),
eq. 8: P = (X'X + Lambda)^-1, B = I - P diag(1 / diag(P)). With Lambda = lambda I it is EASE; with
Lambda = lambda I + p / (1 - p) diag(X'X) it is EDLAE, which forgets each item that it sees with
probability p (Steck: Autoencoders that Don't Overfit towards the Identity, 2020).
"""

from __future__ import annotations

import numpy as np
from scipy import linalg, sparse

# Columns that are worked on at once where a whole matrix would be held twice.
_BLOCK = 1024


def gram(observed: sparse.csr_array) -> np.ndarray:
    """X'X, float32 [items, items], of X, [users, items]."""
    count = observed.shape[1]
    result, columns = np.empty((count, count), np.float32), observed.tocsc()
    for start in range(0, count, _BLOCK):
        block = columns[:, start : start + _BLOCK].T @ observed
        result[start : start + _BLOCK] = block.toarray()
    return result


def weights(gram: np.ndarray, regularization: float, dropout: float = 0.0) -> np.ndarray:
    """B, float32 [items, items]: from (row) and to (column) each item; 0 on the diagonal.

    Args:
      gram: X'X, float32 [items, items].
      regularization: lambda.
      dropout: p.

    Raises:
      LinAlgError: the regularisation is too weak for single precision.
    """
    diagonal = np.diag_indices(len(gram))
    matrix = gram.copy(order="F")
    matrix[diagonal] += regularization + dropout / (1 - dropout) * gram[diagonal]
    # In place; of a symmetric matrix, lower triangles are enough.
    factor, failed = linalg.lapack.spotrf(matrix, lower=True, overwrite_a=True, clean=False)
    if not failed:
        inverse, failed = linalg.lapack.spotri(factor, lower=True, overwrite_c=True)
    if failed:
        raise np.linalg.LinAlgError(f"no inverse with a regularization of {regularization:g}")
    scale = -1 / inverse[diagonal]
    for start in range(0, len(inverse), _BLOCK):  # the lower triangle mirrored
        end = start + _BLOCK
        inverse[start:end, end:] = inverse[end:, start:end].T
        corner = np.tril(inverse[start:end, start:end])
        inverse[start:end, start:end] = corner + np.tril(corner, -1).T
    inverse *= scale
    inverse[diagonal] = 0.0
    return inverse


def nearest(weights: np.ndarray, neighbours: int) -> sparse.csr_array:
    """Of each column the largest weights by absolute value, at most so many: float32 CSR.

    Args:
      weights: float32 [items, items].
      neighbours: how many.
    """
    count = len(weights)
    kept = min(neighbours, count)
    columns = []
    for start in range(0, count, _BLOCK):
        part = np.ascontiguousarray(weights[:, start : start + _BLOCK].T)
        row = np.argpartition(-np.abs(part), kept - 1, axis=1)[:, :kept]
        value = np.take_along_axis(part, row, axis=1)
        pointer = np.arange(0, row.size + 1, kept)
        shape = count, len(part)
        columns.append(sparse.csc_array((value.ravel(), row.ravel(), pointer), shape))
    result = sparse.hstack(columns, format="csr")
    result.eliminate_zeros()
    result.sort_indices()
    return result
