"""The requests and responses of `/v1/states`, as `schemas` and `serializers` have them.

The Structs that hold data or a secret do not show them: what is printed ends in logs.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import UNSET, Meta, Raw, UnsetType

from ..validation import BoundedInteger, StrictStruct
from .schemas import Timeout
from .serializers import Count, Seconds

__all__ = [
    "MAX_STATE_DATA_BYTES",
    "AckState",
    "ChangeState",
    "ChangedResponse",
    "ConflictResponse",
    "CreateState",
    "CreatedResponse",
    "OriginResponse",
    "PollSecret",
    "StateKey",
    "StateResponse",
    "WaitState",
]

MAX_STATE_DATA_BYTES = 65536
_MAX_STATES = 64
_TOKEN = r"^[A-Za-z0-9_-]{22}$"
_NAME = r"^[A-Za-z0-9_.:-]{1,64}$"
# msgspec describes defaults of built-in types only, so these are no Structs' types.
_FIRST_STATE: Any = "pending"


class StateVersion(BoundedInteger):
    """The version of a state."""

    low, high = 0, 2**53 - 1


class Choice(BoundedInteger):
    """A number that a person has chosen."""

    low, high = 0, 99


StateName: TypeAlias = Annotated[
    str,
    Meta(
        description="The name of a state; `expired` is reserved.",
        examples=["scanned"],
        # Checked in `state_decoding`: Python's `$` also matches before a line's end.
        extra_json_schema={"pattern": _NAME},
    ),
]
StateKey: TypeAlias = Annotated[
    str,
    Meta(
        description="The key of a state, from its creation.",
        extra_json_schema={"pattern": _TOKEN},
    ),
]
PollSecret: TypeAlias = Annotated[
    str,
    Meta(
        description="The secret of a state; instead, the body may have it as "
        "`poll_secret`. It is never part of a URL.",
        extra_json_schema={"pattern": _TOKEN},
    ),
]
StateTtl: TypeAlias = Annotated[
    float, Meta(ge=1, le=600, description="Seconds until the state expires.")
]
StateData: TypeAlias = Annotated[
    Raw, Meta(description="Any JSON value of at most 65536 bytes.")
]
Numbers: TypeAlias = Annotated[
    list[int],
    Meta(
        min_length=3,
        max_length=3,
        description="With `match`: what the page shows; one of them is right.",
    ),
]


class CreateState(StrictStruct, kw_only=True):
    """A state to create."""

    ttl: StateTtl = 300.0
    data: StateData | UnsetType = UNSET
    state: StateName = _FIRST_STATE
    moves: (
        Annotated[
            dict[
                StateName,
                Annotated[list[StateName], Meta(max_length=_MAX_STATES)],
            ],
            Meta(
                max_length=_MAX_STATES,
                description="The moves that are allowed, by state; default: all.",
                extra_json_schema={"propertyNames": {"pattern": _NAME}},
            ),
        ]
        | UnsetType
    ) = UNSET
    match: Annotated[
        bool, Meta(description="Whether the move to `confirmed` needs a number.")
    ] = False
    confirm_within: Annotated[
        float,
        Meta(
            ge=1,
            le=600,
            description="Seconds from the move to `scanned` until the state expires.",
        ),
    ] = 60.0

    def __repr__(self) -> str:
        return f"<CreateState: {self.state!r}>"


class WaitState(StrictStruct, kw_only=True):
    """A state to wait for."""

    key: StateKey
    version: Annotated[
        StateVersion, Meta(description="The version that is known; 0 for none.")
    ]
    timeout: Timeout | UnsetType = UNSET
    poll_secret: PollSecret | UnsetType = UNSET

    def __repr__(self) -> str:
        return f"<WaitState: {self.key}, after {self.version}>"


class AckState(StrictStruct, kw_only=True):
    """A final state that has arrived."""

    key: StateKey
    version: Annotated[StateVersion, Meta(description="Its version.")]
    poll_secret: PollSecret | UnsetType = UNSET

    def __repr__(self) -> str:
        return f"<AckState: {self.key}, {self.version}>"


class ChangeState(StrictStruct, kw_only=True):
    """What a state becomes."""

    state: StateName
    data: StateData | UnsetType = UNSET
    if_version: (
        Annotated[StateVersion, Meta(description="Change only this version.")]
        | UnsetType
    ) = UNSET
    final: Annotated[bool, Meta(description="Nothing changes it afterwards.")] = False
    ttl: StateTtl | UnsetType = UNSET
    choice: (
        Annotated[
            Choice,
            Meta(
                description="With `match`, for the move to `confirmed`: the number "
                "that was chosen."
            ),
        ]
        | UnsetType
    ) = UNSET

    def __repr__(self) -> str:
        return f"<ChangeState: to {self.state!r}>"


# --- responses ------------------------------------------------------------------------


class CreatedResponse(StrictStruct, kw_only=True):
    """A state is created: the key is for its QR code, the secret for its page."""

    key: str
    poll_secret: str
    version: Count
    state: str
    expires_in: Seconds
    numbers: Numbers | UnsetType = UNSET

    def __repr__(self) -> str:
        return f"<CreatedResponse: {self.key}>"


class StateResponse(StrictStruct, kw_only=True):
    """A state, for its page."""

    state: str
    data: Any
    version: Count
    final: bool
    expires_in: Seconds
    numbers: Numbers | UnsetType = UNSET
    retry_ms: Count | UnsetType = UNSET

    def __repr__(self) -> str:
        return f"<StateResponse: {self.state!r}, version {self.version}>"


class ChangedResponse(StrictStruct, kw_only=True):
    """A state was changed."""

    key: str
    state: str
    version: Count
    final: bool
    expires_in: Seconds
    number: (
        Annotated[
            int,
            Meta(
                description="With `match`, once scanned: the right number, for the "
                "side that has scanned alone."
            ),
        ]
        | UnsetType
    ) = UNSET

    def __repr__(self) -> str:
        return f"<ChangedResponse: {self.key}, {self.state!r}>"


class OriginResponse(StrictStruct, kw_only=True):
    """What is known of the creator of a state."""

    address: str | None
    user_agent: str
    created_at: Seconds
    age: Seconds
    state: str
    version: Count


class ConflictResponse(StrictStruct, kw_only=True):
    """A state is another one than the request expects."""

    code: Literal["conflict", "mismatch"]
    message: str
    state: str
    version: Count
