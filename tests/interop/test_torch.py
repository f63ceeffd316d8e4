"""PyTorch's optimizer protocol over optax transformations, beside PyTorch's own optimizers."""

import copy
import importlib
import io
import pickle
import sys
from typing import Any

import jax
import numpy as np
import optax
import pytest
import torch

import frechet as fr
from frechet.interop.torch import Optimizer
from frechet.optimizers.registry import optimizers

SHAPES = [(4, 3), (), (5,)]
LR = 1e-2


def parameters(dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(s, generator=generator).to(dtype)) for s in SHAPES]


def train(optimizer, steps, *, first=0, absent=(), scheduler=None):
    """Steps with random gradients, the same for the same numbers; returns what the parameters are."""
    params = [p for group in optimizer.param_groups for p in group["params"]]
    for t in range(first, first + steps):
        generator = torch.Generator().manual_seed(t)
        for i, p in enumerate(params):
            g = torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p.dtype)
            p.grad = None if i in absent else g
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
    return [p.detach().clone() for p in params]


def error(found, expected):
    """The largest relative to the largest."""
    difference = max((a - b).abs().max().item() for a, b in zip(found, expected, strict=True))
    return difference / max(b.abs().max().item() for b in expected)


def same(a, b):
    return len(a) == len(b) and all(torch.equal(u, v) for u, v in zip(a, b, strict=True))


def saved(optimizer):
    """The optimizer's state by way of a file."""
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    return torch.load(file)


class TestTrajectories:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize(
        ("ours", "theirs"),
        [
            (
                lambda p: Optimizer(optax.adamw, p, lr=LR, b1=0.8, weight_decay=0.1),
                lambda p: torch.optim.AdamW(p, lr=LR, betas=(0.8, 0.999), weight_decay=0.1),
            ),
            (
                lambda p: Optimizer(optax.sgd, p, lr=LR, momentum=0.9, nesterov=True),
                lambda p: torch.optim.SGD(p, lr=LR, momentum=0.9, nesterov=True),
            ),
        ],
        ids=["adamw", "sgd"],
    )
    def test_as_pytorch_s_own(self, ours, theirs, dtype):
        mine, peer = ours(parameters(dtype)), theirs(parameters(dtype))
        schedule = lambda o: torch.optim.lr_scheduler.StepLR(o, 10, gamma=0.5)  # noqa: E731
        found = train(mine, 50, scheduler=schedule(mine))
        # each of 50 steps rounds a few times, errors add
        bound = 200 * torch.finfo(dtype).eps
        assert error(found, train(peer, 50, scheduler=schedule(peer))) < bound

    def test_bfloat16_keeps_its_dtype_and_rounds_like_it(self):
        mine, peer = Optimizer(optax.sgd(LR), parameters(torch.bfloat16)), parameters(torch.bfloat16)
        found = train(mine, 5)
        expected = train(torch.optim.SGD(peer, lr=LR), 5)
        assert {v.dtype for v in found} == {torch.bfloat16}
        assert error(found, expected) < 5 * torch.finfo(torch.bfloat16).eps

    def test_closure_gives_the_loss_and_the_value(self):
        """Momo's first step, the Polyak step: value over squared norm of the gradient, at most the rate."""
        w = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
        optimizer = Optimizer(optax.contrib.momo(10.0, beta=0.0), [w])

        def closure():
            optimizer.zero_grad()
            loss = (w**2).sum()
            loss.backward()
            return loss

        assert optimizer.step(closure).item() == 25.0
        # 25 / 100 times the gradient (6, 8) is half of w
        np.testing.assert_allclose(w.detach(), [1.5, 2.0], rtol=1e-6)
        with pytest.raises(TypeError, match="value"):
            optimizer.step()

    @pytest.mark.parametrize("absent", [(1,), (0, 2)])
    def test_a_parameter_without_gradient_stays(self, absent):
        mine, peer = parameters(), parameters()
        found = train(Optimizer(optax.sgd, mine, lr=LR, momentum=0.9), 1)
        optimizers = Optimizer(optax.sgd, mine, lr=LR, momentum=0.9), torch.optim.SGD(peer, LR, momentum=0.9)
        train(torch.optim.SGD(peer, lr=LR, momentum=0.9), 1)
        for first, without in ((1, ()), (3, absent), (5, ())):
            found, expected = (train(o, 2, first=first, absent=without) for o in optimizers)
            assert error(found, expected) < 1e-6
        mask: Any = lambda params: [p.ndim > 0 for p in params]  # noqa: E731
        tx = optax.chain(optax.masked(optax.trace(0.9), mask), optax.sgd(LR))
        before = [p.detach().clone() for p in mine]
        after = train(Optimizer(tx, mine), 2, absent=absent)
        assert [torch.equal(a, b) for a, b in zip(after, before, strict=True)] == [
            i in absent for i in range(3)
        ]

    def test_no_gradient_at_all_changes_nothing(self):
        optimizer = Optimizer(optax.adamw, parameters(), lr=LR)
        before = train(optimizer, 1)
        state = optimizer.state_dict()["state"]["group 0"]
        assert same(train(optimizer, 2, absent=(0, 1, 2)), before)
        after = optimizer.state_dict()["state"]["group 0"]
        assert same(list(after.values()), list(state.values()))


class TestMemory:
    def test_parameters_are_changed_where_they_are(self):
        params = parameters()
        places = [p.data_ptr() for p in params]
        loss = (params[0] ** 2).sum()
        train(Optimizer(optax.adamw, params, lr=LR), 2)
        assert [p.data_ptr() for p in params] == places
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()  # so PyTorch knows

    @pytest.mark.parametrize("tx", [fr.optimizers.adan, optax.contrib.schedule_free_adamw, optax.identity])
    def test_state_is_no_view_of_pytorch_s_memory(self, tx):
        """Transformations keep gradients or parameters, which PyTorch changes in place."""
        runs = []
        for meddle in (False, True):
            params = parameters()
            optimizer = Optimizer(tx() if tx is optax.identity else tx(LR), params)
            for t in range(4):
                train(optimizer, 1, first=t)
                if meddle:
                    for p in params:
                        assert p.grad is not None
                        p.grad.fill_(7.0)
            runs.append([p.detach() for p in params])
        assert same(*runs)

    def test_what_is_not_contiguous_or_aligned_works_too(self):
        flat = torch.arange(13.0)
        odd = [flat[1:], torch.arange(12.0).reshape(3, 4).T, torch.arange(12.0)[::3]]
        even = [v.clone(memory_format=torch.contiguous_format) for v in odd]
        a, b = ([torch.nn.Parameter(v) for v in vs] for vs in (odd, even))
        assert same(train(Optimizer(optax.adam, a, lr=LR), 3), train(Optimizer(optax.adam, b, lr=LR), 3))
        assert flat[1] != 1.0

    def test_sparse_gradients_are_refused(self):
        table = torch.nn.Embedding(4, 2, sparse=True)
        table(torch.tensor([1])).sum().backward()
        with pytest.raises(TypeError, match=r"layout torch.sparse_coo are not supported"):
            Optimizer(optax.sgd(LR), table.parameters()).step()


class TestProtocol:
    @pytest.mark.parametrize(
        "tx",
        [
            lambda: optax.adamw(LR, mu_dtype="float32"),
            lambda: optax.chain(optax.add_noise(0.1, 0.5, 0), optax.sgd(optax.linear_schedule(LR, 0.0, 9))),
        ],
        ids=["adamw", "noise"],
    )
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
    def test_resumes_bit_for_bit(self, tx, dtype):
        params = parameters(dtype)
        optimizer = Optimizer(tx(), params)
        train(optimizer, 3)
        kept, state = copy.deepcopy(params), saved(optimizer)
        expected = train(optimizer, 3, first=3)
        # what was saved is no view of what goes on
        resumed = Optimizer(tx(), kept)
        resumed.load_state_dict(state)
        assert same(train(resumed, 3, first=3), expected)
        for v in state["state"]["group 0"].values():
            assert isinstance(v, torch.Tensor)

    def test_copies_go_on_by_themselves(self):
        optimizer = Optimizer(optax.adamw, parameters(), lr=LR)
        train(optimizer, 2)
        copies = [copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))]
        expected = train(optimizer, 2, first=2)
        assert all(same(train(c, 2, first=2), expected) for c in copies)

    def test_state_before_the_first_step_is_empty(self):
        optimizer = Optimizer(optax.adamw, parameters(), lr=LR)
        empty = optimizer.state_dict()
        assert empty["state"] == {}
        train(optimizer, 1)
        optimizer.load_state_dict(empty)
        assert optimizer.state_dict()["state"] == {}

    def test_another_transformation_s_state_is_refused(self):
        a, b = Optimizer(optax.adam(LR), parameters()), Optimizer(optax.sgd(LR, momentum=0.9), parameters())
        train(a, 1)
        train(b, 1)
        with pytest.raises(ValueError, match=r"group 0 is another transformation's: it has \[0\]\.count too"):
            Optimizer(optax.identity(), parameters()).load_state_dict(a.state_dict())
        kept = a.state_dict()
        with pytest.raises(ValueError, match=r"group 0 is another transformation's: it"):
            a.load_state_dict(b.state_dict())
        assert a.state_dict()["state"].keys() == kept["state"].keys()  # as it was
        wider = [torch.nn.Parameter(torch.zeros(2, *s)) for s in SHAPES]
        with pytest.raises(ValueError, match=r"\[0\]\.mu\[0\] of shape \(4, 3\), not \(2, 4, 3\)"):
            Optimizer(optax.adam(LR), wider).load_state_dict(a.state_dict())

    def test_groups_have_their_own_hyperparameters_and_transformations(self):
        a, b, c = parameters(), parameters(seed=1), parameters(seed=2)
        groups = [{"params": a}, {"params": b, "lr": 0.1, "b1": 0.5}, {"params": c, "tx": optax.sgd(0.2)}]
        optimizer = Optimizer(optax.adamw, groups, lr=LR, weight_decay=0.0)
        assert "tx" in groups[2]  # it is the user's
        assert [g["lr"] for g in optimizer.param_groups] == [LR, 0.1, 1.0]
        assert "weight_decay" not in optimizer.param_groups[2]
        peer = torch.optim.AdamW(
            [{"params": parameters()}, {"params": parameters(seed=1), "lr": 0.1, "betas": (0.5, 0.999)}],
            lr=LR,
            weight_decay=0.0,
        )
        found = train(optimizer, 3)
        assert error(found[:6], train(peer, 3)) < 1e-6
        last = torch.optim.SGD([*parameters(), *parameters(seed=1), *parameters(seed=2)], lr=0.2)
        assert error(found[6:], train(last, 3)[6:]) < 1e-6

    def test_a_group_may_come_later(self):
        optimizers = [Optimizer(optax.adamw, parameters(), lr=LR), torch.optim.AdamW(parameters(), lr=LR)]
        optimizers[1].param_groups[0]["weight_decay"] = 1e-4  # optax's default
        found = []
        for o in optimizers:
            train(o, 2)
            o.add_param_group({"params": parameters(seed=1), "weight_decay": 0.0})
            found.append(train(o, 2, first=2))
        assert error(*found) < 1e-6

    def test_a_finished_transformation_has_one_rate(self):
        """Its updates are multiplied by it, so schedulers work."""
        mine, peer = Optimizer(optax.sgd(LR), parameters()), torch.optim.SGD(parameters(), lr=LR)
        found, expected = (
            train(o, 4, scheduler=torch.optim.lr_scheduler.ExponentialLR(o, 0.5)) for o in (mine, peer)
        )
        assert error(found, expected) < 1e-6

    def test_changed_numbers_compile_nothing_when_given_as_tensors(self):
        compiled = []
        jax.monitoring.register_event_duration_secs_listener(
            lambda event, duration_secs, **_: compiled.append(event) if "backend_compile" in event else None
        )
        optimizer = Optimizer(optax.adamw, parameters(), lr=LR, weight_decay=torch.tensor(0.1))
        train(optimizer, 2)
        compiled.clear()
        optimizer.param_groups[0]["lr"] = 0.0
        before = train(optimizer, 1)
        optimizer.param_groups[0] |= {"lr": 0.5, "weight_decay": torch.tensor(2.0)}
        # decay alone takes lr * weight_decay = 1 of every weight, so what it was no longer matters
        for p in optimizer.param_groups[0]["params"]:
            p.data.mul_(1e3)
        after = train(optimizer, 1)
        assert not compiled
        assert max(v.abs().max().item() for v in after) < max(v.abs().max().item() for v in before) + 1

    def test_hooks_and_zero_grad(self):
        optimizer, seen = Optimizer(optax.adamw, parameters(), lr=LR), []
        optimizer.register_step_pre_hook(lambda *_: seen.append("pre"))
        optimizer.register_step_post_hook(lambda *_: seen.append("post"))
        optimizer.register_state_dict_post_hook(lambda _, d: seen.append(sorted(d["state"])))
        train(optimizer, 1)
        optimizer.state_dict()
        assert seen == ["pre", "post", ["group 0"]]
        optimizer.zero_grad()
        assert all(p.grad is None for p in optimizer.param_groups[0]["params"])

    @pytest.mark.parametrize(
        ("make", "said"),
        [
            (
                lambda p: Optimizer(3, p),
                "tx must be an optax transformation or a function that",
            ),
            (
                lambda p: Optimizer(optax.sgd, p, lr=LR, momentun=0.9),
                "sgd takes no momentun, it takes lr",
            ),
            (lambda p: Optimizer(optax.sgd, p, learning_rate=LR), "takes no learning_rate, it takes lr,"),
            (
                lambda p: Optimizer(optax.sgd(LR), p, momentum=0.9),
                "finished .* takes no momentum",
            ),
            (lambda p: Optimizer(optax.sgd, p), "learning_rate"),
        ],
    )
    def test_what_is_wrong_is_said_at_once(self, make, said):
        with pytest.raises(TypeError, match=said) as caught:
            make(parameters())
        assert "\n" not in str(caught.value)

    def test_without_pytorch_it_says_what_to_install(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "torch", None)
        monkeypatch.delitem(sys.modules, "frechet.interop.torch")
        said = r'^frechet.interop.torch needs PyTorch: pip install "frechet\[torch\]"$'
        with pytest.raises(ModuleNotFoundError, match=said):
            importlib.import_module("frechet.interop.torch")


# PyTorch has the loss as a number, not as a function of the parameters.
ASK_FOR_MORE = {"slq-lr", *(n for n, o in optimizers().items() if o.needs != {"smooth"})}


@pytest.mark.parametrize("name", [n for n in optimizers() if n not in ASK_FOR_MORE])
def test_every_optimizer_of_the_library(name):
    """It steps, leaves alone what has no gradient, and resumes bit for bit."""
    params = parameters()
    optimizer = Optimizer(optimizers()[name].factory, params)
    start = [p.detach().clone() for p in params]
    found = train(optimizer, 1, absent=(2,))
    assert torch.equal(found[2], start[2])
    kept, state = copy.deepcopy(params), saved(optimizer)
    expected = train(optimizer, 1, first=1)
    resumed = Optimizer(optimizers()[name].factory, kept)
    resumed.load_state_dict(state)
    assert same(train(resumed, 1, first=1), expected)
    assert not same(expected, start)


def test_one_that_asks_for_the_loss_as_a_function_says_so():
    with pytest.raises(ValueError, match=r"slq_lr needs .*value_fn"):
        train(Optimizer(fr.optimizers.slq_lr, parameters()), 1)
