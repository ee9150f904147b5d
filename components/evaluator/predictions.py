"""The names by which two models' predictions are known to TFMA, and what they may say.

See `tfma_metrics.py` for what each is.
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

# In place of a rank: the item does not count for rankings; it does, but its user is not ranked.
NOT_RANKED, NOT_SAMPLED = -1, -2
# In place of an item of a list: none is left; the list was made of NaN scores.
NO_ITEM, NO_SCORE = -1, -2


def prediction_column(model: str, output: str) -> str:
    """The evaluation rows' column that holds a model's output."""
    return output if output in _SHARED else f"{model}_{output}"
