"""What each peer is run with: its environment, its runner, the hand-over between them."""
