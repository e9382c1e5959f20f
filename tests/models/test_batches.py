"""What a model is given is refused where it would be read as something else."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from criteo_stream.base.errors import UsageError
from criteo_stream.models import FM, CatEmbedding, CatLinear, FieldModel
from criteo_stream.models.logistic import LinearOnly

CATEGORIES = [4, 7, 3]
COLUMNS = len(CATEGORIES)

TAKERS: dict[str, Callable[[], Callable[[Tensor], Tensor]]] = {
    "fm": lambda: with_numbers(FM(2, CATEGORIES, 4)),
    "fm without numbers": lambda: with_numbers(FM(None, CATEGORIES, 4), 0),
    "fm of classes": lambda: with_numbers(FM(2, CATEGORIES, 4, n_classes=3)),
    "dense": lambda: with_numbers(FM(2, CATEGORIES, 4, sparse=False)),
    "field model": lambda: with_numbers(FieldModel(2, CATEGORIES, 4, LinearOnly(5, 4))),
    "embedding": lambda: CatEmbedding(CATEGORIES, 4),
    "linear": lambda: CatLinear(CATEGORIES, 2),
}


def with_numbers(model: nn.Module, columns: int = 2) -> Callable[[Tensor], Tensor]:
    return lambda ids: model(torch.rand(len(ids), columns), ids)


def ids_of(rows: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    columns = [torch.randint(0, size, (rows,), generator=generator) for size in CATEGORIES]
    return torch.stack(columns, 1).int()


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.int16])
@pytest.mark.parametrize("column", range(COLUMNS))
@pytest.mark.parametrize("taker", TAKERS)
def test_an_id_out_of_range_is_named(taker: str, column: int, dtype: torch.dtype) -> None:
    model, size = TAKERS[taker](), CATEGORIES[column]
    ids = ids_of().to(dtype)
    for number in (0, size - 1):
        ids[3, column] = number
        model(ids)
    for number in (-1, size, torch.iinfo(dtype).max, torch.iinfo(dtype).min):
        ids[3, column] = number
        with pytest.raises(UsageError) as caught:
            model(ids)
        told = f"C{column + 1} has id {number} in row 3 of the batch, and its ids are 0 to "
        assert str(caught.value).startswith(f"{told}{size - 1}: ")


def test_ids_of_eight_bits_without_a_sign_are_compared_as_they_are() -> None:
    CatEmbedding([256, 4], 2)(torch.tensor([[255, 3]], dtype=torch.uint8))
    with pytest.raises(UsageError, match="C2 has id 255"):
        CatEmbedding([256, 4], 2)(torch.tensor([[0, 255]], dtype=torch.uint8))


def test_who_has_checked_the_ids_need_not_do_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr("criteo_stream.models.inputs.check_ids", lambda *a: calls.append(a))
    for validate in (True, False):
        FM(2, CATEGORIES, 4, validate_ids=validate)(torch.rand(5, 2), ids_of())
    assert len(calls) == 1


@pytest.mark.parametrize("taker", TAKERS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ids: ids[:, :1], r"x_cat is \[5, 1\], expected \[rows, 3\]"),
        (lambda ids: ids[0], r"x_cat is \[3\], expected \[rows, 3\]"),
        (lambda ids: ids.float(), "x_cat is torch.float32: give the ids as integers"),
        (lambda ids: ids > 0, "x_cat is torch.bool"),
    ],
)
def test_ids_of_another_shape_or_type_are_refused(
    taker: str, change: Callable[[Tensor], Tensor], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        TAKERS[taker]()(change(ids_of()))


@pytest.mark.parametrize(
    ("x_num", "x_cat", "message"),
    [
        (torch.rand(5, 1), ids_of(), r"x_num is \[5, 1\], expected \[rows, 2\]"),
        (torch.rand(4, 2), ids_of(), "x_num has 4 rows and x_cat 5"),
        (torch.ones(5, 2, dtype=torch.int32), ids_of(), "x_num is torch.int32"),
        (None, ids_of(), "x_num is None, and the model has 2 numeric and 3 categorical"),
        (torch.rand(5, 2), None, "x_cat is None"),
        (None, None, "x_num is None"),
    ],
)
@pytest.mark.parametrize("kind", ["fm", "field model"])
def test_inputs_that_do_not_fit_the_model_are_refused(
    kind: str, x_num: Tensor | None, x_cat: Tensor | None, message: str
) -> None:
    model = FM(2, CATEGORIES, 4) if kind == "fm" else FieldModel(2, CATEGORIES, 4, LinearOnly(5, 4))
    with pytest.raises(UsageError, match=message):
        model(x_num, x_cat)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None, None, 4), "there is no column"),
        ((0, [], 4), "there is no column"),
        ((2, [3, 0], 4), "C2 has 0 ids"),
        ((-1, [3], 4), "d_numerical is -1"),
        ((2, [3], -4), "d_embed -4"),
    ],
)
def test_a_model_of_no_size_is_refused(arguments: tuple[int, list[int], int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        FM(*arguments)


def test_as_many_means_as_numbers_are_expected() -> None:
    with pytest.raises(UsageError, match="numeric_mean has 1 numbers for 2 columns"):
        FM(2, [3], 4, numeric_mean=[0.5])


@pytest.mark.gpu
def test_a_gpu_says_it_too() -> None:
    """In a process of its own: a failed assertion on a device ends all that it can do."""
    import subprocess
    import sys

    code = (
        "import torch; from criteo_stream import FM; fm = FM(None, [4], 2).cuda();"
        "fm(None, torch.tensor([[4]]).cuda()); torch.cuda.synchronize()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode
    assert "out of its column's range" in done.stderr or "device-side assert" in done.stderr
