"""Findings about a configuration, and the policy that refuses some of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from trunkline.errors import TrunklineError


class ValidationSeverity(StrEnum):
    """Severity of a finding."""

    WARNING = "warning"
    """Logged; the component starts, unless its policy does not ignore warnings."""
    ERROR = "error"
    """The component does not start, unless its policy ignores errors."""
    CRITICAL = "critical"
    """The component does not start, whatever its policy."""


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """One finding: a field, and the fault of its value."""

    field: str
    message: str = ""
    severity: ValidationSeverity = ValidationSeverity.ERROR


@dataclass(frozen=True, slots=True)
class ValidationPolicy:
    """The findings that are only logged."""

    ignore_warnings: bool = True
    """False: a warning counts as an error."""
    ignore_errors: bool = False

    def refuses(self, result: ValidationResult) -> bool:
        """Tells whether a component with this finding does not start."""
        if result.severity == ValidationSeverity.WARNING:
            return not self.ignore_warnings
        return result.severity == ValidationSeverity.CRITICAL or not self.ignore_errors


class ConfigValidationError(TrunklineError):
    """A configuration that cannot be used. Details: each field with its fault."""

    error_code = "INVALID_CONFIG"
    results: tuple[ValidationResult, ...] = ()
    """All findings that were refused."""

    @classmethod
    def of(cls, owner: str, results: Sequence[ValidationResult]) -> ConfigValidationError:
        """Returns the error that lists these findings."""
        faults = "; ".join(f"{result.field}: {result.message}" for result in results)
        error = cls(f"{owner} cannot be used: {faults}", details={result.field: result.message for result in results})
        error.results = tuple(results)
        return error
