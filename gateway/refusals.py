"""What the gateway itself refuses, before any store is asked. Leaves of the one error tree.

InputError
├── Malformed          a body that is not what its Content-Type says
├── TooLarge           a body above the limit
├── UnsupportedMedia   neither JSON nor multipart
├── InvalidRequest     a query, a header or a field that does not fit
├── UnknownModel       the catalog has no such model
├── NotEnded           a job that is to be repeated has not ended
├── EmptyFilter        an action on many jobs that names none
├── BulkTooLarge       one that names too many
├── ConfirmationNeeded a large one without its word
├── BulkStarted        one that is no draft any more
├── BulkEnded          one that has ended
├── LimitsCrossed      a fleet's minimum would be above its maximum
├── WorkerLeaving      a worker has heard already that it shall leave
└── UploadsUnavailable the store cannot be reached by clients
Unauthorized           no key, or one that nobody holds
Forbidden              a key whose role does not allow it
CsrfRefused            a session's change that no page of ours asked for
"""

from __future__ import annotations

from shared.errors import InputError, InvalidJob, LeveretError


class Unauthorized(LeveretError):
    """No API key was sent, or one that is unknown or revoked."""

    code = "unauthorized"


class Forbidden(LeveretError):
    """The key is valid, but its role does not allow this."""

    code = "forbidden"


class CsrfRefused(LeveretError):
    """A browser's session would change something, and no page of this gateway asked for it."""

    code = "csrf_refused"


class Malformed(InputError):
    """The body is not what its Content-Type says."""

    code = "malformed_body"


class TooLarge(InputError):
    """The body has more bytes than are accepted."""

    code = "body_too_large"


class UnsupportedMedia(InputError):
    """The body is neither JSON nor multipart."""

    code = "unsupported_media_type"


class InvalidRequest(InvalidJob):
    """A query parameter, a header or a field does not fit."""

    code = "invalid_request"


class UnknownModel(InvalidJob):
    """The catalog has no such model or version."""

    code = "unknown_model"


class NotEnded(InputError):
    """A job that is to be repeated has not ended."""

    code = "not_ended"


class EmptyFilter(InputError):
    """An action on many jobs whose filter names none."""

    code = "empty_filter"


class BulkTooLarge(InputError):
    """An action on more jobs than one takes."""

    code = "bulk_too_large"


class ConfirmationNeeded(InputError):
    """A large action, and its word was not said."""

    code = "confirmation_needed"


class BulkStarted(InputError):
    """The action is no draft any more."""

    code = "bulk_started"


class BulkEnded(InputError):
    """The action has ended."""

    code = "bulk_ended"


class WorkerLeaving(InputError):
    """A worker has heard that it shall leave."""

    code = "worker_leaving"


class LimitsCrossed(InputError):
    """A fleet's minimum would be above its maximum."""

    code = "limits_crossed"


class UploadsUnavailable(InputError):
    """Clients cannot reach the object store of this installation."""

    code = "uploads_unavailable"
