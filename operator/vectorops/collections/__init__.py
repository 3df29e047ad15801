"""What a collection should be (`resolve`), what must change (`plan`, by the `rules` of Qdrant), and `apply`."""
