"""The life of the package in a root of its own. Called by tests/package/run, in namespaces of its own."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True

from booted import Client, booted
from root import Root, expect, run, until

PORT = 8088
COMMANDS = 100
STATE = "var/lib/forebay"
CONFIG = "etc/forebay/forebay.toml"
# Owner, group and mode of what the package and its scripts leave.
OWNERS = {
    "usr/bin/forebay": ("root", "root", 0o755),
    "usr/bin/wal-tools": ("root", "root", 0o755),
    "usr/bin/forebay-load": ("root", "root", 0o755),
    CONFIG: ("root", "forebay", 0o640),
    STATE: ("forebay", "forebay", 0o700),
}
FILES = [
    "usr/lib/systemd/system/forebay.service",
    "usr/lib/sysusers.d/forebay.conf",
    "usr/lib/tmpfiles.d/forebay.conf",
    "usr/share/bash-completion/completions/forebay",
    "usr/share/bash-completion/completions/wal-tools",
    "usr/share/bash-completion/completions/forebay-load",
    "usr/share/zsh/vendor-completions/_forebay",
    "usr/share/zsh/vendor-completions/_wal-tools",
    "usr/share/zsh/vendor-completions/_forebay-load",
    "usr/share/fish/vendor_completions.d/forebay.fish",
    "usr/share/fish/vendor_completions.d/wal-tools.fish",
    "usr/share/fish/vendor_completions.d/forebay-load.fish",
    "usr/share/doc/forebay/copyright",
    "usr/share/doc/forebay/third-party-licenses.txt.gz",
    "usr/share/doc/forebay/examples/forebay.toml",
]


def note(text):
    print(f"tests/package: {text}", flush=True)


def installed(root):
    root.dpkg("--install", root.package)
    for path, expected in OWNERS.items():
        expect(root.owner(path) == expected, f"{path} is {root.owner(path)}, not {expected}")
    for path in FILES:
        expect((root.path / path).is_file(), f"{path} is missing")
    for program in ("forebay", "wal-tools", "forebay-load"):
        root.run(program, "--version")
        for command in root.commands(program):
            page = f"usr/share/man/man1/{program}-{command}.1.gz"
            expect((root.path / page).is_file(), f"{page} is missing")
    sections = root.sections("usr/bin/forebay")
    restarts(root)
    expect(".debug_line" not in sections, "the daemon has its debug symbols")
    expect("forebay.service" not in root.run("sh", "-c", "ls -R /etc/systemd/system"), "the service was enabled")
    expect(f"/{CONFIG}" in root.run("dpkg-query", "--show", "--showformat=${Conffiles}", "forebay"), "no conffile")
    root.run("forebay", "check-config", "--config", f"/{CONFIG}", user="forebay")


def restarts(root):
    """What an upgrade restarts. A restart of the socket would close its addresses."""
    script = (root.path / "var/lib/dpkg/info/forebay.postinst").read_text()
    lines = [line for line in script.splitlines() if re.search(r"\b(re)?start\b", line) and not line.strip().startswith("#")]
    expect(any("forebay.service" in line and "forebay-consumer.service" in line for line in lines), lines)
    expect(not any("forebay.socket" in line for line in lines), lines)
    stops = (root.path / "var/lib/dpkg/info/forebay.prerm").read_text()
    expect('[ "$1" = remove ]; then\n\tdeb-systemd-invoke stop' in stops, "an upgrade stops units, or a removal does not")


def configured(root):
    """What an administrator would set, and sizes that suit a small disk."""
    config = root.path / CONFIG
    text = config.read_text()
    first = next(line for line in text.splitlines() if line.startswith("brokers"))
    text = text.replace(first, 'brokers = ["127.0.0.1:1"]')
    text = text.replace("[wal]\n", '[wal]\nreserve_space = "0B"\nsegment_size = "1MiB"\n')
    config.write_text(text)
    return text


def is_healthy():
    """Asks as a container would: its daemon has the same listeners."""
    check = pathlib.Path(__file__).parents[2] / "packaging/docker/healthcheck"
    return subprocess.run([check], stderr=subprocess.DEVNULL).returncode == 0


def backlog(root):
    status = root.status()
    return status["backlog"], status["dead"]


def upgraded(root, edited):
    """To a version that brings another configuration file too, under a systemd, while a backlog grows."""
    newer, waiting = root.newer(CONFIG), COMMANDS
    with booted(root) as system:
        if system is None:
            note("NOT CHECKED: an upgrade under systemd (it does not run in a namespace here)")
            root.dpkg("--install", newer)
        else:
            waiting += upgraded_while_it_runs(root, system, newer)
    expect(backlog(root) == (waiting, 0), f"{waiting} were accepted: {root.status()}")
    version = root.run("dpkg-query", "--show", "--showformat=${Version}", "forebay")
    expect(version == root.version + "+1", version)
    expect((root.path / CONFIG).read_text() == edited, "the administrator's configuration was changed")
    expect((root.path / f"{CONFIG}.dpkg-dist").is_file(), "the new configuration is not beside the edited one")
    return waiting


def upgraded_while_it_runs(root, system, newer):
    """The commands that were accepted meanwhile."""
    # The socket holds the addresses; the service comes with the first connection.
    system.run("systemctl", "enable", "--now", "forebay.socket")
    with Client(PORT) as client:
        client.accepts(COMMANDS)
        before = system.property("forebay.service", "MainPID")
        system.dpkg("--install", root.inside(newer))
        client.accepts(COMMANDS)
        until("restarted", lambda: system.property("forebay.service", "MainPID") not in ("0", before))
        client.accepts(COMMANDS)
    expect(system.property("forebay.service", "NRestarts") == "0", "the daemon failed")
    system.run("systemctl", "disable", "--now", "forebay.socket", "forebay.service")
    expect(system.property("forebay.service", "Result") == "success", "the daemon did not stop in order")
    note(f"upgraded under systemd: none of {client.accepted} requests was refused")
    return client.accepted


def damaged(root):
    """Nothing waits as far as status can count; what is damaged may."""
    wal = root.path / STATE / "wal"
    letters = wal / "dead/letters"
    letters.parent.mkdir(exist_ok=True)

    def damaged_header():
        with sorted(wal.glob("*/*.wal"))[0].open("r+b") as segment:
            segment.write(b"\xff" * 64)

    def damaged_letters():
        letters.write_bytes(b"\xff" * 64)

    def misplaced_letters():
        letters.unlink(missing_ok=True)
        letters.mkdir()

    for damage in damaged_header, damaged_letters, misplaced_letters:
        run("cp", "-a", wal, root.work / "whole")
        damage()
        said = root.dpkg("--remove", "forebay")
        expect("DAMAGED" in said or "cannot read it" in said, f"{damage.__name__}: {said}")
        expect("KEPT the log" in root.dpkg("--purge", "forebay"), f"{damage.__name__}: the log was deleted")
        shutil.rmtree(wal)
        run("mv", root.work / "whole", wal)
        root.dpkg("--install", root.package)
    note("removed and purged with a damaged segment or dead-letter store: the log is kept")


def restored(root):
    """What comes after the removal is kept, however old it is."""
    wal, other = root.path / STATE / "wal", root.work / "other"
    other.mkdir()
    (other / "record").write_text("")

    def old_file():
        later = wal / "pending/written-later"
        later.write_text("")
        os.utime(later, (946684800, 946684800))
        os.utime(later.parent, (946684800, 946684800))
        return later.unlink

    def another_disk():
        run("mount", "--bind", other, wal)
        return lambda: run("umount", wal)

    for change in old_file, another_disk:
        said = root.dpkg("--remove", "forebay")
        expect("all its records are delivered" in said, said)
        undo = change()
        expect("KEPT the log" in root.dpkg("--purge", "forebay"), f"{change.__name__}: the log was deleted")
        undo()
        root.dpkg("--install", root.package)
    expect((other / "record").exists(), "a purge deleted files of another disk")
    note("purged after something was restored into the log: the log is kept")


def life(root):
    installed(root)
    note("installed: owners and modes, user, manual pages, completions; not enabled, not started")

    edited = configured(root)
    expect(not is_healthy(), "the health check of the image is satisfied without a daemon")
    with root.daemon(PORT) as daemon:
        expect(is_healthy(), "the health check of the image is not satisfied")
        for number in range(COMMANDS):
            status = daemon.post("/v1/commands/order.create", {"id": f"o-{number}", "amount": number})
            expect(status == 202, f"command {number} got {status}")
        daemon.kill()
    log = root.listing(f"{STATE}/wal/pending")
    expect(backlog(root) == (COMMANDS, 0), root.status())

    waiting = upgraded(root, edited)
    with root.daemon(PORT) as daemon:
        expect(backlog(root) == (waiting, 0), root.status())
        daemon.stop()
    note(f"upgraded: {waiting} acknowledged records wait after a kill, the edited configuration stays")

    said = root.dpkg("--remove", "forebay")
    expect("NOT DELIVERED" in said, said)
    expect(not (root.path / "usr/bin/forebay").exists(), "the daemon is still there")
    expect((root.path / CONFIG).read_text() == edited, "the configuration was changed")
    root.dpkg("--install", root.package)
    expect(backlog(root) == (waiting, 0), root.status())
    note("removed and installed again: the configuration and all records are there")

    kept = root.listing(f"{STATE}/wal/pending")
    expect(set(log) <= set(kept), "a segment is gone")
    said = root.dpkg("--purge", "forebay")
    expect(f"KEPT the log in /{STATE}/wal" in said and "NOT DELIVERED" in said, said)
    expect(not (root.path / CONFIG).exists(), "the configuration survived a purge")
    expect(root.listing(f"{STATE}/wal/pending") == kept, "a purge changed a log with undelivered records")
    root.dpkg("--install", root.package)
    expect(backlog(root) == (waiting, 0), root.status())
    note("purged with a backlog: the log is kept, and the purge says how to deliver or delete it")

    configured(root)
    # The broker inside the process takes them.
    with root.daemon(PORT, FOREBAY__KAFKA__BROKERS="embedded") as daemon:
        daemon.until_delivered()
        daemon.stop()
    damaged(root)
    restored(root)
    root.dpkg("--install", root.package)
    said = root.dpkg("--purge", "forebay")
    expect("all its records were delivered" in said and "KEPT the files" in said, said)
    expect(not (root.path / STATE / "wal").exists(), "a purge left a delivered log")
    databases = list((root.path / STATE).glob("forebay.sqlite*"))
    expect(databases, "a purge deleted a database")
    for file in databases:
        file.unlink()
    root.dpkg("--install", root.package)
    root.dpkg("--purge", "forebay")
    expect(not (root.path / STATE).exists(), "a purge left an empty directory")
    expect(not (root.path / "etc/forebay").exists(), "a purge left an empty directory")
    note("purged with everything delivered: the log is deleted, a database is kept")

    expect(root.symbols_of(root.package) <= root.symbols_in(), "symbols are missing in forebay-dbgsym")
    note("forebay-dbgsym has the symbols of all three programs")


life(Root(*map(pathlib.Path, sys.argv[1:])))
