"""Talking to Qdrant. Nothing outside this package imports `qdrant_client`, `grpc` or knows an URL path of Qdrant."""
