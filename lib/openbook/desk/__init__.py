"""What we do: trades, safety, book."""
