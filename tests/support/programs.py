"""Programs beside Python that a few tests need: without them those tests are passed over, and say so."""

import os
import shutil

import pytest


def needs(program: str, package: str) -> None:
    """Skip the test where the program is missing; where every test has to run (`.ci/run`), fail it."""
    if shutil.which(program):
        return
    remedy = f"{program} was not found: apt-get install {package}"
    if os.environ.get("WINDSOR_EVERY_TEST") == "1":
        pytest.fail(remedy, pytrace=False)
    pytest.skip(remedy)
