"""What a configuration says of itself before it is used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from trunkline.errors import TrunklineError


class ValidationSeverity(StrEnum):
    """How bad a finding is."""

    WARNING = "warning"
    """It is logged, and the component starts, unless its policy does not ignore warnings."""
    ERROR = "error"
    """The component does not start, unless its policy ignores errors."""
    CRITICAL = "critical"
    """The component does not start, whatever its policy."""


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """One finding: the field, and what is wrong with its value."""

    field: str
    message: str = ""
    severity: ValidationSeverity = ValidationSeverity.ERROR


@dataclass(frozen=True, slots=True)
class ValidationPolicy:
    """What is let pass, which means that it is logged."""

    ignore_warnings: bool = True
    """Else a warning counts like an error."""
    ignore_errors: bool = False

    def refuses(self, result: ValidationResult) -> bool:
        """Whether a component with this finding does not start."""
        if result.severity == ValidationSeverity.WARNING:
            return not self.ignore_warnings
        return result.severity == ValidationSeverity.CRITICAL or not self.ignore_errors


class ConfigValidationError(TrunklineError):
    """A configuration that cannot be used. Details: each field with what is wrong with it."""

    error_code = "INVALID_CONFIG"
    results: tuple[ValidationResult, ...] = ()
    """The findings, with their severities."""

    @classmethod
    def of(cls, owner: str, results: Sequence[ValidationResult]) -> ConfigValidationError:
        """The error that tells all of these findings."""
        told = "; ".join(f"{result.field}: {result.message}" for result in results)
        error = cls(f"{owner} cannot be used: {told}", details={result.field: result.message for result in results})
        error.results = tuple(results)
        return error
