"""A real PostgreSQL server of our own, started and stopped by the tests."""

import os
import pwd
import subprocess
from pathlib import Path

from support import programs


def control(folder: Path, program: str, *words) -> None:
    """Run initdb or pg_ctl on the data in a folder; as nobody if we are root, whom a server refuses."""
    how = {"cwd": folder, "check": True, "capture_output": True, "env": {"PATH": os.environ["PATH"], "LC_ALL": "C"}}
    if os.getuid() == 0:
        nobody = pwd.getpwnam("nobody")
        how |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    folder_of_programs = Path(programs.need("postgresql")).resolve().parent
    subprocess.run([folder_of_programs / program, "-D", folder / "data", *words], **how)


def start(folder: Path) -> None:
    """A server that speaks through a socket in its folder only, and syncs what it commits to the disk."""
    options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=on"
    control(folder, "pg_ctl", "-l", folder / "log", "-w", "-o", options, "start")
