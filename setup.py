"""Installs the top-level folders as one package, `tfx_recommender`."""

from setuptools import setup

FOLDERS = (
    "pipeline",
    "pipeline/configs",
    "components",
    "components/evaluator",
    "components/ratings_example_gen",
    "trainer",
    "transform",
    "kubeflow",
)
PACKAGES = {f"tfx_recommender.{folder.replace('/', '.')}": folder for folder in FOLDERS}

setup(
    name="tfx-recommender",
    version="0.1.0",
    description="A TFX pipeline that trains, compares and serves recommenders",
    python_requires=">=3.10,<3.12",
    packages=list(PACKAGES),
    package_dir=PACKAGES,
    package_data={
        "tfx_recommender.pipeline": ["*.yaml"],
        "tfx_recommender.pipeline.configs": ["*.yaml"],
    },
    entry_points={"console_scripts": ["tfx-recommender = tfx_recommender.kubeflow.cli:main"]},
)
