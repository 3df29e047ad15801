"""The servers that integration tests run against, each a real program: API server, Qdrant, the operator; and a proxy between them."""
