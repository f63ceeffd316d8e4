"""Closures become pytrees: captured arrays are leaves, the traced program is a static key.

People write ``lambda w: loss(w, X, y)`` afresh in every call. Compiling by the identity of that
function would compile again each time and would hide ``X`` from differentiation. `lift` traces the
function once; what it captured becomes leaves and its program is compared by structure.
"""

import collections
import dataclasses
import hashlib
import re
import threading
import types
import weakref
from collections.abc import Callable, Hashable
from typing import Any

import equinox as eqx
import jax
import jax.extend.core as jex
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array

_counter = threading.local()


def traces() -> int:
    """How often user functions were traced so far in this thread."""
    return getattr(_counter, "traces", 0)


def _count_trace() -> None:
    _counter.traces = traces() + 1


@eqx.filter_jit
def _apply(fn: eqx.Module, args: tuple) -> Any:
    _count_trace()
    return fn(*args)  # pyright: ignore[reportCallIssue]


def call(fn: Callable, *args) -> Any:
    """``fn(*args)``; a module is traced once per shape, however many oracles are derived from it."""
    return _apply(fn, args) if isinstance(fn, eqx.Module) else fn(*args)


class Program:
    """A traced function without its captured arrays, equal to another of the same structure."""

    def __init__(self, jaxpr: Any, in_tree: Any, out_tree: Any, key: Hashable):
        self.jaxpr, self.in_tree, self.out_tree = jaxpr, in_tree, out_tree
        self.key = (key, in_tree, out_tree)
        self._hash = hash(self.key)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Program) and self._hash == other._hash and self.key == other.key
        )

    def __repr__(self) -> str:
        text = re.sub(r"0x[0-9a-f]+", "", str(self.jaxpr))  # addresses differ from process to process
        return f"Program({hashlib.sha256(text.encode()).hexdigest()[:12]})"


class Lifted(eqx.Module):
    """A callable pytree made from a closure.

    Attributes:
        captured: the arrays the closure captured, differentiable leaves.
        program: its traced program, static.
    """

    captured: list[Array]
    program: Program = eqx.field(static=True)

    def __call__(self, *args):
        flat, tree = jax.tree.flatten(args)
        if tree != self.program.in_tree:
            raise TypeError(f"called with arguments {tree}, traced for {self.program.in_tree}")
        closed = jex.ClosedJaxpr(self.program.jaxpr, self.captured)
        return jax.tree.unflatten(self.program.out_tree, jex.jaxpr_as_fun(closed)(*flat))


def lift(fn: Callable, *args, what: str = "function") -> Any:
    """Makes a callable a pytree whose leaves are the arrays it captured.

    A module is returned as it is (or asked, through its own ``lifted``). A plain callable is traced at
    the shapes of ``args``; a new closure over new arrays with the same program equals the old one, so
    nothing is compiled again. Python numbers inside the program that change between calls become leaves
    after the first change. Programs that hold opaque parts (host callbacks, rules that capture arrays)
    are compared by identity.

    Args:
        fn: a callable of pytrees of arrays.
        *args: arguments to trace at; only shapes and dtypes are used.
        what: its role, named in errors.

    Returns:
        A module that computes what ``fn`` does.

    Raises:
        TypeError: ``fn`` is not callable.

    Example:
        >>> import jax.numpy as jnp
        >>> X = jnp.arange(6.0).reshape(3, 2)
        >>> f = lift(lambda w: (X @ w).sum(), jnp.ones(2))
        >>> g = lift(lambda w: ((X + 1) @ w).sum(), jnp.ones(2))
        >>> float(f(jnp.ones(2))), f.program == g.program
        (15.0, False)
        >>> make = lambda X: lift(lambda w: (X @ w).sum(), jnp.ones(2))
        >>> make(X).program == make(X + 1).program
        True
    """
    if isinstance(fn, eqx.Module):
        lifted = getattr(type(fn), "lifted", None)  # looking it up on a module binds it, which takes longer
        return lifted(fn, *args) if lifted else fn
    if not callable(fn):
        raise TypeError(f"the {what} must be callable, got {type(fn).__name__}")
    flat, in_tree = jax.tree.flatten(args)
    # Sharded avals differ by context; shape, dtype and weak type are what a program depends on.
    structs = [jax.ShapeDtypeStruct(jnp.shape(v), jnp.result_type(v)) for v in flat]
    signature = (in_tree, tuple((s.shape, s.dtype) for s in structs), jnp.zeros(()).dtype)
    references = _references(fn)
    if references is not None:
        known = _unchanged.get(fn)
        if known and known[0] == signature and _same(known[1], references):
            return known[2]
    _count_trace()
    # JAX caches traces by the identity of the function too; a new one makes it look again.
    fresh = lambda *a: fn(*a)  # noqa: E731
    closed, shape = jax.make_jaxpr(fresh, return_shape=True)(*jax.tree.unflatten(in_tree, structs))
    out_tree = jax.tree.structure(shape)
    jaxpr, promoted, key = _promote(closed.jaxpr)
    lifted = Lifted([*promoted, *map(jnp.asarray, closed.consts)], Program(jaxpr, in_tree, out_tree, key))
    if references is not None:
        _unchanged[fn] = (signature, references, lifted)
    return lifted


def replaced(module: eqx.Module, **fields: Any) -> Any:
    """A copy of a module with some fields changed, without running its ``__init__``.

    ``eqx.tree_at`` does the same with more checks and takes longer than a small solve.
    """
    copy = object.__new__(type(module))
    for field in dataclasses.fields(module):
        object.__setattr__(copy, field.name, fields.get(field.name, getattr(module, field.name, None)))
    return copy


# ------------------------------------------------------------------ the same function object, called again

# A function whose references are all immutable and still the same objects needs no second trace.
_unchanged: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()
_IMMUTABLE = (bool, int, float, complex, str, bytes, type(None), np.generic, np.dtype, type)
_TRUSTED = ("jax", "math", "optax", "equinox")


def _same(a: list, b: list) -> bool:
    return len(a) == len(b) and all(x is y for x, y in zip(a, b, strict=True))


def _names(code: types.CodeType) -> set[str]:
    inner = (c for c in code.co_consts if isinstance(c, types.CodeType))
    return set(code.co_names).union(*(_names(c) for c in inner))


def _references(fn: Callable) -> list | None:
    """The objects a function's result depends on, or None where one of them could change in place."""
    found: list = []
    queue, seen = [fn], set()
    while queue:
        obj = queue.pop()
        if id(obj) in seen:
            continue
        seen.add(id(obj))
        if obj is not fn:  # or the function would keep its own entry alive
            found.append(obj)
        if isinstance(obj, Tracer):
            return None
        if isinstance(obj, (*_IMMUTABLE, jax.Array)):
            continue
        module = obj.__name__ if isinstance(obj, types.ModuleType) else getattr(obj, "__module__", None) or ""
        if module.partition(".")[0] in _TRUSTED:
            continue
        if isinstance(obj, types.BuiltinFunctionType) and getattr(obj, "__self__", None) is not None:
            if isinstance(obj.__self__, types.ModuleType):
                continue
            return None
        if isinstance(obj, tuple):
            queue.extend(obj)
        elif isinstance(obj, eqx.Module):  # frozen: it changes only where a field can
            queue.extend(vars(obj).values())
        elif isinstance(obj, types.FunctionType):
            try:
                cells = [c.cell_contents for c in obj.__closure__ or ()]
            except ValueError:  # a cell that is not filled yet
                return None
            queue += [*cells, *(obj.__defaults__ or ()), *(obj.__kwdefaults__ or {}).values()]
            queue += [obj.__globals__[n] for n in sorted(_names(obj.__code__)) if n in obj.__globals__]
        else:
            return None
    return found


# ------------------------------------------------------------------ numbers that turn out to vary


class _Family:
    """Programs that differ only in float literals; those seen to vary are passed as arguments."""

    def __init__(self, values: tuple):
        self.values, self.varying = values, set()


_families: collections.OrderedDict[Hashable, _Family] = collections.OrderedDict()
_MOST_FAMILIES = 4096


def _promote(jaxpr: Any) -> tuple[Any, list[Array], Hashable]:
    skeleton, literals = _fingerprint(jaxpr)
    values = tuple(np.asarray(v.val).tobytes() for v in literals)
    family = _families.setdefault(skeleton, _Family(values))
    _families.move_to_end(skeleton)
    while len(_families) > _MOST_FAMILIES:
        _families.popitem(last=False)
    family.varying |= {i for i, (a, b) in enumerate(zip(values, family.values, strict=True)) if a != b}
    fixed = tuple(v for i, v in enumerate(values) if i not in family.varying)
    key = (skeleton, frozenset(family.varying), fixed)
    if not family.varying:
        return jaxpr, [], key
    new = jex.gensym()
    chosen = {id(literals[i]): new(literals[i].aval) for i in sorted(family.varying)}
    eqns = [e.replace(invars=[chosen.get(id(v), v) for v in e.invars]) for e in jaxpr.eqns]
    outvars = [chosen.get(id(v), v) for v in jaxpr.outvars]
    arguments = [jnp.asarray(np.asarray(literals[i].val)) for i in sorted(family.varying)]
    jaxpr = jaxpr.replace(constvars=[*chosen.values(), *jaxpr.constvars], eqns=eqns, outvars=outvars)
    return jaxpr, arguments, key


# ------------------------------------------------------------------ comparing programs by structure


def _fingerprint(jaxpr: Any, top: bool = True) -> tuple[Hashable, list]:
    """A hashable that is equal for programs of equal structure, and the float literals left out of it."""
    if jaxpr.effects:
        return object(), []
    number: dict[Any, int] = {}
    literals: list = []

    def atom(v: Any) -> Hashable:
        if not isinstance(v, jex.Literal):
            return number[v]
        if top and jnp.issubdtype(np.asarray(v.val).dtype, jnp.inexact) and np.shape(v.val) == ():
            literals.append(v)
            return ("float", str(v.aval))
        return ("literal", str(v.aval), np.asarray(v.val).tobytes())

    def bind(variables: Any) -> tuple:
        for v in variables:
            number[v] = len(number)
        return tuple((str(v.aval), getattr(v.aval, "weak_type", False)) for v in variables)

    head = (bind(jaxpr.constvars), bind(jaxpr.invars))
    body = []
    for e in jaxpr.eqns:
        inputs = tuple(atom(v) for v in e.invars)
        params = tuple((k, _value(e.params[k], 0)) for k in sorted(e.params))
        body.append((e.primitive, inputs, params, bind(e.outvars)))
    return (head, tuple(body), tuple(atom(v) for v in jaxpr.outvars)), literals


_PROGRAM_PARTS = (jex.Primitive, Tracer, jax.Array, jax.custom_jvp, jax.custom_vjp)


def _of_jax(module: str | None) -> bool:
    return (module or "").partition(".")[0] in ("jax", "jaxlib")


def _value(v: Any, depth: int) -> Hashable:
    """A hashable for a parameter; what cannot be compared safely stands for itself, by identity."""
    if depth > 12:
        return v if isinstance(v, Hashable) else object()
    if isinstance(v, jex.ClosedJaxpr):
        return ("closed", _fingerprint(v.jaxpr, top=False)[0], tuple(_value(c, depth + 1) for c in v.consts))
    if isinstance(v, jex.Jaxpr):
        return ("jaxpr", _fingerprint(v, top=False)[0])
    if isinstance(v, list | tuple):
        return (type(v), *(_value(u, depth + 1) for u in v))
    if isinstance(v, dict):
        return ("dict", *((k, _value(u, depth + 1)) for k, u in v.items()))
    if isinstance(v, types.FunctionType):
        try:
            cells = [c.cell_contents for c in v.__closure__ or ()]
        except ValueError:
            return v
        if _of_jax(v.__module__):  # its dictionaries are memos, filled as the rule is used
            cells = [c for c in cells if not isinstance(c, dict)]
        defaults = (v.__defaults__, v.__kwdefaults__)
        return ("function", v.__code__, _value(cells, depth + 1), _value(defaults, depth + 1))
    if isinstance(v, float | np.floating | np.ndarray):
        return (type(v), str(getattr(v, "dtype", "")), np.shape(v), np.asarray(v).tobytes())
    # Custom derivative rules arrive wrapped; what is inside decides.
    if hasattr(v, "f") and hasattr(v, "transforms"):
        return ("wrapped", _value(v.f, depth + 1), _value(v.transforms, depth + 1))
    machinery = _of_jax(type(v).__module__)
    if type(v) is object or (
        machinery and type(v).__eq__ is object.__eq__ and not isinstance(v, _PROGRAM_PARTS)
    ):
        return ("machinery", type(v))  # stores and traces of the tracer itself carry no program
    try:
        hash(v)
    except TypeError:
        return object()
    return (type(v), v)
