"""The shell in Kubernetes: what `vectorops run` is. The only importer of kopf and kubernetes.

Watch events and own LISTs come in (`app`, `listing`), the controller decides what to look at and queues it (`changes`,
`controller`), reconcilers talk back through `cluster`.
"""
