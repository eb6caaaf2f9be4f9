"""The HiGHS solver through its C interface: the only place that knows the library.

The wheel of highspy carries HiGHS as a shared library with its documented C interface. Called through ctypes it
takes and fills numpy arrays in place; the wheel's own Python layer turns every solution into lists first, which
costs more than a hot solve does (docs/decisions/0001-highs-through-its-c-interface.md).
"""

from __future__ import annotations

import ctypes
import importlib.util
from ctypes import c_char_p, c_double, c_int, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cobre.errors import CobreError, SolverError

__all__ = ["BASIC", "LOWER", "OPTIMAL", "STATUS_NAMES", "UPPER", "ZERO", "Highs", "highs_version"]

LOWER, BASIC, UPPER, ZERO = 0, 1, 2, 3  # basis statuses of HiGHS
OPTIMAL = 7
STATUS_NAMES = {
    0: "not set", 1: "load error", 2: "model error", 3: "presolve error", 4: "solve error", 5: "postsolve error",
    6: "empty", 7: "optimal", 8: "infeasible", 9: "unbounded or infeasible", 10: "unbounded", 11: "objective bound",
    12: "objective target", 13: "time limit", 14: "iteration limit", 15: "unknown", 16: "solution limit",
    17: "interrupted", 18: "memory limit",
}  # fmt: skip
_ROWWISE, _MINIMISE = 2, 1
_ERROR = -1

_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "Highs_create": (c_void_p, []),
    "Highs_destroy": (None, [c_void_p]),
    "Highs_version": (c_char_p, []),
    "Highs_passLp": (c_int, [c_void_p, c_int, c_int, c_int, c_int, c_int, c_double] + [c_void_p] * 8),
    "Highs_setBoolOptionValue": (c_int, [c_void_p, c_char_p, c_int]),
    "Highs_setIntOptionValue": (c_int, [c_void_p, c_char_p, c_int]),
    "Highs_setDoubleOptionValue": (c_int, [c_void_p, c_char_p, c_double]),
    "Highs_setStringOptionValue": (c_int, [c_void_p, c_char_p, c_char_p]),
    "Highs_addRows": (c_int, [c_void_p, c_int, c_void_p, c_void_p, c_int, c_void_p, c_void_p, c_void_p]),
    "Highs_deleteRowsBySet": (c_int, [c_void_p, c_int, c_void_p]),
    "Highs_changeRowsBoundsBySet": (c_int, [c_void_p, c_int, c_void_p, c_void_p, c_void_p]),
    "Highs_changeColsCostBySet": (c_int, [c_void_p, c_int, c_void_p, c_void_p]),
    "Highs_clearSolver": (c_int, [c_void_p]),
    "Highs_setBasis": (c_int, [c_void_p, c_void_p, c_void_p]),
    "Highs_getBasis": (c_int, [c_void_p, c_void_p, c_void_p]),
    "Highs_run": (c_int, [c_void_p]),
    "Highs_getModelStatus": (c_int, [c_void_p]),
    "Highs_getObjectiveValue": (c_double, [c_void_p]),
    "Highs_getSolution": (c_int, [c_void_p, c_void_p, c_void_p, c_void_p, c_void_p]),
    "Highs_getIntInfoValue": (c_int, [c_void_p, c_char_p, c_void_p]),
    "Highs_writeModel": (c_int, [c_void_p, c_char_p]),
}


@cache
def _library() -> ctypes.CDLL:
    """HiGHS, loaded once in a process."""
    spec = importlib.util.find_spec("highspy")
    folder = Path(spec.origin).parent if spec and spec.origin else None
    # found by file, not by importing highspy: its Python layer is not needed, and each worker saves the time
    found = sorted(folder.glob("libhighs*.so*")) + sorted(folder.glob("libhighs*.dylib")) if folder else []
    if not found:
        raise CobreError(
            "the HiGHS library was not found in the highspy package",
            kind="MissingFile",
            context={"folder": str(folder)},
            suggestion="install highspy 1.15: pip install 'highspy>=1.15,<1.16'",
        )
    library = ctypes.CDLL(str(found[0]))
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def highs_version() -> str:
    """The version of the HiGHS library in use."""
    return str(_library().Highs_version().decode())


def _address(array: NDArray[Any]) -> int:
    return array.ctypes.data


class Highs:
    """One HiGHS instance that holds one linear program. Not to be shared between threads.

    The functions that a solve calls are attributes bound to the library, so that the loop over solves pays for the
    call and nothing else; they take the instance's ``handle`` and addresses of arrays.
    """

    def __init__(self) -> None:
        self.library = _library()
        self.handle: int | None = self.library.Highs_create()
        self.run = self.library.Highs_run
        self.status = self.library.Highs_getModelStatus
        self.objective = self.library.Highs_getObjectiveValue
        self.solution = self.library.Highs_getSolution
        self.change_rows = self.library.Highs_changeRowsBoundsBySet
        self.change_costs = self.library.Highs_changeColsCostBySet
        self.int_info = self.library.Highs_getIntInfoValue
        self.clear = self.library.Highs_clearSolver
        self.set_basis_at = self.library.Highs_setBasis
        self.get_basis_at = self.library.Highs_getBasis
        self._iterations = c_int(0)
        self._iterations_address = ctypes.addressof(self._iterations)
        # threads before the first solve of any instance: HiGHS's scheduler is one for the process
        self.set_options({"output_flag": False, "threads": 1, "simplex_scale_strategy": 0})

    def close(self) -> None:
        """Free the instance; it can be called again without harm."""
        if self.handle is not None:
            self.library.Highs_destroy(self.handle)
            self.handle = None

    def __del__(self) -> None:
        if getattr(self, "handle", None) is not None:
            self.close()

    def set_options(self, options: dict[str, bool | int | float | str]) -> None:
        """Set options by name. Raises SolverError for a name or value that HiGHS refuses."""
        for name, value in options.items():
            kind = {bool: "Bool", int: "Int", float: "Double", str: "String"}[type(value)]
            setter = getattr(self.library, f"Highs_set{kind}OptionValue")
            given = value.encode() if isinstance(value, str) else value
            if setter(self.handle, name.encode(), given) == _ERROR:
                raise SolverError(f"HiGHS refuses the option {name}={value!r}", kind="OutOfRange")

    def pass_lp(
        self,
        cost: NDArray[np.float64],
        bounds: tuple[NDArray[np.float64], NDArray[np.float64]],
        row_bounds: tuple[NDArray[np.float64], NDArray[np.float64]],
        matrix: tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]],
    ) -> None:
        """Hand over a whole minimisation, by rows (start, index, value); what was there before is forgotten."""
        start, index, value = matrix
        self._check(
            self.library.Highs_passLp(
                self.handle, cost.size, row_bounds[0].size, value.size, _ROWWISE, _MINIMISE, 0.0, _address(cost),
                _address(bounds[0]), _address(bounds[1]), _address(row_bounds[0]), _address(row_bounds[1]),
                _address(start), _address(index), _address(value),
            ),
            "passing a model",
        )  # fmt: skip

    def add_rows(
        self,
        lower: NDArray[np.float64],
        upper: NDArray[np.float64],
        matrix: tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]],
    ) -> None:
        """Append rows, given by (start, index, value)."""
        start, index, value = matrix
        self._check(
            self.library.Highs_addRows(
                self.handle, lower.size, _address(lower), _address(upper), value.size,
                _address(start), _address(index), _address(value),
            ),
            "adding rows",
        )  # fmt: skip

    def delete_rows(self, rows: NDArray[np.int32]) -> None:
        """Remove rows by their positions, rising; those behind move up."""
        self._check(self.library.Highs_deleteRowsBySet(self.handle, rows.size, _address(rows)), "deleting rows")

    def clear_solver(self) -> None:
        """Forget basis, factorisation and solution: the next solve depends on the model alone."""
        self._check(self.library.Highs_clearSolver(self.handle), "clearing the solver")

    def set_basis(self, columns_at: int, rows_at: int) -> bool:
        """Start the next solve from the statuses (int32) at these addresses; False where HiGHS refuses them."""
        return bool(self.library.Highs_setBasis(self.handle, columns_at, rows_at) != _ERROR)

    def get_basis(self, columns: NDArray[np.int32], rows: NDArray[np.int32]) -> None:
        """Fill the arrays with the basis of the last solve."""
        self._check(self.library.Highs_getBasis(self.handle, _address(columns), _address(rows)), "reading a basis")

    def simplex_iterations(self) -> int:
        """Simplex iterations of the last solve."""
        self.int_info(self.handle, b"simplex_iteration_count", self._iterations_address)
        return self._iterations.value

    def write_model(self, path: Path) -> bool:
        """Write the program as an LP or MPS file, by the suffix; False where that failed."""
        return bool(self.library.Highs_writeModel(self.handle, str(path).encode()) != _ERROR)

    def _check(self, status: int, doing: str) -> None:
        if status == _ERROR:
            raise SolverError(f"HiGHS failed while {doing}", kind="SolverError", solver_status="error")
