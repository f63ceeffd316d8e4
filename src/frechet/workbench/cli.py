"""The command line. Everything heavy is imported inside the commands, so that ``--help`` answers at once."""

import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

from frechet.workbench.errors import UserError, nearest

DONE, FAILED, MISTAKE, INTERRUPTED = 0, 1, 2, 130

# What comes with an extra, by the name it is imported by.
_EXTRAS = {
    "jinja2": "workbench",
    "matplotlib": "workbench",
    "plotly": "workbench",
    "polars": "workbench",
    "ray": "ray",
    "skimage": "workbench",
    "sklearn": "workbench",
}

app = typer.Typer(
    help="Differentiable optimisation in JAX: compare solvers, look things up, verify claims.",
    epilog="Exit codes: 0 done, 1 a claim, check or run failed, 2 a mistake in what was asked for.",
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs a command line and exits; a mistake or failure ends in one line, with ``--debug`` in a traceback.

    Args:
        arguments: what follows ``frechet``; None for this process's own.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    if debug:  # it may stand anywhere on the line
        words = ["--debug", *(w for w in words if w != "--debug")]
    try:
        app(args=words, prog_name="frechet")
    except Exception as error:
        if debug:
            raise
        line, code = _explain(error)
        typer.secho(f"Error: {line}", err=True, fg=typer.colors.RED)
        sys.exit(code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    sys.exit(DONE)


def _explain(error: Exception) -> tuple[str, int]:
    """One line for a person, and the exit code."""
    if isinstance(error, UserError):
        return str(error), MISTAKE
    package = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if package in _EXTRAS:
        return f'this needs {package}: pip install "frechet[{_EXTRAS[package]}]"', MISTAKE
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said} (--debug shows where)", FAILED


# ------------------------------------------------------------------ words that complete


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _problem_names(incomplete: str) -> list[str]:
    from frechet.workbench import suite

    return _beginning(incomplete, suite.names())


def _solver_names(incomplete: str) -> list[str]:
    before, comma, last = incomplete.rpartition(",")
    return [before + comma + name for name in _beginning(last, sorted(_solvers()))]


def _solvers() -> dict[str, Any]:
    """Every registered solver and optimizer, by name."""
    from frechet.solvers.registry import all_presets
    from frechet.workbench.comparing.loading import optimizers

    return {**all_presets(), **optimizers()}


def _system_names(incomplete: str) -> list[str]:
    from frechet.workbench import catalogue

    return _beginning(incomplete, catalogue.systems())


def _all_names(incomplete: str) -> list[str]:
    return _system_names(incomplete) + _problem_names(incomplete) + _solver_names(incomplete)


# ------------------------------------------------------------------ the options that commands share

Precision = Annotated[Literal["float32", "float64"], typer.Option(help="Floating point precision.")]


def _tolerance(text: str) -> float | None:
    """``--tol``: a number, or ``auto``."""
    if text == "auto":
        return None
    try:
        return float(text)
    except ValueError:
        raise UserError(f"tol is {text!r}; it should be a positive number such as 1e-6, or auto") from None


def _print_version(wanted: bool) -> None:
    if wanted:
        import platform

        import frechet

        try:
            jax = version("jax")
        except PackageNotFoundError:
            jax = "missing"
        typer.echo(f"frechet {frechet.__version__} (jax {jax}, Python {platform.python_version()})")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit."),
    ] = False,
    debug: Annotated[  # read by main
        bool, typer.Option("--debug", help="Show the traceback of an error; may stand anywhere on the line.")
    ] = False,
) -> None:
    pass


# ------------------------------------------------------------------ commands


@app.command()
def compare(
    problems: Annotated[
        list[str],
        typer.Argument(
            metavar="PROBLEM",
            help="Names from the suite, or file.py:function of your own, which returns (problem, x0).",
            autocompletion=_problem_names,
        ),
    ],
    solvers: Annotated[
        str | None,
        typer.Option(
            help="Registered names, pkg:Solver or file.py:Solver (or a function that makes an optax "
            "transformation), with commas; all that fit if left out.",
            autocompletion=_solver_names,
        ),
    ] = None,
    budget: Annotated[
        str, typer.Option(help="What a run may spend: 10s, 1000steps, 500gradient, or several with commas.")
    ] = "10s",
    seeds: Annotated[int, typer.Option(help="Runs of every pair, with seeds 0, 1, ...")] = 3,
    trials: Annotated[
        int | None,
        typer.Option(
            help="Configurations to try for every solver with a search space, of which the best is run; 0 "
            "for none. Left out, 8 on problems that train models."
        ),
    ] = None,
    tol: Annotated[
        str, typer.Option(help="The residual at which a run is done; auto for what the precision can reach.")
    ] = "1e-6",
    out: Annotated[Path, typer.Option(help="The folder for results; the same command resumes in it.")] = Path(
        "frechet-compare"
    ),
    engine: Annotated[str, typer.Option(help="Where runs happen: local processes, or ray.")] = "local",
    address: Annotated[
        str | None,
        typer.Option(
            "--address", "--ray-address", help="Address of a running Ray cluster; a local one if left out."
        ),
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Runs at a time; one a core if left out.")] = None,
    precision: Annotated[
        Literal["float32", "float64"] | None,
        typer.Option(help="Floating point precision; float64, or float32 to train models, if left out."),
    ] = None,
) -> None:
    """Run solvers side by side and write a report.

    Every solver that fits is run on every problem from the same start, with the same budget and seeds. Models
    are trained by every optimizer, each with the best settings of as many trials.
    Results are kept a file a run: stopped and started again, nothing is run twice.
    """
    from frechet.workbench import terminal
    from frechet.workbench.comparing import compare
    from frechet.workbench.comparing.table import ranked

    done = compare(
        problems,
        solvers,
        budget=budget,
        seeds=seeds,
        trials=trials,
        tol=_tolerance(tol),
        out=out,
        engine=engine,
        precision=precision,
        workers=workers,
        address=address,
    )
    console = terminal.console()
    console.print(ranked(done))
    console.print(f"\n{done.sentence()}")
    for record in done.failed:
        spec = record.spec
        console.print(
            f"failed: {spec.problem} {spec.solver} seed {spec.seed}: {record.reason}",
            style="red",
            markup=False,
        )
    console.print(f"report: {done.page.resolve()}", soft_wrap=True, markup=False)
    if done.interrupted:
        console.print(f"stopped with {done.missing} runs to go; the same command goes on from here")
        raise typer.Exit(INTERRUPTED)
    raise typer.Exit(FAILED if done.failed else DONE)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="The folder of an earlier comparison, finished or not.")],
) -> None:
    """Write the report of a comparison again; runs nothing."""
    from frechet.workbench import terminal
    from frechet.workbench.comparing import report

    terminal.console().print(f"report: {report(folder).page.resolve()}", soft_wrap=True, markup=False)


@app.command("list")
def list_(
    what: Annotated[
        Literal["problems", "solvers", "systems"] | None, typer.Argument(help="Everything if left out.")
    ] = None,
) -> None:
    """List problems, solvers and systems."""
    from frechet.workbench import terminal
    from frechet.workbench.show import first_line

    console = terminal.console()
    if what in (None, "problems"):
        from frechet.workbench import suite

        table = terminal.table("problem", "what it is", title="Problems")
        for entry in suite.entries().values():
            table.add_row(*terminal.plain(entry.name, entry.title))
        console.print(table)
    if what in (None, "solvers"):
        table = terminal.table("solver", "what it is", "takes", "needs", title="Solvers")
        for name, solver in sorted(_solvers().items()):
            needs = ", ".join(sorted(solver.needs))
            table.add_row(*terminal.plain(name, first_line(solver), solver.accepts.__name__, needs))
        console.print(table)
    if what in (None, "systems"):
        from frechet.workbench import catalogue

        table = terminal.table("system", "what it is", "paper", title="Systems")
        for system in catalogue.systems().values():
            table.add_row(*terminal.plain(system.id, system.name, f"{system.paper} ({system.year})"))
        console.print(table)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A problem, solver or system.", autocompletion=_all_names)],
) -> None:
    """Show the card of a problem, a solver or a system."""
    from frechet.workbench import catalogue, show, suite

    kinds = [
        (catalogue.systems(), show.show_system),
        (suite.entries(), show.show_problem),
        (_solvers(), show.show_solver),
    ]
    shown = False
    for known, card in kinds:
        if name in known:
            card(name, known[name])
            shown = True
    if not shown:
        every = [n for known, _ in kinds for n in known]
        raise UserError(f"no problem, solver or system is called {name!r}; {nearest(name, every)}")


@app.command()
def verify(
    systems: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SYSTEM", help="Systems; every one if left out.", autocompletion=_system_names
        ),
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Leave out the claims that take minutes.")] = False,
    precision: Precision = "float64",
) -> None:
    """Put the claims of published methods to the test."""
    from frechet.workbench import catalogue, claims, terminal
    from frechet.workbench.show import claim_text, evidence_table

    console = terminal.console()
    known = [catalogue.system(name) for name in systems or catalogue.systems()]
    verdicts: list[claims.Verdict] = []
    for system in known:
        table = terminal.table(
            "", "claim", "claimed", "measured", "time", title=f"{system.id}: {system.citation}"
        )
        parts = []
        with console.status(system.id) as status:
            found = claims.verify(system.id, slow=not fast, precision=precision)
            for verdict in found:
                verdicts.append(verdict)
                evidence = verdict.evidence
                sides = (evidence.claimed_text, evidence.measured_text) if evidence else ("", verdict.reason)
                took = f"{verdict.seconds:.1f} s"
                table.add_row(
                    terminal.mark(verdict.holds), claim_text(verdict), *terminal.plain(*sides, took)
                )
                if evidence and evidence.rows:
                    parts.append((verdict.claim.statement, evidence.rows))
                status.update(f"{system.id}: {len(table.rows)} done")
        console.print(table)
        for statement, rows in parts:
            console.print(evidence_table(statement, rows))
    holding = sum(v.holds for v in verdicts)
    console.print(f"{holding} of {len(verdicts)} claims hold")
    raise typer.Exit(DONE if holding == len(verdicts) else FAILED)


@app.command()
def check(
    solvers: Annotated[
        list[str],
        typer.Argument(
            metavar="SOLVER",
            help="pkg:Solver, file.py:Solver (or a function that makes an optax transformation) or a "
            "registered name.",
            autocompletion=_solver_names,
        ),
    ],
) -> None:
    """Run the conformance checks on anybody's solver or optimizer."""
    from frechet.workbench import checking, terminal
    from frechet.workbench.comparing.loading import described, load_solvers

    console = terminal.console()
    results = []
    for name, (_, solver) in load_solvers(list(solvers)).items():
        made_by = described(solver)
        table = terminal.table("", "check", "time", "", title=f"{name} ({made_by.__module__})")
        with console.status(name):
            if made_by is type(solver):
                found = checking.check_solver(solver)
            else:
                found = checking.check_optimizer(made_by)
        for result in found:
            table.add_row(
                terminal.mark(result.ok),
                *terminal.plain(result.name, f"{result.seconds:.1f} s", result.detail),
            )
        results += found
        console.print(table)
    passed = sum(r.ok for r in results)
    console.print(f"{passed} of {len(results)} checks passed")
    raise typer.Exit(DONE if passed == len(results) else FAILED)
