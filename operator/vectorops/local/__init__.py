"""The command line without Kubernetes: the same reconcilers run on manifests from files."""
