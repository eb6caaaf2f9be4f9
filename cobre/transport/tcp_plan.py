"""What a rank's settings mean: where its group meets, who may come, and how the ranks are linked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cobre.transport.curve import CurveKeys, read_keys
from cobre.transport.environment import state_directory
from cobre.transport.failures import Group, invalid
from cobre.transport.handshake import Terms
from cobre.transport.tcp_address import LOOPBACK, Address, meeting_place
from cobre.transport.tcp_door import Loop
from cobre.transport.tcp_forming import Plan
from cobre.transport.tcp_streams import LinkMaker, StreamMaker
from cobre.transport.tcp_token import user_token

__all__ = ["Wishes", "make_plan"]

_TOKEN = 16  # characters


@dataclass(frozen=True)
class Wishes:
    """The settings of ``TcpCommunicator`` that say how its group is formed, as they were given."""

    coordinator: str | None
    port: int
    bind_address: str | None
    token: str | None
    keys: str | Path | CurveKeys | None
    run_id: str
    connect_timeout: float
    heartbeat: float
    announce: Callable[[str], object] | None
    cancelled: Callable[[], bool] | None = None


def make_plan(group: Group, wishes: Wishes) -> Plan:
    """Checks the settings. Raises CommError (InvalidArgument)."""
    _check_numbers(wishes)
    coordinator = meeting_place("coordinator", wishes.coordinator or LOOPBACK, wishes.port)
    bind = None
    if wishes.bind_address:
        bind = meeting_place("bind_address", wishes.bind_address, coordinator.port)
    keys = _keys(group, wishes, (coordinator, bind))
    if coordinator.port == 0 and group.rank != 0:
        raise invalid("connect", "port is 0, but only rank 0 can take any port", "tell the others what it announced")
    return Plan(
        group=group,
        terms=Terms(wishes.run_id, group.generation, group.size, curve=keys is not None),
        token=_token(wishes, keys),
        coordinator=coordinator,
        door=_door(group, coordinator, bind),
        bind=bind,
        timeout=wishes.connect_timeout,
        make=_maker(group, wishes, keys),
        announce=wishes.announce,
        cancelled=wishes.cancelled,
    )


def _check_numbers(wishes: Wishes) -> None:
    for name in ("connect_timeout", "heartbeat"):
        seconds = getattr(wishes, name)
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < 2**31 / 1000:
            raise invalid("connect", f"{name} is {seconds!r}, but must be a number of seconds above 0")
    if wishes.token is not None and (not isinstance(wishes.token, str) or len(wishes.token) < _TOKEN):
        raise invalid(
            "connect",
            f"token must be a text of at least {_TOKEN} characters: a short one can be guessed",
            "give a long random text, the same on all ranks, such as python -c 'import secrets; "
            "print(secrets.token_hex(16))' prints",
        )
    if not isinstance(wishes.run_id, str):
        raise invalid("connect", f"run_id is {wishes.run_id!r}, but must be a text")


def _keys(group: Group, wishes: Wishes, places: tuple[Address | None, ...]) -> CurveKeys | None:
    if wishes.keys is not None:
        return wishes.keys if isinstance(wishes.keys, CurveKeys) else read_keys(wishes.keys, group.rank)
    for place in places:
        if place is not None and not place.is_loopback:
            raise invalid(
                "connect",
                f"{place.host} can be reached from other hosts, so the group needs keys",
                "make them with 'cobre keys DIR', copy DIR to every host, and give keys=DIR (COBRE_TCP_KEYS)",
                address=place.host,
            )
    return None


def _token(wishes: Wishes, keys: CurveKeys | None) -> bytes:
    parts = [part for part in (keys.token if keys else None, wishes.token) if part]
    return "\n".join(parts).encode() if parts else user_token(state_directory())


def _door(group: Group, coordinator: Address, bind: Address | None) -> str:
    """Where rank 0 listens: inside this host, unless it was told an address."""
    if bind is not None:
        return bind.hosts[0]
    if group.rank == 0 and not coordinator.is_loopback:
        raise invalid(
            "connect",
            f"rank 0 listens inside its host only, where {coordinator.host} is not",
            "give rank 0 a bind_address (COBRE_TCP_BIND_ADDR): that of the network, or 0.0.0.0 for all of the host's",
        )
    return coordinator.hosts[0]


def _maker(group: Group, wishes: Wishes, keys: CurveKeys | None) -> Callable[[Loop, str, str], LinkMaker]:
    if keys is None:
        return lambda loop, host, advertised: StreamMaker(loop, group.rank, group.size, host, advertised)

    def make(loop: Loop, host: str, advertised: str) -> LinkMaker:
        from cobre.transport.tcp_curve import Tuning  # pyzmq costs memory that a group inside a host need not spend
        from cobre.transport.tcp_curve_maker import CurveMaker

        return CurveMaker(group.rank, group.size, host, advertised, keys, Tuning(wishes.heartbeat))

    return make
