"""What `wal-tools` says of a log against what the reader says of it, field by field."""

import base64
import datetime
import json
import subprocess

from log import Log


def instant(milliseconds):
    """As wal-tools writes a time."""
    time = datetime.datetime.fromtimestamp(0, datetime.timezone.utc) + datetime.timedelta(milliseconds=milliseconds)
    return time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{milliseconds % 1000:03}Z"


def text(encoded):
    return None if encoded is None else base64.b64decode(encoded).decode()


class Differences(Exception):
    """The message says which."""


def expect(is_right, detail):
    if not is_right:
        raise Differences(str(detail))


class Comparison:
    """Both readers on one directory."""

    def __init__(self, tools, directory, key_files=()):
        self.tools, self.directory = tools, directory
        self.options = [option for file in key_files for option in ("--key-file", str(file))]
        self.log = Log(directory, [bytes.fromhex(file.read_text().strip()) for file in key_files])
        self.lines = list(self.log.all_lines())
        self.differences = []

    def of(self, what):
        return [line for line in self.lines if line["what"] == what]

    def told(self, *command):
        """JSON lines of a command of wal-tools; exit code 1 stands for findings."""
        arguments = [self.tools, *command, "--json", "--dir", str(self.directory), *self.options]
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
        if done.returncode not in (0, 1):
            raise Differences(f"{' '.join(map(str, arguments))}: exit code {done.returncode}: {done.stderr}")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def same(self, name, told, read):
        if told != read:
            self.differences.append(f"{name}\n  wal-tools: {str(told)[:2000]}\n  reader:    {str(read)[:2000]}")

    def each(self, name, told, read):
        self.same(f"number of {name}s", len(told), len(read))
        for one, other in zip(told, read):
            self.same(name, one, other)

    # ---- Lines of the reader as wal-tools writes them ----

    @staticmethod
    def is_locked(line):
        return line["payload"] is None and "unreadable" not in line

    def named(self, line):
        """What record and letter have in common."""
        fields, kind = line["payload"] or {}, "encrypted" if self.is_locked(line) else "unreadable"
        key = text(fields.get("key_base64"))
        return {"lsn": line["lsn"], "id": fields.get("id"), "kind": fields.get("kind", kind), "key": key}

    def exported(self, record):
        """A line of `export`."""
        fields, locked = record["payload"] or {}, self.is_locked(record)
        line = self.named(record) | {"accepted_at": instant(record["time"])}
        line |= {"state": record["state"], "bytes": record["size"]}
        line |= {name: record[name] for name in ("reason", "requeued_as") if record.get(name)}
        if record["state"] == "dead" and "reason" not in line:
            line["reason"] = "encrypted" if "reason" in record else "dropped by an operator"
        if "sent_at" in record:
            line["sent_at"] = instant(record["sent_at"])
            line["kafka"] = {"topic": fields.get("topic", "")} | record["kafka"]
        line |= {name: fields[name] for name in ("requeued_from",) if name in fields}
        if locked:
            return line
        if "unreadable" in record:
            return line | {"payload_base64": record["payload_base64"]}
        names = ("topic", "content_type", "traceparent", "idempotency_key", "principal")
        value = base64.b64decode(fields["value_base64"])
        # It does not show a password that waits to be hashed.
        shown = {"value": "sealed"} if "sealed" in fields else self.value(fields, value)
        if "headers" in fields:
            shown["headers"] = dict(fields["headers"])
        return line | {name: fields.get(name) for name in names} | {"value_bytes": len(value)} | shown

    @staticmethod
    def value(fields, value):
        """As `export` shows it: JSON as it is, other bytes in base64, none where there is none."""
        if "no_value" in fields:
            return {"no_value": True}
        subtype = fields["content_type"].split(";")[0].strip().lower().rpartition("/")[2]
        if subtype.rpartition("+")[2] == "json":
            return {"payload": json.loads(value)}
        return {"payload_base64": fields["value_base64"]}

    def damaged(self, segment):
        """Lines of `export` where records are lost."""
        for gap in segment["damaged"]:
            if gap["lost"]:
                first, last = gap["lost"]
                yield {"lsn_from": first, "lsn_to": last, "segment": segment["segment"], "offset": gap["at"]}

    def listed(self, segment):
        """A line of `segments`, without the times."""
        is_sealed, is_empty = bool(segment["footer"]), segment["next_lsn"] == segment["first_lsn"]
        return {
            "segment": segment["segment"],
            "state": segment["place"] if is_sealed or segment["place"] == "acked" else "open",
            "first_lsn": None if is_empty else segment["first_lsn"],
            "last_lsn": None if is_empty else segment["next_lsn"] - 1,
            "records": segment["next_lsn"] - segment["first_lsn"],
            "size": segment["file_size"],
            "sealed": is_sealed,
            "encrypted": segment["format"] == 2,
            "checksum": self.verdict(segment),
        }

    def verdict(self, segment):
        if any(finding["file"] == segment["segment"] for finding in self.of("finding")):
            return "damaged"
        return "set-aside" if segment["damaged"] else "ok"

    # ---- The comparison ----

    def all(self):
        """Raises `Differences`."""
        segments, told = self.of("segment"), self.told("export")
        lost = [line for line in told if line.pop("damaged", False) and line.pop("detail")]
        self.each("record", [line for line in told if line not in lost], list(map(self.exported, self.of("record"))))
        self.each("lost range", lost, [line for segment in segments for line in self.damaged(segment)])
        # The times of a damaged segment are a matter of taste.
        times = ("first_accepted_at", "last_accepted_at")
        told = [{name: value for name, value in line.items() if name not in times} for line in self.told("segments")]
        self.each("segment", told, list(map(self.listed, segments)))
        self.verify(segments)
        self.status(segments)
        self.letters()
        if self.differences:
            raise Differences("\n".join(self.differences[:5]))
        return self

    def verify(self, segments):
        (told,) = self.told("verify")
        records = self.of("record")
        self.same("verify: records", told["records"], len(records))
        self.same("verify: bytes", told["bytes"], sum(record["size"] for record in records))
        self.same("verify: not authenticated", told["not_authenticated"], sum(map(self.is_locked, records)))
        kinds = {"torn": "torn-tail"}
        found = [(one["file"], one["offset"], kinds.get(one["kind"], one["kind"])) for one in self.of("finding")]
        told_findings = [(one["segment"], one["offset"], one["kind"]) for one in told["findings"]]
        self.same("verify: findings", sorted(told_findings), sorted(found))
        gaps = [(segment["segment"], gap["at"], "damaged") for segment in segments for gap in segment["damaged"]]
        aside = sum(gap not in found for gap in gaps)
        self.same("verify: set aside", told["set_aside"], aside)

    def status(self, segments):
        (told,) = self.told("status")
        waiting = sum(record["state"] == "accepted" for record in self.of("record"))
        for line in (line for segment in segments for line in self.damaged(segment)):
            waiting += sum(not self.log.checkpoint.is_done(lsn) for lsn in range(line["lsn_from"], line["lsn_to"] + 1))
        self.same("status: backlog", told["backlog"], waiting)
        self.same("status: segments", told["segments"], len(segments))
        (checkpoint,) = self.of("checkpoint")
        self.same("status: watermark", told["watermark_lsn"], checkpoint["watermark"])

    def letters(self):
        expected = []
        for letter in self.of("dead letter"):
            if letter["entry"] in ("letter", "sealed"):
                names = ("died_at", "attempts", "accepted_at")
                told = self.named(letter) | {name: letter[name] for name in names}
                expected.append(told | {"reason": letter.get("reason", "encrypted")})
            elif letter["entry"] == "damage":
                names = ("lsn_from", "lsn_to", "segment", "reason", "found_at")
                expected.append({"kind": "damaged"} | {name: letter[name] for name in names})
        order = lambda line: line.get("lsn", line.get("lsn_from"))
        self.each("dead letter", sorted(self.told("dead", "list"), key=order), sorted(expected, key=order))
