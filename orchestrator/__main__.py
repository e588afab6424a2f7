"""``python -m orchestrator``: runs the loop over all sweeps until SIGTERM or Ctrl-C."""

from __future__ import annotations

import logging
import signal
import sys
import threading

from orchestrator import logs
from orchestrator.errors import BadInput
from orchestrator.loop.leader import serve
from orchestrator.private import close_home, restrict_umask
from orchestrator.processes import one_algebra_thread
from orchestrator.settings import Settings
from orchestrator.store import Store


def main() -> int:
    """Run the orchestrator with the settings of the environment.

    Returns:
        0 after a signal, 1 if the database cannot be used.
    """
    settings = Settings()
    logs.configure(settings.log_level)
    restrict_umask()
    one_algebra_thread()
    close_home(settings)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    log = logging.getLogger("orchestrator")
    try:
        with Store.open(settings.database_url) as store:
            serve(store, settings, stop)
    except BadInput as error:
        log.error(error.detail)  # noqa: TRY400 - a sentence for the operator
        return 1
    log.info("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
