"""The path through an embedding table: look-ups, coalesced gradients, update, exchange.

In the order of a training step::

    table.py       the table itself, and how it and its moments are allocated
    grouping.py    a batch's look-ups grouped by table row
    lookups.py     forward and backward of look-ups, without forming every product
    projection.py  the same with a linear map of the vectors (a perceptron's first layer)
    pairs.py       the products of all pairs of vectors, added up
    gradients.py   sparse gradients, and the promise that they are coalesced
    exchange.py    their mean over ranks
    adam.py        the update of the rows that have one
    joint_adam.py  the same and Adam of a model's dense parameters, as one optimizer
    acceleration.py  whether compiled kernels do parts of this, and on which threads
    kernels.py     what numba compiles
    graph_export.py  whether to use plain operations instead, for `torch.export`

Shapes are written in these letters everywhere::

    B  rows of the batch           N  rows of the table
    n  columns of ids              U  distinct table rows that a batch looks up, U ≤ B·n
    F  fields, n ≤ F               k  length of a vector
    m  columns of numbers          h  outputs of a linear map

A table row is ``linear`` linear weights beside a vector: [linear + k] = [d].
"""
