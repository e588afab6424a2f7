"""``python -m etalon.entry package.module:function …`` calls a function of the operator's with the values of a run.

It is what ``kind: python`` starts, in the interpreter and the folder of the training program. Standard library alone,
Python 3.8 and later.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from etalon import program


def main(entry: str, arguments: Sequence[str] = ()) -> None:
    """Call a function with the mapping ``etalon.run``; a number that it returns is the run's answer.

    Args:
        entry: ``package.module:function``, found from the working folder and the program's own path.
        arguments: what the registration adds to resume or to fork; the function finds them in ``sys.argv[1:]``.

    Raises:
        SystemExit: the entry names no function.
    """
    sys.argv[1:] = arguments
    module, _, name = entry.partition(":")
    function = getattr(import_module(module), name, None) if module and name else None
    if not callable(function):
        raise SystemExit(f"entry: {entry!r} names no function; it is written package.module:function")
    answer = function(program.run)
    if hasattr(answer, "__float__") and not isinstance(answer, bool):
        program.done(answer)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit("usage: python -m etalon.entry package.module:function [argument ...]")
    main(sys.argv[1], sys.argv[2:])
