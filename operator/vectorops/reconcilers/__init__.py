"""One reconciler per kind, and the little they share. They know Kubernetes only as the `Cluster` protocol in `base`."""
