"""Do the tests of a module notice when it is wrong? Each of cosmic-ray's mutants of it, against its own tests.

    python tests/support/mutants.py openbook.execution.risk_checks tests/execution/test_risk_checks.py

Needs `--extra mutation`. cosmic-ray would start an interpreter for each mutant; here each is tested by pytest in a
child of one warm process, with the mutant in the module's place and no file changed. Two mutants that parse alike are
one. A mutant that takes longer than PATIENCE counts as killed. Prints every survivor, and the share that was killed.
"""

import ast
import difflib
import importlib.util
import os
import re
import signal
import sys
import time
from collections.abc import Iterator

import cosmic_ray.plugins
import pytest
from cosmic_ray.mutating import mutate_code

PATIENCE = 120  # seconds
QUICK = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:nbmake", "-o", "addopts="]
# Operators that must be told which variable, and mistakes that nobody makes and any test notices.
LEFT_OUT = re.compile("Variable|Bit|Shift|Pow|FloorDiv|_Mod|_Is|Invert|Eq_[GL]|_UAdd")


def mutants(source: str) -> Iterator[tuple[str, str]]:
    """Every mutant that differs from the source and from those before it: operator, code."""
    seen = {ast.dump(ast.parse(source))}
    for name in sorted(cosmic_ray.plugins.operator_names()):
        if LEFT_OUT.search(name):
            continue
        place, operator = 0, cosmic_ray.plugins.get_operator(name)()
        while (code := mutate_code(source, operator, place)) is not None:
            place += 1
            try:
                key = ast.dump(ast.parse(code))
            except SyntaxError:
                continue
            if key not in seen:
                seen.add(key)
                yield name.removeprefix("core/"), code


def survives(module: str, code: str, tests: list[str]) -> bool:
    """Whether all tests pass with this code as the module."""
    child = os.fork()
    if child == 0:
        signal.alarm(PATIENCE)
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        try:
            install(module, code)
            failed = pytest.main([*QUICK, *tests])
        except BaseException:  # a mutant may fail in any way while it is imported
            failed = 1
        os._exit(int(failed != 0))
    return os.waitpid(child, 0)[1] == 0


def install(module: str, code: str) -> None:
    """Put a module made from `code` where imports look first."""
    spec = importlib.util.find_spec(module)
    made = importlib.util.module_from_spec(spec)
    sys.modules[module] = made
    exec(compile(code, spec.origin, "exec"), made.__dict__)
    parent, _, leaf = module.rpartition(".")
    setattr(importlib.import_module(parent), leaf, made)


def changed(source: str, code: str) -> str:
    """The changed line or lines, before and after."""
    lines = difflib.unified_diff(source.splitlines(), code.splitlines(), n=0, lineterm="")
    return "\n".join(f"    {line}" for line in lines if line[:2] not in ("--", "++", "@@"))


def main(module: str, *tests: str) -> None:
    """Test every mutant, and tell."""
    importlib.import_module("openbook.execution.orders")  # pandas and most else that a module of the desk needs
    spec = importlib.util.find_spec(module)
    with open(spec.origin, encoding="utf-8") as file:
        source = file.read()
    if not survives(module, source, list(tests)):
        sys.exit(f"the tests fail on {module} as it is")
    started, total, lived = time.monotonic(), 0, 0
    for operator, code in mutants(source):
        total += 1
        if survives(module, code, list(tests)):
            lived += 1
            print(f"survived: {operator}\n{changed(source, code)}", flush=True)
        if total % 50 == 0:
            print(f"{total} mutants, {lived} survived, {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    print(f"{module}: {total} mutants, {total - lived} killed, {(total - lived) / total:.1%}; {lived} survived")


if __name__ == "__main__":
    main(*sys.argv[1:])
