"""Raw lines to a prepared data set, in bounded memory and restartable.

In the order of the data::

    assign_splits.py    the split of each input
    splits.py           the split of a line, and the written order of a block: pure functions
    codes.py            a block's values as codes into its sorted distinct values
    scratch.py          a block's columns on disk, coded
    stage1_read.py      stage 1: raw text to blocks of scratch
    counts.py           exact counts as runs that add up
    vocabulary.py       counts to known values and their ids; all others become OOV
    quantiles.py        counts to quantile tables, integers to quantiles
    stage2_fit.py       stage 2: runs to vocabularies and tables
    borrow_fit.py       or the fit of another set
    value_ids.py        values to ids
    stage3_encode.py    stage 3: scratch to shards
    build_manifest.py   the manifest of what the stages made
    apply_fit.py        the fit of a finished set applied to raw rows, for prediction

Around them::

    pipeline.py         `preprocess`: the stages in order, then the manifest
    options.py          what decides the output, and what only how it is made
    task.py             what was asked for: recorded, and compared when work goes on
    workspace.py        the working folder: lock, task, records of finished work
    work_records.py     what those records say, and how a file is compared with one
    ownership.py        whose an output folder is, and how it is cleared
    changed_inputs.py   whether inputs still hold what was read of them
    memory_budget.py    how memory and threads are shared out
    disk_space.py       disk needed
    stages.py           the stages, driven: what is left to do becomes tasks
    stage_plan.py       what a stage is to do, on disk
    tasks.py            the tasks: functions of a plan and a number, which any process can run
    engine.py           who runs them: threads of this process, or
    cluster.py          a Dask cluster
    host.py             what one process has to do tasks with: threads and memory
    host_copies.py      copies of tables and lookups on a host's own disk
    lease.py            whose a folder is among hosts
    read_watch.py       lines as they are read, and malformed ones up to a limit
    short_days.py       days of the 1TB logs that are cut short
    announce.py         what the user is told
    result.py           what `preprocess` returns
    multiplicative_hash.py  values to slots of a table, for codes and look-ups
"""
