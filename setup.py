"""A shim: Beam's --setup_file wants a setup.py. Everything is in pyproject.toml."""

from setuptools import setup

setup()
