"""Who may do what: publishers' keys, subscribers' tickets, foreign pages, limits.

The pipeline and the endpoints call one object, the `AccessControl`;
`access_control_from` makes it from the settings. This package knows no web framework,
and only `Permit` knows trio.
"""

from __future__ import annotations

from .commands import add_commands
from .configuration import access_control_from
from .control import AccessControl, AdmittedPublisher, Limits, Permit, Rules
from .keyring import BadKeyEntry, Keyring, entry_for, new_key
from .refusals import Refusal, RefusalFormat
from .rotation import KeyFiles
from .tickets import BadTicket, TicketReader, issue_ticket, secret_verifier

# Checking requests:
__all__ = ["AccessControl", "AdmittedPublisher", "Permit", "Refusal", "RefusalFormat"]
__all__ += ["KeyFiles", "access_control_from"]
# What requests are checked against:
__all__ += ["Rules", "Limits", "Keyring", "TicketReader", "secret_verifier"]
# Issuing:
__all__ += ["issue_ticket", "BadTicket", "BadKeyEntry", "entry_for", "new_key"]
# Command line:
__all__ += ["add_commands"]
