"""`torch.compile` for training: when it can be had, and how often it may begin anew."""

import os
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from typing import ParamSpec, TypeVar

import torch

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

COMPILATIONS = 1_024
"""Most compilations of one function in one process: each shape, batch and optimizer takes one or two, and a worker
lives as long as its sweep. PyTorch refuses to go on after 8 of one function that must compile as a whole."""


def can_compile() -> bool:
    """Whether there is what PyTorch compiles for a GPU with: Triton, and a C compiler to start its kernels."""
    compilers = (os.environ.get("CC") or "cc", "gcc", "clang")
    return find_spec("triton") is not None and any(shutil.which(name) for name in compilers)


def compiled_once(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """The function compiled as a whole when it is first called, and for any number of members when that changes.

    Raises:
        Exception: One of the compiler's own, when it is called, if it cannot be compiled.
    """
    config = torch._dynamo.config  # Imported by this very line: it takes a second.
    config.recompile_limit = max(config.recompile_limit, COMPILATIONS)
    config.accumulated_recompile_limit = max(config.accumulated_recompile_limit, COMPILATIONS)
    compiled: Callable[Arguments, Result] = torch.compile(function, fullgraph=True)
    return compiled
