"""``import etalon``: its public names, loaded at their first use and by the standard library alone."""

from __future__ import annotations

import ast
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import etalon
from workers.program_path import FILES

FOLDER = Path(etalon.__file__).parent
FOR_PROGRAMS = {
    "__init__.py": set(),
    "program.py": set(),
    "entry.py": set(),
    "hugging_face.py": {"transformers"},
}
"""The files that a training program imports, and what each needs besides the standard library."""


def loaded_by(statements: str) -> set[str]:
    """The top-level packages that a new process has loaded after some statements."""
    program = f"import sys\n{statements}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def run_time_imports(tree: ast.Module) -> set[str]:
    """The packages that a module imports, what only a type checker reads excepted."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module).partition(".")[0])
    return found


@pytest.mark.parametrize("name", etalon.__all__)
def test_every_public_name_exists(name: str) -> None:
    assert getattr(etalon, name) is not None
    assert name in dir(etalon)


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        etalon.fitt  # type: ignore[attr-defined]  # noqa: B018


def test_no_module_has_a_public_name() -> None:
    modules = {module.name for module in pkgutil.iter_modules(etalon.__path__)}
    assert modules & set(etalon.__all__) == set()


@pytest.mark.parametrize(("name", "needs"), FOR_PROGRAMS.items())
def test_what_a_training_program_imports_is_standard_library_for_python_3_8(
    name: str, needs: set[str]
) -> None:
    tree = ast.parse((FOLDER / name).read_text(), feature_version=(3, 8))
    assert run_time_imports(tree) - {"etalon"} - sys.stdlib_module_names == needs


def test_these_are_all_files_on_the_path_of_a_training_program() -> None:
    assert set(FOR_PROGRAMS) == set(FILES)


def test_a_training_program_loads_the_standard_library_alone() -> None:
    loaded = loaded_by("import etalon\netalon.report(step=1, loss=1.0)")
    assert loaded - {"__main__", "etalon"} <= loaded_by("pass") | sys.stdlib_module_names
    assert "typing" not in loaded_by("import etalon") - loaded_by("pass")
