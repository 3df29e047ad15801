"""Qdrant collections, and the points in them, as Kubernetes resources."""

__version__ = "0.1.0"
