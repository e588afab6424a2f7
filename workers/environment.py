"""Environment variables of Ray and PyTorch. The driver sets them before it imports Ray, which reads them at once."""

from __future__ import annotations

import os
import secrets
from typing import Final

WORKER: Final = {
    # Spinning OpenMP threads starve the other workers of a busy machine: 20 times slower.
    "OMP_WAIT_POLICY": "PASSIVE",
    # A worker stays in Ray's own folder, and all paths are absolute.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}
"""Environment of every worker."""

_DRIVER: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Only the older reporter of Tune can be silenced.
    "RAY_AIR_NEW_OUTPUT": "0",
    # A trial with loggers takes five times as long, and the store records what they would write.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # Tune's own checkpoints of the experiment are never read: a new driver reads the database.
    "TUNE_GLOBAL_CHECKPOINT_S": str(10**9),
}


def prepare(ray_address: str | None) -> None:
    """Set the environment of a driver.

    A local Ray requires a secret that only this process and its children know. For an operator's cluster the
    operator's RAY_AUTH_MODE applies; without one there is no authentication.

    Args:
        ray_address: the operator's cluster; None for a local Ray.
    """
    os.environ.update(_DRIVER)
    if ray_address is None:
        os.environ.update({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)})
    else:
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")
