"""Every error a user can meet, on one screen.

ProsaError                 something the user can mend; shown as one line and a hint, never a traceback
  ConfigError        (2)   a setting is wrong, unknown or contradictory
  DataError          (65)  a source, document, shard or corpus cannot be used
  TokenizerError     (65)  text or a tokenizer file cannot be used
  ModelFileRefused   (66)  a model folder is damaged, unsafe or of an unknown family
  TooBusy            (69)  more is asked for at once than may wait
  TrainingDiverged   (70)  losses or gradients stayed non-finite after rolling back
  OutOfMemory        (71)  the machine has less memory than the job needs
  RunLocked          (73)  another process is training on this run
  CheckpointError    (74)  no checkpoint could be verified
  StorageError       (75)  the disk refused to write; the last checkpoint is intact
  DriftRefused       (78)  the run was made with other inputs than the present ones

The numbers are exit codes of the command line (docs/cli.md).
"""


class ProsaError(Exception):
    """What was found and where; `hint` says what helps."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message}\n\nhint: {self.hint}" if self.hint else message


class ConfigError(ProsaError):
    exit_code = 2


class DataError(ProsaError):
    exit_code = 65


class TokenizerError(ProsaError):
    exit_code = 65


class ModelFileRefused(ProsaError):
    exit_code = 66


class TooBusy(ProsaError):
    exit_code = 69


class TrainingDiverged(ProsaError):
    exit_code = 70


class OutOfMemory(ProsaError):
    exit_code = 71


class RunLocked(ProsaError):
    exit_code = 73


class CheckpointError(ProsaError):
    exit_code = 74


class StorageError(ProsaError):
    exit_code = 75


class DriftRefused(ProsaError):
    exit_code = 78
