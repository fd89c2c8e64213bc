"""Only what setup.cfg cannot say: `find:` cannot be combined with the two packages that are mapped from the top level."""

from setuptools import find_namespace_packages, setup

setup(
    packages=[*find_namespace_packages(include=["reenact_zoo*"]), "reenact_zoo.configs", "reenact_zoo.benchmarks"],
    package_dir={"reenact_zoo.configs": "configs", "reenact_zoo.benchmarks": "benchmarks"},
)
