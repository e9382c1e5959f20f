"""Command lines that ``--help`` shows, by command; the tests parse each of them."""

from typing import Final

EXAMPLES: Final = {
    "": (
        "criteo-stream preprocess train.txt --out data",
        "criteo-stream train data --out run",
        "criteo-stream evaluate run",
    ),
    "preprocess": (
        "criteo-stream preprocess train.txt --out data",
        "criteo-stream preprocess 'day_*.gz' --out data --split terabyte --memory 16GB",
        "criteo-stream preprocess day_24.gz --out data2 --extend data",
    ),
    "train": (
        "criteo-stream train data --out run",
        "criteo-stream train data --out ffm --model ffm --dim 8 --lr 0.02 --epochs 2",
        "torchrun --nproc-per-node 4 -m criteo_stream train data --out run",
    ),
    "evaluate": (
        "criteo-stream evaluate run",
        "criteo-stream evaluate run --split valid --plots",
        "criteo-stream evaluate run --against other-run --data data2",
    ),
    "predict": (
        "criteo-stream predict run test.txt --out predictions.parquet",
        "criteo-stream predict run 'day_*.gz' --out predictions.csv --device cpu",
    ),
    "inspect": (
        "criteo-stream inspect train.txt",
        "criteo-stream inspect data --verify",
        "criteo-stream inspect run --json",
    ),
    "export": (
        "criteo-stream export run --format onnx --out exported",
        "criteo-stream export run --format safetensors --out weights",
    ),
    "report": (
        "criteo-stream report run --out report.html",
        "criteo-stream report baseline ffm deepfm --split test --out compared.html",
    ),
    "progressive": (
        "criteo-stream progressive day_0.gz day_1.gz day_2.gz --out days",
        "criteo-stream progressive 'day_*.gz' --out days --keep 2 --model ffm",
    ),
    "demo": (
        "criteo-stream demo",
        "criteo-stream demo --rows 2M --out big-demo",
    ),
}
