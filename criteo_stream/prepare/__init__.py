"""Raw Criteo click logs to a prepared data set, in bounded memory and restartable.

In the order of the data::

    inputs.py      which files, their layout, their lines in chunks
    raw.py         lines to columns; malformed ones located and explained
    splits.py      the split of a line and the written order of a block: pure functions
    counts.py      exact counts as runs that add up
    codes.py       a block's values as codes into its sorted distinct values
    units.py       a block's scratch on disk
    reading.py     stage 1: raw text → scratch and runs
    vocabulary.py  counts → ids
    lookup.py      values → ids
    quantiles.py   counts → quantile tables, integers → quantiles
    fitting.py     stage 2: runs → vocabularies and tables
    encoding.py    stage 3: scratch → shards
    encode.py      a fit applied to raw rows, for prediction
    workspace.py   the working folder: lock, task, records of finished work
    space.py       disk needed
    options.py     what decides the output, and what only how it is made
    pipeline.py    `preprocess`: the stages in order, then the manifest
"""

from criteo_stream.prepare.pipeline import PrepareResult, preprocess

__all__ = ["PrepareResult", "preprocess"]
