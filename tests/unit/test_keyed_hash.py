"""The hash of random splits is TensorFlow's, without TensorFlow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfx_recommender.components.ratings_example_gen.keyed_hash import siphash


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(max_size=60), min_size=1), st.integers(0, 2**63 - 1))
def test_it_equals_tensorflows(texts: list[str], seed: int) -> None:
    texts = [text.encode(errors="replace").decode() for text in texts]
    expected = tf.strings.to_hash_bucket_strong(texts, 1 << 30, key=[seed, 0]).numpy()
    found = siphash(pa.array(texts), (seed, 0)) % np.uint64(1 << 30)
    np.testing.assert_array_equal(found, expected)


def test_the_papers_example() -> None:
    """Appendix A: key 00 01 … 0f, message 00 01 … 0e."""
    key = tuple(int.from_bytes(bytes(range(n, n + 8)), "little") for n in (0, 8))
    (found,) = siphash(pa.array([bytes(range(15))]), (key[0], key[1]))
    assert hex(found) == "0xa129ca6149be45e5"
    assert len(siphash(pa.array([], pa.string()), (0, 0))) == 0


def test_a_random_split_is_read_where_tensorflow_is_left_out(small: Path) -> None:
    """As `validate` does, which tells mistakes in the files before TFX is imported."""
    code = f"""if True:
        from tfx_recommender.pipeline.local import slim_imports
        from tfx_recommender.pipeline.settings import config_file
        config = config_file.load({str(small / "config.yaml")!r})
        slim_imports.launch_only()
        from tfx_recommender.components.ratings_example_gen import dataset
        print(dataset.read(config.data, config.split, 1.0).counts()["test"])
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100
