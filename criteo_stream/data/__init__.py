"""``DATA/``: its manifest and shards, the order of an epoch, and batches from them."""
