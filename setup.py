"""Adds one step to the build that pyproject.toml describes: the stubs are generated first."""

import runpy

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithStubs(build_py):
    def run(self) -> None:
        runpy.run_path("proto/generate.py", run_name="__main__")
        super().run()


setup(cmdclass={"build_py": BuildWithStubs})
