"""The package under a systemd that runs: process 1 of namespaces of its own, in the root directory of the package."""

import contextlib
import http.client
import json
import pathlib
import subprocess
import threading

from root import LONG_S, expect, run, until

HERE = pathlib.Path(__file__).parent
OWN_CGROUP = HERE.parent / "support/own-cgroup"
NAMESPACES = ["--pid", "--fork", "--kill-child", "--mount", "--cgroup", "--ipc", "--uts"]


class System:
    """A systemd that runs in the root directory. It ends with this object's `close`."""

    def __init__(self, root):
        self.log = root.work / "systemd.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [OWN_CGROUP, "unshare", *NAMESPACES, HERE / "boot", root.path], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.pid = until("systemd runs, or cannot", lambda: self.has_ended() or self.manager())
        if not self.has_ended():
            until("systemd answers", lambda: self.try_run("systemctl", "show") is not None)

    def has_ended(self):
        """Before it is told to: this machine does not allow the mounts."""
        return self.process.poll() is not None

    def manager(self):
        """Process 1, as it is numbered outside."""
        pid = str(self.process.pid)
        # A process below may end while it is looked at.
        with contextlib.suppress(OSError):
            while children := pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
                pid = children[0]
                if pathlib.Path(f"/proc/{pid}/comm").read_text() == "systemd\n":
                    return pid
        return None

    def command(self, *command):
        return ["nsenter", "-t", self.pid, "--pid", "--mount", "--cgroup", "--ipc", "--uts", *command]

    def run(self, *command):
        return run(*self.command(*command))

    def try_run(self, *command):
        done = subprocess.run(
            self.command(*command), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LONG_S
        )
        return done.stdout if done.returncode == 0 else None

    def property(self, unit, name):
        return self.run("systemctl", "show", unit, "--value", "--property", name).strip()

    def dpkg(self, *arguments):
        """As an unattended upgrade calls it."""
        return self.run("dpkg", "--force-confdef", "--force-confold", *arguments)

    def close(self):
        if not self.has_ended():
            subprocess.run(["kill", "-KILL", self.pid], check=False)
        self.process.wait(LONG_S)


class Client(threading.Thread):
    """Creates one command after the other until it is told to stop. None may be refused."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.over, self.accepted, self.refused = port, threading.Event(), 0, []

    def run(self):
        while not self.over.is_set() and not self.refused:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LONG_S)
            with contextlib.closing(connection):
                try:
                    body = json.dumps({"id": f"u-{self.accepted}", "amount": 1})
                    headers = {"content-type": "application/json"}
                    connection.request("POST", "/v1/commands/order.create", body, headers)
                    status = connection.getresponse().status
                except (OSError, http.client.HTTPException) as error:
                    status = repr(error)
            if status == 202:
                self.accepted += 1
            else:
                self.refused.append(status)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()
        expect(not self.refused, f"a client was refused: {self.refused}")

    def accepts(self, more):
        """Waits until it has had so many more answers."""
        goal = self.accepted + more
        until("commands are accepted", lambda: self.refused or self.accepted >= goal)
        expect(not self.refused, f"a client was refused: {self.refused}")


@contextlib.contextmanager
def booted(root):
    """A running systemd; None where the machine does not allow it."""
    system = System(root)
    try:
        yield None if system.has_ended() else system
    finally:
        system.close()
