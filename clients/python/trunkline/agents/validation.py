"""What a configuration says of itself before it is used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from trunkline.errors import TrunklineError


class ValidationSeverity(StrEnum):
    """How bad a finding is."""

    WARNING = "warning"
    """It is logged, and the component starts."""
    ERROR = "error"
    """The component does not start, unless its policy ignores errors."""
    CRITICAL = "critical"
    """The component does not start, whatever its policy."""


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """One finding: the field, and what is wrong with its value."""

    field: str
    message: str
    severity: ValidationSeverity = ValidationSeverity.ERROR


@dataclass(frozen=True, slots=True)
class ValidationPolicy:
    """What is let pass."""

    ignore_warnings: bool = False
    """Warnings are not even logged."""
    ignore_errors: bool = False
    """Errors are logged like warnings."""


class ConfigValidationError(TrunklineError):
    """A configuration that cannot be used. Details: each field with what is wrong with it."""

    error_code = "INVALID_CONFIG"

    @classmethod
    def of(cls, owner: str, results: Sequence[ValidationResult]) -> ConfigValidationError:
        """The error that tells all of these findings."""
        told = "; ".join(f"{result.field}: {result.message}" for result in results)
        return cls(f"{owner} cannot be used: {told}", details={result.field: result.message for result in results})
