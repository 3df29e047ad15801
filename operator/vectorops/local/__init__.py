"""The second shell: no Kubernetes. Manifests from files stand in for the cluster, and the very same reconcilers run
over them.
"""
