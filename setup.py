"""A shim: Beam's --setup_file wants a setup.py. pyproject.toml has everything; its dependencies are a worker's."""

from setuptools import setup

setup()
