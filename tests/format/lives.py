"""A log that the daemon writes, in four lives; both readers agree after each."""

import hashlib
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import time

from compare import Comparison, Differences, expect

TOKEN = "token-of-the-service-that-sends-the-first-records"
UNREACHABLE = "127.0.0.1:1"
# Kinds whose records have fields that others lack.
KINDS = """
[[kinds]]
name = "order.create"
topic = "orders.v1"
key = "/id"
[[kinds]]
name = "file.store"
topic = "files.v1"
content_types = ["application/octet-stream"]
key_header = "File-Name"
[[kinds]]
name = "event.store"
topic = "events.v1"
content_types = ["application/json", "application/octet-stream"]
cloudevents = "binary"
"""


def free_port():
    """Below the range that the kernel gives to outgoing connections."""
    while True:
        port = random.SystemRandom().randrange(10_000, 15_000)
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)):
                return port


class Daemon:
    """A life of the daemon; at its end a kill, unless it is stopped."""

    def __init__(self, binary, work, config=None, **settings):
        self.port = free_port()
        chosen = {
            "SERVER__LISTEN": f"127.0.0.1:{self.port}",
            "SERVER__ADMIN_LISTEN": f"127.0.0.1:{free_port()}",
            "SERVER__MAX_BODY": "60KiB",
            "KAFKA__MESSAGE_MAX": "64KiB",
            "USERS__PASSWORD_COST": "4",
            "WAL__DIR": str(work / "wal"),
            "WAL__SEGMENT_SIZE": "4MiB",
        }
        chosen |= settings
        # The daemon does not know the variables of tests.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FOREBAY_")}
        environment |= {f"FOREBAY__{name}": value for name, value in chosen.items()}
        self.output = open(work / "daemon.log", "ab")
        streams = {"stdin": subprocess.DEVNULL, "stdout": self.output, "stderr": self.output}
        command = [binary, "serve"] + (["--config", str(config)] if config else [])
        self.process = subprocess.Popen(command, cwd=work, env=environment, **streams)

    def __enter__(self):
        deadline = time.monotonic() + 60
        with_token = {"Authorization": f"Bearer {TOKEN}"}
        while True:
            try:
                if self.request("GET", "/readyz", None, with_token)[0] == 200:
                    return self
            except OSError:
                pass
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                raise Differences("the daemon is not ready")
            time.sleep(0.05)

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.output.close()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)

    def request(self, method, path, body, headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, content

    def send(self, *bodies, path="/v1/commands/order.create", **headers):
        """One command, or a batch."""
        chosen = {name.replace("_", "-"): value for name, value in headers.items()}
        if len(bodies) > 1:
            chosen["Content-Type"] = "application/x-ndjson"
        status, content = self.request("POST", path, "\n".join(map(json.dumps, bodies)), chosen)
        if status not in (200, 201, 202):
            raise Differences(f"POST {path}: {status} {content}")


def others(daemon):
    """A value that is bytes, an event with data, and one without."""
    event = {"specversion": "1.0", "id": "1", "source": "/größe", "type": "t", "subject": "s"}
    structured = {"Content-Type": "application/cloudevents+json"}
    for path, body, headers in (
        ("file.store", bytes(range(256)), {"Content-Type": "application/octet-stream", "File-Name": "all"}),
        ("event.store", json.dumps(event | {"data": {"a": 1}}), structured),
        ("event.store", json.dumps(event | {"id": "2"}), structured),
    ):
        status, content = daemon.request("POST", f"/v1/commands/{path}", body, headers)
        expect(status == 202, f"{path}: {status} {content}")


def order(number, size=0):
    return {"id": f"order-{number}", "amount": number, "note": size * "x"}


def wait_until_sent(tools, log):
    """By a reader beside the running daemon; then the checkpoint says so too."""
    deadline = time.monotonic() + 60
    while True:
        done = subprocess.run([tools, "status", "--json", "--dir", log], capture_output=True, text=True, check=True)
        if json.loads(done.stdout)["backlog"] == 0:
            return
        if time.monotonic() > deadline:
            raise Differences(f"not everything was sent: {done.stdout}")
        time.sleep(0.1)


def flip(log, record):
    """Damages one record of a segment."""
    file = log / "pending" / record["segment"]
    data = bytearray(file.read_bytes())
    data[record["offset"] + 40] ^= 4
    file.write_bytes(data)


def tear(log):
    """Leaves what a write in progress leaves at a crash."""
    file = max((log / "pending").iterdir(), key=lambda file: file.name)
    data = bytearray(file.read_bytes())
    end = -(-len(data.rstrip(b"\0")) // 8) * 8
    data[end : end + 64] = 64 * b"t"
    file.write_bytes(data)


def first_life(binary, tools, work):
    """Nothing is sent: no broker. Several segments, a batch over more than one step of a footer's index."""
    tokens = work / "tokens"
    tokens.write_text(f"service {hashlib.sha256(TOKEN.encode()).hexdigest()} admin\n")
    tokens.chmod(0o600)
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    settings = {"AUTH__MODE": "token", "AUTH__TOKENS_FILE": str(tokens), "KAFKA__BROKERS": UNREACHABLE}
    settings |= {"SERVER__MAX_BODY": "960KiB", "KAFKA__MESSAGE_MAX": "1MiB"}
    with Daemon(binary, work, **settings) as daemon:
        for number in range(5):
            daemon.send(order(number), Idempotency_Key=f"key {number}", **bearer)
        daemon.send(order(5), traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", **bearer)
        daemon.send(*(order(number) for number in range(300)), Idempotency_Key="batch", **bearer)
        daemon.send(order(6, 80_000), **bearer)
        # More than 8 MiB of dead letters: from then on their offsets are saved.
        for number in range(10):
            daemon.send(order(number, 900_000), **bearer)
    log = work / "wal"
    read = Comparison(tools, log)
    records = read.of("record")
    expect(len(records) == 317 and not read.of("finding"), read.of("finding"))
    flip(log, records[1])
    flip(log, records[305])
    tear(log)
    found = [(one["kind"], one["offset"]) for one in Comparison(tools, log).all().of("finding")]
    expect(found[:2] == [("damaged", records[one]["offset"]) for one in (1, 305)] and found[2][0] == "torn", found)


def second_life(binary, tools, work):
    """Sends what it finds. What is larger than `message_max` by now is dead. Killed before the checkpoint knows all."""
    log = work / "wal"
    with Daemon(binary, work) as daemon:
        wait_until_sent(tools, log)
        deadline = time.monotonic() + 20
        while not (log / "dead/places").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        daemon.send(*(order(number) for number in range(20)))
    read = Comparison(tools, log).all()
    expect((log / "dead/places").exists() and not read.of("finding"), read.of("finding"))
    large = min(line["lsn"] for line in read.of("dead letter") if line["entry"] == "letter")
    for command in (["requeue", str(large)], ["drop", "--all"]):
        subprocess.run([tools, "dead", *command, "--apply", "--dir", log], check=True, capture_output=True)
    Comparison(tools, log).all()


def encrypted_lives(binary, tools, work):
    """Also deletes what is delivered, and leaves something that is not."""
    log, key = work / "wal", work / "wal.key"
    key.write_text(hashlib.sha256(b"any key").hexdigest() + "\n")
    key.chmod(0o600)
    settings = {"WAL__ENCRYPTION_KEY_FILE": str(key), "USERS__PASSWORD_HASHING": "deferred"}
    settings["WAL__RETAIN_ACKED_SIZE"] = "1MiB"
    config = work / "kinds.toml"
    config.write_text(KINDS)
    with Daemon(binary, work, config, **settings) as daemon:
        others(daemon)
        user = {"name": "ada", "email": "ada@example.org", "phone": "+49 170 1234567", "password": "correct horse"}
        daemon.send(user, path="/v1/users", Idempotency_Key="ada")
        daemon.send(*(order(number) for number in range(10)), Idempotency_Key="second batch")
        wait_until_sent(tools, log)
        daemon.send(order(1))
    read = Comparison(tools, log, [key]).all()
    expect(not read.of("finding"), read.of("finding"))
    flip(log, read.of("record")[-3])
    with Daemon(binary, work, DRAIN__DELIVERY="exactly-once", KAFKA__BROKERS=UNREACHABLE, **settings) as daemon:
        daemon.send(*(order(number) for number in range(5)))
        daemon.stop()
    Comparison(tools, log).all()
    return Comparison(tools, log, [key]).all()


def all_lives(binary, tools, work):
    """The number of records that are left."""
    first_life(binary, tools, work)
    second_life(binary, tools, work)
    return len(encrypted_lives(binary, tools, work).of("record"))
