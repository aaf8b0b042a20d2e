"""The judges, and what they reckon with: start with `betting`, `comparison` and `bets`."""
