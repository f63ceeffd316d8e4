"""From what was typed to what is run: problems and solvers by name, or from the user's own file."""

import functools
import hashlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from frechet.workbench.errors import UserError, nearest


@dataclass(frozen=True)
class Loaded:
    """A problem ready to run.

    Attributes:
        problem: the problem itself.
        x0: the start, a pytree of arrays; where the problem draws its own, that of seed 0.
        name: as the user wrote it, without folders.
        title: a line for people.
        source: where the problem comes from.
        optimum: its known optimal objective, or None.
        file_digest: SHA-256 of the user's file; empty for a problem of the suite.
    """

    problem: Any
    x0: Any
    name: str
    title: str
    source: str
    optimum: float | None
    file_digest: str = ""


def last_line(error: BaseException) -> str:
    """An exception's type and the first line of its message, without the notes that JAX adds."""
    message = str(error).strip()
    return f"{type(error).__name__}: {message.splitlines()[0]}" if message else type(error).__name__


def split_file(reference: str) -> tuple[Path, str] | None:
    """``(file, name)`` if ``reference`` reads ``file.py:name``, else None."""
    path, colon, name = reference.rpartition(":")
    if colon and path.endswith(".py"):
        return Path(path).expanduser().resolve(), name
    if reference.endswith(".py"):
        raise UserError(f"{reference}: name the function too, as in {reference}:problem")
    return None


def absolute(reference: str) -> str:
    """The reference with its file, if it names one, as an absolute path; workers may run elsewhere."""
    file = split_file(reference)
    return f"{file[0]}:{file[1]}" if file else reference


def short(reference: str) -> str:
    """The reference without folders: what tables and hashes use."""
    file = split_file(reference)
    return f"{file[0].name}:{file[1]}" if file else reference


@contextmanager
def _on_path(folder: Path) -> Iterator[None]:
    """The user's folder is importable while their file is, as it is for ``python file.py``."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _module(path: Path) -> ModuleType:
    if not path.is_file():
        raise UserError(f"{path}: no such file; give file.py:function or a name from `frechet list`")
    spec = importlib.util.spec_from_file_location(f"frechet_user_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickle look a class's module up here
    try:
        with _on_path(path.parent):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise UserError(f"{path.name} does not import: {last_line(error)}{_at(error, path)}") from error
    return module


def _at(error: BaseException, path: Path) -> str:
    """Where in the user's file it went wrong."""
    if isinstance(error, SyntaxError):
        return f" (line {error.lineno})" if error.lineno else ""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    return f" (line {lines[-1]})" if lines else ""


def _attribute(path: Path, module: ModuleType, name: str, wanted: str) -> Any:
    if not hasattr(module, name):
        own = [k for k, v in vars(module).items() if inspect.isfunction(v) or inspect.isclass(v)]
        raise UserError(f"{path.name} has no {wanted} {name!r}; {nearest(name, own)}")
    return getattr(module, name)


def load_problem(reference: str) -> Loaded:
    """A suite problem by name, or what the user's ``file.py:function`` returns.

    The function takes no arguments and returns a ``(problem, x0)`` pair, a suite ``Case``, or a problem
    that offers its own start by ``initial(key)``.

    Raises:
        UserError: the name is unknown, or the file or function is not what it should be.
    """
    file = split_file(reference)
    if file is None:
        return _from_suite(reference)
    path, name = file
    module = _module(path)
    function = _attribute(path, module, name, "function")
    if not callable(function):
        raise UserError(
            f"{path.name}:{name} is a {type(function).__name__}; it should be a function of no arguments "
            "that returns (problem, x0)"
        )
    try:
        with _on_path(path.parent):
            made = function()
    except (Exception, SystemExit) as error:
        raise UserError(f"{path.name}:{name} failed: {last_line(error)}{_at(error, path)}") from error
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    title = (inspect.getdoc(function) or short(reference)).splitlines()[0].strip().rstrip(".")
    return _as_loaded(made, short(reference), title, digest)


def _from_suite(name: str) -> Loaded:
    from frechet.workbench import suite

    if name not in suite.names():
        raise UserError(f"no problem is called {name!r}; {nearest(name, suite.names())}")
    case = suite.load(name)
    return Loaded(case.problem, case.x0, name, case.title, case.source, case.optimum)


def _as_loaded(made: Any, name: str, title: str, digest: str) -> Loaded:
    import jax

    from frechet.core.problem import Problem
    from frechet.workbench.suite import Case

    if isinstance(made, Case):
        source = made.source or "the user's file"
        return Loaded(made.problem, made.x0, name, made.title or title, source, made.optimum, digest)
    if isinstance(made, Problem):
        x0 = initial(made, 0)
        if x0 is None:
            raise UserError(f"{name} returns a {made.kind} without a start; return (problem, x0)")
        made = (made, x0)
    if not (isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], Problem)):
        what = type(made).__name__
        if isinstance(made, tuple):
            what = "(" + ", ".join(type(m).__name__ for m in made) + ")"
        raise UserError(f"{name} returns {what}; it should return (problem, x0), a Problem or a Case")
    x0 = jax.tree.map(jax.numpy.asarray, made[1])
    return Loaded(made[0], x0, name, title, "the user's file", None, digest)


def initial(problem: Any, seed: int) -> Any:
    """The start that the problem draws for a seed; None if it draws none."""
    import jax

    draw = getattr(problem, "initial", None)
    # Steps draw from the seed's key itself, so the start comes from a key apart.
    return None if draw is None else draw(jax.random.fold_in(jax.random.key(seed), 2**32 - 1))


def load_solvers(references: list[str] | None) -> dict[str, tuple[str, Any]]:
    """Solvers by display name, each with the reference that finds it again in another process.

    Args:
        references: registered names; or ``pkg.module:Name`` or ``file.py:Name`` of a `Solver` subclass or
            instance of the user's own, or of a function that makes an optax transformation. None means
            every registered solver.
    """
    if references is None:
        return {name: (name, solver) for name, solver in sorted(_registered().items())}
    chosen: dict[str, tuple[str, Any]] = {}
    for reference in references:
        found = _own_file(reference) or _named(reference)
        chosen |= {name: (absolute(reference), solver) for name, solver in found.items()}
    return chosen


def load_optimizers() -> dict[str, tuple[str, Any]]:
    """What trains models, in the form of `load_solvers`: the library's optimizers and the baselines."""
    return {name: (name, solver) for name, solver in optimizers().items()}


@functools.cache
def optimizers() -> dict[str, Any]:
    """A solver by every declared optimizer and baseline, with its default settings, by name."""
    from frechet.optimizers import registry
    from frechet.solvers.wrappers.optax import Optax
    from frechet.workbench.comparing.baselines import baselines

    entries = {**baselines(), **registry.optimizers()}
    return {name: Optax.of(entry.factory) for name, entry in sorted(entries.items())}


def described(solver: Any) -> Any:
    """What a solver is known by: the function that makes its optax transformation, else its class."""
    return getattr(getattr(solver, "tx", None), "factory", type(solver))


def _registered() -> dict[str, Any]:
    """Loaded only when a registered solver is asked for: it imports every solver there is."""
    from frechet.solvers.registry import all_presets

    return all_presets()


def _named(name: str) -> dict[str, Any]:
    """A registered solver, whose name may have a colon too, an optimizer, or ``pkg.module:Name``."""
    known = _registered()
    if name in known:
        return {name: known[name]}
    package, colon, attribute = name.partition(":")
    if not colon or any(k.startswith(f"{package}:") for k in known):
        if name in optimizers():
            return {name: optimizers()[name]}
        raise UserError(f"no solver is called {name!r}; {nearest(name, [*known, *optimizers()])}")
    try:
        module = importlib.import_module(package)
    except Exception as error:
        raise UserError(f"{name}: {package} does not import: {last_line(error)}") from error
    return _as_solvers(name, attribute, _attribute(Path(package), module, attribute, "solver"))


def _own_file(reference: str) -> dict[str, Any] | None:
    """The solvers of ``file.py:Name``; None if the reference is of another form."""
    file = split_file(reference)
    if file is None:
        return None
    path, name = file
    return _as_solvers(short(reference), name, _attribute(path, _module(path), name, "solver"))


def _as_solvers(reference: str, name: str, found: Any) -> dict[str, Any]:
    from frechet.core.solver import Solver
    from frechet.optimizers.registry import declared
    from frechet.solvers.wrappers.optax import Optax

    if isinstance(found, Solver):
        return {name: found}
    if isinstance(found, type) and issubclass(found, Solver):
        return dict(found.presets())
    wanted = "a frechet Solver class or instance, or a function that makes an optax transformation"
    if callable(found):
        entry = declared(found)
        try:
            return {entry.name if entry else name: Optax.of(found)}
        except Exception as error:
            raise UserError(
                f"{reference} is a {type(found).__name__}; it should be {wanted} ({last_line(error)})"
            ) from error
    raise UserError(f"{reference} is a {type(found).__name__}; it should be {wanted}")
