"""The ``etalon`` command: sets up its process before anything else is imported."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line."""
    # `python -m` and `python -c` put the working folder first, where a user may have packages named like ours.
    if sys.path[0] in {"", os.getcwd()}:  # noqa: PTH109 - pathlib is loaded after the path is right
        del sys.path[0]
    # The law's matrices are small, and threads of the linear algebra library make it ten times slower.
    # The library reads these variables when numpy is imported, so the commands are imported later.
    for library in ("OMP", "OPENBLAS", "MKL"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")

    from orchestrator.processes import find_service

    find_service()

    from etalon.cli.ascii_output import spell_what_cannot_be_encoded
    from etalon.cli.commands import app
    from etalon.cli.outcome import Exit, err
    from orchestrator.errors import BadInput
    from orchestrator.settings import check_environment

    spell_what_cannot_be_encoded()
    try:
        check_environment()
    except BadInput as error:
        err.print(error.detail, markup=False, soft_wrap=True)
        sys.exit(Exit.BAD_INPUT)
    app()


if __name__ == "__main__":
    main()
