"""The command line: what it prints, how it exits, and that a mistake never shows a traceback."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from frechet.workbench import cli
from frechet.workbench.claims import Claim, Evidence, registry

REAL = {**os.environ, "JAX_PLATFORMS": "cpu", "COLUMNS": "200"}
COMMANDS = ["compare", "report", "list", "show", "verify", "check"]


def frechet(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The real program in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "frechet", *words],
        capture_output=True,
        text=True,
        timeout=300,
        env={**REAL, **environment},
    )


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=300, env=REAL
    )


@pytest.fixture
def run(capsys):
    """The program in this process: exit code and what was printed."""

    def called(*words: str) -> tuple[Any, str, str]:
        with pytest.raises(SystemExit) as left:
            cli.main(words)
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return left.value.code, out, err

    return called


@pytest.fixture
def own_file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(
        textwrap.dedent(
            """
            import jax.numpy as jnp
            import frechet as fr

            def problem():
                return fr.Composite(lambda x: jnp.sum((x - 3.0) ** 2), fr.convex.L1(0.5)), jnp.zeros(3)

            class Broken(fr.Solver):
                accepts = fr.Composite

                def init(self, problem, x0, *, key):
                    raise RuntimeError("no step from here")

                def step(self, problem, state, *, key):
                    return state
            """
        )
    )
    return path


class TestStart:
    def test_building_the_program_leaves_the_heavy_packages_out(self):
        done = python(
            """
            import sys
            import typer
            from frechet.workbench.cli import app
            typer.main.get_command(app)
            heavy = ("jax", "numpy", "scipy", "equinox", "polars", "plotly", "sklearn", "matplotlib", "ray")
            print([name for name in heavy if name in sys.modules])
            """
        )
        assert done.stdout.strip() == "[]", done.stderr

    def test_help_names_every_command(self):
        done = CliRunner().invoke(cli.app, ["--help"])
        assert done.exit_code == 0
        assert all(
            word in done.output
            for word in ("compare", "report", "list", "show", "verify", "check", "Exit codes")
        )

    @pytest.mark.parametrize("command", COMMANDS)
    def test_every_command_has_help(self, command):
        assert CliRunner().invoke(cli.app, [command, "--help"]).exit_code == 0

    def test_version(self):
        done = frechet("--version")
        assert done.returncode == 0
        assert done.stdout.startswith("frechet 0.")

    def test_without_the_workbench_extra_one_line_says_what_to_install(self):
        done = python(
            """
            import sys
            sys.modules["typer"] = None
            sys.argv = ["frechet", "list"]
            from frechet.__main__ import main
            main()
            """
        )
        assert done.returncode == 2
        assert done.stderr == 'Error: the command line needs more: pip install "frechet[workbench]"\n'

    def test_a_missing_package_is_named_with_its_extra(self):
        done = python(
            """
            import sys
            sys.modules["sklearn"] = None
            from frechet.workbench.cli import main
            main(["show", "lasso"])
            """
        )
        assert done.returncode == 2
        assert done.stderr == 'Error: this needs sklearn: pip install "frechet[workbench]"\n'


class TestMistakes:
    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["compare", "laso"], "did you mean lasso?"),
            (["compare", "lasso", "--solvers", "FITSA"], "did you mean FISTA?"),
            (["compare", "lasso", "--budget", "3parsecs"], "unknown unit"),
            (["compare", "lasso", "--budget", "soon"], "as in 10s"),
            (["compare", "lasso", "--budget", "-1s"], "budget"),
            (["compare", "lasso", "--seeds", "0"], "at least 1"),
            (["compare", "lasso", "--tol", "-1"], "positive number"),
            (["compare", "lasso", "--trials", "-1"], "0 for none"),
            (["compare", "lasso", "--tol", "small"], "or auto"),
            (["compare", "nowhere.py:problem"], "no such file"),
            (["compare", "nowhere.py"], "name the function too"),
            (["report", "nowhere"], "holds no comparison"),
            (["show", "FITSA"], "did you mean FISTA?"),
            (["show", "implicit-dif"], "did you mean implicit-diff?"),
            (["verify", "handbok"], "did you mean handbook?"),
            (["check", "frechet.solvers.proximal.fista:FITSA"], "did you mean FISTA?"),
            (["check", "nowhere:Solver"], "does not import"),
        ],
        ids=lambda v: " ".join(v) if isinstance(v, list) else "",
    )
    def test_one_line_and_exit_code_2(self, run, words, said, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        code, _, err = run(*words)
        assert code == 2
        assert len(err.strip().splitlines()) == 1
        assert said in err

    @pytest.mark.parametrize(
        "words",
        [
            ["frobnicate"],
            ["compare"],
            ["compare", "lasso", "--seeds", "many"],
            ["compare", "lasso", "--precision", "float16"],
            ["list", "optimizers"],
        ],
        ids=" ".join,
    )
    def test_what_does_not_parse_exits_with_2(self, run, words):
        assert run(*words)[0] == 2

    def test_the_real_program_too(self):
        done = frechet("compare", "laso")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == "Error: no problem is called 'laso'; did you mean lasso?\n"

    @pytest.mark.parametrize(
        "words", [["--debug", "show", "laso"], ["show", "laso", "--debug"]], ids=" ".join
    )
    def test_debug_shows_the_traceback(self, words):
        done = frechet(*words)
        assert done.returncode != 0
        assert "Traceback" in done.stderr

    def test_a_defect_is_one_line_and_exit_code_1(self, run, monkeypatch):
        from frechet.workbench import comparing

        def broken(folder):
            raise ZeroDivisionError("a defect\nof two lines")

        monkeypatch.setattr(comparing, "report", broken)
        code, _, err = run("report", "somewhere")
        assert code == 1
        assert err == "Error: ZeroDivisionError: a defect of two lines (--debug shows where)\n"


class TestCards:
    def test_list_shows_all_three(self, run):
        code, out, _ = run("list")
        assert code == 0
        assert all(name in out for name in ("lasso", "FISTA", "implicit-diff"))

    def test_list_of_one_kind(self, run):
        _, out, _ = run("list", "systems")
        assert "handbook" in out
        assert "FISTA" not in out

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("lasso", ["Diabetes", "variables", "10", "FISTA", "frechet compare lasso"]),
            ("FISTA", ["Beck", "step_size = None", "frechet.solvers.proximal.fista.FISTA"]),
            ("adan", ["Xie", "b2 = 0.92", "0.0001 to 0.1, log-uniform", "frechet.optimizers.adan.adan"]),
            ("implicit-diff", ["Blondel", "2105.15183", "@inproceedings{blondel2022efficient"]),
        ],
    )
    def test_show(self, run, name, words):
        code, out, _ = run("show", name)
        assert code == 0
        assert all(word in out for word in words)


class TestCompare:
    def test_own_file_to_a_report_and_back(self, run, own_file, tmp_path):
        out = tmp_path / "out"
        words = [
            "compare",
            f"{own_file}:problem",
            "--solvers",
            "FISTA",
            "--budget",
            "200steps",
            "--seeds",
            "1",
        ]
        code, said, _ = run(*words, "--out", str(out))
        assert code == 0
        assert f"report: {out / 'report.html'}" in said
        assert "FISTA" in said
        (out / "report.html").unlink()
        code, said, _ = run("report", str(out))
        assert code == 0
        assert (out / "report.html").is_file()

    def test_a_run_that_comes_to_nothing_exits_with_1(self, run, own_file, tmp_path):
        words = [
            "compare",
            f"{own_file}:problem",
            "--solvers",
            f"FISTA,{own_file}:Broken",
            "--budget",
            "50steps",
        ]
        code, said, _ = run(*words, "--seeds", "1", "--out", str(tmp_path / "out"))
        assert code == 1
        assert "no step from here" in said
        assert (tmp_path / "out" / "report.html").is_file()


class TestVerify:
    @pytest.fixture
    def claimed(self, monkeypatch):
        def these(*made: Claim) -> None:
            monkeypatch.setattr(registry, "_found", lambda: made)

        return these

    def test_what_holds_exits_with_0(self, run, claimed):
        rows = [{"method": "gradient descent", "rate": 0.5, "holds": True}]
        claimed(
            Claim(
                "handbook", "fast enough", lambda: Evidence.at_most(2.0, 1.25, unit="s", note="on two cores")
            ),
            Claim("handbook", "every rate", lambda: Evidence.table(rows), fast=False),
        )
        code, out, _ = run("verify", "handbook")
        assert code == 0
        assert "2 of 2 claims hold" in out
        assert all(word in out for word in ("≤ 2 s", "1.25 s", "on two cores", "gradient descent", "0.5"))
        assert "1 of 1 claims hold" in run("verify", "handbook", "--fast")[1]

    def test_what_does_not_hold_exits_with_1(self, run, claimed):
        claimed(
            Claim("handbook", "fast enough", lambda: Evidence.at_most(2.0, 3.0)),
            Claim("handbook", "good enough", lambda: Evidence.at_most(2.0, 1.0)),
        )
        code, out, _ = run("verify", "handbook")
        assert code == 1
        assert "1 of 2 claims hold" in out

    def test_a_claim_that_raises_does_not_hold(self, run, claimed):
        def raises():
            raise ValueError("no such thing")

        claimed(Claim("handbook", "it works", raises))
        code, out, _ = run("verify", "handbook")
        assert code == 1
        assert "ValueError: no such thing" in out

    def test_precision_reaches_the_claim(self, run, claimed):
        import jax.numpy as jnp

        claimed(
            Claim(
                "handbook", "bits", lambda: Evidence.equal(64, jnp.zeros(()).dtype.itemsize * 8, tolerance=0)
            )
        )
        assert run("verify", "handbook")[0] == 0
        assert run("verify", "handbook", "--precision", "float32")[0] == 1


class TestCheck:
    def test_a_solver_that_fails_exits_with_1_and_says_why(self, run, own_file):
        code, out, _ = run("check", f"{own_file}:Broken")
        assert code == 1
        assert "no step from here" in out
        assert "checks passed" in out

    def test_a_solver_that_passes_exits_with_0(self, run, monkeypatch):
        from frechet.workbench import checking

        passed = [checking.CheckResult("solves [it]", True, "", 0.5)]
        monkeypatch.setattr(checking, "check_solver", lambda solver: passed)
        code, out, _ = run("check", "FISTA")
        assert code == 0
        assert "solves [it]" in out
        assert "1 of 1 checks passed" in out

    def test_an_optimizer_is_checked_as_one(self, run, monkeypatch):
        from frechet.workbench import checking

        monkeypatch.setattr(
            checking, "check_optimizer", lambda f: [checking.CheckResult(f.__module__, True, "", 0.5)]
        )
        code, out, _ = run("check", "adan")
        assert code == 0
        assert "frechet.optimizers.adan" in out


class TestCompletion:
    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("frechet verify impl", "implicit-diff"),
            ("frechet compare lass", "lasso"),
            ("frechet compare lasso --solvers SAGA,FIS", "SAGA,FISTA"),
            ("frechet rep", "report"),
        ],
    )
    def test_names_complete(self, line, expected):
        done = frechet(
            _FRECHET_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=str(len(line.split()) - 1)
        )
        assert expected in done.stdout.split(), done.stderr

    def test_optimizers_complete_too(self):
        assert "FISTA,adamw" in cli._solver_names("FISTA,ada")
