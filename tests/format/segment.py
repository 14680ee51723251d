"""One segment of the log (docs/wal-format.md, "Segment")."""

import collections
import struct

import aes_gcm_siv
from parts import FOOTER, KEY_SLOTS, RECORD, Cursor, Frame, Gap, Wrong, crc, frames, u64, unwrap

HEADER = 4096
NEWEST_FORMAT = 2
STRIDE = 256
NEVER_BEGUN = "never begun"


class Header:
    def __init__(self, block):
        """Raises `Wrong` if this is no header that the page describes."""
        if len(block) < HEADER or not any(block):
            raise Wrong(NEVER_BEGUN)
        (
            magic,
            self.format,
            self.required,
            self.cipher,
            self.log_id,
            self.incarnation,
            self.secret,
            self.salt,
            self.first_lsn,
            self.time,
            self.previous_first,
            self.previous_next,
            self.previous_bytes,
            self.previous_chain,
            self.filled,
        ) = struct.unpack_from("<8sHHI16s16s32s16s7Q", block)
        if magic != b"forebay\n":
            raise Wrong(f"the magic is {magic!r}")
        if self.required > NEWEST_FORMAT:
            raise Wrong(f"needs a reader of format {self.required}")
        covered = bytearray(block[:4092])
        if self.cipher:
            for at in KEY_SLOTS:
                covered[at : at + 128] = bytes(128)
        computed, stored = crc(covered), int.from_bytes(block[4092:HEADER], "little")
        if computed != stored:
            raise Wrong(f"the header's checksum is {stored:08x}, that of its bytes {computed:08x}")
        expected = 2 if self.cipher else 1
        if self.cipher > 1 or (self.format, self.required) != (expected, expected) or any(covered[152:]):
            raise Wrong(f"formats {self.format} and {self.required}, cipher {self.cipher}, or bytes behind 152")


def footer(payload):
    """Its fields. Raises `Wrong`."""
    cursor = Cursor(payload)
    fields = {"records": cursor.u64(), "bytes": cursor.u64(), "chain": cursor.u64()}
    fields |= {"first_time": cursor.u64(), "last_time": cursor.u64(), "stride": cursor.u64(), "labels": {}}
    for _ in range(cursor.u16()):
        label = cursor.take(cursor.u8()).decode()
        fields["labels"][label] = cursor.u64()
    fields["offsets"] = [cursor.u32() for _ in range(cursor.u32())]
    if any(cursor.take(cursor.left() - 8)) or len(payload) % 8:
        raise Wrong("the footer has padding that is not zeros, or behind its payload")
    fields["at"] = cursor.u32()
    if cursor.take(4) != b"seal":
        raise Wrong("the footer does not end with `seal`")
    return fields


class Segment:
    """A whole segment: records, damage, a torn tail, and the footer if it is sealed."""

    def __init__(self, name, data, masters, promise, is_last, findings):
        """`promise` is the offset below which it was flushed, and the LSN there. Raises `Wrong` without a header."""
        self.name, self.data, self.findings = name, data, findings
        self.header = Header(data[:HEADER])
        self.keys = unwrap(data[:HEADER], masters, name, findings) if self.header.cipher else None
        self.records, self.gaps, self.footer, self.fields, self.torn = [], [], None, None, None
        self.end, self.next_lsn = HEADER, self.header.first_lsn
        # Filled by who reads the directory: where it lies, slots of `sent/`, kinds of the decoded records.
        self.place, self.positions, self.kinds = None, {}, collections.Counter()
        flushed, unflushed_lsn = promise
        self._sort(list(frames(data, HEADER, self.header.salt)), flushed)
        self._check_order()
        if self.gaps and self.gaps[-1].end == self.end:
            # Nothing behind the damage says how many records it had.
            self.gaps[-1].lost = (self.next_lsn, unflushed_lsn - 1)
            self.next_lsn = unflushed_lsn
        if not self.footer and not is_last:
            self._wrong(self.end, "damaged", "the footer is missing, which only the last segment may lack")
            self.torn = None
        self.chain = crc(*(struct.pack("<I", frame.crc) for frame in self.records))
        if self.footer:
            self._check_footer()

    @property
    def secret(self):
        """The log's secret, if it can be read."""
        if self.header.cipher:
            return self.keys and self.keys[1]
        return self.header.secret

    def _wrong(self, at, kind, detail):
        self.findings.add(self.name, at, kind, detail)

    def _sort(self, found, flushed):
        """What is no frame is damage below a promise. Above every promise it was never acknowledged."""
        sealed = bool(found) and isinstance(found[-1], Frame) and found[-1].type == FOOTER
        sealed = sealed and found[-1].end == len(self.data)
        batch = []
        for index, one in enumerate(found):
            if isinstance(one, Gap):
                later = [frame.promise for frame in found[index:] if isinstance(frame, Frame)]
                if not sealed and one.at >= max([flushed, *later]):
                    break
                # A promise covers everything below it, so these were acknowledged, though the batch's end is lost.
                self.records, batch = self.records + batch, []
                self.end = one.end if later else flushed
                self.gaps.append(Gap(one.at, self.end, one.why))
            elif one.type == FOOTER:
                if one is not found[-1] or not sealed:
                    break
                self.footer, self.end = one, one.end
            else:
                batch.append(one)
                if one.ends_batch:
                    self.records, batch, self.end = self.records + batch, [], one.end
        end = len(self.data.rstrip(b"\0"))
        if end > self.end:
            self.torn = (self.end, end)
        if self.end < flushed:
            self._wrong(self.end, "lost", f"nothing is here, but {flushed} bytes were flushed")

    def _check_order(self):
        """LSNs, times and promises."""
        time = 0
        for frame in self.records + ([self.footer] if self.footer else []):
            gap = next((gap for gap in self.gaps if gap.end == frame.at), None)
            if gap and frame.lsn > self.next_lsn:
                gap.lost = (self.next_lsn, frame.lsn - 1)
            elif frame.lsn != self.next_lsn:
                self._wrong(frame.at, "LSN", f"{frame.lsn} follows {self.next_lsn - 1}")
            self.next_lsn = frame.lsn + (frame.type == RECORD)
            if frame.time < time:
                self._wrong(frame.at, "time", f"record {frame.lsn} is of {frame.time}, the one before of {time}")
            time = max(time, frame.time)
            if frame.promise > frame.at:
                self._wrong(frame.at, "promise", f"record {frame.lsn} promises {frame.promise}, which is behind it")

    def _check_footer(self):
        frame = self.footer
        if (frame.lane, frame.flags) != (0, 1):
            self._wrong(frame.at, "footer", f"its lane is {frame.lane}, its flags {frame.flags}")
        try:
            self.fields = footer(frame.payload)
        except (Wrong, UnicodeDecodeError) as wrong:
            self._wrong(frame.at, "footer", str(wrong))
            return
        records = self.next_lsn - self.header.first_lsn
        expected = {"records": records, "bytes": frame.at, "at": frame.at, "stride": STRIDE}
        if not self.gaps:
            expected["chain"] = self.chain
            expected["first_time"] = self.records[0].time if self.records else 0
            expected["last_time"] = self.records[-1].time if self.records else 0
            expected["offsets"] = [one.at for one in self.records[::STRIDE]]
            if sum(self.fields["labels"].values()) != len(self.records):
                self._wrong(frame.at, "footer", f"the labels do not add up to {len(self.records)} records")
        for name, value in expected.items():
            if self.fields[name] != value:
                self._wrong(frame.at, "footer", f"{name} is {self.fields[name]}, but the segment has {value}")

    def payload(self, frame):
        """The decrypted payload, or `None` without the key. Raises `Wrong` if it does not authenticate."""
        if not self.header.cipher:
            return frame.payload
        if not self.keys:
            return None
        plain = aes_gcm_siv.unseal(self.keys[0], u64(frame.at) + bytes(4), frame.payload, frame.header)
        if plain is None:
            raise Wrong("does not authenticate")
        return plain
