"""Who may do what: publishers' keys, subscribers' tickets, foreign pages, limits.

Endpoints call one object, the `AccessControl`; `access_control_from` makes it from the
settings. Nothing in here knows a web framework, and nothing but `Permit.waiting` knows
trio.
"""

from __future__ import annotations

from .commands import add_commands
from .gate import AccessControl, Limits, Permit, Publisher, Rules
from .keyring import BadKeyEntry, Keyring, entry_for, new_key
from .opening import access_control_from
from .refusals import Refusal, Shape, refuse_manage, refuse_poll, refuse_v1
from .revoking import follow_revoked
from .tickets import BadTicket, TicketReader, issue_ticket, secret_verifier

# Asking:
__all__ = [
    "AccessControl",
    "Permit",
    "Publisher",
    "access_control_from",
    "follow_revoked",
]
# Refusing:
__all__ += ["Refusal", "Shape", "refuse_manage", "refuse_poll", "refuse_v1"]
# What a gate is made of:
__all__ += ["Rules", "Limits", "Keyring", "TicketReader", "secret_verifier"]
# Issuing:
__all__ += ["issue_ticket", "BadTicket", "BadKeyEntry", "entry_for", "new_key"]
# By hand:
__all__ += ["add_commands"]
