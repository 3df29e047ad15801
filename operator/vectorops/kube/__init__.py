"""The operator in Kubernetes, which `vectorops run` starts. Only this package imports kopf and kubernetes.

Watches (`watch`) and LISTs (`listing`) report resources to the controller. It decides which to reconcile (`changes`)
and enqueues them. Reconcilers read and write Kubernetes through `cluster`.
"""
