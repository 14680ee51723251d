"""A log's directory, read and checked as docs/wal-format.md describes it."""

import re

import envelope
import segment
import state
from parts import Findings, Wrong

SEGMENT = re.compile(r"(\d{20})\.wal")
NAMED = re.compile(
    r"LOCK|checkpoint|spare|last-failure|control\.sock|dead/(letters|places)|(index|markers)/.*|.*\.tmp"
    r"|(pending|acked|sent)/\d{20}\.wal"
    r"|quarantine/(\d{20}-\d+\.(torn|damaged|footer)|\d{20}\.header|.*\.\d+)"
)


class Log:
    def __init__(self, root, masters):
        self.root, self.masters, self.findings = root, masters, Findings()
        self.checkpoint = self._read("checkpoint", state.Checkpoint)
        self.letters = self._read(state.LETTERS, lambda data: state.Letters(data, masters, self.findings))
        if self.letters:
            self._read(state.PLACES, lambda data: state.check_places(data, self.letters))
        self.segments = list(reversed(list(self._segments())))

    def _read(self, name, parse):
        """A file that may be missing."""
        try:
            return parse((self.root / name).read_bytes())
        except FileNotFoundError:
            return None
        except Wrong as wrong:
            self.findings.add(name, 0, "unreadable", str(wrong))
            return None

    def _segments(self):
        """From the last to the first, because each header says what was flushed of the segment before it."""
        following = None
        paths = [path for place in ("pending", "acked") for path in (self.root / place).glob("*.wal")]
        paths = [path for path in paths if SEGMENT.fullmatch(path.name)]
        for path in sorted(paths, key=lambda path: path.name, reverse=True):
            first, promise = int(path.stem), (0, 0)
            if following and following.previous_first == first:
                promise = (following.previous_bytes, following.previous_next)
            elif self.checkpoint and self.checkpoint.open_first == first:
                promise = (self.checkpoint.flushed, self.checkpoint.unflushed_lsn)
            try:
                data, is_last = path.read_bytes(), following is None
                read = segment.Segment(path.name, data, self.masters, promise, is_last, self.findings)
            except Wrong as wrong:
                if str(wrong) != segment.NEVER_BEGUN:
                    self.findings.add(path.name, 0, "unreadable", str(wrong))
                continue
            read.place = path.parent.name
            lsn = read.header.first_lsn
            self.findings.check(lsn == first, path.name, 96, "header", f"its first LSN is {lsn}")
            read.positions = self._read(f"sent/{path.name}", lambda data: state.slots(data, first)) or {}
            following = read.header
            yield read

    # ---- What there is ----

    def state_of(self, lsn, one):
        """State of a record, and what is known about it besides."""
        for removed in reversed(self.letters.removed if self.letters else []):
            if removed["lsn"] <= lsn <= removed["last"]:
                requeued_as = removed["requeued_as"]
                return {"state": "requeued", "requeued_as": requeued_as} if requeued_as else {"state": "dead"}
        letter = self.letters and self.letters.find(lsn)
        if letter:
            return {"state": "dead", "reason": letter.get("reason")}
        if not self.checkpoint or not self.checkpoint.is_done(lsn):
            return {"state": "accepted"}
        position = one.positions.get(lsn)
        if isinstance(position, Wrong):
            self.findings.add(f"sent/{one.name}", (lsn - one.header.first_lsn) * state.SLOT, "position", str(position))
        elif position:
            partition, offset, time = position
            return {"state": "sent", "sent_at": time, "kafka": {"partition": partition, "offset": offset}}
        return {"state": "sent"}

    def record(self, one, frame):
        line = {"what": "record", "lsn": frame.lsn, "time": frame.time, "type": frame.type, "lane": frame.lane}
        line |= {"ends_batch": frame.ends_batch, "segment": one.name, "offset": frame.at, "size": frame.size}
        line |= self.state_of(frame.lsn, one)
        try:
            payload = one.payload(frame)
        except Wrong as wrong:
            self.findings.add(one.name, frame.at, "damaged", f"record {frame.lsn} {wrong}")
            return line | {"payload": None}
        return line | self.payload(payload, one, frame)

    def payload(self, payload, one, frame):
        """The decoded payload, checked against its frame."""
        try:
            fields = payload and envelope.decode(payload)
        except Wrong:
            fields = None
        if fields:
            lane = envelope.lane(fields.get("key"), frame.lsn)
            self.findings.check(frame.lane == lane, one.name, frame.at, "lane", f"it is {frame.lane}, not {lane}")
            one.kinds[fields["kind"]] += 1
            self.check_id(fields, one, frame)
        return envelope.shown(payload)

    def check_id(self, fields, one, frame):
        time, log_id, lsn = envelope.id_parts(fields["id"], one.secret)
        is_first = (lsn, time) == (frame.lsn, frame.time)
        # A command keeps its id when it is sent again.
        is_later = fields.get("requeued_from", -1) >= lsn and frame.time >= time
        if not (is_first or is_later) or log_id != one.header.log_id[:4]:
            detail = f"record {frame.lsn} has the id of record {lsn} at {time} in log {log_id.hex()}"
            self.findings.add(one.name, frame.at, "id", detail)

    def summary(self, one):
        line = {"what": "segment", "segment": one.name, "place": one.place, "format": one.header.format}
        line |= {"log_id": one.header.log_id, "incarnation": one.header.incarnation, "time": one.header.time}
        line |= {"first_lsn": one.header.first_lsn, "next_lsn": one.next_lsn, "records": len(one.records)}
        line |= {"file_size": len(one.data), "end": one.end, "chain": one.chain, "footer": one.fields}
        line |= {"damaged": [vars(gap) for gap in one.gaps], "torn": one.torn}
        return line

    # ---- How the parts fit together ----

    def check_sequence(self):
        """Each header names the segment before it. One that is missing was delivered and deleted."""
        for before, one in zip(self.segments, self.segments[1:]):
            head = one.header
            named = (head.previous_first, head.previous_next, head.previous_bytes, head.previous_chain)
            end = before.footer.at if before.footer else before.end
            seen = (before.header.first_lsn, before.next_lsn, end, before.chain)
            if head.previous_first == before.header.first_lsn:
                is_right, detail = named == seen or before.gaps, f"the header says {named}, there is {seen}"
                self.findings.check(is_right, one.name, 112, "predecessor", detail)
            else:
                is_done = self.checkpoint and all(map(self.checkpoint.is_done, range(before.next_lsn, head.first_lsn)))
                self.findings.check(is_done, one.name, 112, "predecessor", f"segment {head.previous_first} is missing")

    def check_checkpoint(self):
        for one in self.segments:
            known = self.checkpoint.segments.get(one.header.first_lsn)
            is_same = one.header.log_id == self.checkpoint.log_id
            self.findings.check(is_same, one.name, 16, "log id", "it is not the checkpoint's")
            if not known or one.gaps:
                continue
            size = sum(frame.size for frame in one.records[: known["records"]])
            if (known["bytes"], known["records"]) != (size, min(known["records"], len(one.records))):
                detail = f"{known['records']} records in {known['bytes']} bytes; {one.name} has {size} bytes"
                self.findings.add("checkpoint", 0, "checkpoint", detail)

    def check_labels(self, one):
        """Labels are kinds; those of a segment that was read whole."""
        labels = one.fields["labels"] if one.fields else {}
        if labels and len(labels) <= 64 and not one.gaps and sum(one.kinds.values()) == len(one.records):
            self.findings.check(labels == one.kinds, one.name, one.footer.at, "footer", f"{labels}, not {one.kinds}")

    def check_gap(self, one, gap):
        """Damage that a start has set aside is known; other damage is news."""
        copy = self.root / "quarantine" / f"{one.header.first_lsn:020}-{gap.at}.damaged"
        if not copy.exists() or copy.stat().st_size < gap.end - gap.at:
            self.findings.add(one.name, gap.at, "damaged", f"bytes to {gap.end} are no frame: {gap.why}")

    def check_files(self):
        for path in sorted(self.root.rglob("*")):
            name = str(path.relative_to(self.root))
            if not path.is_dir() and not NAMED.fullmatch(name):
                self.findings.add(name, 0, "file", "the page does not name it")

    def all_lines(self):
        for one in self.segments:
            for frame in one.records:
                yield self.record(one, frame)
            for gap in one.gaps:
                self.check_gap(one, gap)
            self.check_labels(one)
            if one.torn:
                start, end = one.torn
                self.findings.add(one.name, start, "torn", f"bytes to {end} are behind the last whole batch")
            yield self.summary(one)
        if self.checkpoint:
            yield {"what": "checkpoint"} | vars(self.checkpoint)
            self.check_checkpoint()
        for entry in (self.letters.entries + self.letters.removed) if self.letters else []:
            yield {"what": "dead letter"} | entry | envelope.shown(entry["payload"])
        for path in sorted((self.root / "quarantine").glob("*")):
            yield {"what": "quarantine", "name": path.name, "size": path.stat().st_size}
        self.check_sequence()
        self.check_files()
        yield from self.findings.all
