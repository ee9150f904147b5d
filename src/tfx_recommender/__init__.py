"""A TFX pipeline that trains, compares and serves recommenders.

The folders beside this file are links to the folders at the top of the repository.
"""

__version__ = "0.2.0"
