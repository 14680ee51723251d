"""What the log says about its records: checkpoint, positions in Kafka, dead letters (docs/wal-format.md)."""

import datetime
import json
import struct

import aes_gcm_siv
from parts import Cursor, Gap, Wrong, crc, frames, u64, unwrap

SLOT = 24
LETTERS = "dead/letters"
PLACES = "dead/places"


class Checkpoint:
    def __init__(self, data):
        """Raises `Wrong`."""
        if crc(data[:-4]) != int.from_bytes(data[-4:], "little"):
            raise Wrong("the checksum is wrong")
        cursor = Cursor(data[:-4])
        if cursor.take(8) != b"forebayc":
            raise Wrong("the magic is wrong")
        self.version = cursor.u32()
        if self.version not in (1, 2):
            raise Wrong(f"version {self.version} is unknown")
        self.log_id, self.time, self.watermark = cursor.take(16), cursor.u64(), cursor.u64()
        self.open_first, self.flushed, self.unflushed_lsn = cursor.u64(), cursor.u64(), cursor.u64()
        self.segments = {}
        for _ in range(cursor.u64()):
            names = ("first_lsn", "records", "bytes", "records_done", "bytes_done", "sealed")
            segment = {name: cursor.u64() for name in names}
            segment["words"] = [cursor.u64() for _ in range(cursor.u64())]
            self.segments[segment["first_lsn"]] = segment
        self.transactional_ids, self.incarnations = None, []
        if self.version == 2:
            self.transactional_ids = cursor.u64()
            for _ in range(cursor.u64()):
                self.incarnations.append((cursor.take(16), cursor.u64(), cursor.u64()))
        if cursor.left():
            raise Wrong(f"{cursor.left()} bytes are left over")
        self._check()

    def _check(self):
        end = 0
        for first, segment in self.segments.items():
            if first < end:
                raise Wrong(f"segment {first} begins before {end}")
            end = first + segment["records"]
            bits = sum(word.bit_count() for word in segment["words"])
            if segment["words"] and bits != segment["records_done"]:
                raise Wrong(f"segment {first} has {bits} bits, but {segment['records_done']} records are done")

    def is_done(self, lsn):
        if lsn < self.watermark:
            return True
        for first, segment in self.segments.items():
            index = lsn - first
            if 0 <= index < segment["records"]:
                words = segment["words"]
                if not words:
                    return segment["records_done"] == segment["records"]
                return index // 64 < len(words) and words[index // 64] >> index % 64 & 1 == 1
        return False


def slots(data, first_lsn):
    """Per record: partition, offset and time; `None` for a slot that was not written; `Wrong` for a damaged one."""
    found = {}
    for index in range(len(data) // SLOT):
        slot, lsn = data[index * SLOT : index * SLOT + SLOT], first_lsn + index
        partition, offset, time, checksum = struct.unpack("<iqQI", slot)
        is_right = crc(u64(lsn), slot[:20]) == checksum
        found[lsn] = (partition, offset, time) if is_right else Wrong("its checksum is wrong") if any(slot) else None
    return found


class Letters:
    """`dead/letters`: what is dead, and what was dead once."""

    def __init__(self, data, masters, findings):
        """Raises `Wrong` if the file's beginning cannot be read."""
        self.data = data
        if data[:8] != b"forebayd":
            raise Wrong("the magic is wrong")
        self.version = int.from_bytes(data[8:12], "little")
        if self.version not in (1, 2) or any(data[12:16]):
            raise Wrong(f"version {self.version} is unknown, or bytes 12 to 15 are not zeros")
        start, keys = 32, None
        if self.version == 2:
            start, keys = 4096, unwrap(data[:4096], masters, LETTERS, findings)
            if any(data[32:1024] + data[1152:2048] + data[2176:4096]):
                raise Wrong("there is something beside the key slots")
        self.salt, self.end = data[16:32], start
        self.entries, self.removed, self.ever = [], [], []
        for frame in frames(data, start, self.salt):
            if isinstance(frame, Gap):
                findings.add(LETTERS, frame.at, "damaged", frame.why)
                continue
            self.end = frame.end
            try:
                self._add(frame, keys)
            except (Wrong, ValueError, KeyError) as wrong:
                findings.add(LETTERS, frame.at, "entry", f"letter {frame.lsn}: {wrong}")

    def _add(self, frame, keys):
        cursor = Cursor(frame.payload)
        head = json.loads(cursor.take(cursor.u32()))
        body = cursor.take(cursor.left())
        entry = head | {"lsn": frame.lsn, "at": frame.at, "size": frame.size, "payload": None}
        if head["entry"] == "removed":
            last = head.get("lsn_to") or frame.lsn
            self.entries = [one for one in self.entries if not frame.lsn <= one["lsn"] <= last]
            self.removed.append(entry | {"last": last})
            return
        entry["last"] = frame.lsn
        if head["entry"] == "letter":
            entry["payload"] = body
        elif head["entry"] == "sealed":
            if keys:
                entry["reason"], entry["payload"] = _open(entry, keys[0], body)
        elif head["entry"] == "damage":
            entry["last"] = head["lsn_to"]
        else:
            raise Wrong(f"entry {head['entry']!r} is unknown")
        self.entries.append(entry)
        self.ever.append(entry)

    def find(self, lsn):
        """The letter or the damage that has this record."""
        return next((one for one in self.entries if one["lsn"] <= lsn <= one["last"]), None)


def milliseconds(text):
    """Of a time in JSON."""
    time = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    return (time - datetime.datetime.fromtimestamp(0, datetime.timezone.utc)) // datetime.timedelta(milliseconds=1)


def _open(entry, key, body):
    times = milliseconds(entry["accepted_at"]), milliseconds(entry["died_at"])
    associated = b"".join(map(u64, (entry["lsn"], *times, entry["attempts"])))
    plain = aes_gcm_siv.unseal_envelope(key, b"forebay dead letter", body, associated)
    if plain is None:
        raise Wrong("does not authenticate")
    cursor = Cursor(plain)
    return cursor.take(cursor.u32()).decode(), cursor.take(cursor.left())


def check_places(data, letters):
    """`dead/places` against `dead/letters`. Raises `Wrong`."""
    if crc(data[:-4]) != int.from_bytes(data[-4:], "little"):
        raise Wrong("the checksum is wrong")
    if data[:16] != b"forebayp" + b"\2\0\0\0\0\0\0\0":
        raise Wrong("magic or version is wrong")
    if data[16:32] != letters.salt:
        # Of letters that were written anew since.
        return
    cursor = Cursor(data, len(data) - 32)
    count, removed, end, checksum = cursor.u64(), cursor.u64(), cursor.u64(), cursor.u32()
    if checksum != crc(letters.data[max(0, end - 4096) : end]):
        raise Wrong(f"the checksum of the letters before {end} is wrong")
    if len(data) != 32 * (count + removed + 2):
        raise Wrong(f"it has {len(data)} bytes, but {count} and {removed} entries")
    cursor = Cursor(data, 32)
    blocks = [tuple(cursor.u64() for _ in range(4)) for _ in range(count + removed)]
    # What was written while the file was saved may be in it or not.
    size = lambda one: one["size"] | (1 << 63 if one["entry"] == "damage" else 0)
    _check_blocks(blocks[:count], letters.entries, letters.ever, end, lambda one: (one["at"], size(one)))
    gone = lambda one: (one["size"], one["requeued_as"] or 0)
    _check_blocks(blocks[count:], letters.removed, letters.removed, end, gone)


def _check_blocks(blocks, needed, possible, end, rest):
    block = lambda one: (one["lsn"], one["last"], *rest(one))
    missing = {block(one) for one in needed if one["at"] < end} - set(blocks)
    unknown = set(blocks) - {block(one) for one in possible}
    if missing or unknown:
        raise Wrong(f"it lacks {sorted(missing)}, and has {sorted(unknown)}, which the letters do not have")
