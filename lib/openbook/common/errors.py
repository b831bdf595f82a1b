"""Errors by exit code. A message names the culprit and the way out; users never see a traceback for one."""


class OpenbookError(Exception):
    """Base of every error shown to users; `exit_code` is what the command returns."""

    exit_code = 70


class NoSession(OpenbookError):
    """The exchange is closed on that date: nothing to do, and that is fine."""

    exit_code = 0


class DataError(OpenbookError):
    """The data is bad: waiting will not mend it."""

    exit_code = 30


class DataNotReady(OpenbookError):
    """The data is not there yet: try again later."""

    exit_code = 31


class CalendarError(OpenbookError):
    """The date lies beyond the exchange calendar, or the clock cannot be right."""

    exit_code = 32


class ModelError(OpenbookError):
    """A model file is missing, altered, or does not predict what it predicted when it was saved."""

    exit_code = 40


class SchemaError(OpenbookError):
    """Features or scores do not have the shape that the model was trained on."""

    exit_code = 41


class StaleModelError(OpenbookError):
    """The model is older than the parameters allow."""

    exit_code = 42


class OptimizerError(OpenbookError):
    """No weights satisfy the limits, even after the declared fallbacks."""

    exit_code = 50


class LimitError(OpenbookError):
    """A portfolio or an order breaks a limit."""

    exit_code = 51


class ApprovalError(OpenbookError):
    """An order has no valid approval."""

    exit_code = 55


class BookError(OpenbookError):
    """The book is missing, corrupt, or does not add up."""

    exit_code = 60


class LockError(OpenbookError):
    """Another run holds the lock: try again later."""

    exit_code = 61


class ConflictError(OpenbookError):
    """A sealed run of that date was made from other inputs."""

    exit_code = 62


class OutOfOrderError(OpenbookError):
    """The date lies before the book's last session."""

    exit_code = 63


class UsageError(OpenbookError):
    """The command line asks for something that does not exist."""

    exit_code = 64


class SecretError(OpenbookError):
    """A secret was about to be written into a run."""

    exit_code = 65


class KernelDied(OpenbookError):
    """The notebook's kernel ended before the notebook did."""

    exit_code = 71


class RunTimeout(OpenbookError):
    """A notebook ran longer than its limit."""

    exit_code = 72


class IncompleteRun(OpenbookError):
    """The notebook ended before its last cell: none of its outputs is accepted."""

    exit_code = 73


class StorageError(OpenbookError):
    """A file could not be written or read."""

    exit_code = 74


class ParameterError(OpenbookError):
    """A parameter is unknown, missing, unread, or of the wrong type."""

    exit_code = 78


class Undelivered(OpenbookError):
    """A message is still unsent; what it reports is done, and the outbox keeps it."""

    exit_code = 80


class AuditError(OpenbookError):
    """The audit log, or something that it records, was altered."""

    exit_code = 90
