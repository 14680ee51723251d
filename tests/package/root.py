"""A root directory with dpkg in it, and the daemon as a process there."""

import contextlib
import fcntl
import http.client
import json
import pathlib
import re
import socket
import struct
import subprocess
import time

# Longer than any step takes on a busy machine.
LONG_S = 60


def expect(holds, text):
    if not holds:
        raise SystemExit(f"tests/package: FAILED: {text}")


def run(*command, **options):
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=LONG_S, **options,
    )
    expect(done.returncode == 0, f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout}")
    return done.stdout


def until(what, look):
    """The first result that counts as true."""
    ends = time.monotonic() + LONG_S
    while time.monotonic() < ends:
        if found := look():
            return found
        time.sleep(0.05)
    return expect(False, f"not after {LONG_S} s: {what}")


def raise_loopback():
    """A new network namespace has it down; the kernel's own interface, because `ip` may be missing."""
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH14x", b"lo", 1))


class Root:
    def __init__(self, work, package, symbols):
        self.work, self.path = work, work / "root"
        self.package, self.symbols = package, symbols
        self.version = run("dpkg-deb", "--field", package, "Version").strip()
        raise_loopback()
        run("mount", "-t", "proc", "proc", self.path / "proc")
        run("mount", "--rbind", "/dev", self.path / "dev")
        # What is done to the disk here need not survive a power cut.
        (self.path / "etc/dpkg/dpkg.cfg.d/test").write_text("force-unsafe-io\n")

    def run(self, *command, user="root"):
        return run("chroot", f"--userspec={user}:{user}", self.path, *command, env=environment())

    def dpkg(self, *arguments):
        """As an unattended upgrade calls it. What it and the maintainer scripts print."""
        inside = [self.inside(argument) if isinstance(argument, pathlib.Path) else argument for argument in arguments]
        return self.run("dpkg", "--force-confdef", "--force-confold", *inside)

    def inside(self, package):
        # Not in /tmp, which systemd mounts over.
        copy = self.path / "var/tmp" / package.name
        if not copy.exists():
            copy.write_bytes(package.read_bytes())
        return f"/var/tmp/{package.name}"

    def owner(self, path):
        about = (self.path / path).lstat()
        names = {}
        for file in ("passwd", "group"):
            lines = (self.path / "etc" / file).read_text().splitlines()
            names[file] = {int(line.split(":")[2]): line.split(":")[0] for line in lines}
        return names["passwd"].get(about.st_uid), names["group"].get(about.st_gid), about.st_mode & 0o7777

    def commands(self, program):
        """The commands that its help lists."""
        text = self.run(program, "--help")
        listed = re.search(r"^Commands:\n((?:  .*\n|\n)+)", text, re.M)
        expect(listed, text)
        return [name for name in re.findall(r"^  ([a-z][a-z-]*)", listed[1], re.M) if name != "help"]

    def listing(self, directory):
        """Each file with its bytes."""
        home = self.path / directory
        return {path.name: path.read_bytes() for path in sorted(home.rglob("*")) if path.is_file()}

    def status(self):
        return json.loads(self.run("wal-tools", "--json", "status", user="forebay"))

    def sections(self, path):
        return run("objdump", "--section-headers", self.path / path)

    def newer(self, config):
        """The package with the next version, and another configuration file."""
        tree, package = self.work / "newer", self.work / "newer.deb"
        run("dpkg-deb", "--raw-extract", self.package, tree)
        control = tree / "DEBIAN/control"
        control.write_text(control.read_text().replace(f"Version: {self.version}", f"Version: {self.version}+1"))
        with (tree / config).open("a") as file:
            file.write("# A line of the newer version.\n")
        run("dpkg-deb", "--build", "-Znone", tree, package)
        return package

    @contextlib.contextmanager
    def daemon(self, port, **settings):
        daemon = Daemon(self, port, settings)
        try:
            daemon.until_ready()
            yield daemon
        finally:
            daemon.kill()

    def symbols_of(self, package):
        """The build ids of the programs of a package."""
        return {build_id(path) for path in self.unpacked(package).glob("usr/bin/*")}

    def symbols_in(self):
        files = self.unpacked(self.symbols).glob("usr/lib/debug/.build-id/*/*.debug")
        return {build_id(path) for path in files if ".debug_line" in run("objdump", "--section-headers", path)}

    def unpacked(self, package):
        tree = self.work / package.stem
        if not tree.exists():
            run("dpkg-deb", "--extract", package, tree)
        return tree


def build_id(path):
    found = re.search(r"Build ID: ([0-9a-f]+)", run("readelf", "--notes", path))
    expect(found, f"{path} has no build id")
    return found[1]


def environment(**settings):
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8", **settings}


class Daemon:
    """`forebay serve` as the unit starts it: as its user, in its directory, with the installed configuration."""

    def __init__(self, root, port, settings):
        self.port = port
        self.log = root.work / "daemon.log"
        command = ["chroot", "--userspec=forebay:forebay", root.path]
        command += ["/usr/bin/forebay", "serve", "--config", "/etc/forebay/forebay.toml"]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment(**settings)
            )

    def request(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LONG_S)
        try:
            headers = {"content-type": "application/json"} if body else {}
            connection.request(method, path, json.dumps(body) if body else None, headers)
            return connection.getresponse().status
        finally:
            connection.close()

    def post(self, path, body):
        return self.request("POST", path, body)

    def until_ready(self):
        self.until("ready", lambda: self.request("GET", "/readyz") == 200)

    def until_delivered(self):
        admin = http.client.HTTPConnection("127.0.0.1", 9088, timeout=LONG_S)

        def delivered():
            admin.request("GET", "/admin/backlog")
            return json.load(admin.getresponse())["backlog"] == 0

        self.until("delivered", delivered)

    def until(self, what, holds):
        def holds_now():
            expect(self.process.poll() is None, f"the daemon ended:\n{self.log.read_text()}")
            with contextlib.suppress(ConnectionRefusedError):
                return holds()
            return False

        until(what, holds_now)

    def stop(self):
        self.process.terminate()
        expect(self.process.wait(LONG_S) == 0, f"the daemon did not stop in order:\n{self.log.read_text()}")

    def kill(self):
        self.process.kill()
        self.process.wait(LONG_S)
