"""A fit in a process of the service uses one thread of the linear algebra libraries."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

LOOK = """
import json, numpy, scipy.linalg
from threadpoolctl import threadpool_info
from orchestrator.processes import one_algebra_thread
def threads():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
before = threads()
one_algebra_thread()
print(json.dumps([before, threads()]))
"""


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core: there is nothing to limit")
def test_a_process_of_the_service_limits_its_linear_algebra_to_one_thread() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    found = subprocess.run(
        [sys.executable, "-c", LOOK], env=environment, capture_output=True, text=True, check=True
    )
    before, after = json.loads(found.stdout)
    assert max(before) > 1
    assert set(after) == {1}
