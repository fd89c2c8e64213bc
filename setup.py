"""Only what setup.cfg cannot say: `find:` does not combine with the two packages mapped from the top level."""

from setuptools import find_namespace_packages, setup

setup(
    packages=[*find_namespace_packages(include=["reenact_zoo*"]), "reenact_zoo.configs", "reenact_zoo.benchmarks"],
    package_dir={"reenact_zoo.configs": "configs", "reenact_zoo.benchmarks": "benchmarks"},
)
