"""Calls of promtool, which comes with Prometheus."""

import subprocess


def promtool(*arguments):
    """What it complains about; nothing if it is content."""
    command = ["promtool", *map(str, arguments)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        lines = (done.stdout + done.stderr).strip()
        yield f"promtool {' '.join(map(str, arguments[:2]))} failed:\n{lines}"
