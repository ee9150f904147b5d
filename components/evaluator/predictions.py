"""The names by which two models' predictions are known to TFMA, and what they may say.

See `metrics.py` for what each is.
"""

CANDIDATE, BASELINE = "candidate", "baseline"
RATING = "rating"
DECILE = "decile"
RANK = "rank"
SAMPLED_RANK = "sampled_rank"
RECOMMENDED = "recommended"
CATALOGUE_SIZE = "catalogue_size"
OF_RATINGS = (RATING, DECILE)
OF_RANKINGS = (RANK, SAMPLED_RANK, RECOMMENDED, CATALOGUE_SIZE)

NOT_RANKED = -1
NO_ITEM = -1


def prediction_column(model: str, output: str) -> str:
    """The evaluation rows' column that holds a model's output."""
    return CATALOGUE_SIZE if output == CATALOGUE_SIZE else f"{model}_{output}"
