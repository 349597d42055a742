"""Numba compiles every helper to machine code although only the entry, which holds them all, is ever called.

Here helpers keep nothing but their LLVM text, which saves a third of the compilation. This reaches into Numba, so every
step is guarded: with a Numba that looks different inside, helpers are compiled the ordinary way, only more slowly.
"""

# mypy: ignore-errors
# (Numba's inside is untyped.)

from __future__ import annotations

from typing import Any

try:
    from numba.core.codegen import JITCodeLibrary
    from numba.core.compiler import CompilerBase, DefaultPassBuilder
    from numba.core.compiler_machinery import AnalysisPass, register_pass
    from numba.core.untyped_passes import IRProcessing

    IS_FRUGAL = all(
        hasattr(JITCodeLibrary, name)
        for name in ("_finalize_dynamic_globals", "_finalize_final_module", "_optimize_final_module", "codegen")
    )
except ImportError:
    IS_FRUGAL = False
    CompilerBase = JITCodeLibrary = AnalysisPass = object


class _Silent:
    """A code generator that is not told of environments: helpers have no machine code that could read them."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def set_env(self, name: str, environment: Any) -> None:
        """Do nothing."""


class HelperLibrary(JITCodeLibrary):
    """A library that is only linked into others: neither optimised by itself nor given to the machine."""

    @property
    def codegen(self) -> Any:
        """Return the code generator."""
        return _Silent(self._codegen)

    def get_pointer_to_function(self, name: str) -> int:
        """Return that there is no machine code."""
        self._ensure_finalized()
        return 0

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True


class UseHelperLibrary(AnalysisPass):
    """Give a helper its library before Numba gives it an ordinary one."""

    _name = "driftlab_helper_library"

    def __init__(self) -> None:
        pass

    def run_pass(self, state: Any) -> bool:
        """Set the library; the function itself is not changed."""
        state.library = HelperLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        return False


if IS_FRUGAL:
    register_pass(mutates_CFG=False, analysis_only=True)(UseHelperLibrary)


class HelperCompiler(CompilerBase):
    """Numba's pipeline with that pass."""

    def define_pipelines(self) -> list[Any]:
        """Return the pipeline."""
        pipeline = DefaultPassBuilder.define_nopython_pipeline(self.state)
        pipeline.add_pass_after(UseHelperLibrary, IRProcessing)
        pipeline.finalize()
        return [pipeline]
