"""Requests to Qdrant. Only this package imports `qdrant_client` and `grpc`, and knows URL paths of Qdrant."""
