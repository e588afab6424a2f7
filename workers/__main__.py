"""``python -m workers SWEEP_ID``: the driver of one sweep, as a process of its own."""

from __future__ import annotations

import argparse
import logging
import sys

from orchestrator import logs
from orchestrator.errors import EtalonError, Unavailable
from orchestrator.private import close_home, restrict_umask
from orchestrator.processes import NOT_NOW, one_algebra_thread
from orchestrator.settings import Settings
from workers import environment
from workers.dispatcher import WorkersDie


def main() -> int:
    """Drive the sweep named on the command line.

    Returns:
        0 when there is no more to do, 1 when it cannot go on, 75 when database or Ray cannot be reached now.
    """
    parser = argparse.ArgumentParser(prog="python -m workers", description="Carry out the runs of one sweep.")
    parser.add_argument("sweep_id", help="id of the sweep")
    settings = Settings()
    sweep_id = parser.parse_args().sweep_id
    # Tune looks for the result files that its loggers would have written, and warns of each.
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    logs.configure(settings.log_level)
    restrict_umask()
    close_home(settings)
    environment.prepare(settings.ray_address)
    from workers.driver import drive  # noqa: PLC0415 - Ray reads the environment when it is loaded

    one_algebra_thread()
    try:
        drive(sweep_id, settings)
    except (EtalonError, WorkersDie) as error:
        sys.stderr.write(f"{error}\n")  # the orchestrator repeats a dead driver's last line to the user
        return NOT_NOW if isinstance(error, Unavailable) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
