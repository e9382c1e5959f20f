"""Models in a plain training loop, with PyTorch's optimizers and with their own."""

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from criteo_stream.models import FM, CatEmbedding, CatLinear, FieldModel, FMLayer, NumEmbedding
from criteo_stream.models.deepfm import DeepFM
from criteo_stream.models.ffm import FFM

CATEGORIES = [4, 7, 30]
ROWS = 64

MODELS: dict[str, Callable[..., nn.Module]] = {
    "fm": lambda **o: FM(2, CATEGORIES, 4, numeric="value", **o),
    "fm with bins": lambda **o: FM(2, CATEGORIES, 4, numeric="both", bins=5, **o),
    "fm of classes": lambda **o: FM(2, CATEGORIES, 4, n_classes=2, **o),
    "deepfm": lambda **o: FieldModel(2, CATEGORIES, 4, DeepFM(5, 4, hidden=(6,)), **o),
    "ffm": lambda **o: FieldModel(2, CATEGORIES, 4, FFM(5, 4), **o),
}


class TextbookFM(nn.Module):
    """Σ w x + Σ_{i<j} ⟨v_i x_i, v_j x_j⟩, with a table per column and every pair by itself."""

    def __init__(self, fm: FM) -> None:
        super().__init__()
        self.bias = nn.Parameter(fm.bias.detach().clone())
        assert fm.numeric_weight is not None
        self.numbers = nn.Parameter(fm.numeric_weight.detach().clone())
        parts = fm.table.weight.detach().clone().split(list(fm.layout.categories))
        self.tables = nn.ModuleList(nn.Embedding.from_pretrained(p, freeze=False) for p in parts)

    def forward(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        columns = [table(x_cat[:, i]) for i, table in enumerate(self.tables)]
        rows = [*columns, *(x_num[:, [i]] * row for i, row in enumerate(self.numbers))]
        logits = self.bias + sum(row[:, 0] for row in rows)
        for i in range(len(rows)):
            for j in range(i):
                logits = logits + (rows[i][:, 1:] * rows[j][:, 1:]).sum(1)
        return logits


def batches(steps: int, rows: int = ROWS) -> list[tuple[Tensor, Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(2)
    ids = [
        torch.stack([torch.randint(0, s, (rows,), generator=generator) for s in CATEGORIES], 1)
        for _ in range(steps)
    ]
    return [
        (torch.rand(rows, 2, generator=generator).double(), i, (i[:, 1] % 2).double()) for i in ids
    ]


def train(model: nn.Module, optimizer: torch.optim.Optimizer, data: list[Any]) -> list[float]:
    """The loop of any textbook."""
    losses = []
    for x_num, x_cat, y in data:
        logits = model(x_num, x_cat)
        loss = (
            F.binary_cross_entropy_with_logits(logits, y)
            if logits.dim() == 1
            else F.cross_entropy(logits, y.long())
        )
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def made(name: str, **options: Any) -> Any:
    torch.manual_seed(5)
    model = MODELS[name](**options).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


def test_a_dense_fm_learns_as_one_from_the_textbook() -> None:
    fm = made("fm", sparse=False)
    textbook = TextbookFM(fm)
    data = batches(20)
    losses = train(fm, torch.optim.Adam(fm.parameters(), 0.05), data)
    expected = train(textbook, torch.optim.Adam(textbook.parameters(), 0.05), data)
    torch.testing.assert_close(losses, expected, rtol=1e-9, atol=1e-9)
    assert losses[-1] < 0.7 * losses[0]
    rows = torch.cat([table.weight for table in textbook.tables])
    torch.testing.assert_close(fm.table.weight, rows)


@pytest.mark.parametrize("rows", [1, ROWS])
@pytest.mark.parametrize("name", MODELS)
def test_dense_and_sparse_gradients_are_the_same_numbers(name: str, rows: int) -> None:
    x_num, x_cat, _ = batches(1, rows)[0]
    found = []
    for sparse in (True, False):
        model = made(name, sparse=sparse)
        for _ in range(2):  # the second is added to the first
            model(x_num, x_cat).sigmoid().sum().backward()
        found.append({n: p.grad for n, p in model.named_parameters()})
    assert found[0]["table.weight"].is_sparse
    assert not any(gradient.is_sparse for gradient in found[1].values())
    for key, gradient in found[0].items():
        wanted = gradient.to_dense() if gradient.is_sparse else gradient
        torch.testing.assert_close(found[1][key], wanted, rtol=1e-12, atol=1e-12)


def test_a_copy_of_a_dense_model_is_dense() -> None:
    model = copy.deepcopy(made("fm", sparse=False))
    model(*batches(1)[0][:2]).sum().backward()
    assert not model.table.weight.grad.is_sparse


@pytest.mark.parametrize("name", MODELS)
def test_where_every_row_is_seen_both_ways_of_training_agree(name: str) -> None:
    """Row-wise Adam differs from Adam on rows not looked up, and in where ε is added (SparseAdam's
    place): with a tiny ε it does not.
    """
    x_num, x_cat, y = batches(1, 400)[0]
    assert all(len(x_cat[:, c].unique()) == size for c, size in enumerate(CATEGORIES))
    data = [(x_num, x_cat, y)] * 10
    sparse, dense = made(name), made(name, sparse=False)
    losses = train(sparse, sparse.optimizer(0.02, eps=1e-14), data)
    expected = train(dense, torch.optim.Adam(dense.parameters(), 0.02, eps=1e-14), data)
    torch.testing.assert_close(losses, expected, rtol=1e-6, atol=1e-6)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", MODELS)
def test_its_optimizer_leaves_rows_that_no_batch_looks_up(name: str) -> None:
    model = made(name)
    before = model.table.weight.detach().clone()
    train(model, model.optimizer(0.05, l2_linear=0.01, l2_embedding=0.1), batches(3, 2))
    changed = (model.table.weight != before).any(1)
    assert 0 < changed.sum() < len(before)


def test_l2_is_of_the_rows_looked_up() -> None:
    """Adam's first step goes by the sign of gradient + l2 · row."""
    x_num, x_cat, _ = batches(1, 1)[0]
    for l2 in ({"l2_linear": 1e6}, {"l2_embedding": 1e6}):
        model = made("fm")
        before = model.table.weight.detach().clone()
        optimizer = model.optimizer(0.01, **l2)
        model(x_num, x_cat).sum().backward()
        optimizer.step()
        rows = before.ne(model.table.weight.detach()).any(1)
        columns = slice(0, 1) if "l2_linear" in l2 else slice(1, None)
        moved = (model.table.weight.detach() - before)[rows, columns]
        assert torch.equal(moved.sign(), -before[rows, columns].sign())


def test_a_scheduler_sets_the_rate_of_every_parameter() -> None:
    model = made("fm")
    optimizer = model.optimizer(0.1)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.0 if step else 1.0)
    data = batches(3)
    train(model, optimizer, data[:1])
    scheduler.step()
    before = copy.deepcopy(model.state_dict())
    train(model, optimizer, data[1:])
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_saved_and_loaded_it_goes_on_to_the_same_weights() -> None:
    data = batches(8)
    whole = made("fm with bins")
    train(whole, whole.optimizer(0.05), data)
    first = made("fm with bins")
    optimizer = first.optimizer(0.05)
    train(first, optimizer, data[:5])
    file = io.BytesIO()
    torch.save([first.state_dict(), optimizer.state_dict()], file)
    file.seek(0)
    weights, state = torch.load(file, weights_only=True)
    second = MODELS["fm with bins"]().double()
    second.load_state_dict(weights)
    optimizer = second.optimizer(0.1)  # the rate comes with the state
    optimizer.load_state_dict(state)
    train(second, optimizer, data[5:])
    for name, tensor in whole.state_dict().items():
        assert torch.equal(second.state_dict()[name], tensor), name


def test_a_closure_is_evaluated_with_gradients() -> None:
    model = made("fm")
    optimizer = model.optimizer(0.05)
    x_num, x_cat, y = batches(1)[0]

    def loss_of() -> float:
        loss = F.binary_cross_entropy_with_logits(model(x_num, x_cat), y)
        loss.backward()
        return loss.item()

    before = copy.deepcopy(model.state_dict())
    assert optimizer.step(loss_of) == pytest.approx(
        F.binary_cross_entropy_with_logits(_logits(before, x_num, x_cat), y).item()
    )
    assert not torch.equal(model.bias, before["bias"])


def _logits(weights: dict[str, Tensor], x_num: Tensor, x_cat: Tensor) -> Tensor:
    model = MODELS["fm"]().double()
    model.load_state_dict(weights)
    logits: Tensor = model(x_num, x_cat)
    return logits


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("numeric", ["value", "bins", "both"])
@pytest.mark.parametrize("n_classes", [1, 3])
@pytest.mark.parametrize("kind", ["numbers", "ids"])
def test_a_model_may_have_columns_of_one_kind(
    kind: str, n_classes: int, numeric: str, sparse: bool
) -> None:
    options: dict[str, Any] = {"numeric": numeric, "n_classes": n_classes, "sparse": sparse}
    x_num, x_cat, _ = batches(1)[0]
    torch.manual_seed(4)
    given: tuple[Tensor | None, Tensor | None]
    if kind == "numbers":
        model, given = FM(2, None, 4, **options), (x_num, None)
    else:
        model, given = FM(None, CATEGORIES, 4, **options), (None, x_cat)
    model.double()
    logits = model(*given)
    assert logits.shape == ((ROWS,) if n_classes == 1 else (ROWS, n_classes))
    empty = (x_num, x_cat[:, :0]) if kind == "numbers" else (x_num[:, :0], x_cat)
    assert torch.equal(model(*empty), logits)
    optimizer = model.optimizer(0.1)
    first = model(*given)[:4].sum()
    for _ in range(3):
        loss = model(*given)[:4].sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert model(*given)[:4].sum() < first
    assert model.table.weight.isfinite().all()


class LayersFM(nn.Module):
    """The textbook's FM from this package's layers."""

    def __init__(self) -> None:
        super().__init__()
        self.num, self.cat = NumEmbedding(2, 1, 4), CatEmbedding(CATEGORIES, 4)
        self.num_linear, self.cat_linear = nn.Linear(2, 1), CatLinear(CATEGORIES, 1)
        self.pairs = FMLayer()

    def forward(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        embedded = torch.cat([self.num(x_num.unsqueeze(-1)), self.cat(x_cat)], dim=1)
        logits: Tensor = self.num_linear(x_num) + self.cat_linear(x_cat) + self.pairs(embedded)
        return logits.squeeze(1)


def test_the_layers_alone_make_a_model_that_any_optimizer_trains() -> None:
    data = batches(20)
    for optimizer in (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD):
        torch.manual_seed(0)
        model = LayersFM().double()
        rate = 0.05 if optimizer is not torch.optim.SGD else 1.0
        losses = train(model, optimizer(model.parameters(), lr=rate), data)
        assert losses[-1] < losses[0]


@pytest.mark.parametrize("sparse", [True, False])
def test_an_embedding_of_columns_equals_an_embedding_each(sparse: bool) -> None:
    torch.manual_seed(1)
    layer = CatEmbedding(CATEGORIES, 3, sparse=sparse)
    tables = [
        nn.Embedding.from_pretrained(part.clone(), freeze=False)
        for part in layer.table.weight.detach().split(CATEGORIES)
    ]
    x_cat = batches(1)[0][1]
    expected = torch.stack([table(x_cat[:, i]) for i, table in enumerate(tables)], dim=1)
    found = layer(x_cat)
    assert torch.equal(found, expected)
    weights = torch.rand(found.shape)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    gradient = layer.table.weight.grad
    assert gradient is not None
    assert gradient.is_sparse == sparse
    dense = torch.cat([t.weight.grad for t in tables if t.weight.grad is not None])
    torch.testing.assert_close(gradient.to_dense() if sparse else gradient, dense)
    linear = CatLinear(CATEGORIES, 3, sparse=sparse)
    linear.weights.load_state_dict(layer.state_dict())
    torch.testing.assert_close(linear(x_cat), expected.sum(1))
