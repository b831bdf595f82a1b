"""The world: calendar, providers, quality, store, tables."""
