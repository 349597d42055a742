"""Numba compiles every helper to machine code although only the entry, which holds them all, is ever called.

Here helpers keep nothing but their LLVM text, which saves a third of the compilation. This reaches into Numba, so every
step is guarded: with a Numba that looks different inside, helpers are compiled the ordinary way, only more slowly.
"""

# mypy: ignore-errors
# (Numba's inside is untyped.)

from __future__ import annotations

from typing import Any

try:
    from llvmlite.binding import Linkage
    from numba.core.codegen import JITCodeLibrary
    from numba.core.compiler import CompilerBase
    from numba.core.compiler_machinery import AnalysisPass, PassManager, register_pass
    from numba.core.typed_passes import (
        AnnotateTypes,
        IRLegalization,
        NativeLowering,
        NoPythonBackend,
        NopythonTypeInference,
        PreLowerStripPhis,
    )
    from numba.core.untyped_passes import FixupArgs, GenericRewrites, IRProcessing, ReconstructSSA, TranslateByteCode

    IS_FRUGAL = all(
        hasattr(JITCodeLibrary, name)
        for name in (
            "_finalize_dynamic_globals",
            "_finalize_final_module",
            "_optimize_final_module",
            "_optimize_functions",
            "codegen",
        )
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
    """A library that is only linked into the entry's: not optimised, not linked, not given to the machine by itself."""

    @property
    def codegen(self) -> Any:
        """Return the code generator."""
        return _Silent(self._codegen)

    def get_pointer_to_function(self, name: str) -> int:
        """Return that there is no machine code."""
        self._ensure_finalized()
        return 0

    def finalize(self) -> None:
        """Make the functions visible to whoever links them; nothing else can be added afterwards."""
        self._raise_if_finalized()
        for function in self._final_module.functions:
            if not function.is_declaration and function.linkage == Linkage.external:
                function.linkage = "linkonce_odr"
        self._shared_module = self._final_module
        self._finalize_dynamic_globals()
        self._finalized = True

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout


class EntryLibrary(JITCodeLibrary):
    """An ordinary library that links every helper which its helpers call, each once."""

    def finalize(self) -> None:
        """Link, optimise, make machine code."""
        self._linking_libraries = _reached(self._linking_libraries)
        super().finalize()


def _reached(libraries: Any) -> list[Any]:
    """Return the libraries and those that they link in turn, each once."""
    found: dict[int, Any] = {}
    waiting = list(libraries)
    while waiting:
        library = waiting.pop()
        if id(library) not in found:
            found[id(library)] = library
            waiting += library._linking_libraries if isinstance(library, HelperLibrary) else []
    return list(found.values())


class UseHelperLibrary(AnalysisPass):
    """Give a function its library before Numba gives it an ordinary one."""

    _name = "driftlab_helper_library"
    library = HelperLibrary

    def __init__(self) -> None:
        pass

    def run_pass(self, state: Any) -> bool:
        """Set the library; the function itself is not changed."""
        state.library = self.library(state.targetctx.codegen(), state.func_id.func_qualname)
        return False


class UseEntryLibrary(UseHelperLibrary):
    """The same for the entry; its machine code is kept on disk."""

    _name = "driftlab_entry_library"
    library = EntryLibrary

    def run_pass(self, state: Any) -> bool:
        """Set the library; the function itself is not changed."""
        super().run_pass(state)
        state.library.enable_object_caching()
        return False


if IS_FRUGAL:
    for _step in (UseHelperLibrary, UseEntryLibrary):
        register_pass(mutates_CFG=False, analysis_only=True)(_step)


class EntryCompiler(CompilerBase):
    """The passes that turn plain integer code into machine code, and nothing else.

    Those left out look for closures, literals, array expressions and overloads to inline; generated code has none.
    """

    use_library = UseEntryLibrary

    def define_pipelines(self) -> list[Any]:
        """Return the pipeline."""
        pipeline = PassManager("driftlab")
        for step in (
            TranslateByteCode,
            FixupArgs,
            IRProcessing,
            self.use_library,
            GenericRewrites,
            ReconstructSSA,
            NopythonTypeInference,
            PreLowerStripPhis,
            IRLegalization,
            AnnotateTypes,
            NativeLowering,
            NoPythonBackend,
        ):
            pipeline.add_pass(step, step.__name__)
        pipeline.finalize()
        return [pipeline]


class HelperCompiler(EntryCompiler):
    """The same into a library that is only linked into others."""

    use_library = UseHelperLibrary
