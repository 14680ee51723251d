"""What every file of the log is made of (docs/wal-format.md): numbers, checksums, keys, frames."""

import hashlib
import hmac
import struct
import zlib

import aes_gcm_siv

FRAME_HEADER = 32
RECORD, FOOTER = 1, 2
KEY_SLOTS = (1024, 2048)


class Wrong(Exception):
    """Bytes that are not what the page says; the message says what."""


class Findings:
    """Everything that is wrong, with its place."""

    def __init__(self):
        self.all = []

    def add(self, file, offset, kind, detail):
        self.all.append({"what": "finding", "file": file, "offset": offset, "kind": kind, "detail": detail})

    def check(self, right, file, offset, kind, detail):
        if not right:
            self.add(file, offset, kind, detail)


class Cursor:
    """Reads numbers and bytes one after another."""

    def __init__(self, data, at=0):
        self.data, self.at = data, at

    def take(self, size):
        if size > len(self.data) - self.at:
            raise Wrong(f"ends at byte {len(self.data)}, inside a field of {size} bytes at {self.at}")
        self.at += size
        return self.data[self.at - size : self.at]

    def u8(self):
        return self.take(1)[0]

    def u16(self):
        return int.from_bytes(self.take(2), "little")

    def u32(self):
        return int.from_bytes(self.take(4), "little")

    def u64(self):
        return int.from_bytes(self.take(8), "little")

    def left(self):
        return len(self.data) - self.at


def crc(*parts):
    value = 0
    for part in parts:
        value = zlib.crc32(part, value)
    return value


def u64(value):
    return struct.pack("<Q", value)


# ---- Frames ---------------------------------------------------------------------------------------------------------


class Frame:
    def __init__(self, data, at, salt):
        """Raises `Wrong` if these bytes are no frame."""
        if len(data) - at < FRAME_HEADER:
            raise Wrong(f"only {len(data) - at} bytes are left")
        self.at = at
        fields = struct.unpack_from("<IIQQBBBBI", data, at)
        self.crc, self.length, self.lsn, self.time, self.type, self.flags, self.lane, zero, self.promise = fields
        self.size = (FRAME_HEADER + self.length + 7) // 8 * 8
        self.end = at + self.size
        if not any(data[at : at + FRAME_HEADER]):
            raise Wrong("zeros, where nothing was written")
        if self.end > len(data):
            raise Wrong(f"its length {self.length} is more than the file has left")
        computed = crc(salt, u64(at), data[at + 4 : self.end])
        if computed != self.crc:
            raise Wrong(f"its checksum is {self.crc:08x}, that of its bytes {computed:08x}")
        if self.type not in (RECORD, FOOTER) or self.flags > 1 or zero:
            raise Wrong(f"type {self.type}, flags {self.flags}, byte 27 is {zero}")
        self.header = data[at + 4 : at + FRAME_HEADER]
        self.payload = data[at + FRAME_HEADER : at + FRAME_HEADER + self.length]
        if any(data[at + FRAME_HEADER + self.length : self.end]):
            raise Wrong("its padding is not zeros")

    @property
    def ends_batch(self):
        return self.flags & 1 == 1


class Gap:
    """Bytes that could not be read as frames, up to the next frame, or to the end of what is not zeros."""

    def __init__(self, at, end, why):
        self.at, self.end, self.why, self.lost = at, end, why, None


def frames(data, at, salt):
    """Frames and gaps in order. Zeros to the end of the file are neither."""
    end = len(data.rstrip(b"\0"))
    while at < end:
        try:
            frame = Frame(data, at, salt)
        except Wrong as wrong:
            following = _next_frame(data, at + 8, end, salt)
            yield Gap(at, following or end, str(wrong))
            if following is None:
                return
            at = following
        else:
            yield frame
            at = frame.end


def _next_frame(data, at, end, salt):
    """Frames are aligned to 8 bytes: the first offset from `at` on where one is."""
    for place in range(at, end, 8):
        # Most offsets fail here; checksums of long ranges are slow.
        if data[place + 24 : place + 25] in (b"\1", b"\2") and data[place + 27 : place + 28] == b"\0":
            try:
                Frame(data, place, salt)
            except Wrong:
                continue
            return place
    return None


# ---- Keys -----------------------------------------------------------------------------------------------------------


def key_id(master):
    return hmac.new(master, b"forebay key id", hashlib.sha256).digest()[:8]


def unwrap(block, masters, file, findings):
    """Data key and secret of a header block; `None` without its master key; raises `Wrong` if there is no key."""
    opened, why = None, []
    for at in KEY_SLOTS:
        slot = block[at : at + 128]
        if slot[:8] == b"shredded":
            raise Wrong("its key was destroyed")
        if crc(slot[:124]) != int.from_bytes(slot[124:], "little"):
            findings.add(file, at, "key slot", "its checksum is wrong")
            why.append("damaged")
            continue
        findings.check(not any(slot[120:124]), file, at, "key slot", "bytes 120 to 123 are not zeros")
        for master in masters:
            if key_id(master) != slot[:8]:
                continue
            keys = aes_gcm_siv.unseal_envelope(master, b"forebay wrapped key", slot[8:120], block[:512])
            findings.check(keys is not None, file, at, "key slot", "does not authenticate under its master key")
            opened = opened or keys
    if len(why) == len(KEY_SLOTS):
        raise Wrong("both key slots are damaged")
    return (opened[:32], opened[32:]) if opened else None
