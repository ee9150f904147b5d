"""Installs the package; what it is made of is said in pyproject.toml."""

from setuptools import setup

setup()
