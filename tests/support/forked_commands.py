"""Commands in processes of their own, forked from one that imported the library once: thirty a second, not one.

Run as a program it is that process: a line of JSON in, `[words, environment, folder]`; a line out, `[code, stderr]`.
"""

import json
import os
import pkgutil
import subprocess
import sys
from contextlib import contextmanager, suppress


@contextmanager
def forked_commands():
    """Yields (words, environment, folder) -> exit code and stderr of that command."""
    line = [sys.executable, __file__]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:

        def run(words, environment, folder):
            print(json.dumps([words, environment, str(folder)]), file=server.stdin, flush=True)
            return json.loads(server.stdout.readline())

        try:
            yield run
        finally:
            server.stdin.close()


def serve() -> None:
    """Answer one line after the other until there are no more."""
    import openbook

    for module in pkgutil.walk_packages(openbook.__path__, "openbook."):
        with suppress(ImportError):  # those of an extra
            __import__(module.name)
    for line in sys.stdin:
        words, environment, folder = json.loads(line)
        said = f"{folder}/said"
        if not (child := os.fork()):
            _become(words, environment, folder, said)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with open(said, errors="replace") as file:
            print(json.dumps([code, file.read()]), flush=True)


def _become(words, environment, folder, said) -> None:
    """Be one command as a shell starts it, from its environment to its exit code."""
    from openbook.cli import main

    os.environ.update(environment)
    os.chdir(folder)
    for path, how, number in (
        (os.devnull, os.O_RDONLY, 0),
        (os.devnull, os.O_WRONLY, 1),
        (said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 2),
    ):
        os.dup2(os.open(path, how, 0o600), number)
    code = 1
    try:
        code = main(words)
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
