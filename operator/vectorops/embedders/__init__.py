"""Embedders: which schema a model's vectors have, and the vectors of texts. One module for each provider."""
