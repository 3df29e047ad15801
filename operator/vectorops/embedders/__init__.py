"""Embedders: the schema of a model's vectors, and the vectors of texts. One module for each provider."""
