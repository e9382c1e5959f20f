"""Who prepares into a folder that several hosts share: a record that its owner keeps renewing.

Locks do not hold between the hosts of some network file systems. A record that is renewed tells
of an owner that lives, on whatever host; one that stays the same for as long as it promises tells
of an owner that is no more. Clocks of different hosts are never compared.
"""

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from criteo_stream.base.errors import OutputError
from criteo_stream.base.records import Count, Positive, RecordError, from_plain, parse_json
from criteo_stream.base.storage import full_disk_explained
from criteo_stream.base.system import sync

OWNER_NAME: Final = ".criteo-stream-owner.json"
LEASE_SECONDS: Final = 30.0
_RENEWALS_PER_LEASE: Final = 6
_LOOK_SECONDS: Final = 0.5
_PAUSES: Final = 3
_PAUSE_SECONDS: Final = 0.1
_RECORD_BYTES: Final = 500


@dataclass(frozen=True, kw_only=True)
class Owner:
    """A process that prepares into the folder."""

    host: str
    boot: str
    """Identity of the host's system since it was started, and of the processes seen from here: a
    container does not see those of others. Empty where the system tells neither."""
    pid: Positive
    started: Count
    """When the process began, in ticks since then."""
    token: str
    lease_seconds: float
    renewed: Count = 0
    """How often."""

    @classmethod
    def this_process(cls) -> "Owner":
        """An owner record of its own."""
        return cls(
            host=socket.gethostname(),
            boot=_boot(),
            pid=os.getpid(),
            started=_started(os.getpid()) or 0,
            token=secrets.token_hex(8),
            lease_seconds=LEASE_SECONDS,
        )

    @property
    def is_gone(self) -> bool:
        """Whether it was a process of this host that is no more, as far as the system tells."""
        here = (self.host, self.boot) == (socket.gethostname(), _boot())
        return here and bool(self.boot) and _started(self.pid) != self.started


class Lease:
    """The right to write into a folder, as long as the owner record says so."""

    def __init__(self, folder: Path, owner: Owner) -> None:
        self._path = folder / OWNER_NAME
        self._owner = owner
        self._lost = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    def check(self) -> None:
        """Go on only as the owner.

        Raises:
            OutputError: another process took the folder over, as this one seemed to be gone.
        """
        if self._lost.is_set() or self._is_taken():
            raise OutputError(
                f"another process went on with {self._path.parent}, for this one did not renew "
                f"{OWNER_NAME} for {self._owner.lease_seconds:g} s: let it finish"
            )

    def _renew(self) -> None:
        while not self._stop.wait(self._owner.lease_seconds / _RENEWALS_PER_LEASE):
            if self._is_taken():
                self._lost.set()
                return
            self._owner = replace(self._owner, renewed=self._owner.renewed + 1)
            with suppress(OSError):  # a disk that is away for a while
                _overwrite(self._path, _content(self._owner))

    def _is_taken(self) -> bool:
        """Whether the record is another's, or gone.

        It is gone for a moment where others who take over at the same time look whose it is.
        """
        for pause in (*[_PAUSE_SECONDS] * _PAUSES, None):
            try:
                token = _token(self._path)
            except OSError:  # a disk that is away for a while
                return False
            if token is not None:
                return token != self._owner.token
            if pause is not None:
                time.sleep(pause)
        return True

    @contextmanager
    def held(self) -> Iterator[None]:
        """Renew it until the end, then give it back."""
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._thread.join()
            if not self._is_taken():
                self._path.unlink(missing_ok=True)


@contextmanager
def leased(folder: Path, tell: Callable[[str], None]) -> Iterator[Lease]:
    """Own a folder among all hosts.

    Args:
        folder: the data set's.
        tell: hears of an owner who may be gone, and is waited for.

    Raises:
        OutputError: another process owns it.
    """
    owner = Owner.this_process()
    while True:
        wait_for_owner(folder, tell)
        if _created(folder / OWNER_NAME, _content(owner)):
            break
    lease = Lease(folder, owner)
    with lease.held():
        yield lease


def wait_for_owner(folder: Path, tell: Callable[[str], None]) -> None:
    """See whether the owner that a folder names lives, and remove the record of one that does not.

    Raises:
        OutputError: it lives.
    """
    path = folder / OWNER_NAME
    seen = _read(path)
    if seen is None:
        return
    owner = _parsed(seen)
    wait = owner.lease_seconds if owner else LEASE_SECONDS
    if owner is None or not owner.is_gone:
        tell(f"{_who(owner)} may still be preparing {folder}: waiting {wait:g} s to see")
        end = time.monotonic() + wait
        while time.monotonic() < end:
            time.sleep(_LOOK_SECONDS)
            found = _read(path)
            if found is None:
                return
            if found != seen:
                who = _who(_parsed(found))
                raise OutputError(
                    f"{who} is preparing {folder}: wait for it, or choose another --out"
                )
    aside = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    with suppress(FileNotFoundError):  # somebody else was quicker
        path.rename(aside)
        if aside.read_bytes() != seen:  # and is the new owner
            with suppress(FileExistsError):
                os.link(aside, path)
        aside.unlink()


def owner_name(folder: Path) -> str:
    """Who prepares into a folder, as far as its record tells."""
    content = _read(folder / OWNER_NAME)
    return _who(_parsed(content) if content is not None else None)


def _who(owner: Owner | None) -> str:
    return f"process {owner.pid} of {owner.host}" if owner else "another process"


def _created(path: Path, content: bytes) -> bool:
    """Create a file; false where it exists."""
    with full_disk_explained(path):
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            return False
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                sync(descriptor)  # some file systems tell of a full disk only now
        except BaseException:  # a record of nobody would be waited for
            path.unlink(missing_ok=True)
            raise
    return True


def _overwrite(path: Path, content: bytes) -> None:
    """Write in place: other hosts see a new content at once, but a new file of a name later."""
    with path.open("r+b") as file:
        file.write(content)
        file.flush()
        sync(file.fileno())


def _content(owner: Owner) -> bytes:
    """As JSON, always of one length."""
    return json.dumps(asdict(owner)).encode().ljust(_RECORD_BYTES) + b"\n"


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _parsed(content: bytes) -> Owner | None:
    try:
        return from_plain(parse_json(content), Owner)
    except RecordError:  # not yet written, or damaged
        return None


def _token(path: Path) -> str | None:
    content = _read(path)
    owner = _parsed(content) if content is not None else None
    return owner.token if owner else None


def _boot() -> str:
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    return ""


def _started(pid: int) -> int | None:
    """When a process began, in ticks since the host was started; None where there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(text.rpartition(")")[2].split()[19])
