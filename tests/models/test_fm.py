"""The factorization machine equals the explicit sum over pairs."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from criteo_stream.base.errors import UsageError
from criteo_stream.models import FM, CatEmbedding, CatLinear, FMLayer, NumEmbedding
from criteo_stream.models.field_table import FieldLayout

CATEGORIES = [4, 7, 3]
BINS = 5
MEANS = [0.3, 0.6]


def model(numeric: str, n_classes: int = 1) -> FM:
    torch.manual_seed(3)
    fm = FM(2, CATEGORIES, 4, n_classes, numeric=numeric, bins=BINS, numeric_mean=MEANS).double()
    for parameter in fm.parameters():
        torch.nn.init.normal_(parameter)
    return fm


def batch(rows: int = 9) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    x_num = torch.rand(rows, 2, generator=generator, dtype=torch.float64)
    x_num[0], x_num[1, 0], x_num[2, 1], x_num[3, 0] = torch.nan, torch.nan, 1.0, 0.0
    columns = [torch.randint(0, c, (rows,), generator=generator) for c in CATEGORIES]
    return x_num, torch.stack(columns, 1).int()


def explicit(fm: FM, numbers: Tensor, ids: Tensor) -> Tensor:
    """One row's logits by the definition: every weight, every pair."""
    classes = fm.n_classes
    rows, factors = [], []
    for column, chosen in enumerate(ids.tolist()):
        rows.append(fm.table.weight[fm.layout.category_offsets[column] + chosen])
        factors.append(1.0)
    logits = fm.bias.clone()
    for column, number in enumerate(numbers.tolist()):
        missing = math.isnan(number)
        if fm.layout.bins:
            chosen = BINS if missing else min(int(number * BINS), BINS - 1)
            rows.append(fm.table.weight[fm.layout.bin_offsets[column] + chosen])
            factors.append(1.0)
        if fm.numeric_weight is not None:
            rows.append(fm.numeric_weight[column])
            # The stored mean has float32's precision.
            factors.append(fm.numeric_mean[column].item() if missing else number)
        if fm.missing_weight is not None and missing:
            logits = logits + fm.missing_weight[column]
    for row, x in zip(rows, factors, strict=True):
        logits = logits + x * row[:classes]
    pairs = torch.zeros(4, dtype=torch.float64)
    for (v, x), (w, y) in itertools.combinations(zip(rows, factors, strict=True), 2):
        pairs = pairs + v[classes:] * w[classes:] * (x * y)
    return logits + (pairs.sum() if fm.head is None else fm.head(pairs))


@pytest.mark.parametrize("n_classes", [1, 2, 3])
@pytest.mark.parametrize("numeric", ["value", "bins", "both"])
def test_forward_and_every_gradient_equal_the_sum_over_pairs(numeric: str, n_classes: int) -> None:
    fm = model(numeric, n_classes)
    x_num, x_cat = batch()
    logits = fm(x_num, x_cat)
    assert logits.shape == ((9,) if n_classes == 1 else (9, n_classes))
    weights = torch.linspace(-1, 1, logits.numel(), dtype=torch.float64).view_as(logits)
    (logits.sigmoid() * weights).sum().backward()
    found = {n: _dense(p.grad) for n, p in fm.named_parameters()}

    fm.zero_grad()
    fm.table.sparse = False
    expected = torch.stack([explicit(fm, n, c) for n, c in zip(x_num, x_cat, strict=True)])
    expected = expected.view_as(logits)
    torch.testing.assert_close(logits, expected, rtol=1e-9, atol=1e-9)
    (expected.sigmoid() * weights).sum().backward()
    for name, parameter in fm.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-8, atol=1e-9)


def test_single_precision_is_within_a_hundred_thousandth() -> None:
    x_num, x_cat = batch(64)
    exact, single = model("both"), model("both").float()
    expected = torch.stack([explicit(exact, n, c) for n, c in zip(x_num, x_cat, strict=True)])
    logits = single(x_num.float(), x_cat)
    exact.table.sparse = False
    expected.sigmoid().sum().backward()
    logits.sigmoid().sum().backward()
    found = [logits, *(_dense(p.grad) for p in single.parameters())]
    wanted = [expected.flatten(), *(_dense(p.grad) for p in exact.parameters())]
    for a, b in zip(found, wanted, strict=True):
        assert (a - b).abs().max() <= 1e-5 * b.abs().max()


def _dense(gradient: Tensor | None) -> Tensor:
    assert gradient is not None
    return gradient.to_dense() if gradient.is_sparse else gradient


def test_an_empty_batch_has_gradients_of_zero() -> None:
    fm = FM(13, [3] * 26, 4)
    fm(torch.empty(0, 13), torch.empty(0, 26, dtype=torch.int32)).sum().backward()
    for name, parameter in fm.named_parameters():
        assert parameter.grad is not None, name
        assert not _dense(parameter.grad).any()


def test_a_new_model_says_nothing_linear() -> None:
    torch.manual_seed(0)
    fm = FM(13, [50] * 26, 8, init_scale=0.02)
    assert not fm.table.weight[:, 0].any()
    assert fm.table.weight[:, 1:].std().item() == pytest.approx(0.02, rel=0.05)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(UsageError, match="numeric is 'log'"):
        FM(13, [3], 4, numeric="log")
    with pytest.raises(UsageError, match="n_classes is 0"):
        FM(13, [3], 4, 0)
    with pytest.raises(UsageError, match=r"3,000,000,000 ids .* --min-count"):
        FieldLayout((1_500_000_000, 1_500_000_000))


def test_layers_have_the_literature_s_shapes() -> None:
    x = torch.rand(5, 3, 2)
    number = NumEmbedding(3, 2, 4)
    assert number(x).shape == (5, 3, 4)
    torch.testing.assert_close(number(x), torch.einsum("bni,nio->bno", x, number.weight))
    ids = torch.tensor([[0, 1], [2, 0]], dtype=torch.int32)
    embedding = CatEmbedding([3, 2], 4)
    assert embedding(ids).shape == (2, 2, 4)
    assert torch.equal(embedding(ids)[0, 1], embedding.table.weight[4])
    linear = CatLinear([3, 2], 3)
    torch.nn.init.normal_(linear.weights.table.weight)
    rows = linear.weights.table.weight
    torch.testing.assert_close(linear(ids), torch.stack([rows[0] + rows[4], rows[2] + rows[3]]))
    e = torch.rand(6, 5, 3)
    pairs = sum(e[:, i] * e[:, j] for i, j in itertools.combinations(range(5), 2))
    torch.testing.assert_close(FMLayer(reduce_sum=False)(e), pairs)
    assert FMLayer()(e).shape == (6, 1)
