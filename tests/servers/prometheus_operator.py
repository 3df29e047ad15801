"""The kinds of the Prometheus operator that the chart makes, as CRDs of our own.

Its own CRDs are not to be had here. These are written from its API reference, with the fields that a chart like ours
may use and no others, so that a misspelled one is refused. What that operator would make of them, they do not tell.
"""

from typing import Any, Final

from servers.kubeapi import Object

GROUP: Final = "monitoring.coreos.com"

TEXT: Final[Object] = {"type": "string"}
TRUTH: Final[Object] = {"type": "boolean"}
DURATION: Final[Object] = {
    "type": "string",
    "pattern": r"^(0|(([0-9]+)y)?(([0-9]+)w)?(([0-9]+)d)?(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?(([0-9]+)ms)?)$",
}
STRINGS: Final[Object] = {"type": "object", "additionalProperties": TEXT}


def _object(*required: str, **properties: Object) -> Object:
    return {"type": "object", "properties": properties, **({"required": list(required)} if required else {})}


def _list(items: Object) -> Object:
    return {"type": "array", "items": items}


SELECTOR: Final = _object(
    matchLabels=STRINGS,
    matchExpressions=_list(_object("key", "operator", key=TEXT, operator=TEXT, values=_list(TEXT))),
)
RELABELING: Final = _object(
    sourceLabels=_list(TEXT), separator=TEXT, targetLabel=TEXT, regex=TEXT, replacement=TEXT, action=TEXT
)
ENDPOINT: Final = _object(
    port=TEXT,
    path=TEXT,
    scheme={"type": "string", "enum": ["http", "https"]},
    interval=DURATION,
    scrapeTimeout=DURATION,
    honorLabels=TRUTH,
    honorTimestamps=TRUTH,
    relabelings=_list(RELABELING),
    metricRelabelings=_list(RELABELING),
)
NAMESPACES: Final = _object(any=TRUTH, matchNames=_list(TEXT))
RULE: Final = _object(
    "expr",
    alert=TEXT,
    record=TEXT,
    expr={"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]},
    **{"for": DURATION},
    keep_firing_for=DURATION,
    labels=STRINGS,
    annotations=STRINGS,
)

SPECS: Final[dict[str, Object]] = {
    "ServiceMonitor": _object(
        "endpoints",
        "selector",
        endpoints=_list(ENDPOINT),
        selector=SELECTOR,
        namespaceSelector=NAMESPACES,
        jobLabel=TEXT,
        targetLabels=_list(TEXT),
    ),
    "PodMonitor": _object(
        "selector",
        podMetricsEndpoints=_list(ENDPOINT),
        selector=SELECTOR,
        namespaceSelector=NAMESPACES,
        jobLabel=TEXT,
        podTargetLabels=_list(TEXT),
    ),
    "PrometheusRule": _object(
        groups=_list(_object("name", name=TEXT, interval=DURATION, labels=STRINGS, rules=_list(RULE)))
    ),
}


def crds() -> list[Object]:
    """One for each kind of SPECS."""
    return [_crd(kind, spec) for kind, spec in SPECS.items()]


def _crd(kind: str, spec: Object) -> Object:
    plural = f"{kind.lower()}s"
    schema: dict[str, Any] = _object("spec", apiVersion=TEXT, kind=TEXT, metadata={"type": "object"}, spec=spec)
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural}.{GROUP}",
            "annotations": {"api-approved.kubernetes.io": "unapproved, for tests"},
        },
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }
