"""Who may do what: publishers' keys, subscribers' tickets, foreign pages, limits.

Endpoints call one object, the `Gate`; `gate_from` makes it from the settings. Nothing
in here knows a web framework, and nothing but `Admission.waiting` knows trio.
"""

from __future__ import annotations

from .commands import add_commands
from .gate import Admission, Gate, Limits, Publisher, Rules
from .keyring import BadKeyEntry, Keyring, entry_for, new_key
from .opening import gate_from
from .refusals import Refusal, Shape, refuse_manage, refuse_poll, refuse_v1
from .revoking import follow_revoked
from .tickets import BadTicket, TicketReader, issue_ticket, secret_verifier

# Asking:
__all__ = ["Gate", "Admission", "Publisher", "gate_from", "follow_revoked"]
# Refusing:
__all__ += ["Refusal", "Shape", "refuse_manage", "refuse_poll", "refuse_v1"]
# What a gate is made of:
__all__ += ["Rules", "Limits", "Keyring", "TicketReader", "secret_verifier"]
# Issuing:
__all__ += ["issue_ticket", "BadTicket", "BadKeyEntry", "entry_for", "new_key"]
# By hand:
__all__ += ["add_commands"]
