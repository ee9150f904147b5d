"""Names and special values of the predictions that TFMA gets of both models.

`tfma_metrics.py` describes each of them.
"""

CANDIDATE, BASELINE = "candidate", "baseline"
RATING = "rating"
DECILE = "decile"
RANK = "rank"
SAMPLED_RANK = "sampled_rank"
RECOMMENDED = "recommended"
CATALOGUE_SIZE = "catalogue_size"
USER = "user_code"
# What a third model predicts: the last one that was proved better (see `evidence.py`).
ANCHOR = "anchor"
ANCHOR_RATING, ANCHOR_RANK = f"{ANCHOR}_{RATING}", f"{ANCHOR}_{RANK}"
# What both models have in common.
_SHARED = (CATALOGUE_SIZE, USER, ANCHOR_RATING, ANCHOR_RANK)
OF_RATINGS = (RATING, DECILE)
OF_RANKS = (RANK, SAMPLED_RANK)
OF_LISTS = (RECOMMENDED, CATALOGUE_SIZE)

# In place of a rank: the row is not relevant; or it is, but its user is not in the sample.
NOT_RANKED, NOT_SAMPLED = -1, -2
# In place of an item of a list: no item is left; or a score was NaN.
NO_ITEM, NO_SCORE = -1, -2


def prediction_column(model: str, output: str) -> str:
    """The evaluation rows' column that holds a model's output."""
    return output if output in _SHARED else f"{model}_{output}"
