"""The path through an embedding table: look-ups, coalesced gradients, update, exchange."""
