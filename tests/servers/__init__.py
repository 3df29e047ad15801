"""The servers that integration tests run against, each a real program, and a proxy to put between them."""
